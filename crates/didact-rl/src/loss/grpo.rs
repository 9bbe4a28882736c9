//! Group-relative policy optimisation: a surrogate of the policy gradient, and a KL to the reference.
//!
//! One family: what a token contributes is a [`Surrogate`] of its ratio and advantage, plus β times a KL
//! estimate; what it weighs depends on its sequence's length and the step's counts. Other members of the
//! family are other surrogates and other weights. Knows nothing of how advantages are made.

use didact_core::{Error, NamedValue, Result};
use serde::{Deserialize, Serialize};

use super::{Loss, LossNeeds, LossOutput, LossSequence, Normalisers};

/// A [`GrpoLoss`] as a user writes it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoConfig {
    /// What stands for the policy gradient. Default: strictly on-policy.
    pub surrogate: SurrogateConfig,
    /// Weight of the KL to the reference; at least 0. Default: 0.04, as published for RLT; 0 needs no
    /// reference model.
    pub beta: f64,
    /// Multiplies each token's KL estimate with the ratio, through which the gradient then flows too.
    /// This makes the KL and its gradient unbiased when the samples are older than the policy
    /// (DeepSeek-V3.2; `use_bias_correction_kl` in TRL). Default: false.
    pub unbiased_kl: bool,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            surrogate: SurrogateConfig::OnPolicy,
            beta: 0.04,
            unbiased_kl: false,
        }
    }
}

/// A [`Surrogate`] as a user writes it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SurrogateConfig {
    /// [`Surrogate::OnPolicy`].
    #[default]
    OnPolicy,
    /// [`Surrogate::Clipped`].
    Clipped {
        /// How far the ratio may fall below 1; in 0..=1. Usual: 0.2.
        epsilon: f64,
        /// How far the ratio may rise above 1; at least 0. Default: `epsilon`. DAPO's "clip higher" is 0.28.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epsilon_high: Option<f64>,
        /// A cap on the unclipped ratio, which bounds the loss of tokens with a negative advantage; above
        /// 1. Default: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delta: Option<f64>,
    },
}

impl GrpoConfig {
    /// Checks the options and fills in what was left out.
    ///
    /// # Errors
    /// An option that is not a number or outside the range that its field names.
    pub fn resolve(&self) -> Result<GrpoLoss> {
        let check = |key: &str, value: f64, holds: bool, allowed: &str| {
            if holds && !value.is_nan() {
                return Ok(());
            }
            Err(Error::InvalidRequest {
                what: format!("`{key}` of the grpo loss"),
                problem: format!("{value} is not {allowed}"),
            })
        };
        check(
            "beta",
            self.beta,
            self.beta >= 0.0 && self.beta.is_finite(),
            "finite and at least 0",
        )?;
        if self.unbiased_kl && self.beta == 0.0 {
            return Err(Error::InvalidRequest {
                what: "`unbiased_kl` of the grpo loss".to_owned(),
                problem: "there is no KL to correct where beta is 0".to_owned(),
            });
        }
        let surrogate = match self.surrogate {
            SurrogateConfig::OnPolicy => Surrogate::OnPolicy,
            SurrogateConfig::Clipped {
                epsilon,
                epsilon_high,
                delta,
            } => {
                let epsilon_high = epsilon_high.unwrap_or(epsilon);
                let delta_or_none = delta.unwrap_or(f64::INFINITY);
                check(
                    "epsilon",
                    epsilon,
                    (0.0..=1.0).contains(&epsilon),
                    "between 0 and 1",
                )?;
                check(
                    "epsilon_high",
                    epsilon_high,
                    epsilon_high >= 0.0,
                    "at least 0",
                )?;
                check("delta", delta_or_none, delta_or_none > 1.0, "above 1")?;
                Surrogate::Clipped {
                    low: 1.0 - epsilon,
                    high: 1.0 + epsilon_high,
                    delta: delta_or_none,
                }
            }
        };
        Ok(GrpoLoss {
            surrogate,
            beta: self.beta,
            unbiased_kl: self.unbiased_kl,
        })
    }
}

