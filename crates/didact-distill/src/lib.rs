#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod collect;
mod error;
pub mod pipeline;
mod statistics;
pub mod student;
mod weights;

pub use collect::{CollectConfig, Collected, CollectedExplanation, collect};
pub use error::{Error, Result};
pub use pipeline::{Models, PipelineConfig, PipelineResults, Task};
pub use statistics::Interval;
pub use student::{
    StudentEvaluation, StudentEvaluationConfig, StudentRecord, Verify, evaluate_student,
};
pub use weights::weights_hash;
