//! The figures that rows find: one a seed, and what several seeds give.
//!
//! Owns their file. Knows no experiment.

use std::path::Path;

use didact::distill::Interval;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::Result;

/// One figure of one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// The row of the table.
    pub row: String,
    /// The problems that it was found on.
    pub world: String,
    /// What it is a figure of: a teacher, a data set, a round.
    pub subject: String,
    /// The size of the student, where there is one.
    pub size: String,
    /// What is counted.
    pub metric: String,
    /// Of the run.
    pub seed: u64,
    /// The figure.
    pub value: f64,
}

impl Number {
    /// Whether the two are figures of the same, whatever the seed.
    fn is_like(&self, other: &Self) -> bool {
        let key = |n: &Self| [&n.row, &n.world, &n.subject, &n.size, &n.metric].map(String::clone);
        key(self) == key(other)
    }
}

/// Figures of one row, world and seed as they are found.
#[derive(Debug)]
pub struct Record {
    row: &'static str,
    world: &'static str,
    seed: u64,
    /// What was found so far.
    pub numbers: Vec<Number>,
}

impl Record {
    /// Without a figure yet.
    #[must_use]
    pub const fn new(row: &'static str, world: &'static str, seed: u64) -> Self {
        Self {
            row,
            world,
            seed,
            numbers: Vec::new(),
        }
    }

    /// A figure that was found before.
    #[must_use]
    pub fn get(&self, subject: &str, size: &str, metric: &str) -> Option<f64> {
        let found = self
            .numbers
            .iter()
            .find(|n| n.subject == subject && n.size == size && n.metric == metric);
        found.map(|number| number.value)
    }

    /// Adds a figure.
    pub fn put(
        &mut self,
        subject: impl Into<String>,
        size: &str,
        metric: impl Into<String>,
        value: f64,
    ) {
        self.numbers.push(Number {
            row: self.row.to_owned(),
            world: self.world.to_owned(),
            subject: subject.into(),
            size: size.to_owned(),
            metric: metric.into(),
            seed: self.seed,
            value,
        });
    }
}

/// A figure over seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The row of the table.
    pub row: String,
    /// The problems that it was found on.
    pub world: String,
    /// What it is a figure of.
    pub subject: String,
    /// The size of the student, where there is one.
    pub size: String,
    /// What is counted.
    pub metric: String,
    /// One value a seed, in their order.
    pub values: Vec<f64>,
    /// Mean and 95 % interval by Student's t; none for a single seed.
    pub interval: Option<Interval>,
}

impl Summary {
    /// The mean over seeds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len().max(1) as f64
    }
}

/// Figures over seeds, in the order in which they were first found.
#[must_use]
pub fn summaries(numbers: &[Number]) -> Vec<Summary> {
    let mut found: Vec<(&Number, Vec<(u64, f64)>)> = Vec::new();
    for number in numbers {
        let value = (number.seed, number.value);
        match found.iter_mut().find(|(first, _)| first.is_like(number)) {
            Some((_, values)) => values.push(value),
            None => found.push((number, vec![value])),
        }
    }
    let summary = |(first, mut values): (&Number, Vec<(u64, f64)>)| {
        values.sort_by_key(|&(seed, _)| seed);
        let values: Vec<f64> = values.into_iter().map(|(_, value)| value).collect();
        Summary {
            row: first.row.clone(),
            world: first.world.clone(),
            subject: first.subject.clone(),
            size: first.size.clone(),
            metric: first.metric.clone(),
            interval: Interval::of(&values),
            values,
        }
    };
    found.into_iter().map(summary).collect()
}

/// Writes the figures of one row, world and seed.
///
/// # Errors
/// A file that cannot be written.
pub fn write(folder: &Path, record: &Record) -> Result<()> {
    let Record {
        row, world, seed, ..
    } = record;
    write_as(folder, &format!("{row}-{world}-{seed}"), record)
}

/// Writes figures to a file of this name.
///
/// # Errors
/// A file that cannot be written.
pub fn write_as(folder: &Path, name: &str, record: &Record) -> Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{name}.json"));
    write_beside(&path, &serde_json::to_string_pretty(&record.numbers)?)
}

/// Reads all figures of a folder, in the order of the files' names.
///
/// # Errors
/// A file that cannot be read.
pub fn read(folder: &Path) -> Result<Vec<Number>> {
    let mut numbers = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(numbers);
    };
    let mut paths: Vec<_> = entries.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    paths.sort();
    for path in paths {
        let more: Vec<Number> =
            serde_json::from_str(&fs::read_to_string(&path)?).map_err(|error| {
                format!(
                    "{}: {error}; delete it to have it made anew",
                    path.display()
                )
            })?;
        numbers.extend(more);
    }
    Ok(numbers)
}

/// Writes beside the file and renames, so that no reader sees half of it.
///
/// # Errors
/// A file that cannot be written.
pub fn write_beside(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    fs::write(&beside, text)?;
    Ok(fs::rename(&beside, path)?)
}
