//! What a user writes about a teacher's training, and what it resolves to.
//!
//! Owns keys, defaults and their checks. [`TeacherConfig`] is read from TOML or JSON, where an unknown key is
//! an error; [`TeacherConfig::resolve`] turns it into a [`ResolvedTeacherConfig`] in which nothing is left
//! open. Knows no model and no data.

use didact_core::{Sampling, TokenId};
use didact_engine::EngineConfig;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::advantage::{AdvantageConfig, CreditConfig, DynamicSampling};
use crate::algorithm::{Algorithm, trl_1_16};
use crate::checkpoint::CheckpointConfig;
use crate::curriculum::CurriculumConfig;
use crate::loss::{PolicyGradientConfig, PolicyGradientLoss};
use crate::non_finite::NonFiniteConfig;
use crate::optimizer::OptimizerConfig;
use crate::schedule::{Decay, Schedule};
use crate::warnings::WatchConfig;
use crate::{Error, Result};

/// How a teacher is trained by reinforcement learning.
///
/// The defaults are those of [`published`](Self::published).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherConfig {
    /// The name that the run's records carry. Default `teacher`.
    pub stage: String,
    /// Seeds the order of problems and every draw. Default 42.
    pub seed: u64,
    /// Updates of the weights. Default 125.
    pub steps: u64,
    /// Problems of each step. Default 16.
    pub problems_per_step: usize,
    /// Explanations sampled of each problem, compared with each other; at least 2. Default 64.
    pub group_size: usize,
    /// Divides the logits in sampling and in training alike; above 0. Default 0.7.
    pub temperature: f64,
    /// Keeps the likeliest tokens whose probabilities first sum to at least this; 1 keeps all. Default 1.
    pub top_p: f64,
    /// Keeps this many of the likeliest tokens; 0 keeps all. Default 0.
    pub top_k: usize,
    /// Keeps tokens at least this fraction as probable as the likeliest; 0 keeps all. Default 0.
    pub min_p: f64,
    /// At most this many tokens a completion. Default 16384.
    pub max_completion_tokens: usize,
    /// At most this many tokens a prompt; a longer one is an error before the first step. Without it, what
    /// the policy's context leaves beside `max_completion_tokens`.
    pub max_prompt_tokens: Option<usize>,
    /// Ends a completion at the explanation's end tag rather than at the end of the turn: shorter, but then
    /// the model is not taught to end its turn. Default false.
    pub stop_at_end_tag: bool,
    /// Learning rate at its peak; above 0. Default 1e-6.
    pub learning_rate: f64,
    /// Steps in which the learning rate rises from 0. Default 0.
    pub warmup_steps: u64,
    /// How the learning rate moves after the rise. Default `constant`.
    pub decay: Decay,
    /// The fraction of the peak that the decay ends at, in `[0, 1]`. Default 0.
    pub learning_rate_floor: f64,
    /// AdamW or Muon, with its constants.
    pub optimizer: OptimizerConfig,
    /// Gradients are scaled down to this global norm; 0 leaves them as they are. Default 1.
    pub max_grad_norm: f64,
    /// The loss; the divergence from the reference weighs `loss.beta`, by default 0.04.
    pub loss: PolicyGradientConfig,
    /// How rewards become advantages.
    pub advantage: AdvantageConfig,
    /// To which tokens a sample's reward is credited. Default `sequence`: to all alike.
    pub credit: CreditConfig,
    /// Which problems come next. Default `shuffled_epochs`.
    pub curriculum: CurriculumConfig,
    /// Replaces groups whose samples are all rewarded alike; without it, they are trained on, with advantages
    /// of 0. Default none.
    pub dynamic_sampling: Option<DynamicSampling>,
    /// Leaves completions that were cut off out of the loss. They still count in their group's mean and
    /// deviation, and in means over sequences. Default false.
    pub mask_truncated: bool,
    /// When and how far the reference follows the policy; `None`, in a file `false`, is never. Default every 32 steps
    /// with weight 0.9.
    #[serde(deserialize_with = "table_or_false")]
    pub reference_mixing: Option<ReferenceMixing>,
    /// At most this many tokens go through the model at once in training; a longer sequence goes alone.
    /// It changes memory and speed, not the result. Default 16384.
    pub micro_batch_tokens: usize,
    /// Whether the backward pass computes each layer again instead of keeping all activations: a third more
    /// time for the memory of one layer; the result is the same. Default no.
    pub recompute_layers: bool,
    /// Whether the weights of the reference and of a student of its own lie in host memory while they do not score:
    /// each is copied to the device before it scores, and the copy given up after. It frees a GPU's memory and takes
    /// time; the result is the same. Under an adapter the reference shares the policy's weights and stays, and so
    /// does a student that is the policy. On the CPU it means nothing and is an error. Default false.
    pub park_weights: bool,
    /// When held-out problems are looked at; without it, before the first step and after the last.
    pub evaluation: Option<EvaluationConfig>,
    /// When the run warns that something looks wrong.
    pub warnings: WatchConfig,
    /// How much the engines compute at once; memory and speed only.
    pub engine: EngineConfig,
    /// When checkpoints are written, where the trainer has somewhere to write them.
    pub checkpoint: CheckpointConfig,
    /// How much may be left out because a number is not finite. Default nothing: it is an error.
    pub non_finite: NonFiniteConfig,
}

