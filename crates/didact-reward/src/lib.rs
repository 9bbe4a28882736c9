//! Teacher rewards as data: which scores a reward needs, and how they become an outcome.
//!
//! A teacher is rewarded by how likely a student finds the solution after reading the explanation, less
//! how surprising the explanation itself is. This crate owns the mathematics. It knows numbers and spans
//! only: no model and no tokenizer. Text it reads in one place, [`answer`], which verifies final answers for
//! evaluation and for [`CorrectnessReward`].
//!
//! A [`TeacherReward`] is a sum of [`Term`]s, each `Σ coefficient · reduce(clip(transform(signal)))`, plus
//! a penalty for an explanation without end tag. [`RltConfig`] has the published options, [`rlt`] is the
//! published run; [`TeacherRewardConfig`] writes any other as data.
#![doc = concat!("\n\n", include_str!("../README.md"))]
#![forbid(unsafe_code)]

pub mod answer;
mod correctness;
mod error;
mod reduction;
mod rlt;
mod teacher;
mod term;
mod transform;

pub use correctness::{CORRECT_TERM, CorrectnessReward, FORMAT_TERM, UNDECIDED_TERM};
pub use error::{Error, Result};
pub use reduction::Reduction;
pub use rlt::{
    KL_TERM, RltConfig, SOLUTION_TERM, SURPRISAL_TERM, TOTAL_WITH_ENTROPY, TOTAL_WITHOUT_ENTROPY,
    rlt,
};
pub use teacher::{TeacherReward, TeacherRewardConfig, TotalConfig};
pub use term::{Part, Signal, Term, TermConfig};
pub use transform::{KlEstimator, Transform};

#[cfg(test)]
mod tests;
