//! Which problems come next.

use crate::Result;

/// How a problem went in one training step.
#[derive(Debug, Clone, PartialEq)]
pub struct ProblemResult {
    /// Index of the problem in the training set.
    pub problem: usize,
    /// The group's mean reward; `None` where every sample was refused.
    pub mean_reward: Option<f64>,
}

/// Chooses the problems of each training step.
pub trait Curriculum: Send {
    /// Indices of the `count` problems of training step `step`.
    fn next(&mut self, step: u64, count: usize) -> Vec<usize>;

    /// Learns how the problems of a step went.
    fn observe(&mut self, _step: u64, _results: &[ProblemResult]) {}

    /// What [`restore`](Self::restore) needs to go on from here, as text.
    fn state(&self) -> String;

    /// Takes up a state that [`state`](Self::state) gave.
    ///
    /// # Errors
    /// A state of another kind of curriculum or of another training set.
    fn restore(&mut self, state: &str) -> Result<()>;
}
