//! The policy-gradient loss: a surrogate of each token, a KL to the reference, and what they weigh.
//!
//! Owns how the parts are put together. Each part is written in its own module, and none knows another.

use didact_core::{Error, NamedValue, Result};
use serde::Serialize;

use super::ratio::Ratios;
use super::surrogate::{SurrogateInput, vespo_log_weight};
use super::{
    Aggregation, Correction, KlEstimator, Loss, LossNeeds, LossOutput, LossSequence, Normalisers,
    OffPolicyMask, RatioLevel, Surrogate,
};

/// One loss for the whole family of group-relative and REINFORCE-like algorithms.
///
/// For every token `t` that counts (`m_st`) of every sequence `s` of a step:
///
/// ```text
/// value = Σ_s Σ_t weight_s · m_st · ( keep_st · correction_st · surrogate(ρ_st, A_st, lp_st) + beta · κ_st )
///         − entropy_bonus · mean of the entropies of the tokens in the entropy cut
/// κ     = the KL estimate of the token (times ρ with unbiased_kl)
/// ```
///
/// `weight` is the [`Aggregation`]'s; `ρ` the [`RatioLevel`]'s; `correction` the [`Correction`]'s, 1 without
/// one; `keep` is 0 where the [`OffPolicyMask`] drops the token or its entropy is below the
/// [`EntropyCut`](super::EntropyCut), else 1. None of the three carries a gradient, and none touches the KL,
/// as in TRL 1.16. Means divide by all tokens that count, kept or not. The mean entropy is over the whole
/// step, whatever the aggregation. Sequences without a token that counts add 0 and count in means over
/// sequences.
///
/// Made by [`PolicyGradientConfig::resolve`](super::PolicyGradientConfig::resolve).
///
/// | metric | meaning |
/// |---|---|
/// | `loss/kl` | mean of `κ` over the step's tokens |
/// | `loss/kl_sequence_mean` | mean over sequences of their means, which the published RLT implementation logs as `kl` |
/// | `loss/clip_low`, `…/clip_high`, `…/clip` | share of tokens (of sequences, where they share a ratio) that are clipped below with `A < 0`, above with `A > 0`, either |
/// | `loss/capped` | the same of CISPO's cap with `A > 0` |
/// | `loss/off_policy_dropped` | share of sequences that have a token with `A < 0` which the mask drops |
/// | `loss/correction` | mean correction of the step's tokens |
/// | `loss/entropy_kept` | share of the step's tokens in the entropy cut |
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PolicyGradientLoss {
    pub(super) surrogate: Surrogate,
    pub(super) ratio: RatioLevel,
    pub(super) aggregation: Aggregation,
    pub(super) beta: f64,
    pub(super) kl_estimator: KlEstimator,
    pub(super) unbiased_kl: bool,
    pub(super) correction: Option<Correction>,
    pub(super) off_policy: Option<OffPolicyMask>,
    pub(super) top_entropy: f64,
    pub(super) entropy_bonus: f64,
}

/// The optional inputs of one sequence that the loss reads.
struct Inputs<'a> {
    old: &'a [f64],
    advantage: &'a super::Advantage,
    reference: Option<&'a [f64]>,
    sampling: Option<&'a [f64]>,
    entropies: Option<&'a [f64]>,
}

/// What stands before the policy term of each token, without a gradient.
struct Factors {
    correction: Option<Vec<f64>>,
    /// Whether tokens with a negative advantage are dropped.
    off_policy: bool,
    /// What the surrogate reads without its gradient.
    fixed: Vec<f64>,
}

/// Sums over a micro-batch, before any weight.
#[derive(Default)]
struct Tally {
    kl: f64,
    kl_sequence_mean: f64,
    low: f64,
    high: f64,
    dropped: f64,
    correction: f64,
    kept: f64,
}

