//! Losses on the host: from per-token log-probs to a value and its derivatives, in f64, without tensors.
//!
//! Owns the contract between the training step and a loss. The step knows no algorithm: it hands over what
//! the models said of each sequence, and seeds its backward pass with the derivatives that come back. A
//! loss knows no model and no tensor. Its normalisers belong to the whole step, so that the values, metrics
//! and derivatives of a step's micro-batches add up to those of the step, however it is cut; the one
//! exception is [`Aggregation::MicroBatchTokenMean`], which means the opposite.
//!
//! [`PolicyGradientLoss`] is one loss made of parts, each in a module of its own:
//!
//! | part | what it is | algorithms that differ in it |
//! |---|---|---|
//! | [`RatioLevel`] | what the new and the old policy are compared on | GSPO, RLOO |
//! | [`Surrogate`] | what ratio and advantage become | PPO's clip, DAPO, CISPO, SAPO, VESPO |
//! | [`Aggregation`] | what a token weighs | GRPO, DAPO, BNPO, Dr. GRPO, LUSPO |
//! | [`KlEstimator`] | how far the reference is | k1, k2, k3, each unbiased or not |
//! | [`Correction`] | samples of another engine | truncated and masked importance sampling |
//! | [`OffPolicyMask`] | sequences that are too old | DeepSeek-V3.2 |
//! | [`EntropyCut`] and the bonus | which tokens decide something | the 80/20 rule |
//!
//! [`crate::algorithm`] names the combinations that papers describe.

use didact_core::{NamedValue, Result};

mod aggregation;
mod config;
mod correction;
mod entropy;
mod kl;
mod normalisers;
mod off_policy;
mod policy_gradient;
mod ratio;
mod sequence;
mod sft;
mod surrogate;
#[cfg(test)]
mod tests;

pub use aggregation::{Aggregation, AggregationConfig};
pub use config::PolicyGradientConfig;
pub use correction::{Bounds, Correction, CorrectionLevel};
pub use entropy::EntropyCut;
pub use kl::KlEstimator;
pub use normalisers::Normalisers;
pub use off_policy::OffPolicyMask;
pub use policy_gradient::PolicyGradientLoss;
pub use ratio::RatioLevel;
pub use sequence::{Advantage, LossSequence};
pub use sft::SftLoss;
pub use surrogate::{Surrogate, SurrogateConfig, VespoWeight};

/// Which optional inputs a loss reads; the training step need not compute the others.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossNeeds {
    /// [`LossSequence::advantage`].
    pub advantage: bool,
    /// [`LossSequence::old_log_probs`].
    pub old_log_probs: bool,
    /// [`LossSequence::reference_log_probs`].
    pub reference_log_probs: bool,
    /// [`LossSequence::sampling_log_probs`].
    pub sampling_log_probs: bool,
    /// [`LossSequence::entropies`], perhaps with a derivative with respect to them.
    pub entropies: bool,
    /// [`Normalisers::entropy_cut`] of this fraction of the step's tokens, which takes the entropies of the
    /// whole step.
    pub top_entropy: Option<f64>,
}

/// A loss with its derivatives.
///
/// Everything here is a share of the step: the outputs of its micro-batches add up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LossOutput {
    /// The loss.
    pub value: f64,
    /// For each sequence and token `∂value/∂log_prob`; 0 where the mask is false.
    pub d_log_probs: Vec<Vec<f64>>,
    /// For each sequence and token `∂value/∂entropy`; `None` where the loss reads no entropy.
    pub d_entropies: Option<Vec<Vec<f64>>>,
    /// What is worth logging; means over the step, as shares.
    pub metrics: Vec<NamedValue>,
}

impl LossOutput {
    /// Takes up the output of the step's next micro-batch: values and metrics are added, derivatives
    /// appended.
    pub fn append(&mut self, next: Self) {
        self.value += next.value;
        self.d_log_probs.extend(next.d_log_probs);
        match (&mut self.d_entropies, next.d_entropies) {
            (Some(mine), Some(more)) => mine.extend(more),
            (mine @ None, more @ Some(_)) => *mine = more,
            (_, None) => {}
        }
        for metric in next.metrics {
            match self.metrics.iter_mut().find(|m| m.name == metric.name) {
                Some(mine) => mine.value += metric.value,
                None => self.metrics.push(metric),
            }
        }
    }

    /// The metric called `name`.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics
            .iter()
            .find(|m| m.name == name)
            .map(|m| m.value)
    }
}

/// Turns what the models said into a value and its derivatives.
pub trait Loss: Send + Sync {
    /// The name in configurations and metrics.
    fn name(&self) -> &'static str;

    /// Which optional inputs it reads.
    fn needs(&self) -> LossNeeds;

    /// The share of the step's loss that these sequences make up.
    ///
    /// `sequences` is the whole step or one of its micro-batches; `normalisers` always counts the step.
    ///
    /// # Errors
    /// An input that is needed and missing; lists of different lengths; an entry or a result that is not
    /// finite, with sequence and token; more sequences or tokens than the step has.
    fn evaluate(&self, sequences: &[LossSequence], normalisers: Normalisers) -> Result<LossOutput>;
}
