//! What a token's ratio and advantage become: the policy term of the loss.
//!
//! Owns the choice among surrogates; each has a module of its own with formula and source. Knows no weights,
//! no masks and no KL.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{check, positive};

mod cispo;
mod clipped;
mod sapo;
mod vespo;

use self::clipped::Clipped;
pub use self::vespo::VespoWeight;
pub(super) use self::vespo::log_weight as vespo_log_weight;

/// A [`Surrogate`] as a user writes it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SurrogateConfig {
    /// [`Surrogate::OnPolicy`].
    #[default]
    #[serde(deserialize_with = "crate::config::no_other_keys")]
    OnPolicy,
    /// [`Surrogate::Clipped`].
    Clipped {
        /// How far the ratio may fall below 1; in 0..=1. Usual: 0.2.
        epsilon: f64,
        /// How far the ratio may rise above 1; at least 0. Default: `epsilon`. DAPO's "clip higher" is 0.28.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epsilon_high: Option<f64>,
        /// A cap on the unclipped ratio, which bounds the loss of tokens with a negative advantage; above
        /// `1 + epsilon_high`. Default: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delta: Option<f64>,
    },
    /// [`Surrogate::Cispo`].
    Cispo {
        /// The largest weight, as a ratio; at least 1. Default: 5.
        #[serde(default = "cispo::default_cap")]
        cap: f64,
    },
    /// [`Surrogate::Sapo`].
    Sapo {
        /// `τ` where the advantage is above 0; above 0. Default: 1.
        #[serde(default = "sapo::default_positive")]
        temperature_positive: f64,
        /// `τ` elsewhere; above 0. Default: 1.05, so that tokens are pushed down more carefully.
        #[serde(default = "sapo::default_negative")]
        temperature_negative: f64,
    },
    /// [`Surrogate::Vespo`].
    Vespo {
        /// Where the advantage is at least 0. Default: `k` 2, `lambda` 3.
        #[serde(default = "vespo::default_positive")]
        positive: VespoWeight,
        /// Elsewhere. Default: `k` 3, `lambda` 2.
        #[serde(default = "vespo::default_negative")]
        negative: VespoWeight,
    },
}

impl SurrogateConfig {
    /// PPO's clip, the same on both sides.
    #[must_use]
    pub const fn clipped(epsilon: f64) -> Self {
        Self::Clipped {
            epsilon,
            epsilon_high: None,
            delta: None,
        }
    }

    /// PPO's clip with its own upper side.
    #[must_use]
    pub const fn clipped_higher(epsilon: f64, epsilon_high: f64) -> Self {
        Self::Clipped {
            epsilon,
            epsilon_high: Some(epsilon_high),
            delta: None,
        }
    }

    /// CISPO with its usual cap.
    #[must_use]
    pub const fn cispo() -> Self {
        Self::Cispo {
            cap: cispo::default_cap(),
        }
    }

    /// SAPO with its published temperatures.
    #[must_use]
    pub const fn sapo() -> Self {
        Self::Sapo {
            temperature_positive: sapo::default_positive(),
            temperature_negative: sapo::default_negative(),
        }
    }

    /// VESPO with its published constants.
    #[must_use]
    pub const fn vespo() -> Self {
        Self::Vespo {
            positive: vespo::default_positive(),
            negative: vespo::default_negative(),
        }
    }

    pub(super) fn resolve(self) -> Result<Surrogate> {
        Ok(match self {
            Self::OnPolicy => Surrogate::OnPolicy,
            Self::Clipped {
                epsilon,
                epsilon_high,
                delta,
            } => clipped::resolve(epsilon, epsilon_high, delta)?,
            Self::Cispo { cap } => {
                check("loss.surrogate.cap", cap >= 1.0, || {
                    format!("{cap} is below 1, the ratio of a fresh sample; it is not an epsilon")
                })?;
                Surrogate::Cispo { cap }
            }
            Self::Sapo {
                temperature_positive,
                temperature_negative,
            } => {
                positive("loss.surrogate.temperature_positive", temperature_positive)?;
                positive("loss.surrogate.temperature_negative", temperature_negative)?;
                Surrogate::Sapo {
                    temperature_positive,
                    temperature_negative,
                }
            }
            Self::Vespo { positive, negative } => {
                positive.validate("loss.surrogate.positive")?;
                negative.validate("loss.surrogate.negative")?;
                Surrogate::Vespo { positive, negative }
            }
        })
    }
}

