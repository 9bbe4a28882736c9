//! The RL optimizer for language-model teachers: advantages, losses, reference policy, optimizer and training
//! step.
//!
//! [`TeacherTrainer`] runs the whole loop of a teacher's reinforcement learning, [`fine_tune()`] is supervised
//! fine-tuning. Both make the same training step ([`Trainer`]) with another [`Loss`](loss::Loss), report to an
//! [`Observer`], and are the same bit for bit for one seed, whatever the number of threads. This crate knows no
//! warm-up, no distillation and no terminal: pipelines are made of it.
//!
//! | module | what it owns |
//! |---|---|
//! | [`loss`] | losses and their derivatives on the host |
//! | [`advantage`] | from a group's rewards to advantages |
//! | [`algorithm`] | the algorithms of papers, as presets of loss and advantages |
//! | [`rollout`] | sampling, scoring and rewarding explanations |
//! | [`step`] | from sequences and a loss to an update |
//! | [`gradients`], [`optimizer`], [`schedule`] | from gradients to the next weights |
//! | [`reference_policy`] | the model that the policy is kept close to |
//! | [`curriculum`] | which problems come next |
//! | [`evaluation`] | figures of held-out problems |
//! | [`memory`] | how much memory a run will take |
//! | [`checkpoint`] | what a run goes on from after it was stopped or killed |
//! | [`non_finite`], [`stop`] | what a run does with numbers that are none, and when it is asked to end |
//! | [`run_directory`], [`metrics`], [`observer`] | the records of a run |
//! | [`rescore`] | other rewards of recorded samples, without a model |
//! | [`warnings`] | what looks wrong in a run, with advice |
#![doc = concat!("\n\n", include_str!("../README.md"))]
#![forbid(unsafe_code)]

pub mod advantage;
pub mod algorithm;
pub mod checkpoint;
pub mod config;
pub mod curriculum;
mod error;
pub mod evaluation;
pub mod fine_tune;
pub mod gradients;
pub mod loss;
pub mod memory;
pub mod metrics;
pub mod non_finite;
pub mod observer;
pub mod optimizer;
mod parking;
pub mod reference_policy;
pub mod report;
pub mod rescore;
pub mod rollout;
pub mod run_directory;
pub mod schedule;
pub mod step;
pub mod stop;
pub mod teacher_trainer;
pub mod tensorboard;
#[cfg(test)]
mod tests;
pub mod warnings;

pub use algorithm::Algorithm;
pub use checkpoint::{
    Checkpoint, CheckpointConfig, CheckpointStore, Identity, KeepBest, OnFailure, RunState,
};
pub use config::{
    EvaluationConfig, ReferenceMixing, ReferenceRule, ResolvedTeacherConfig, TeacherConfig,
};
pub use curriculum::{
    CurriculumConfig, DomainMixture, EasyToHard, ShuffledEpochs, SkipSolved, Uniform,
};
pub use error::{Error, Result};
pub use evaluation::{Evaluation, ProblemEvaluation, evaluate_teacher};
pub use fine_tune::{FineTuneConfig, FineTuned, FineTuner, ResolvedFineTuneConfig, fine_tune};
pub use gradients::Gradients;
pub use memory::MemoryEstimate;
pub use metrics::Metrics;
pub use non_finite::NonFiniteConfig;
pub use observer::{MetricsKind, MetricsRecord, Observer, Phase, Progress};
pub use optimizer::{
    AdamWConfig, DecayedParameters, MuonConfig, MuonScale, Optimizer, OptimizerConfig,
    OptimizerState,
};
pub use reference_policy::ReferencePolicy;
pub use rescore::{Rescored, Rescorer};
pub use rollout::{
    Group, PreparedProblem, RolloutModels, RolloutOrigin, RolloutRecord, Sample, SampleOptions,
    TeacherTask, TrainingScores,
};
pub use run_directory::{Environment, RunDirectory};
pub use schedule::{Decay, Schedule};
pub use step::{StepOptions, StepReport, Trainer, TrainingSequence};
pub use stop::StopFlag;
pub use teacher_trainer::{StudentModel, TeacherModels, TeacherReport, TeacherTrainer};
pub use tensorboard::TensorBoard;
pub use warnings::{Warning, WarningKind, Watch, WatchConfig};
