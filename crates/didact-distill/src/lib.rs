#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod collect;
pub mod dataset;
mod error;
pub mod evaluation;
pub mod json_lines;
pub mod pipeline;
mod plan;
pub mod recipe;
mod resumable;
pub mod selection;
pub mod stage;
mod statistics;
pub mod student;
mod weights;

pub use collect::{CollectConfig, Collection, ExplanationRecord, collect};
pub use error::{Error, Result};
pub use evaluation::{AnswerRecord, Answers, AnswersConfig, Examination, answers};
pub use pipeline::{Models, NamedStudent, PipelineConfig, PipelineResults, Task};
pub use plan::{PlannedStage, plan};
pub use recipe::Recipe;
pub use resumable::ResumableFile;
pub use selection::{CollectedExplanation, Selection, SelectionConfig, select};
pub use stage::{Done, Place, Stages};
pub use statistics::Interval;
pub use student::{
    StudentEvaluation, StudentEvaluationConfig, StudentRecord, Verify, evaluate_student,
};
pub use weights::weights_hash;
