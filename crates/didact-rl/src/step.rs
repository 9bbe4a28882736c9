//! The training step that knows no algorithm.
//!
//! Owns the way from sequences to an update: pack, run the model forward, read log-probs and entropies, have a
//! [`Loss`] say its value and derivatives on the host, seed the backward pass with them, add the gradients of
//! all micro-batches, clip, update. Supervised fine-tuning and every policy-gradient method are this step with
//! another loss. Knows no reward and no text.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use didact_core::{Span, TokenId};
use didact_engine::micro_batches;
use didact_models::{Decoder, ParameterVisitor};

mod forward;

use self::forward::Forward;
use crate::checkpoint::set_parameters;
use crate::gradients::Gradients;
use crate::loss::{Advantage, EntropyCut, Loss, LossOutput, LossSequence, Normalisers};
use crate::non_finite::Skipped;
use crate::optimizer::{Optimizer, OptimizerConfig, OptimizerState};
use crate::{Error, Metrics, Result};

/// One sequence to train on.
#[derive(Debug, Clone)]
pub struct TrainingSequence {
    /// Names it in errors.
    pub id: String,
    /// The first ids. Equal prefixes of one micro-batch are computed once.
    pub prefix: Arc<[TokenId]>,
    /// The ids after the prefix.
    pub continuation: Vec<TokenId>,
    /// The tokens that the loss sees, in positions of `prefix ++ continuation`, not the first. Tokens after
    /// them are not read. A sequence without any, such as a masked truncated completion, is not computed, but
    /// counts in the loss's means over sequences.
    pub trained: Span,
    /// How much better than expected the sequence or each of its trained tokens is; 0 where a loss does not
    /// ask.
    pub advantage: Advantage,
    /// Log-probs of the trained tokens under the policy that the update started from.
    pub old_log_probs: Option<Vec<f32>>,
    /// Log-probs of the trained tokens under the reference.
    pub reference_log_probs: Option<Vec<f32>>,
    /// Log-probs of the trained tokens as they were sampled.
    pub sampling_log_probs: Option<Vec<f32>>,
}

/// How a step is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// Divides the logits before the softmax; above 0.
    pub temperature: f64,
    /// Gradients are scaled down to this global norm; 0 leaves them as they are.
    pub max_grad_norm: f64,
    /// At most this many packed tokens go through the model at once; a longer sequence goes alone.
    pub micro_batch_tokens: usize,
    /// Whether the backward pass computes each layer again instead of keeping what it computed: one more
    /// forward pass for memory of one layer instead of all. The gradients are the same.
    pub recompute_layers: bool,
}

/// Log-prob and entropy of the trained tokens of one sequence, in nats.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenValues {
    /// Log-prob of each trained token.
    pub log_probs: Vec<f32>,
    /// Entropy of the distribution that each trained token was drawn from.
    pub entropies: Vec<f32>,
}

/// What one step did.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// The loss before the update.
    pub loss: f64,
    /// The gradients' global norm before clipping.
    pub grad_norm: f64,
    /// Mean entropy over all trained tokens, in nats.
    pub entropy: f64,
    /// Trained tokens.
    pub tokens: usize,
    /// Micro-batches that the step was cut into.
    pub micro_batches: usize,
    /// What the loss logs.
    pub loss_metrics: Metrics,
    /// Log-probs and entropies of the trained tokens before the update, in the order of the sequences.
    pub values: Vec<TokenValues>,
}

impl StepReport {
    /// The numbers worth logging: `loss`, `grad_norm`, `entropy`, `tokens`, `micro_batches` and those of the
    /// loss.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.loss_metrics.clone();
        metrics.set("loss", self.loss);
        metrics.set("grad_norm", self.grad_norm);
        metrics.set("entropy", self.entropy);
        metrics.set("tokens", self.tokens as f64);
        metrics.set("micro_batches", self.micro_batches as f64);
        metrics
    }
}

/// A policy in training: weights, optimizer state and how steps are made.
#[derive(Debug)]
pub struct Trainer {
    /// Absent only after an update that failed halfway.
    policy: Option<Decoder>,
    optimizer: Optimizer,
    options: StepOptions,
}