impl PolicyGradientLoss {
    /// The loss of the published RLT run: the default of
    /// [`PolicyGradientConfig`](super::PolicyGradientConfig).
    #[must_use]
    pub const fn published() -> Self {
        Self {
            surrogate: Surrogate::OnPolicy,
            ratio: RatioLevel::Token,
            aggregation: Aggregation::SequenceMean,
            beta: 0.04,
            kl_estimator: KlEstimator::K3,
            unbiased_kl: false,
            correction: None,
            off_policy: None,
            top_entropy: 1.0,
            entropy_bonus: 0.0,
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

    /// What a token weighs.
    #[must_use]
    pub const fn aggregation(&self) -> Aggregation {
        self.aggregation
    }

    const fn cuts_entropy(&self) -> bool {
        self.top_entropy < 1.0
    }

    /// As [`Loss::evaluate`], with `held` in place of every log-prob whose gradient is held back, so that
    /// differences of values can be taken past a stopped gradient.
    pub(super) fn evaluate_held(
        &self,
        sequences: &[LossSequence],
        held: Option<&[Vec<f64>]>,
        normalisers: Normalisers,
    ) -> Result<LossOutput> {
        normalisers.check(sequences)?;
        if self.cuts_entropy() && normalisers.entropy_cut.is_none() {
            return Err(Error::InvalidRequest {
                what: "normalisers of a loss".to_owned(),
                problem: "the loss keeps tokens of high entropy, but where they begin in the step is not said"
                    .to_owned(),
            });
        }
        let micro_batch_tokens = Normalisers::of(sequences).tokens;
        let mut output = LossOutput::default();
        let mut tally = Tally::default();
        for (index, sequence) in sequences.iter().enumerate() {
            let held = held.map_or(&sequence.log_probs, |held| &held[index]);
            let weight =
                self.aggregation
                    .weight(sequence.tokens(), micro_batch_tokens, normalisers);
            let (value, derivatives) =
                self.sequence(sequence, held, weight, normalisers, &mut tally)?;
            output.value += value;
            output.d_log_probs.push(derivatives);
        }
        self.add_entropy_bonus(sequences, normalisers, &mut output)?;
        output.metrics = self.metrics(&tally, sequences, normalisers);
        Ok(output)
    }

    fn inputs<'a>(&self, sequence: &'a LossSequence, held: &'a [f64]) -> Result<Inputs<'a>> {
        let needs = self.needs();
        let read = |needed: bool, what: &str, given: &'a Option<Vec<f64>>| {
            let required = needed.then(|| sequence.require(what, given.as_ref()));
            required.transpose()
        };
        Ok(Inputs {
            old: read(
                needs.old_log_probs,
                "old log-probs",
                &sequence.old_log_probs,
            )?
            .unwrap_or(held),
            advantage: sequence.advantage.as_ref().ok_or_else(|| {
                sequence.invalid("this loss needs an advantage, which is not given".to_owned())
            })?,
            // Without beta the KL is only a metric, where it can be had.
            reference: read(
                needs.reference_log_probs,
                "reference log-probs",
                &sequence.reference_log_probs,
            )?
            .or(sequence.reference_log_probs.as_deref()),
            sampling: read(
                needs.sampling_log_probs,
                "sampling log-probs",
                &sequence.sampling_log_probs,
            )?,
            entropies: read(needs.entropies, "entropies", &sequence.entropies)?,
        })
    }

    fn factors(&self, inputs: &Inputs<'_>, held: &[f64], mask: &[bool]) -> Factors {
        let correction = self.correction.zip(inputs.sampling);
        let correction =
            correction.map(|(correction, sampling)| correction.weights(inputs.old, sampling, mask));
        let off_policy = self.off_policy.zip(inputs.sampling);
        let off_policy =
            off_policy.is_some_and(|(off_policy, sampling)| off_policy.drops(held, sampling, mask));
        let differences = || -> Vec<f64> {
            let pairs = held.iter().zip(inputs.old);
            pairs.map(|(held, old)| held - old).collect()
        };
        let (fixed, correction) = match self.surrogate {
            Surrogate::Cispo { .. } => {
                let ratios = Ratios::new(self.ratio, &differences(), mask);
                (
                    (0..mask.len()).map(|t| ratios.of_token(t)).collect(),
                    correction,
                )
            }
            // Its correction is part of its own weight.
            Surrogate::Vespo { .. } => {
                let weight = vespo_log_weight(&differences(), correction.as_deref(), mask);
                (vec![weight; mask.len()], None)
            }
            Surrogate::OnPolicy | Surrogate::Clipped { .. } | Surrogate::Sapo { .. } => {
                (vec![0.0; mask.len()], correction)
            }
        };
        Factors {
            correction,
            off_policy,
            fixed,
        }
    }

    /// The share of one sequence: value, and derivatives with respect to its log-probs.
    fn sequence(
        &self,
        sequence: &LossSequence,
        held: &[f64],
        weight: f64,
        normalisers: Normalisers,
        tally: &mut Tally,
    ) -> Result<(f64, Vec<f64>)> {
        let mask = &sequence.mask;
        let inputs = self.inputs(sequence, held)?;
        let differences: Vec<f64> = sequence
            .log_probs
            .iter()
            .zip(inputs.old)
            .map(|(log_prob, old)| log_prob - old)
            .collect();
        let ratios = Ratios::new(self.ratio, &differences, mask);
        let factors = self.factors(&inputs, held, mask);
        let per_token = 1.0 / sequence.tokens().max(1) as f64;
        let share = if ratios.are_shared() { per_token } else { 1.0 };
        let (mut total, mut dropped) = (0.0, false);
        let mut d_ratios = vec![0.0; mask.len()];
        let mut direct = vec![0.0; mask.len()];
        for (t, &log_prob) in sequence.log_probs.iter().enumerate() {
            if !mask[t] {
                continue;
            }
            let (ratio, advantage) = (ratios.of_token(t), inputs.advantage.of_token(t));
            let off_policy = factors.off_policy && advantage < 0.0;
            let in_cut = match (normalisers.entropy_cut, inputs.entropies) {
                (Some(cut), Some(entropies)) if self.cuts_entropy() => cut.keeps(entropies[t]),
                _ => true,
            };
            let correction = factors
                .correction
                .as_ref()
                .map_or(1.0, |weights| weights[t]);
            let factor = if off_policy || !in_cut {
                0.0
            } else {
                correction
            };
            let mut value = 0.0;
            // A dropped token may hold a ratio beyond all bounds: 0 times infinity is not 0.
            if factor != 0.0 {
                let output = self.surrogate.evaluate(SurrogateInput {
                    ratio,
                    fixed: factors.fixed[t],
                    log_prob,
                    advantage,
                });
                value = factor * output.value;
                d_ratios[t] = factor * output.d_ratio;
                direct[t] = factor * output.d_log_prob;
            }
            if let Some(reference) = inputs.reference {
                let (kl, d_kl) = self.kl_estimator.estimate(reference[t] - log_prob);
                let mut of_token = kl;
                if self.unbiased_kl {
                    of_token = ratio * kl;
                    d_ratios[t] += self.beta * kl;
                    direct[t] += self.beta * (ratio * d_kl);
                } else {
                    direct[t] += self.beta * d_kl;
                }
                value += self.beta * of_token;
                tally.kl += of_token;
                tally.kl_sequence_mean += per_token * of_token;
            }
            if !value.is_finite() {
                return Err(sequence.non_finite("loss", t, value));
            }
            total += weight * value;
            let (low, high) = self.surrogate.cuts(ratio, advantage);
            tally.low += share * f64::from(u8::from(low));
            tally.high += share * f64::from(u8::from(high));
            tally.correction += correction;
            tally.kept += f64::from(u8::from(in_cut));
            dropped |= off_policy;
        }
        tally.dropped += f64::from(u8::from(dropped));
        ratios.chain(&mut d_ratios, mask);
        for (t, derivative) in d_ratios.iter_mut().enumerate().filter(|(t, _)| mask[*t]) {
            *derivative = weight * (*derivative + direct[t]);
            if !derivative.is_finite() {
                return Err(sequence.non_finite("derivative", t, *derivative));
            }
        }
        Ok((total, d_ratios))
    }

    fn add_entropy_bonus(
        &self,
        sequences: &[LossSequence],
        normalisers: Normalisers,
        output: &mut LossOutput,
    ) -> Result<()> {
        if self.entropy_bonus == 0.0 {
            return Ok(());
        }
        let cut = normalisers.entropy_cut.filter(|_| self.cuts_entropy());
        let tokens = cut.map_or(normalisers.tokens, |cut| cut.tokens);
        let weight = self.entropy_bonus / tokens.max(1) as f64;
        let mut all = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let entropies = sequence.require("entropies", sequence.entropies.as_ref())?;
            let mut derivatives = vec![0.0; entropies.len()];
            for (t, &entropy) in entropies.iter().enumerate() {
                if sequence.mask[t] && cut.is_none_or(|cut| cut.keeps(entropy)) {
                    output.value -= weight * entropy;
                    derivatives[t] = -weight;
                }
            }
            all.push(derivatives);
        }
        output.d_entropies = Some(all);
        Ok(())
    }

