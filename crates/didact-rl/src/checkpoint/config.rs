//! When checkpoints are written and which are kept.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{at_least_one, check};
use crate::metrics::Metrics;

/// What a run does when a checkpoint cannot be written, because the disk is full for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It warns and goes on; the checkpoints before stay as they are.
    #[default]
    Continue,
    /// It ends with the error.
    Abort,
}

/// The metric by which the best checkpoint is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepBest {
    /// A metric of training steps or of evaluations, such as `eval/reward`.
    pub metric: String,
    /// Whether the largest is the best. Default true.
    #[serde(default = "yes")]
    pub largest: bool,
}

const fn yes() -> bool {
    true
}

/// When checkpoints are written and which are kept, where a trainer has somewhere to write them.
///
/// Beside these, there is one after the last step and one after a step that was asked to be the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints; 0 writes none in between. Default 10.
    pub every: u64,
    /// The newest so many are kept; at least 1. Default 2.
    pub keep_last: usize,
    /// Those after a multiple of so many steps are kept for good; 0 keeps none. Default 0.
    pub keep_every: u64,
    /// A step that is better than all before is written at once, and kept until a better one. Default none.
    pub keep_best: Option<KeepBest>,
    /// What happens when one cannot be written. Default `continue`.
    pub on_failure: OnFailure,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: 10,
            keep_last: 2,
            keep_every: 0,
            keep_best: None,
            on_failure: OnFailure::Continue,
        }
    }
}

impl CheckpointConfig {
    /// Checks the ranges; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`](crate::Error::Configuration) names the key.
    pub fn validate(&self, key: &str) -> Result<()> {
        at_least_one(&format!("{key}.keep_last"), self.keep_last as u64)?;
        let Some(best) = &self.keep_best else {
            return Ok(());
        };
        let machine = best.metric.starts_with("time/") || best.metric.starts_with("memory/");
        check(
            &format!("{key}.keep_best.metric"),
            !best.metric.is_empty() && !machine,
            || {
                format!(
                    "`{}` tells no checkpoint from another; name a metric of training or evaluation",
                    best.metric
                )
            },
        )
    }

    /// Whether one is written after `step` of `steps` steps, whatever the metrics are.
    pub(crate) fn is_due(&self, step: u64, steps: u64) -> bool {
        step == steps || (self.every > 0 && step.is_multiple_of(self.every))
    }

    /// Takes `metrics` of `step` into account; whether it is the best so far.
    pub(crate) fn improves(&self, best: &mut Option<Best>, step: u64, metrics: &Metrics) -> bool {
        let Some(keep) = &self.keep_best else {
            return false;
        };
        let Some(value) = metrics.get(&keep.metric) else {
            return false;
        };
        let better = best.is_none_or(|best| {
            if keep.largest {
                value > best.value
            } else {
                value < best.value
            }
        });
        if better {
            *best = Some(Best { step, value });
        }
        better
    }

    /// Which of the checkpoints `steps`, in ascending order, need not be kept.
    pub(super) fn superfluous(&self, steps: &[u64], best: Option<Best>) -> Vec<u64> {
        let old = &steps[..steps.len().saturating_sub(self.keep_last)];
        let kept = |step: u64| {
            (self.keep_every > 0 && step.is_multiple_of(self.keep_every))
                || best.is_some_and(|best| best.step == step)
        };
        old.iter().copied().filter(|&step| !kept(step)).collect()
    }
}

/// The best step so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps made.
    pub step: u64,
    /// The metric's value after them.
    pub value: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_the_regular_and_the_best_are_kept() {
        let config = CheckpointConfig {
            keep_last: 2,
            keep_every: 4,
            ..CheckpointConfig::default()
        };
        let best = Some(Best {
            step: 3,
            value: 1.0,
        });
        assert_eq!(config.superfluous(&[1, 2, 3, 4, 5, 6, 7], best), [1, 2, 5]);
        assert_eq!(config.superfluous(&[1], best), [0_u64; 0]);
    }

    #[test]
    fn better_is_larger_or_smaller_and_never_equal() {
        let metric = "loss".to_owned();
        let config = |largest| CheckpointConfig {
            keep_best: Some(KeepBest {
                metric: metric.clone(),
                largest,
            }),
            ..CheckpointConfig::default()
        };
        let mut metrics = Metrics::new();
        let mut best = None;
        assert!(!config(false).improves(&mut best, 1, &metrics), "no value");
        for (value, better) in [(2.0, true), (2.0, false), (3.0, false), (1.0, true)] {
            metrics.set("loss", value);
            assert_eq!(config(false).improves(&mut best, 1, &metrics), better);
        }
        assert!(!config(true).improves(&mut best, 1, &metrics));
    }

    #[test]
    fn keys_that_mean_nothing_are_refused() {
        let none = CheckpointConfig {
            keep_last: 0,
            ..CheckpointConfig::default()
        };
        let error = none.validate("checkpoint").unwrap_err().to_string();
        assert!(error.contains("checkpoint.keep_last"), "{error}");
        let parsed: Result<CheckpointConfig, _> = serde_json::from_str(r#"{"evry": 3}"#);
        assert!(parsed.is_err());
    }
}