impl Trainer {
    /// Trains `policy`, whose parameters record gradients from now on, from a fresh optimizer state.
    ///
    /// # Errors
    /// Options that mean nothing; a model all of whose parameters are frozen.
    pub fn new(
        policy: Decoder,
        optimizer: impl Into<OptimizerConfig>,
        options: StepOptions,
    ) -> Result<Self> {
        let optimizer = optimizer.into();
        crate::config::positive("temperature", options.temperature)?;
        crate::config::not_negative("max_grad_norm", options.max_grad_norm)?;
        crate::config::at_least_one("micro_batch_tokens", options.micro_batch_tokens as u64)?;
        optimizer.validate("optimizer")?;
        let policy = policy.train();
        let mut tracked = CountTracked(0);
        policy.visit_parameters(&mut tracked);
        if tracked.0 == 0 {
            return Err(Error::NothingToTrain);
        }
        Ok(Self {
            policy: Some(policy),
            optimizer: Optimizer::new(optimizer),
            options,
        })
    }

    /// The weights as they are now.
    ///
    /// # Errors
    /// [`Error::LostPolicy`] after an update that failed halfway.
    pub fn policy(&self) -> Result<&Decoder> {
        self.policy.as_ref().ok_or(Error::LostPolicy)
    }

    /// The weights as they are now, without the optimizer.
    ///
    /// # Errors
    /// As [`policy`](Self::policy).
    pub fn into_policy(self) -> Result<Decoder> {
        self.policy.ok_or(Error::LostPolicy)
    }

    /// The number of updates made.
    #[must_use]
    pub const fn updates(&self) -> u64 {
        self.optimizer.updates()
    }

    pub(crate) const fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The optimizer's state; see [`Optimizer::state`].
    ///
    /// # Errors
    /// As there.
    pub fn optimizer_state(&self) -> Result<OptimizerState> {
        self.optimizer.state()
    }

    /// Goes on from a state that an optimizer of the same configuration had for these weights.
    ///
    /// # Errors
    /// As [`Optimizer::restore`]; [`Error::LostPolicy`].
    pub fn restore_optimizer(&mut self, state: OptimizerState) -> Result<()> {
        let policy = self.policy.as_ref().ok_or(Error::LostPolicy)?;
        self.optimizer.restore(state, policy)
    }

    /// Goes on from the trained tensors and the optimizer's state of a checkpoint.
    ///
    /// # Errors
    /// A tensor that is missing, unknown, or of another shape or element type; as [`Optimizer::restore`]. Nothing
    /// is changed then.
    pub fn restore(
        &mut self,
        trainable: BTreeMap<String, TensorData>,
        state: OptimizerState,
    ) -> Result<()> {
        let policy = set_parameters(self.policy()?.clone(), trainable, true)?;
        self.optimizer.restore(state, &policy)?;
        self.policy = Some(policy);
        Ok(())
    }

