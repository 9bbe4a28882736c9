//! One policy update: forward, backward, clip, AdamW.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use didact_core::Span;
use didact_models::Decoder;
use didact_rl::loss::{PolicyGradientConfig, PolicyGradientLoss, SurrogateConfig};
use didact_rl::{AdamWConfig, StepOptions, TeacherConfig, Trainer, TrainingSequence};

use super::Answer;
use super::flops::{Forward, flops};
use super::inputs::{Inputs, Update};
use crate::Result;

/// The policy with its optimizer, and what it trains on.
pub(crate) struct Training {
    trainer: Trainer,
    loss: PolicyGradientLoss,
    sequences: Vec<TrainingSequence>,
    operations: f64,
}

impl Training {
    pub(crate) fn new(folder: &Path, inputs: &Inputs, update: &Update) -> Result<Self> {
        let micro_batch_tokens = TeacherConfig::published().micro_batch_tokens;
        let policy = Decoder::load_folder(folder, &Device::flex().autodiff())?;
        let trainer = trainer(policy, inputs, micro_batch_tokens)?;
        let sequences: Vec<TrainingSequence> = (0..update.sequences.len())
            .map(|index| sequence(update, index))
            .collect();
        // The last trained token is only a target.
        let read = update
            .sequences
            .iter()
            .map(|ids| (&ids[..update.prompt], ids.len() - 1));
        let rows = sequences.iter().map(|s| s.trained.len()).sum();
        let operations =
            Forward::BACKWARD * flops(trainer.policy()?.config(), Forward::shared(read, rows));
        let loss = PolicyGradientConfig {
            surrogate: SurrogateConfig::clipped(inputs.epsilon),
            beta: inputs.beta,
            ..PolicyGradientConfig::default()
        };
        Ok(Self {
            trainer,
            loss: loss.resolve()?,
            sequences,
            operations,
        })
    }

    /// One update. The check holds loss and gradient norm.
    pub(crate) fn update(&mut self, inputs: &Inputs) -> Result<Answer> {
        let sequences: Vec<&TrainingSequence> = self.sequences.iter().collect();
        let begin = Instant::now();
        let report = self
            .trainer
            .step(&sequences, &self.loss, inputs.learning_rate)?;
        let seconds = begin.elapsed().as_secs_f64();
        Ok(Answer {
            seconds,
            check: [
                ("loss", vec![report.loss]),
                ("grad_norm", vec![report.grad_norm]),
            ]
            .into(),
            flops: Some(self.operations),
            ..Answer::default()
        })
    }
}

/// A fresh optimizer over the model.
pub(crate) fn trainer(
    policy: Decoder,
    inputs: &Inputs,
    micro_batch_tokens: usize,
) -> Result<Trainer> {
    let options = StepOptions {
        temperature: inputs.temperature,
        max_grad_norm: inputs.max_grad_norm,
        micro_batch_tokens,
        recompute_layers: false,
    };
    Ok(Trainer::new(policy, AdamWConfig::default(), options)?)
}

fn sequence(update: &Update, index: usize) -> TrainingSequence {
    let ids = &update.sequences[index];
    TrainingSequence {
        id: format!("sequence {index}"),
        prefix: Arc::from(&ids[..update.prompt]),
        continuation: ids[update.prompt..].to_vec(),
        trained: Span::new(update.prompt, ids.len()),
        advantage: update.advantages[index].into(),
        old_log_probs: Some(update.old[index].clone()),
        reference_log_probs: Some(update.reference[index].clone()),
        sampling_log_probs: None,
    }
}
