//! Supervised fine-tuning: learning to continue prompts as examples do.
//!
//! Owns its configuration and, in `tuner`, the loop over epochs and batches. Only completions are learnt: the loss is the mean over the
//! supervised tokens of a batch. Warming up a teacher and distilling a student are this same function on other
//! examples.

use didact_data::SupervisedExample;
use didact_models::Decoder;
use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointConfig;
use crate::config::{at_least_one, check, not_negative, positive};
use crate::non_finite::NonFiniteConfig;
use crate::optimizer::{AdamWConfig, OptimizerConfig};
use crate::schedule::{Decay, Schedule};
use crate::{Observer, Result};

mod tuner;

pub use tuner::{FineTuned, FineTuner};

/// How a model is fine-tuned on examples.
///
/// The defaults are those of [`published_warmup`](Self::published_warmup).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FineTuneConfig {
    /// The name that the run's records carry. Default `warmup`.
    pub stage: String,
    /// Seeds the order of examples. Default 42.
    pub seed: u64,
    /// Passes over all examples. Default 10.
    pub epochs: u64,
    /// Examples of each update; the last of an epoch may have fewer. Default 16.
    pub batch_size: usize,
    /// At most this many updates, whatever `epochs` says; without it, all of them.
    pub max_steps: Option<u64>,
    /// Learning rate at its peak; above 0. Default 1e-5.
    pub learning_rate: f64,
    /// Fraction of all updates in which the learning rate rises from 0; in `[0, 1)`. Default 0.05.
    pub warmup_ratio: f64,
    /// How the learning rate moves after the rise. Default `cosine`.
    pub decay: Decay,
    /// The fraction of the peak that the decay ends at, in `[0, 1]`. Default 0.
    pub learning_rate_floor: f64,
    /// AdamW or Muon, with its constants.
    pub optimizer: OptimizerConfig,
    /// Gradients are scaled down to this global norm; 0 leaves them as they are. Default 1.
    pub max_grad_norm: f64,
    /// At most this many tokens go through the model at once; a longer example goes alone. It changes memory
    /// and speed, not the result. Default 16384.
    pub micro_batch_tokens: usize,
    /// Whether the backward pass computes each layer again instead of keeping all activations: a third more
    /// time for the memory of one layer; the result is the same. Default no.
    pub recompute_layers: bool,
    /// Longer examples are left out, and counted; without it, one longer than the model's context is an error.
    pub max_tokens: Option<usize>,
    /// When checkpoints are written, where there is somewhere to write them.
    pub checkpoint: CheckpointConfig,
    /// How much may be left out because a number is not finite. Default nothing: it is an error.
    pub non_finite: NonFiniteConfig,
}

impl Default for FineTuneConfig {
    fn default() -> Self {
        Self::published_warmup()
    }
}

impl FineTuneConfig {
    /// The published warm-up of a teacher: 10 epochs in batches of 16 at 1e-5, cosine after a rise over 5 %,
    /// AdamW with β 0.9 and 0.95 and weight decay 1e-4, global norm 1.
    #[must_use]
    pub fn published_warmup() -> Self {
        Self {
            stage: "warmup".to_owned(),
            seed: 42,
            epochs: 10,
            batch_size: 16,
            max_steps: None,
            learning_rate: 1e-5,
            warmup_ratio: 0.05,
            decay: Decay::Cosine,
            learning_rate_floor: 0.0,
            optimizer: OptimizerConfig::Adamw(AdamWConfig {
                beta2: 0.95,
                weight_decay: 1e-4,
                ..AdamWConfig::default()
            }),
            max_grad_norm: 1.0,
            micro_batch_tokens: 16384,
            recompute_layers: false,
            max_tokens: None,
            checkpoint: CheckpointConfig::default(),
            non_finite: NonFiniteConfig::default(),
        }
    }

    /// The published distillation into a student: 3 epochs in batches of 96 at 1e-5, cosine after a rise over
    /// 10 %, AdamW with β 0.9 and 0.999 and no weight decay, global norm 1.
    #[must_use]
    pub fn published_distillation() -> Self {
        Self {
            stage: "distillation".to_owned(),
            epochs: 3,
            batch_size: 96,
            warmup_ratio: 0.1,
            optimizer: OptimizerConfig::default(),
            ..Self::published_warmup()
        }
    }

