//! Advantages: how much better a sample was than expected.
//!
//! Owns the placing of refused samples, the baseline, the scaling, the credit of single tokens and the decision
//! which groups teach nothing. Knows no loss and no model: rewards in, advantages out, in f64.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{check, positive};

mod credit;
mod flat;
mod normalise;
mod several;
#[cfg(test)]
mod tests;

pub use credit::{CreditConfig, CreditedSample, token_advantages};
pub use flat::{DynamicSampling, flat_groups};
pub use several::{RewardMixing, advantages_of_several, weighted_sum};

use self::normalise::normalise;

/// Added to a standard deviation before dividing by it, as TRL and the published RLT implementation do.
pub const EPSILON: f64 = 1e-4;

/// What a reward is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// The mean of its group (GRPO, arXiv 2402.03300).
    #[default]
    Group,
    /// The mean of the others of its group (RLOO, arXiv 2402.14740), which leaves the gradient unbiased:
    /// `n / (n − 1)` times the distance from the group's mean. A sample alone has the advantage 0.
    LeaveOneOut,
    /// Nothing (REINFORCE++, arXiv 2501.03262, whose [`AdvantageScale::Whitened`] then centres the step).
    None,
}

/// What the rewards, less their baseline, are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageScale {
    /// The standard deviation of the group's rewards (GRPO, arXiv 2402.03300; the published RLT run).
    #[default]
    Group,
    /// The standard deviation of all rewards of the step, before any baseline (TRL's `batch`).
    Batch,
    /// Nothing (Dr. GRPO, arXiv 2503.20783).
    None,
    /// All rewards of the step, less their baseline, are centred on their mean and divided by their standard
    /// deviation (REINFORCE++, arXiv 2501.03262; `normalize_advantages` of TRL's RLOO).
    Whitened,
}

/// How advantages are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdvantageConfig {
    /// What a reward is compared with. Default: the group's mean.
    pub baseline: Baseline,
    /// What the differences are divided by. Default: the group's standard deviation.
    pub scale: AdvantageScale,
    /// How far below its group's worst reward a refused sample is placed; finite and above 0. Default: 1.
    pub refused_margin: f64,
}

impl Default for AdvantageConfig {
    fn default() -> Self {
        Self {
            baseline: Baseline::Group,
            scale: AdvantageScale::Group,
            refused_margin: 1.0,
        }
    }
}

impl AdvantageConfig {
    /// Checks the options, so that a run is refused before its first step.
    ///
    /// # Errors
    /// [`Error::Configuration`](crate::Error::Configuration) names the key: a margin that is not finite and above 0; a scale that would
    /// divide rewards which nothing was subtracted from.
    pub fn validate(&self) -> Result<()> {
        positive("advantage.refused_margin", self.refused_margin)?;
        let scales_spread = matches!(self.scale, AdvantageScale::Group | AdvantageScale::Batch);
        check(
            "advantage.scale",
            self.baseline != Baseline::None || !scales_spread,
            || {
                "dividing by a deviation means nothing without a baseline; take `none` or `whitened`, which \
                 centres too"
                    .to_owned()
            },
        )
    }
}

/// The advantages of a step's groups: `A = (r − baseline) / divisor`.
///
/// | baseline | | scale | divisor |
/// |---|---|---|---|
/// | `group` | `mean_g` | `group` | `std_g + 1e-4` |
/// | `leave_one_out` | `mean_g` without the sample | `batch` | `std` of all rewards `+ 1e-4` |
/// | `none` | 0 | `none` | 1 |
/// | | | `whitened` | `std` of all `r − baseline` `+ 1e-4`, after their mean is subtracted |
///
/// Standard deviations have Bessel's correction (divisor `n − 1`; 0 for a single sample).
///
/// A refused sample (`None`) has no reward. It is placed at `min(rewards of its group) − refused_margin`, so
/// that it is always the group's worst, and then counts like any other. A group in which every sample was
/// refused teaches nothing: its advantages are 0, and it is left out of the step's mean and deviation.
///
/// # Errors
/// A reward that is not finite, with its group and sample; what [`AdvantageConfig::validate`] refuses.
pub fn advantages(rewards: &[Vec<Option<f64>>], config: &AdvantageConfig) -> Result<Vec<Vec<f64>>> {
    Ok(normalise(rewards, config)?.advantages)
}
