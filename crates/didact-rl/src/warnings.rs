//! What looks wrong in a run, with advice.
//!
//! Owns kinds, thresholds and wording. Knows numbers of past steps only: no model and no file.

use serde::{Deserialize, Serialize};

/// What looks wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningKind {
    /// Every group's samples have one reward, so that nothing is learnt.
    FlatGroups,
    /// The reward fell far below what it was.
    RewardCollapse,
    /// Completions became much longer or shorter than they were.
    LengthDrift,
    /// Most completions were cut off by a limit.
    Truncation,
    /// Sampling and training disagree on log-probs.
    SamplingGap,
    /// Something outside the metrics, such as a checkpoint that could not be written.
    Run,
}

/// Something that looks wrong; the run goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The stage of the run.
    pub stage: String,
    /// Updates made so far.
    pub step: u64,
    /// What looks wrong.
    pub kind: WarningKind,
    /// The same in words, with the figures.
    pub text: String,
    /// What to do about it.
    pub advice: String,
}