    /// [`step`](Self::step) without the sequences whose numbers are not finite, as far as `skipped` lets them be
    /// left out. Also says which sequences are left.
    pub(crate) fn step_leaving_out<'a>(
        &mut self,
        sequences: Vec<&'a TrainingSequence>,
        loss: &dyn Loss,
        learning_rate: f64,
        skipped: &mut Skipped,
    ) -> Result<(StepReport, Vec<&'a TrainingSequence>)> {
        let mut left = sequences;
        loop {
            match self.step(&left, loss, learning_rate) {
                Ok(report) => return Ok((report, left)),
                Err(error) => {
                    let sample = skipped.leave_out(error)?;
                    left.retain(|sequence| sequence.id != sample);
                }
            }
        }
    }

    /// Makes one update on `sequences`.
    ///
    /// The gradients of the micro-batches are added before clipping. Normalisers are of the whole step, so how
    /// it is cut changes the result only by rounding.
    ///
    /// # Errors
    /// A sequence that cannot be trained on; a non-finite log-prob, loss or gradient, by sequence or tensor. The
    /// weights are as before then, unless a tensor could not be read halfway through the update.
    pub fn step(
        &mut self,
        sequences: &[&TrainingSequence],
        loss: &dyn Loss,
        learning_rate: f64,
    ) -> Result<StepReport> {
        let (mut gradients, mut report) = self.evaluate(sequences, loss)?;
        report.grad_norm = gradients.clip(self.options.max_grad_norm)?;
        let policy = self.policy.take().ok_or(Error::LostPolicy)?;
        self.policy = Some(self.optimizer.update(policy, gradients, learning_rate)?);
        Ok(report)
    }

    /// The gradients of a step on `sequences`, without an update; `grad_norm` of the report is theirs.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn gradients(
        &self,
        sequences: &[&TrainingSequence],
        loss: &dyn Loss,
    ) -> Result<(Gradients, StepReport)> {
        let (gradients, mut report) = self.evaluate(sequences, loss)?;
        report.grad_norm = gradients.global_norm()?;
        Ok((gradients, report))
    }

    /// Gradients and report, the norm not yet taken.
    fn evaluate(
        &self,
        sequences: &[&TrainingSequence],
        loss: &dyn Loss,
    ) -> Result<(Gradients, StepReport)> {
        let policy = self.policy()?;
        for sequence in sequences {
            sequence.validate(policy)?;
        }
        let batches = self.micro_batches(sequences)?;
        let mut normalisers = Normalisers {
            sequences: sequences.len(),
            tokens: sequences.iter().map(|s| s.trained.len()).sum(),
            micro_batches: batches.len(),
            entropy_cut: None,
        };
        let mut first = None;
        if let Some(fraction) = loss.needs().top_entropy {
            let (entropies, forward) = self.entropies(sequences, &batches)?;
            normalisers.entropy_cut = Some(EntropyCut::new(fraction, entropies));
            first = forward;
        }

        let mut gradients = Gradients::new();
        let mut all = vec![TokenValues::default(); sequences.len()];
        // Everything but the derivatives, which each micro-batch uses up by itself.
        let mut total = LossOutput::default();
        for batch in &batches {
            let chosen: Vec<&TrainingSequence> = batch.iter().map(|&i| sequences[i]).collect();
            let (forward, values) = match first.take() {
                Some(done) => done,
                None => Forward::run(policy, &chosen, self.options)?,
            };
            let inputs: Vec<LossSequence> = chosen
                .iter()
                .zip(&values)
                .map(|(s, v)| s.loss_sequence(v))
                .collect();
            let output = loss.evaluate(&inputs, normalisers)?;
            forward.backward(policy, &output, &mut gradients)?;
            for (&index, values) in batch.iter().zip(values) {
                all[index] = values;
            }
            total.append(LossOutput {
                d_log_probs: Vec::new(),
                d_entropies: None,
                ..output
            });
        }
        if !total.value.is_finite() {
            return Err(Error::NonFinite {
                what: "the loss".to_owned(),
                value: total.value,
            });
        }
        let mut loss_metrics = Metrics::new();
        for metric in &total.metrics {
            loss_metrics.set(metric.name.clone(), metric.value);
        }
        let entropy: f64 = all
            .iter()
            .flat_map(|v| &v.entropies)
            .map(|&e| f64::from(e))
            .sum();
        let report = StepReport {
            loss: total.value,
            grad_norm: 0.0,
            entropy: entropy / normalisers.tokens.max(1) as f64,
            tokens: normalisers.tokens,
            micro_batches: batches.len(),
            loss_metrics,
            values: all,
        };
        Ok((gradients, report))
    }
}

impl Trainer {
    /// The sequences that have trained tokens, cut into micro-batches.
    fn micro_batches(&self, sequences: &[&TrainingSequence]) -> Result<Vec<Vec<usize>>> {
        let trained: Vec<usize> = (0..sequences.len())
            .filter(|&i| !sequences[i].trained.is_empty())
            .collect();
        if trained.is_empty() && !sequences.is_empty() {
            return Err(Error::TrainingData {
                what: "training step".to_owned(),
                problem: format!(
                    "none of its {} sequences has a trained token; where truncated completions are masked, raise \
                     max_completion_tokens",
                    sequences.len()
                ),
            });
        }
        let lengths: Vec<_> = trained
            .iter()
            .map(|&i| (sequences[i].prefix.clone(), sequences[i].read().len()))
            .collect();
        let mut batches = micro_batches(&lengths, self.options.micro_batch_tokens);
        for index in batches.iter_mut().flatten() {
            *index = trained[*index];
        }
        Ok(batches)
    }

