//! Samples drawn by another engine: importance weights of the old policy over the sampler.
//!
//! Owns weights and their bounds; they carry no gradient. Knows no surrogate.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::check;

/// What a weight is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionLevel {
    /// `w_t = exp(old_t − sampling_t)`: small variance, biased.
    Token,
    /// `w = exp(Σ_t old_t − sampling_t)` for all tokens of a sequence: unbiased but for the bounds.
    #[default]
    Sequence,
}

/// What happens to a weight outside `[min, max]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// It becomes the nearest bound: truncated importance sampling.
    Truncate,
    /// It becomes 0, so that the token or sequence does not count: masked importance sampling.
    #[default]
    Mask,
}

/// Multiplies the policy term, not the KL, with how much likelier the old policy finds the sample than the
/// engine that drew it.
///
/// The engine's log-probs differ from the trainer's even with the same weights: other kernels, other
/// precision, older versions. For the strictly on-policy surrogate the old policy is the present one.
///
/// With VESPO, which weighs whole sequences itself, the bounded token weights become part of its own weight.
///
/// The default is that of TRL 1.16 for samples of another engine: sequences whose weight is above 3 are
/// masked. Sources: F. Yao et al., "Your efficient RL framework secretly brings you off-policy RL training",
/// 2025 (truncation); J. Liu et al., "When speed kills stability", 2025 (masking, sequence level).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Correction {
    /// What a weight is of. Default: `sequence`.
    pub level: CorrectionLevel,
    /// What happens outside the bounds. Default: `mask`.
    pub bounds: Bounds,
    /// The lower bound; at least 0. Default: 0.
    pub min: f64,
    /// The upper bound; above `min`, may be infinite. Default: 3.
    pub max: f64,
}

impl Default for Correction {
    fn default() -> Self {
        Self {
            level: CorrectionLevel::Sequence,
            bounds: Bounds::Mask,
            min: 0.0,
            max: 3.0,
        }
    }
}

impl Correction {
    pub(super) fn validate(&self) -> Result<()> {
        check(
            "loss.correction.min",
            self.min >= 0.0 && self.min.is_finite(),
            || format!("{} is not a number of 0 or above", self.min),
        )?;
        check("loss.correction.max", self.max > self.min, || {
            format!("{} is not above min, {}", self.max, self.min)
        })?;
        let bounded = self.min > 0.0 || self.max.is_finite();
        check(
            "loss.correction.bounds",
            bounded || self.bounds == Bounds::Truncate,
            || {
                "`mask` masks nothing without a bound; set min or max, or take `truncate`"
                    .to_owned()
            },
        )
    }

    /// The weight of every token of a sequence; 1 where the mask is false.
    pub(super) fn weights(&self, old: &[f64], sampling: &[f64], mask: &[bool]) -> Vec<f64> {
        let difference = |t: usize| if mask[t] { old[t] - sampling[t] } else { 0.0 };
        match self.level {
            CorrectionLevel::Token => (0..mask.len())
                .map(|t| {
                    if mask[t] {
                        self.bound(difference(t).exp())
                    } else {
                        1.0
                    }
                })
                .collect(),
            CorrectionLevel::Sequence => {
                let sum: f64 = (0..mask.len()).map(difference).sum();
                vec![self.bound(sum.exp()); mask.len()]
            }
        }
    }

    fn bound(&self, weight: f64) -> f64 {
        match self.bounds {
            Bounds::Truncate => weight.clamp(self.min, self.max),
            Bounds::Mask if (self.min..=self.max).contains(&weight) => weight,
            Bounds::Mask => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms_by_hand() {
        let (old, sampling) = ([-1.0, -2.0, -9.0, -1.0], [-1.5, -1.0, 0.0, -3.0]);
        let mask = [true, true, false, true];
        let found = |level, bounds| {
            let correction = Correction {
                level,
                bounds,
                min: 0.5,
                max: 3.0,
            };
            correction.weights(&old, &sampling, &mask)
        };
        let half = 0.5_f64.exp();
        use {Bounds::*, CorrectionLevel::*};
        assert_eq!(found(Token, Truncate), [half, 0.5, 1.0, 3.0]);
        assert_eq!(found(Token, Mask), [half, 0.0, 1.0, 0.0]);
        assert_eq!(found(Sequence, Truncate), [3.0; 4]);
        assert_eq!(found(Sequence, Mask), [0.0; 4]);
    }

    #[test]
    fn bounds_that_mean_nothing_are_refused() {
        let sound = Correction::default();
        sound.validate().unwrap();
        let refused = |correction: Correction, key: &str| {
            let error = correction.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        refused(Correction { min: -1.0, ..sound }, "loss.correction.min");
        refused(Correction { min: 3.0, ..sound }, "loss.correction.max");
        refused(
            Correction {
                max: f64::NAN,
                ..sound
            },
            "loss.correction.max",
        );
        refused(
            Correction {
                max: f64::INFINITY,
                ..sound
            },
            "loss.correction.bounds",
        );
    }
}