    /// Checks every key and fills in what was left open, for `examples` examples and a model of `context`
    /// tokens.
    ///
    /// # Errors
    /// [`Error::Configuration`](crate::Error::Configuration) names the key.
    pub fn resolve(&self, examples: usize, context: usize) -> Result<ResolvedFineTuneConfig> {
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch_size", self.batch_size as u64)?;
        at_least_one("micro_batch_tokens", self.micro_batch_tokens as u64)?;
        positive("learning_rate", self.learning_rate)?;
        check(
            "learning_rate_floor",
            (0.0..=1.0).contains(&self.learning_rate_floor),
            || format!("{} is not in [0, 1]", self.learning_rate_floor),
        )?;
        not_negative("max_grad_norm", self.max_grad_norm)?;
        check(
            "warmup_ratio",
            (0.0..1.0).contains(&self.warmup_ratio),
            || format!("{} is not in [0, 1)", self.warmup_ratio),
        )?;
        self.optimizer.validate("optimizer")?;
        self.checkpoint.validate("checkpoint")?;
        self.non_finite.validate("non_finite")?;
        if let Some(tokens) = self.max_tokens {
            check("max_tokens", (2..=context).contains(&tokens), || {
                format!("{tokens} is not between 2 and the model's context of {context} tokens")
            })?;
        }
        if let Some(steps) = self.max_steps {
            at_least_one("max_steps", steps)?;
        }
        let batches = (examples as u64).div_ceil(self.batch_size as u64);
        let all = self.epochs.saturating_mul(batches);
        let steps = self.max_steps.unwrap_or(all).min(all);
        Ok(ResolvedFineTuneConfig {
            stage: self.stage.clone(),
            seed: self.seed,
            steps,
            batch_size: self.batch_size,
            schedule: Schedule {
                peak: self.learning_rate,
                warmup_steps: (steps as f64 * self.warmup_ratio).ceil() as u64,
                steps,
                decay: self.decay,
                floor: self.learning_rate_floor,
            },
            optimizer: self.optimizer,
            max_grad_norm: self.max_grad_norm,
            micro_batch_tokens: self.micro_batch_tokens,
            recompute_layers: self.recompute_layers,
            max_tokens: self.max_tokens.unwrap_or(context),
            leave_out_longer: self.max_tokens.is_some(),
            checkpoint: self.checkpoint.clone(),
            non_finite: self.non_finite,
        })
    }
}

/// A [`FineTuneConfig`] with nothing left open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedFineTuneConfig {
    /// The name that the run's records carry.
    pub stage: String,
    /// Seeds the order of examples.
    pub seed: u64,
    /// Updates.
    pub steps: u64,
    /// Examples of each update.
    pub batch_size: usize,
    /// The learning rate by update.
    pub schedule: Schedule,
    /// AdamW or Muon, with its constants.
    pub optimizer: OptimizerConfig,
    /// Gradients are scaled down to this global norm; 0 leaves them as they are.
    pub max_grad_norm: f64,
    /// At most this many tokens go through the model at once.
    pub micro_batch_tokens: usize,
    /// Whether the backward pass computes each layer again.
    pub recompute_layers: bool,
    /// At most this many tokens an example.
    pub max_tokens: usize,
    /// Whether a longer example is left out; otherwise it is an error.
    pub leave_out_longer: bool,
    /// When checkpoints are written.
    pub checkpoint: CheckpointConfig,
    /// How much may be left out because a number is not finite.
    pub non_finite: NonFiniteConfig,
}

/// Fine-tunes `decoder` on the supervised spans of `examples`: a [`FineTuner`] that writes no checkpoint, from its
/// first step to its last.
///
/// # Errors
/// As [`FineTuner::new`] and [`FineTuner::run`].
pub fn fine_tune(
    decoder: Decoder,
    examples: &[SupervisedExample],
    config: &FineTuneConfig,
    observer: &mut dyn Observer,
) -> Result<FineTuned> {
    let mut tuner = FineTuner::new(decoder, examples, config)?;
    tuner.run(observer)?;
    tuner.finish()
}
