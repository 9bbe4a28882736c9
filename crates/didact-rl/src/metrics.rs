//! Named numbers of a step, and means over samples.
//!
//! Owns names, order and finiteness of metrics. Knows no file.
//!
//! Names that begin with `time/` (seconds) or `memory/` (bytes) describe the machine; all others depend on
//! configuration, data and seed alone, so two runs with one seed agree on them bit for bit
//! ([`Metrics::reproducible`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod names;

pub use names::{METRICS, MetricDescription, describe};

use crate::{Error, Result};

/// Named numbers, in alphabetical order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// No number yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a number in, replacing one of the same name.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.values.insert(name.into(), value);
    }

    /// The number called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }

    /// All numbers in alphabetical order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
    }

    /// Takes all numbers of `other` over.
    pub fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
    }

    /// Takes all numbers of `other` over, their names behind `prefix`.
    pub fn extend_prefixed(&mut self, prefix: &str, other: &Self) {
        self.values.extend(
            other
                .values
                .iter()
                .map(|(name, v)| (format!("{prefix}{name}"), *v)),
        );
    }

    /// Those that do not depend on the machine: all but `time/…` and `memory/…`.
    #[must_use]
    pub fn reproducible(&self) -> Self {
        let of_machine = |name: &str| name.starts_with("time/") || name.starts_with("memory/");
        let values = self.values.iter().filter(|(name, _)| !of_machine(name));
        Self {
            values: values.map(|(name, value)| (name.clone(), *value)).collect(),
        }
    }

    /// Checks that every number is one.
    ///
    /// # Errors
    /// [`Error::NonFinite`] names the first that is not.
    pub fn validate(&self) -> Result<()> {
        match self.values.iter().find(|(_, value)| !value.is_finite()) {
            Some((name, value)) => Err(Error::NonFinite {
                what: format!("metric {name}"),
                value: *value,
            }),
            None => Ok(()),
        }
    }
}

/// Means of named numbers, each over as many samples as have it.
#[derive(Debug, Clone, Default)]
pub struct Means {
    sums: BTreeMap<String, (f64, u64)>,
}

impl Means {
    /// No sample yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one sample's number.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        let (sum, count) = self.sums.entry(name.into()).or_default();
        *sum += value;
        *count += 1;
    }

    /// The means.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        for (name, (sum, count)) in &self.sums {
            metrics.set(name.clone(), sum / *count as f64);
        }
        metrics
    }
}

/// The largest resident set of this process so far in bytes, where the system tells.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_memory_can_be_told_apart() {
        let mut metrics = Metrics::new();
        metrics.set("reward", 1.0);
        metrics.set("time/update", 2.0);
        metrics.set("memory/peak", 3.0);
        assert_eq!(
            metrics.reproducible().iter().collect::<Vec<_>>(),
            [("reward", 1.0)]
        );
        metrics.validate().unwrap();
        metrics.set("kl", f64::NAN);
        assert!(metrics.validate().unwrap_err().to_string().contains("kl"));
    }

    #[test]
    fn a_mean_counts_only_the_samples_that_have_the_number() {
        let mut means = Means::new();
        means.add("a", 1.0);
        means.add("a", 3.0);
        means.add("b", 5.0);
        assert_eq!(means.metrics().get("a"), Some(2.0));
        assert_eq!(means.metrics().get("b"), Some(5.0));
    }
}