/// The reference follows the policy: `reference ← alpha · policy + (1 − alpha) · reference`.
///
/// Source: Gorbatovski et al., "Learn your reference model for real good alignment", 2024 (TR-DPO).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceMixing {
    /// Steps between two mixings; at least 1.
    pub every: u64,
    /// The policy's weight, in `[0, 1]`.
    pub alpha: f64,
}

/// When and how held-out problems are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Steps between two looks; 0 looks only before the first step and after the last. Default 0.
    pub every: u64,
    /// Explanations sampled of each held-out problem. Default 1.
    pub samples: usize,
    /// Names the draws of the evaluation: each look takes the same ones, so that differences between looks
    /// are paired. Default 0.
    pub seed: u64,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            every: 0,
            samples: 1,
            seed: 0,
        }
    }
}

/// A file that has no null says with `false` that something with a default is not wanted.
fn table_or_false<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a table with all its keys, or false")]
    enum Given<T> {
        Switch(bool),
        Table(Option<T>),
    }
    match Given::deserialize(deserializer)? {
        Given::Switch(false) => Ok(None),
        Given::Switch(true) => Err(D::Error::custom(
            "true says not how; give a table, or leave the key out for the default",
        )),
        Given::Table(table) => Ok(table),
    }
}

impl Default for TeacherConfig {
    fn default() -> Self {
        Self::published()
    }
}

impl TeacherConfig {
    /// The published recipe (Cetin, Zhao and Tang, "Reinforcement learning teachers of test time scaling",
    /// 2025, and the run files of its implementation): 125 steps of 16 problems with 64 explanations each,
    /// temperature 0.7, AdamW at a constant 1e-6 without weight decay, global norm 1, β 0.04, and a reference
    /// that follows the policy every 32 steps with weight 0.9.
    #[must_use]
    pub fn published() -> Self {
        Self {
            stage: "teacher".to_owned(),
            seed: 42,
            steps: 125,
            problems_per_step: 16,
            group_size: 64,
            temperature: 0.7,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            max_completion_tokens: 16384,
            max_prompt_tokens: None,
            stop_at_end_tag: false,
            learning_rate: 1e-6,
            warmup_steps: 0,
            decay: Decay::Constant,
            learning_rate_floor: 0.0,
            optimizer: OptimizerConfig::default(),
            max_grad_norm: 1.0,
            loss: PolicyGradientConfig::default(),
            advantage: AdvantageConfig::default(),
            credit: CreditConfig::Sequence,
            curriculum: CurriculumConfig::ShuffledEpochs,
            dynamic_sampling: None,
            mask_truncated: false,
            reference_mixing: Some(ReferenceMixing {
                every: 32,
                alpha: 0.9,
            }),
            micro_batch_tokens: 16384,
            recompute_layers: false,
            park_weights: false,
            evaluation: None,
            warnings: WatchConfig::default(),
            engine: EngineConfig::default(),
            checkpoint: CheckpointConfig::default(),
            non_finite: NonFiniteConfig::default(),
        }
    }

    /// The defaults of TRL 1.16's `GRPOConfig`, where this trainer has the same key: one problem of 8 completions
    /// of at most 512 tokens a step (its batch of 8 on one device), temperature 1, AdamW at 1e-6 falling to 0 on
    /// a line, global norm 1, no reference, and [the loss](trl_1_16) that it calls `dapo`. TRL counts epochs;
    /// `steps` is left as published.
    #[must_use]
    pub fn trl_1_16() -> Self {
        Self {
            problems_per_step: 1,
            group_size: 8,
            temperature: 1.0,
            max_completion_tokens: 512,
            decay: Decay::Linear,
            reference_mixing: None,
            ..Self::published().with_algorithm(trl_1_16())
        }
    }

