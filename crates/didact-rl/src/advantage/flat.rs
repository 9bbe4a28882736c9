//! Groups that teach nothing, and how often a step may look for others.
//!
//! Owns the decision and its configuration. Knows no model: the trainer samples.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{at_least_one, not_negative};

/// Dynamic sampling (DAPO, arXiv 2503.14476): flat groups are dropped, and other problems are sampled in their
/// place.
///
/// After `max_rounds` the step makes do with the groups it has; where all are flat, it trains on flat ones,
/// whose advantages are 0, so that only the KL acts. With rewards of real numbers, such as RLT's, hardly any
/// group is flat; it matters where rewards are right or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicSampling {
    /// How often a step samples at most, the first time included; at least 1. Default: 10.
    pub max_rounds: u64,
    /// A group is flat where its rewards differ by at most this; at least 0. Default: 0.
    pub tolerance: f64,
}

impl Default for DynamicSampling {
    fn default() -> Self {
        Self {
            max_rounds: 10,
            tolerance: 0.0,
        }
    }
}

impl DynamicSampling {
    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Configuration`](crate::Error::Configuration) names the key.
    pub fn validate(&self) -> Result<()> {
        at_least_one("dynamic_sampling.max_rounds", self.max_rounds)?;
        not_negative("dynamic_sampling.tolerance", self.tolerance)
    }
}

/// Which groups are flat: nothing can be learnt from comparing their samples.
///
/// A group is flat where its largest and its smallest reward differ by at most `tolerance`. One in which some
/// samples were refused is not: they are worse than the others. One in which all were, is.
#[must_use]
pub fn flat_groups(rewards: &[Vec<Option<f64>>], tolerance: f64) -> Vec<bool> {
    let flat = |group: &Vec<Option<f64>>| {
        let scored = || group.iter().flatten().copied();
        let refused = group.iter().any(Option::is_none);
        match scored().reduce(f64::max).zip(scored().reduce(f64::min)) {
            None => true,
            Some((largest, smallest)) => !refused && largest - smallest <= tolerance,
        }
    };
    rewards.iter().map(flat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_is_what_cannot_be_compared() {
        let groups = [
            vec![Some(1.0), Some(1.0)],
            vec![Some(1.0), Some(1.25)],
            vec![Some(1.0), None],
            vec![None, None],
            vec![Some(3.0)],
        ];
        assert_eq!(flat_groups(&groups, 0.0), [true, false, false, true, true]);
        assert_eq!(flat_groups(&groups, 0.25), [true, true, false, true, true]);
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        let sound = DynamicSampling::default();
        sound.validate().unwrap();
        assert!(
            DynamicSampling {
                max_rounds: 0,
                ..sound
            }
            .validate()
            .is_err()
        );
        assert!(
            DynamicSampling {
                tolerance: -1.0,
                ..sound
            }
            .validate()
            .is_err()
        );
    }
}