    /// The entropies of all trained tokens of the step, before any loss, and the forward pass itself where the
    /// step is not cut.
    fn entropies(
        &self,
        sequences: &[&TrainingSequence],
        batches: &[Vec<usize>],
    ) -> Result<(Vec<f64>, Option<(Forward, Vec<TokenValues>)>)> {
        let policy = self.policy()?;
        let mut entropies = Vec::new();
        let mut only = None;
        for batch in batches {
            let chosen: Vec<&TrainingSequence> = batch.iter().map(|&i| sequences[i]).collect();
            let (forward, values) = Forward::run(policy, &chosen, self.options)?;
            let of_tokens = values.iter().flat_map(|v| &v.entropies);
            entropies.extend(of_tokens.map(|&e| f64::from(e)));
            only = (batches.len() == 1).then_some((forward, values));
        }
        Ok((entropies, only))
    }
}

impl TrainingSequence {
    /// The part of the continuation that is read: the last trained token is only a target.
    fn read(&self) -> &[TokenId] {
        &self.continuation[..(self.trained.end - 1).saturating_sub(self.prefix.len())]
    }

    fn token(&self, position: usize) -> TokenId {
        match position.checked_sub(self.prefix.len()) {
            None => self.prefix[position],
            Some(after) => self.continuation[after],
        }
    }

    fn validate(&self, policy: &Decoder) -> Result<()> {
        let refuse = |problem: String| {
            Err(Error::TrainingData {
                what: format!("sequence {}", self.id),
                problem,
            })
        };
        let (length, trained) = (self.prefix.len() + self.continuation.len(), self.trained);
        if trained.start == 0 || trained.end > length {
            return refuse(format!(
                "tokens {}..{} of {length} cannot be trained: only tokens of the sequence, and not the first, \
                 which nothing predicts",
                trained.start, trained.end
            ));
        }
        let context = policy.config().max_position_embeddings;
        if length > context {
            return refuse(format!(
                "it has {length} tokens, but the model's context holds {context}"
            ));
        }
        let vocabulary = policy.config().vocab_size;
        let ids = self.prefix.iter().chain(&self.continuation);
        if let Some(id) = ids.copied().find(|&id| id as usize >= vocabulary) {
            return refuse(format!(
                "it holds token {id}, but the vocabulary ends at {vocabulary}; is this the model's own tokenizer?"
            ));
        }
        if let Advantage::Token(given) = &self.advantage
            && given.len() != trained.len()
        {
            let (given, trained) = (given.len(), trained.len());
            return refuse(format!("{given} advantages for {trained} trained tokens"));
        }
        for (what, given) in [
            ("old", &self.old_log_probs),
            ("reference", &self.reference_log_probs),
            ("sampling", &self.sampling_log_probs),
        ] {
            if let Some(given) = given.as_ref().filter(|given| given.len() != trained.len()) {
                return refuse(format!(
                    "{} {what} log-probs for {} trained tokens",
                    given.len(),
                    trained.len()
                ));
            }
        }
        Ok(())
    }

    fn loss_sequence(&self, values: &TokenValues) -> LossSequence {
        let wide = |list: &Vec<f32>| list.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        LossSequence {
            id: self.id.clone(),
            log_probs: wide(&values.log_probs),
            old_log_probs: self.old_log_probs.as_ref().map(wide),
            reference_log_probs: self.reference_log_probs.as_ref().map(wide),
            sampling_log_probs: self.sampling_log_probs.as_ref().map(wide),
            entropies: Some(wide(&values.entropies)),
            mask: vec![true; self.trained.len()],
            advantage: Some(self.advantage.clone()),
        }
    }
}

struct CountTracked(usize);

impl ParameterVisitor for CountTracked {
    fn visit<const D: usize>(&mut self, _path: &str, parameter: &Param<Tensor<D>>) {
        self.0 += usize::from(parameter.base().is_require_grad());
    }
}
