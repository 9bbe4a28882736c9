#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use didact_core as core;
pub use didact_data as data;
pub use didact_distill as distill;
pub use didact_engine as engine;
pub use didact_gguf as gguf;
pub use didact_kernels as kernels;
pub use didact_models as models;
pub use didact_reward as reward;
pub use didact_rl as rl;

/// The device that tensors live on, as burn defines it.
pub use burn::tensor::Device;

/// The names that a program around Didact uses most.
pub mod prelude {
    pub use burn::tensor::Device;
    pub use didact_core::{
        Completion, Curriculum, Generate, GenerateRequest, GroupScores, Outcome, Problem, Reward,
        Sampling, Score, ScoreRequest, Span, SpannedSequence, TokenBytes, TokenId, TokenLogProbs,
    };
}