/// What a token contributes for its ratio `ρ` and its advantage `A`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// `−ρ·A` with `ρ = exp(lp − stopgrad(lp))`, which is 1 with the gradient of `lp`: for a policy that
    /// makes one update of its own fresh samples. Reads no old log-probs.
    OnPolicy,
    /// `−min(min(ρ, delta)·A, clamp(ρ, low, high)·A)` with `ρ = exp(lp − old)` (PPO, arXiv 1707.06347;
    /// `delta` as in TRL, on the unclipped branch alone).
    Clipped {
        /// `1 − epsilon`.
        low: f64,
        /// `1 + epsilon_high`.
        high: f64,
        /// The cap; infinite where there is none.
        delta: f64,
    },
}

impl Surrogate {
    /// The value and its derivative with respect to `ρ`.
    fn evaluate(self, ratio: f64, advantage: f64) -> (f64, f64) {
        match self {
            Self::OnPolicy => (-ratio * advantage, -advantage),
            Self::Clipped { low, high, delta } => {
                let free = ratio.min(delta) * advantage;
                let clipped = ratio.clamp(low, high) * advantage;
                let d_free = if ratio <= delta { advantage } else { 0.0 };
                let d_clipped = if (low..=high).contains(&ratio) {
                    advantage
                } else {
                    0.0
                };
                if free < clipped {
                    (-free, -d_free)
                } else if clipped < free {
                    (-clipped, -d_clipped)
                } else {
                    // A tie is a kink or the inside of the range: the mean serves both.
                    (-free, -0.5 * (d_free + d_clipped))
                }
            }
        }
    }
}

/// The GRPO loss, as published for RLT and as TRL 1.16 defines `loss_type="grpo"`.
///
/// For a step of `S` sequences, with `L_s = max(Σ_t m_st, 1)`:
///
/// ```text
/// value = 1/S · Σ_s 1/L_s · Σ_t m_st · ( surrogate(ρ_st, A_st) + beta · κ_st )
/// κ     = e^d − d − 1,   d = reference − lp        (k3; times ρ with unbiased_kl)
/// ```
///
/// The mean is over each sequence first, as published: tokens of long sequences weigh less. Sequences
/// without a token that counts add 0 and count in `S`.
///
/// Metrics: `loss/kl`, the mean of `κ` over the step's tokens (times ρ with `unbiased_kl`);
/// `loss/kl_sequence_mean`, the mean over sequences of their means, which is what the published
/// implementation logs as `kl`; with a clipped surrogate `loss/clip_low`, `loss/clip_high` and `loss/clip`,
/// the shares of the step's tokens that are clipped and so have no gradient (below with `A < 0`, above with
/// `A > 0`, either).
///
/// Sources: arXiv 2402.03300 (GRPO), arXiv 2506.08388 (RLT).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GrpoLoss {
    surrogate: Surrogate,
    beta: f64,
    unbiased_kl: bool,
}

impl GrpoLoss {
    /// The loss of the published RLT run: [`GrpoConfig::default`].
    #[must_use]
    pub const fn published() -> Self {
        Self {
            surrogate: Surrogate::OnPolicy,
            beta: 0.04,
            unbiased_kl: false,
        }
    }

    /// The weight of the KL.
    #[must_use]
    pub const fn beta(&self) -> f64 {
        self.beta
    }

    /// What stands for the policy gradient.
    #[must_use]
    pub const fn surrogate(&self) -> Surrogate {
        self.surrogate
    }

