//! What a run directory holds, as far as the page shows it.
//!
//! Owns reading: nothing here knows HTML. A file that is broken is named in [`Records::problems`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Environment;
use crate::rescore::RolloutFile;
use crate::rollout::RolloutRecord;
use crate::warnings::Warning;
use didact_core::Outcome;

use crate::{Error, MetricsKind, MetricsRecord, Result};

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The run directory's own name.
    pub(super) name: String,
    pub(super) stages: Vec<Stage>,
    pub(super) warnings: Vec<Warning>,
    /// The resolved configurations by stage.
    pub(super) configuration: Option<Value>,
    /// The processes that made the run.
    pub(super) environments: Vec<Environment>,
    /// What could not be read.
    pub(super) problems: Vec<String>,
}

/// The metrics of one stage, in the order of their steps.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) train: Vec<MetricsRecord>,
    pub(super) evaluation: Vec<MetricsRecord>,
    pub(super) summary: Vec<MetricsRecord>,
    /// Samples of the first and the last training step.
    pub(super) steps: Vec<StepSamples>,
    /// The same held-out problems at the first and the last look.
    pub(super) pairs: Vec<(RolloutRecord, RolloutRecord)>,
}

/// Samples of one step, chosen by their reward.
#[derive(Debug)]
pub(super) struct StepSamples {
    pub(super) step: u64,
    /// Samples of the step that have a reward.
    pub(super) rewarded: usize,
    /// What each was chosen for, and the sample.
    pub(super) chosen: Vec<(&'static str, RolloutRecord)>,
}

impl Stage {
    /// The numbers called `name` of the training steps that have one.
    pub(super) fn training(&self, name: &str) -> Vec<(f64, f64)> {
        points(&self.train, name)
    }

    /// The numbers called `eval/NAME` of the looks at held-out problems.
    pub(super) fn held_out(&self, name: &str) -> Vec<(f64, f64)> {
        points(&self.evaluation, &format!("eval/{name}"))
    }