    /// The same with another algorithm.
    #[must_use]
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        Self {
            loss: algorithm.loss,
            advantage: algorithm.advantage,
            dynamic_sampling: algorithm.dynamic_sampling,
            mask_truncated: algorithm.mask_truncated,
            ..self
        }
    }

    /// Checks every key and fills in what was left open.
    ///
    /// `context` is the policy's in tokens; `stop_tokens` and `end_tag` are the tokenizer's and the prompt
    /// format's.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn resolve(
        &self,
        context: usize,
        stop_tokens: &[TokenId],
        end_tag: &str,
    ) -> Result<ResolvedTeacherConfig> {
        at_least_one("steps", self.steps)?;
        at_least_one("problems_per_step", self.problems_per_step as u64)?;
        at_least_one("max_completion_tokens", self.max_completion_tokens as u64)?;
        at_least_one("micro_batch_tokens", self.micro_batch_tokens as u64)?;
        check("group_size", self.group_size >= 2, || {
            format!(
                "{} explanations cannot be compared; at least 2",
                self.group_size
            )
        })?;
        positive("temperature", self.temperature)?;
        positive("learning_rate", self.learning_rate)?;
        check(
            "learning_rate_floor",
            (0.0..=1.0).contains(&self.learning_rate_floor),
            || format!("{} is not in [0, 1]", self.learning_rate_floor),
        )?;
        not_negative("max_grad_norm", self.max_grad_norm)?;
        check("top_p", self.top_p > 0.0 && self.top_p <= 1.0, || {
            format!("{} is not in (0, 1]", self.top_p)
        })?;
        check("min_p", (0.0..1.0).contains(&self.min_p), || {
            format!("{} is not in [0, 1)", self.min_p)
        })?;
        check("warmup_steps", self.warmup_steps < self.steps, || {
            format!(
                "{} leave no step of {} at the full rate",
                self.warmup_steps, self.steps
            )
        })?;
        self.optimizer.validate("optimizer")?;
        self.checkpoint.validate("checkpoint")?;
        self.non_finite.validate("non_finite")?;
        let loss = self
            .loss
            .with_completion_limit(self.max_completion_tokens)
            .resolve()?;
        self.advantage.validate()?;
        self.credit.validate()?;
        self.curriculum.validate()?;
        if let Some(dynamic_sampling) = &self.dynamic_sampling {
            dynamic_sampling.validate()?;
        }
        if let Some(mixing) = &self.reference_mixing {
            at_least_one("reference_mixing.every", mixing.every)?;
            check(
                "reference_mixing.alpha",
                (0.0..=1.0).contains(&mixing.alpha),
                || format!("{} is not in [0, 1]", mixing.alpha),
            )?;
        }
        let evaluation = self.evaluation.unwrap_or_default();
        at_least_one("evaluation.samples", evaluation.samples as u64)?;
        self.warnings.validate()?;
        let room = context.saturating_sub(self.max_completion_tokens);
        check("max_completion_tokens", room > 0, || {
            format!(
                "{} leave no room for a prompt in a context of {context} tokens",
                self.max_completion_tokens
            )
        })?;
        let max_prompt_tokens = self.max_prompt_tokens.unwrap_or(room);
        check(
            "max_prompt_tokens",
            (1..=room).contains(&max_prompt_tokens),
            || {
                format!(
                    "{max_prompt_tokens} and {} for the completion do not fit into a context of {context} tokens",
                    self.max_completion_tokens
                )
            },
        )?;
        let stop_strings = if self.stop_at_end_tag {
            vec![end_tag.to_owned()]
        } else {
            Vec::new()
        };
        Ok(ResolvedTeacherConfig {
            stage: self.stage.clone(),
            seed: self.seed,
            steps: self.steps,
            problems_per_step: self.problems_per_step,
            group_size: self.group_size,
            sampling: Sampling {
                temperature: self.temperature,
                top_p: self.top_p,
                top_k: self.top_k,
                min_p: self.min_p,
                max_tokens: self.max_completion_tokens,
                stop_tokens: stop_tokens.to_vec(),
                stop_strings,
            },
            max_prompt_tokens,
            schedule: Schedule {
                peak: self.learning_rate,
                warmup_steps: self.warmup_steps,
                steps: self.steps,
                decay: self.decay,
                floor: self.learning_rate_floor,
            },
            optimizer: self.optimizer,
            max_grad_norm: self.max_grad_norm,
            loss,
            advantage: self.advantage,
            credit: self.credit.clone(),
            curriculum: self.curriculum.clone(),
            dynamic_sampling: self.dynamic_sampling,
            mask_truncated: self.mask_truncated,
            reference: self
                .reference_mixing
                .map_or(ReferenceRule::Fixed, ReferenceRule::Mixed),
            micro_batch_tokens: self.micro_batch_tokens,
            recompute_layers: self.recompute_layers,
            park_weights: self.park_weights,
            evaluation,
            warnings: self.warnings,
            engine: self.engine.clone(),
            checkpoint: self.checkpoint.clone(),
            non_finite: self.non_finite,
        })
    }
}