    fn inputs<'a>(&self, sequence: &'a LossSequence) -> Result<Inputs<'a>> {
        Ok(Inputs {
            old: match self.surrogate {
                Surrogate::OnPolicy => None,
                Surrogate::Clipped { .. } => {
                    Some(sequence.require("old log-probs", sequence.old_log_probs.as_ref())?)
                }
            },
            reference: if self.beta > 0.0 {
                let given = sequence.reference_log_probs.as_ref();
                Some(sequence.require("reference log-probs", given)?)
            } else {
                sequence.reference_log_probs.as_deref()
            },
        })
    }

    fn token(&self, inputs: &Inputs<'_>, token: usize, log_prob: f64, advantage: f64) -> Token {
        let ratio = inputs.old.map_or(1.0, |old| (log_prob - old[token]).exp());
        let (value, d_ratio) = self.surrogate.evaluate(ratio, advantage);
        // dρ/dlp = ρ.
        let mut found = Token {
            value,
            derivative: d_ratio * ratio,
            kl: 0.0,
            clipped: (false, false),
        };
        if let Some(reference) = inputs.reference {
            let d = reference[token] - log_prob;
            let (k3, d_k3) = (d.exp_m1() - d, -d.exp_m1());
            let (kl, d_kl) = if self.unbiased_kl {
                (ratio * k3, ratio * (k3 + d_k3))
            } else {
                (k3, d_k3)
            };
            found.kl = kl;
            found.value += self.beta * kl;
            found.derivative += self.beta * d_kl;
        }
        if let Surrogate::Clipped { low, high, .. } = self.surrogate {
            found.clipped = (
                ratio < low && advantage < 0.0,
                ratio > high && advantage > 0.0,
            );
        }
        found
    }
}

/// The optional inputs of one sequence that this loss reads.
struct Inputs<'a> {
    old: Option<&'a [f64]>,
    reference: Option<&'a [f64]>,
}

/// What one token contributes.
struct Token {
    value: f64,
    derivative: f64,
    kl: f64,
    clipped: (bool, bool),
}

impl Loss for GrpoLoss {
    fn name(&self) -> &'static str {
        "grpo"
    }

    fn needs(&self) -> LossNeeds {
        LossNeeds {
            advantage: true,
            old_log_probs: self.surrogate != Surrogate::OnPolicy,
            reference_log_probs: self.beta > 0.0,
            ..LossNeeds::default()
        }
    }

    fn evaluate(&self, sequences: &[LossSequence], normalisers: Normalisers) -> Result<LossOutput> {
        normalisers.check(sequences)?;
        let mut output = LossOutput::default();
        let per_sequence = 1.0 / normalisers.sequences.max(1) as f64;
        let per_token = 1.0 / normalisers.tokens.max(1) as f64;
        let (mut kl, mut kl_sequence_mean, mut low, mut high) = (0.0, 0.0, 0.0, 0.0);
        for sequence in sequences {
            let inputs = self.inputs(sequence)?;
            let advantage = sequence.advantage.as_ref().ok_or_else(|| {
                sequence.invalid("this loss needs an advantage, which is not given".to_owned())
            })?;
            let weight = per_sequence / sequence.tokens().max(1) as f64;
            let mut derivatives = vec![0.0; sequence.mask.len()];
            for (t, &log_prob) in sequence.log_probs.iter().enumerate() {
                if !sequence.mask[t] {
                    continue;
                }
                let token = self.token(&inputs, t, log_prob, advantage.of_token(t));
                for (what, value) in [("loss", token.value), ("derivative", token.derivative)] {
                    if !value.is_finite() {
                        return Err(sequence.non_finite(what, t, value));
                    }
                }
                output.value += weight * token.value;
                derivatives[t] = weight * token.derivative;
                kl += per_token * token.kl;
                kl_sequence_mean += weight * token.kl;
                low += per_token * f64::from(u8::from(token.clipped.0));
                high += per_token * f64::from(u8::from(token.clipped.1));
            }
            output.d_log_probs.push(derivatives);
        }
        if !sequences.is_empty() && sequences.iter().all(|s| s.reference_log_probs.is_some()) {
            output.metrics.push(NamedValue::new("loss/kl", kl));
            output
                .metrics
                .push(NamedValue::new("loss/kl_sequence_mean", kl_sequence_mean));
        }
        if let Surrogate::Clipped { .. } = self.surrogate {
            output.metrics.push(NamedValue::new("loss/clip_low", low));
            output.metrics.push(NamedValue::new("loss/clip_high", high));
            output
                .metrics
                .push(NamedValue::new("loss/clip", low + high));
        }
        Ok(output)
    }
}