/// What a token contributes for its ratio `ρ`, its advantage `A` and its log-prob `lp`. `sg` holds a
/// gradient back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// `−ρ·A` with `ρ = exp(lp − sg(lp))`, which is 1 with the gradient of `lp`: REINFORCE, for a policy
    /// that makes one update of its own fresh samples. Reads no old log-probs.
    OnPolicy,
    /// `−min(min(ρ, delta)·A, clamp(ρ, low, high)·A)`: PPO's clip (arXiv 1707.06347); `delta`, on the
    /// unclipped branch alone, makes it two-sided (INTELLECT-2, arXiv 2505.07291; dual clip).
    Clipped {
        /// `1 − epsilon`.
        low: f64,
        /// `1 + epsilon_high`.
        high: f64,
        /// The cap; infinite where there is none.
        delta: f64,
    },
    /// `−sg(min(ρ, cap))·A·lp`: the weight is cut, never the gradient of a token (CISPO, arXiv 2506.13585;
    /// the cap of ScaleRL, arXiv 2510.13786).
    Cispo {
        /// The largest weight.
        cap: f64,
    },
    /// `−A·4/τ·σ(τ·(ρ − 1))`, where `σ` is the logistic function: a soft gate in place of the clip, whose
    /// slope at `ρ = 1` is that of `ρ·A` (SAPO, arXiv 2511.20347).
    Sapo {
        /// `τ` where `A > 0`.
        temperature_positive: f64,
        /// `τ` elsewhere.
        temperature_negative: f64,
    },
    /// `−sg(φ(w))·A·lp` with `φ(w) = w^k·exp(λ·(1 − w))` of the ratio `w` of the whole sequence, which is 1
    /// at `w = 1` and falls on both sides (VESPO, arXiv 2602.10693; constants by the sign of `A`).
    Vespo {
        /// Where `A ≥ 0`.
        positive: VespoWeight,
        /// Elsewhere.
        negative: VespoWeight,
    },
}

/// What a surrogate reads of one token.
#[derive(Debug, Clone, Copy)]
pub(super) struct SurrogateInput {
    /// `ρ`, with its gradient.
    pub(super) ratio: f64,
    /// What carries no gradient: `ρ` for CISPO, `log w` of the sequence for VESPO.
    pub(super) fixed: f64,
    pub(super) log_prob: f64,
    pub(super) advantage: f64,
}

/// A surrogate's value with its derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SurrogateOutput {
    pub(super) value: f64,
    pub(super) d_ratio: f64,
    /// Beside the one through the ratio.
    pub(super) d_log_prob: f64,
}

impl SurrogateOutput {
    /// `value` as a function of the ratio.
    const fn of_ratio(value: f64, d_ratio: f64) -> Self {
        Self {
            value,
            d_ratio,
            d_log_prob: 0.0,
        }
    }

    /// `−weight·A·lp` with a weight that carries no gradient.
    fn weighted(weight: f64, input: SurrogateInput) -> Self {
        Self {
            value: -weight * input.advantage * input.log_prob,
            d_ratio: 0.0,
            d_log_prob: -weight * input.advantage,
        }
    }
}

impl Surrogate {
    /// Whether it compares the policy with that of the start of the update.
    pub(super) fn reads_old(self) -> bool {
        self != Self::OnPolicy
    }

    pub(super) fn evaluate(self, input: SurrogateInput) -> SurrogateOutput {
        let SurrogateInput {
            ratio,
            fixed,
            advantage,
            ..
        } = input;
        match self {
            Self::OnPolicy => SurrogateOutput::of_ratio(-ratio * advantage, -advantage),
            Self::Clipped { low, high, delta } => {
                Clipped { low, high, delta }.evaluate(ratio, advantage)
            }
            Self::Cispo { cap } => SurrogateOutput::weighted(cispo::weight(fixed, cap), input),
            Self::Sapo {
                temperature_positive,
                temperature_negative,
            } => {
                let temperature = if advantage > 0.0 {
                    temperature_positive
                } else {
                    temperature_negative
                };
                sapo::evaluate(ratio, advantage, temperature)
            }
            Self::Vespo { positive, negative } => {
                let weight = if advantage >= 0.0 { positive } else { negative };
                SurrogateOutput::weighted(weight.of(fixed), input)
            }
        }
    }

    /// Whether the ratio is cut below with `A < 0`, and above with `A > 0`: for PPO's clip the token has no
    /// gradient then, for CISPO (above alone) a bounded one.
    pub(super) fn cuts(self, ratio: f64, advantage: f64) -> (bool, bool) {
        let (low, high) = match self {
            Self::Clipped { low, high, .. } => (low, high),
            Self::Cispo { cap } => (f64::NEG_INFINITY, cap),
            Self::OnPolicy | Self::Sapo { .. } | Self::Vespo { .. } => return (false, false),
        };
        (
            ratio < low && advantage < 0.0,
            ratio > high && advantage > 0.0,
        )
    }
}