/// A [`TeacherConfig`] with nothing left open. The run directory keeps it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolvedTeacherConfig {
    /// The name that the run's records carry.
    pub stage: String,
    /// Seeds the order of problems and every draw.
    pub seed: u64,
    /// Updates of the weights.
    pub steps: u64,
    /// Problems of each step.
    pub problems_per_step: usize,
    /// Explanations sampled of each problem.
    pub group_size: usize,
    /// How completions are sampled.
    pub sampling: Sampling,
    /// At most this many tokens a prompt.
    pub max_prompt_tokens: usize,
    /// The learning rate by step.
    pub schedule: Schedule,
    /// AdamW or Muon, with its constants.
    pub optimizer: OptimizerConfig,
    /// Gradients are scaled down to this global norm; 0 leaves them as they are.
    pub max_grad_norm: f64,
    /// The loss.
    pub loss: PolicyGradientLoss,
    /// How rewards become advantages.
    pub advantage: AdvantageConfig,
    /// To which tokens a sample's reward is credited; in a trainer, with its terms named.
    pub credit: CreditConfig,
    /// Which problems come next, unless a trainer is given a curriculum of its own.
    pub curriculum: CurriculumConfig,
    /// Whether flat groups are replaced.
    pub dynamic_sampling: Option<DynamicSampling>,
    /// Whether completions that were cut off are left out of the loss.
    pub mask_truncated: bool,
    /// Whether the reference follows the policy.
    pub reference: ReferenceRule,
    /// At most this many tokens go through the model at once in training.
    pub micro_batch_tokens: usize,
    /// Whether the backward pass computes each layer again.
    pub recompute_layers: bool,
    /// Whether models that only score have their weights in host memory while they do not.
    pub park_weights: bool,
    /// When and how held-out problems are looked at.
    pub evaluation: EvaluationConfig,
    /// When the run warns.
    pub warnings: WatchConfig,
    /// How much the engines compute at once.
    pub engine: EngineConfig,
    /// When checkpoints are written.
    pub checkpoint: CheckpointConfig,
    /// How much may be left out because a number is not finite.
    pub non_finite: NonFiniteConfig,
}

/// Whether the reference follows the policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceRule {
    /// It stays the initial policy.
    Fixed,
    /// It is mixed with the policy from time to time.
    Mixed(ReferenceMixing),
}

/// Reads the variant of a tagged enum that has no keys but its tag. Left to itself, serde lets others pass.
pub(crate) fn no_other_keys<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoKeys {}
    NoKeys::deserialize(deserializer).map(|_| ())
}

pub(crate) fn check(key: &str, fine: bool, problem: impl FnOnce() -> String) -> Result<()> {
    if fine {
        Ok(())
    } else {
        Err(Error::Configuration {
            key: key.to_owned(),
            problem: problem(),
        })
    }
}

pub(crate) fn at_least_one(key: &str, value: u64) -> Result<()> {
    check(key, value >= 1, || "0 is too few; at least 1".to_owned())
}

pub(crate) fn positive(key: &str, value: f64) -> Result<()> {
    check(key, value > 0.0 && value.is_finite(), || {
        format!("{value} is not a number above 0")
    })
}

pub(crate) fn not_negative(key: &str, value: f64) -> Result<()> {
    check(key, value >= 0.0 && value.is_finite(), || {
        format!("{value} is not a number of 0 or above")
    })
}

#[cfg(test)]
mod tests;
