//! The loop over epochs and batches, and where it stands.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use didact_core::StreamKey;
use didact_data::SupervisedExample;
use didact_models::Decoder;

use super::{FineTuneConfig, ResolvedFineTuneConfig};
use crate::checkpoint::{
    Checkpoint, CheckpointStore, Fingerprint, Identity, RunState, Saving, Snapshot, fingerprint,
};
use crate::loss::SftLoss;
use crate::metrics::{Metrics, peak_memory};
use crate::non_finite::Skipped;
use crate::observer::{MetricsKind, MetricsRecord, Phase, Progress};
use crate::step::{StepOptions, Trainer, TrainingSequence};
use crate::stop::StopFlag;
use crate::{Error, Observer, Result};

/// What fine-tuning gives.
#[derive(Debug)]
pub struct FineTuned {
    /// The model, on the device it was on, recording gradients.
    pub decoder: Decoder,
    /// The loss of each update's batch, before that update.
    pub losses: Vec<f64>,
    /// Examples that were longer than allowed.
    pub left_out: usize,
    /// Whether it was asked to stop before the last step.
    pub interrupted: bool,
}

/// Supervised fine-tuning, step by step, which can be stopped and resumed.
#[derive(Debug)]
pub struct FineTuner {
    config: ResolvedFineTuneConfig,
    sequences: Vec<TrainingSequence>,
    left_out: usize,
    trainer: Trainer,
    /// Counters, and the losses so far.
    state: RunState,
    /// The examples of one epoch, in its order.
    order: Option<(u64, Vec<usize>)>,
    saving: Option<Saving>,
    stop: StopFlag,
}

impl FineTuner {
    /// Fine-tunes `decoder` on the supervised spans of `examples`; no step is made yet.
    ///
    /// # Errors
    /// A configuration key; an example without supervised tokens, longer than the context, or none left, by place
    /// in `examples`; a model that is frozen.
    pub fn new(
        decoder: Decoder,
        examples: &[SupervisedExample],
        config: &FineTuneConfig,
    ) -> Result<Self> {
        let context = decoder.config().max_position_embeddings;
        // Lengths decide what is left out, and that decides the number of steps.
        let limit = config.max_tokens.unwrap_or(context);
        let sequences = sequences(examples, limit, config.max_tokens.is_some())?;
        let config = config.resolve(sequences.len(), context)?;
        let options = StepOptions {
            temperature: 1.0,
            max_grad_norm: config.max_grad_norm,
            micro_batch_tokens: config.micro_batch_tokens,
            recompute_layers: config.recompute_layers,
        };
        Ok(Self {
            trainer: Trainer::new(decoder, config.optimizer, options)?,
            left_out: examples.len() - sequences.len(),
            config,
            sequences,
            state: RunState::default(),
            order: None,
            saving: None,
            stop: StopFlag::new(),
        })
    }

    /// The same, writing checkpoints to `store` as the configuration says.
    ///
    /// # Errors
    /// [`Error::TooLate`] after a step; a tensor that cannot be read.
    pub fn with_checkpoints(mut self, store: CheckpointStore) -> Result<Self> {
        self.check_fresh()?;
        let identity = self.identity()?;
        self.saving = Some(Saving { store, identity });
        Ok(self)
    }

    /// The same, ending after the step that is being made when `stop` is set.
    #[must_use]
    pub fn with_stop(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// Goes on from the newest checkpoint of the store; its step, `None` where there is none.
    ///
    /// # Errors
    /// As [`CheckpointStore::latest`] and [`resume`](Self::resume).
    pub fn resume_latest(&mut self) -> Result<Option<u64>> {
        let Some(saving) = &self.saving else {
            return Ok(None);
        };
        let Some(checkpoint) = saving.store.latest()? else {
            return Ok(None);
        };
        let step = checkpoint.state.step;
        self.resume(checkpoint)?;
        Ok(Some(step))
    }

    /// Goes on from `checkpoint`, which a run of the same model, examples and configuration wrote. Later ones in the
    /// store are removed, for they are made again.
    ///
    /// # Errors
    /// [`Error::OtherRun`]; [`Error::TooLate`] after a step; a tensor that does not fit.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.check_fresh()?;
        match &self.saving {
            Some(saving) => checkpoint.check_identity(&saving.identity)?,
            None => checkpoint.check_identity(&self.identity()?)?,
        }
        let step = checkpoint.state.step;
        self.trainer
            .restore(checkpoint.trainable, checkpoint.optimizer)?;
        self.state = checkpoint.state;
        match &self.saving {
            Some(saving) => saving.store.remove_after(step),
            None => Ok(()),
        }
    }

    /// The configuration with nothing left open.
    #[must_use]
    pub const fn config(&self) -> &ResolvedFineTuneConfig {
        &self.config
    }