    fn metrics(
        &self,
        tally: &Tally,
        sequences: &[LossSequence],
        normalisers: Normalisers,
    ) -> Vec<NamedValue> {
        let per_sequence = 1.0 / normalisers.sequences.max(1) as f64;
        let per_token = 1.0 / normalisers.tokens.max(1) as f64;
        let mut metrics = Vec::new();
        let mut log = |name: &'static str, value: f64| metrics.push(NamedValue::new(name, value));
        if !sequences.is_empty() && sequences.iter().all(|s| s.reference_log_probs.is_some()) {
            log("loss/kl", per_token * tally.kl);
            log(
                "loss/kl_sequence_mean",
                per_sequence * tally.kl_sequence_mean,
            );
        }
        let per_ratio = match self.ratio {
            RatioLevel::Token => per_token,
            RatioLevel::Sequence | RatioLevel::Product => per_sequence,
        };
        match self.surrogate {
            Surrogate::Clipped { .. } => {
                log("loss/clip_low", per_ratio * tally.low);
                log("loss/clip_high", per_ratio * tally.high);
                log("loss/clip", per_ratio * (tally.low + tally.high));
            }
            Surrogate::Cispo { .. } => log("loss/capped", per_ratio * tally.high),
            Surrogate::OnPolicy | Surrogate::Sapo { .. } | Surrogate::Vespo { .. } => {}
        }
        if self.off_policy.is_some() {
            log("loss/off_policy_dropped", per_sequence * tally.dropped);
        }
        // VESPO's is part of its own weight.
        if self.correction.is_some() && !matches!(self.surrogate, Surrogate::Vespo { .. }) {
            log("loss/correction", per_token * tally.correction);
        }
        if self.cuts_entropy() {
            log("loss/entropy_kept", per_token * tally.kept);
        }
        metrics
    }
}

impl Loss for PolicyGradientLoss {
    fn name(&self) -> &'static str {
        "policy_gradient"
    }

    fn needs(&self) -> LossNeeds {
        LossNeeds {
            advantage: true,
            old_log_probs: self.surrogate.reads_old(),
            reference_log_probs: self.beta > 0.0,
            sampling_log_probs: self.correction.is_some() || self.off_policy.is_some(),
            entropies: self.entropy_bonus > 0.0 || self.cuts_entropy(),
            top_entropy: self.cuts_entropy().then_some(self.top_entropy),
        }
    }

    fn evaluate(&self, sequences: &[LossSequence], normalisers: Normalisers) -> Result<LossOutput> {
        self.evaluate_held(sequences, None, normalisers)
    }
}
