//! Supervised fine-tuning: learning to continue prompts as examples do.
//!
//! Owns the loop over epochs and batches. Only completions are learnt: the loss is the mean over the
//! supervised tokens of a batch. Warming up a teacher and distilling a student are this same function on other
//! examples.

use std::sync::Arc;
use std::time::Instant;

use didact_core::StreamKey;
use didact_data::SupervisedExample;
use didact_models::Decoder;
use serde::{Deserialize, Serialize};

use crate::config::{at_least_one, check, not_negative, positive};
use crate::loss::SftLoss;
use crate::metrics::peak_memory;
use crate::observer::{MetricsKind, MetricsRecord, Phase, Progress};
use crate::optimizer::{AdamWConfig, OptimizerConfig};
use crate::schedule::{Decay, Schedule};
use crate::step::{StepOptions, Trainer, TrainingSequence};
use crate::{Error, Observer, Result};

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
    /// [`Error::Configuration`] names the key.
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
}

/// What fine-tuning gives.
#[derive(Debug)]
pub struct FineTuned {
    /// The model, on the device it was on, recording gradients.
    pub decoder: Decoder,
    /// The loss of each update's batch, before that update.
    pub losses: Vec<f64>,
    /// Examples that were longer than allowed.
    pub left_out: usize,
}

/// Fine-tunes `decoder` on the supervised spans of `examples`.
///
/// The metrics of each update are `loss` (nats per supervised token), `perplexity`, `entropy`, `grad_norm`
/// (before clipping), `lr`, `epoch` (fraction done), `tokens`, `time/…` and `memory/peak`.
///
/// # Errors
/// A configuration key; an example without supervised tokens, longer than the context, or none left, by place
/// in `examples`; a non-finite log-prob or gradient; what the observer refuses.
pub fn fine_tune(
    decoder: Decoder,
    examples: &[SupervisedExample],
    config: &FineTuneConfig,
    observer: &mut dyn Observer,
) -> Result<FineTuned> {
    let context = decoder.config().max_position_embeddings;
    // Lengths decide what is left out, and that decides the number of steps.
    let limit = config.max_tokens.unwrap_or(context);
    let sequences = sequences(examples, limit, config.max_tokens.is_some())?;
    let left_out = examples.len() - sequences.len();
    let config = config.resolve(sequences.len(), context)?;
    let resolved = serde_json::to_value(&config)
        .map_err(|e| Error::json(std::path::Path::new("config.json"), e))?;
    observer.on_configuration(&config.stage, &resolved)?;

    let options = StepOptions {
        temperature: 1.0,
        max_grad_norm: config.max_grad_norm,
        micro_batch_tokens: config.micro_batch_tokens,
        recompute_layers: config.recompute_layers,
    };
    let mut trainer = Trainer::new(decoder, config.optimizer, options)?;
    let batches_per_epoch = sequences.len().div_ceil(config.batch_size) as u64;
    let mut losses = Vec::new();
    let mut order = Vec::new();
    for step in 0..config.steps {
        let (epoch, batch) = (
            step / batches_per_epoch,
            (step % batches_per_epoch) as usize,
        );
        if batch == 0 {
            let key = StreamKey {
                run_seed: config.seed,
                step: epoch,
                problem: 0,
                sample: 0,
            };
            order = key.stream().permutation(sequences.len());
        }
        let end = ((batch + 1) * config.batch_size).min(order.len());
        let chosen: Vec<&TrainingSequence> = order[batch * config.batch_size..end]
            .iter()
            .map(|&i| &sequences[i])
            .collect();
        let progress = Progress {
            stage: &config.stage,
            phase: Phase::Update,
            step,
            steps: config.steps,
        };
        observer.on_progress(&progress)?;
        let begin = Instant::now();
        let learning_rate = config.schedule.rate(step);
        let report = trainer.step(&chosen, &SftLoss, learning_rate)?;
        losses.push(report.loss);

        let mut metrics = report.metrics();
        metrics.set("lr", learning_rate);
        metrics.set("perplexity", report.loss.exp());
        metrics.set("epoch", (step + 1) as f64 / batches_per_epoch as f64);
        metrics.set("left_out", left_out as f64);
        let seconds = begin.elapsed().as_secs_f64();
        metrics.set("time/update", seconds);
        if seconds > 0.0 {
            metrics.set("time/tokens_per_second", report.tokens as f64 / seconds);
        }
        if let Some(bytes) = peak_memory() {
            metrics.set("memory/peak", bytes as f64);
        }
        observer.on_metrics(&MetricsRecord {
            stage: config.stage.clone(),
            kind: MetricsKind::Train,
            step: step + 1,
            metrics,
        })?;
    }
    Ok(FineTuned {
        decoder: trainer.into_policy()?,
        losses,
        left_out,
    })
}

fn sequences(
    examples: &[SupervisedExample],
    max_tokens: usize,
    leave_out_longer: bool,
) -> Result<Vec<TrainingSequence>> {
    let mut sequences = Vec::with_capacity(examples.len());
    for (index, example) in examples.iter().enumerate() {
        let refuse = |problem: String| {
            Err(Error::TrainingData {
                what: format!("supervised example {index}"),
                problem,
            })
        };
        let (ids, span) = (&example.ids, example.supervised);
        if ids.len() > max_tokens {
            if leave_out_longer {
                continue;
            }
            return refuse(format!(
                "it has {} tokens, but the model's context holds {max_tokens}; set max_tokens to leave longer \
                 examples out",
                ids.len()
            ));
        }
        if span.is_empty() || span.start == 0 || span.end > ids.len() {
            return refuse(format!(
                "tokens {}..{} of {} cannot be supervised: at least one, not the first",
                span.start,
                span.end,
                ids.len()
            ));
        }
        sequences.push(TrainingSequence {
            id: format!("supervised example {index}"),
            // Examples of one prompt share its computation.
            prefix: Arc::from(&ids[..span.start]),
            continuation: ids[span.start..span.end].to_vec(),
            trained: span,
            advantage: 0.0.into(),
            old_log_probs: None,
            reference_log_probs: None,
            sampling_log_probs: None,
        });
    }
    if sequences.is_empty() {
        return Err(Error::TrainingData {
            what: "supervised fine-tuning".to_owned(),
            problem: format!(
                "no example is left of {}; every one is longer than {max_tokens} tokens, or none was given",
                examples.len()
            ),
        });
    }
    Ok(sequences)
}