    /// Steps made, those of an earlier process included.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.state.step
    }

    /// The model as it is now.
    ///
    /// # Errors
    /// [`Error::LostPolicy`] after an update that failed halfway.
    pub fn decoder(&self) -> Result<&Decoder> {
        self.trainer.policy()
    }

    /// The optimizer's state; see [`Optimizer::state`](crate::Optimizer::state).
    ///
    /// # Errors
    /// As there.
    pub fn optimizer_state(&self) -> Result<crate::OptimizerState> {
        self.trainer.optimizer_state()
    }

    /// Makes all steps that are left, or those until it is asked to stop; whether it was.
    ///
    /// # Errors
    /// As [`step`](Self::step); a checkpoint that cannot be written, where the configuration says so.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<bool> {
        let resolved = serde_json::to_value(&self.config)
            .map_err(|e| Error::json(Path::new("config.json"), e))?;
        observer.on_configuration(&self.config.stage, &resolved)?;
        while self.state.step < self.config.steps {
            let metrics = self.step(observer)?;
            let config = &self.config.checkpoint;
            let step = self.state.step;
            let stopped = self.stop.is_set() && step < self.config.steps;
            let best = config.improves(&mut self.state.best, step, &metrics);
            if best || stopped || config.is_due(step, self.config.steps) {
                self.save(observer)?;
            }
            if stopped {
                observer.sync()?;
                return Ok(true);
            }
        }
        observer.sync()?;
        Ok(false)
    }

    /// Makes one step and returns its metrics: `loss` (nats per supervised token), `perplexity`, `entropy`,
    /// `grad_norm` (before clipping), `lr`, `epoch` (fraction done), `tokens`, `time/…` and `memory/peak`.
    ///
    /// # Errors
    /// A log-prob, loss or gradient that is not finite, where the configuration does not let it be left out; what
    /// the observer refuses.
    pub fn step(&mut self, observer: &mut dyn Observer) -> Result<Metrics> {
        let step = self.state.step;
        observer.on_progress(&Progress {
            stage: &self.config.stage,
            phase: Phase::Update,
            step,
            steps: self.config.steps,
        })?;
        let batches = self.sequences.len().div_ceil(self.config.batch_size) as u64;
        let chosen = self.batch(step / batches, (step % batches) as usize);
        let mut skipped = Skipped::new(self.config.non_finite, chosen.len());
        let begin = Instant::now();
        let learning_rate = self.config.schedule.rate(step);
        let sequences = chosen.iter().map(|&i| &self.sequences[i]).collect();
        let outcome =
            self.trainer
                .step_leaving_out(sequences, &SftLoss, learning_rate, &mut skipped);
        let (report, error) = match outcome {
            Ok((report, _)) => (Some(report), None),
            Err(error) if skipped.allows_step(&error, self.state.skipped_in_a_row) => {
                (None, Some(error))
            }
            Err(error) => return Err(error),
        };
        self.state.step += 1;
        let mut metrics = Metrics::new();
        match report {
            Some(report) => {
                self.state.skipped_in_a_row = 0;
                self.state.losses.push(report.loss);
                metrics.extend(report.metrics());
                metrics.set("perplexity", report.loss.exp());
                let seconds = begin.elapsed().as_secs_f64();
                if seconds > 0.0 {
                    metrics.set("time/tokens_per_second", report.tokens as f64 / seconds);
                }
            }
            None => self.state.skipped_in_a_row += 1,
        }
        metrics.set("lr", learning_rate);
        metrics.set("epoch", (step + 1) as f64 / batches as f64);
        metrics.set("left_out", self.left_out as f64);
        metrics.set("time/update", begin.elapsed().as_secs_f64());
        if let Some(bytes) = peak_memory() {
            metrics.set("memory/peak", bytes as f64);
        }
        let stage = &self.config.stage;
        skipped.report(error.as_ref(), stage, step + 1, &mut metrics, observer)?;
        observer.on_metrics(&MetricsRecord {
            stage: stage.clone(),
            kind: MetricsKind::Train,
            step: step + 1,
            metrics: metrics.clone(),
        })?;
        Ok(metrics)
    }

    /// The model and what is to be told of the steps so far.
    ///
    /// # Errors
    /// [`Error::LostPolicy`] after an update that failed halfway.
    pub fn finish(self) -> Result<FineTuned> {
        Ok(FineTuned {
            interrupted: self.state.step < self.config.steps,
            decoder: self.trainer.into_policy()?,
            losses: self.state.losses,
            left_out: self.left_out,
        })
    }

    /// The examples of batch `batch` of epoch `epoch`: a function of the seed.
    fn batch(&mut self, epoch: u64, batch: usize) -> Vec<usize> {
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let key = StreamKey {
                run_seed: self.config.seed,
                step: epoch,
                problem: 0,
                sample: 0,
            };
            self.order = Some((epoch, key.stream().permutation(self.sequences.len())));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let begin = batch * self.config.batch_size;
        order[begin..(begin + self.config.batch_size).min(order.len())].to_vec()
    }

    fn check_fresh(&self) -> Result<()> {
        match self.state.step {
            0 => Ok(()),
            steps => Err(Error::TooLate {
                what: "taking up a checkpoint, or saying where they are written,".to_owned(),
                steps,
            }),
        }
    }

    fn identity(&self) -> Result<Identity> {
        let mut data = Fingerprint::default();
        for sequence in &self.sequences {
            let ids = sequence.prefix.iter().chain(&sequence.continuation);
            let bytes: Vec<u8> = ids.flat_map(|id| id.to_le_bytes()).collect();
            data.add(&bytes);
            data.add(&(sequence.trained.start as u64).to_le_bytes());
        }
        Ok(Identity {
            model: fingerprint(self.trainer.policy()?)?,
            student: None,
            tokenizer: None,
            data: data.finish(),
            reward: None,
            configuration: serde_json::to_value(&self.config)
                .map_err(|e| Error::json(Path::new("config.json"), e))?,
        })
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Some(saving) = &self.saving else {
            return Ok(());
        };
        self.state.updates = self.trainer.updates();
        let snapshot = Snapshot {
            identity: &saving.identity,
            state: &self.state,
            policy: self.trainer.policy()?,
            optimizer: self.trainer.optimizer(),
            reference: None,
        };
        saving.save(
            &self.config.checkpoint,
            &self.config.stage,
            snapshot,
            observer,
        )
    }
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