    /// All names in `records`, in alphabetical order.
    pub(super) fn names(records: &[MetricsRecord]) -> Vec<String> {
        let mut names: Vec<String> = records
            .iter()
            .flat_map(|r| r.metrics.iter().map(|(name, _)| name.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether samples are rewarded in it.
    pub(super) fn is_rl(&self) -> bool {
        let rewarded = |r: &MetricsRecord| r.metrics.get("reward_std").is_some();
        !self.evaluation.is_empty() || self.train.iter().any(rewarded)
    }
}

pub(super) fn points(records: &[MetricsRecord], name: &str) -> Vec<(f64, f64)> {
    let values = records.iter();
    values
        .filter_map(|r| Some((r.step as f64, r.metrics.get(name)?)))
        .collect()
}

impl Records {
    /// Reads a run directory.
    ///
    /// # Errors
    /// No `metrics.jsonl`.
    pub(super) fn read(run: &Path) -> Result<Self> {
        let shown = fs::canonicalize(run).unwrap_or_else(|_| run.to_owned());
        let name = shown.file_name().unwrap_or_default();
        let mut records = Self {
            name: name.to_string_lossy().into_owned(),
            ..Self::default()
        };
        records.read_metrics(&run.join("metrics.jsonl"))?;
        let warnings = run.join("warnings.jsonl");
        if warnings.exists() {
            match fs::read_to_string(&warnings) {
                Ok(text) => records.warnings = records.lines(&text, &warnings),
                Err(error) => records.problems.push(format!("warnings.jsonl: {error}")),
            }
        }
        if let Ok(text) = fs::read_to_string(run.join("config.json")) {
            records.configuration = serde_json::from_str(&text).ok();
        }
        if let Ok(text) = fs::read_to_string(run.join("environment.json")) {
            records.environments = serde_json::from_str(&text).unwrap_or_default();
        }
        for index in 0..records.stages.len() {
            let folder = run.join("rollouts").join(&records.stages[index].name);
            let errors = records.stages[index].read_rollouts(&folder);
            let errors = errors.iter().map(ToString::to_string);
            records.problems.extend(errors);
        }
        Ok(records)
    }

    fn read_metrics(&mut self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        for record in self.lines::<MetricsRecord>(&text, path) {
            let place = self.stages.iter().position(|s| s.name == record.stage);
            let place = place.unwrap_or_else(|| {
                self.stages.push(Stage {
                    name: record.stage.clone(),
                    ..Stage::default()
                });
                self.stages.len() - 1
            });
            let stage = &mut self.stages[place];
            match record.kind {
                MetricsKind::Train => stage.train.push(record),
                MetricsKind::Evaluation => stage.evaluation.push(record),
                MetricsKind::Summary => stage.summary.push(record),
            }
        }
        Ok(())
    }

    /// The lines that can be read; the others are counted as one problem.
    fn lines<T: serde::de::DeserializeOwned>(&mut self, text: &str, path: &Path) -> Vec<T> {
        let (mut found, mut broken, mut first) = (Vec::new(), 0, String::new());
        for (place, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str(line) {
                Ok(value) => found.push(value),
                Err(error) => {
                    if broken == 0 {
                        first = format!("line {}: {error}", place + 1);
                    }
                    broken += 1;
                }
            }
        }
        if broken > 0 {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.problems.push(format!(
                "{name}: {broken} lines could not be read; the first is {first}"
            ));
        }
        found
    }
}

/// A line of a rollout file with its problem and its reward.
struct Rewarded {
    line: usize,
    problem: String,
    reward: f64,
}

impl Stage {
    /// Reads the samples that are shown; what went wrong.
    fn read_rollouts(&mut self, folder: &Path) -> Vec<Error> {
        let mut errors = Vec::new();
        match first_and_last(folder, "step_") {
            Ok(Some((first, last))) => {
                let different = (last != first).then_some(last);
                for file in [Some(first), different].into_iter().flatten() {
                    match step_samples(&file) {
                        Ok(samples) => self.steps.push(samples),
                        Err(error) => errors.push(error),
                    }
                }
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        let looks = first_and_last(folder, "evaluation_");
        let pairs = looks.and_then(|looks| match looks {
            Some((first, last)) if first != last => pairs(&first, &last),
            _ => Ok(Vec::new()),
        });
        match pairs {
            Ok(pairs) => self.pairs = pairs,
            Err(error) => errors.push(error),
        }
        errors
    }
}

fn first_and_last(folder: &Path, start: &str) -> Result<Option<(PathBuf, PathBuf)>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(start) && name.ends_with(".jsonl") {
            files.push(path);
        }
    }
    Ok(files.iter().min().cloned().zip(files.iter().max().cloned()))
}

/// The rewards in a file, in ascending order.
fn rewarded(path: &Path) -> Result<Vec<Rewarded>> {
    let mut found = Vec::new();
    for record in RolloutFile::open(path)? {
        let (line, record) = record?;
        if let Some(reward) = record.outcome.as_ref().and_then(Outcome::reward) {
            found.push(Rewarded {
                line,
                problem: record.problem,
                reward,
            });
        }
    }
    found.sort_by(|a, b| a.reward.total_cmp(&b.reward));
    Ok(found)
}

/// The samples that stand in these lines of a file.
fn of_lines(path: &Path, lines: &[usize]) -> Result<BTreeMap<usize, RolloutRecord>> {
    let mut found = BTreeMap::new();
    for record in RolloutFile::open(path)? {
        let (line, record) = record?;
        if lines.contains(&line) {
            found.insert(line, record);
        }
    }
    Ok(found)
}

/// Places of the best, the middle and the worst of an ascending list, each once.
fn best_median_worst(count: usize) -> Vec<(&'static str, usize)> {
    let mut places = Vec::new();
    if count > 0 {
        places.push(("best", count - 1));
    }
    if count > 2 {
        places.push(("median", count / 2));
    }
    if count > 1 {
        places.push(("worst", 0));
    }
    places
}

fn step_samples(path: &Path) -> Result<StepSamples> {
    let ranked = rewarded(path)?;
    let places = best_median_worst(ranked.len());
    let lines: Vec<usize> = places.iter().map(|&(_, p)| ranked[p].line).collect();
    let mut records = of_lines(path, &lines)?;
    let chosen: Vec<_> = places
        .iter()
        .filter_map(|&(what, place)| Some((what, records.remove(&ranked[place].line)?)))
        .collect();
    Ok(StepSamples {
        step: chosen.first().map_or(0, |(_, record)| record.step),
        rewarded: ranked.len(),
        chosen,
    })
}

/// The held-out problems that gained most, middlingly and least between two looks, by their first samples.
fn pairs(first: &Path, last: &Path) -> Result<Vec<(RolloutRecord, RolloutRecord)>> {
    let by_problem = |path: &Path| -> Result<BTreeMap<String, Rewarded>> {
        let mut found: BTreeMap<String, Rewarded> = BTreeMap::new();
        for sample in rewarded(path)? {
            let key = sample.problem.clone();
            let earlier = found.get(&key).is_none_or(|other| sample.line < other.line);
            if earlier {
                found.insert(key, sample);
            }
        }
        Ok(found)
    };
    let (before, after) = (by_problem(first)?, by_problem(last)?);
    let mut gains: Vec<(f64, usize, usize)> = before
        .iter()
        .filter_map(|(problem, before)| {
            let after = after.get(problem)?;
            Some((after.reward - before.reward, before.line, after.line))
        })
        .collect();
    gains.sort_by(|a, b| a.0.total_cmp(&b.0));
    let places = best_median_worst(gains.len());
    let lines = |of: fn(&(f64, usize, usize)) -> usize| -> Vec<usize> {
        places.iter().map(|&(_, place)| of(&gains[place])).collect()
    };
    let (mut before, mut after) = (
        of_lines(first, &lines(|g| g.1))?,
        of_lines(last, &lines(|g| g.2))?,
    );
    Ok(places
        .iter()
        .filter_map(|&(_, place)| {
            let (_, b, a) = gains[place];
            Some((before.remove(&b)?, after.remove(&a)?))
        })
        .collect())
}
