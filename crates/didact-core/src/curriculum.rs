//! Which problems come next.

use crate::Result;

/// How a problem went in one training step.
#[derive(Debug, Clone, PartialEq)]
pub struct ProblemResult {
    /// Index of the problem in the training set.
    pub problem: usize,
    /// The reward of each sample of its group, in the order they were drawn; `None` where one was refused.
    pub rewards: Vec<Option<f64>>,
}

impl ProblemResult {
    /// The mean of the rewards; `None` where every sample was refused.
    #[must_use]
    pub fn mean_reward(&self) -> Option<f64> {
        let known: Vec<f64> = self.rewards.iter().copied().flatten().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// How many of all samples have a reward of at least `reward`, in `[0, 1]`; a refused one has none.
    #[must_use]
    pub fn solved_fraction(&self, reward: f64) -> f64 {
        if self.rewards.is_empty() {
            return 0.0;
        }
        let solved = self.rewards.iter().flatten().filter(|&&r| r >= reward);
        solved.count() as f64 / self.rewards.len() as f64
    }
}

/// Chooses the problems of each training step.
///
/// One is made for one training set, so it can know all about its problems (their
/// [`domain`](crate::Problem::domain), their length) before the first step. What it draws should be a function of
/// the run's seed, such as a [`RandomStream`](crate::RandomStream)'s, and its state all that it has learnt: then a
/// run is the same each time, and one that is resumed goes on as if it had never stopped.
pub trait Curriculum: Send {
    /// Indices of `count` problems for training step `step`, counted from 0.
    ///
    /// A step that replaces flat groups asks more than once.
    fn next(&mut self, step: u64, count: usize) -> Vec<usize>;

    /// Learns how the problems of a step went, once for each group.
    fn observe(&mut self, _step: u64, _results: &[ProblemResult]) {}

    /// What [`restore`](Self::restore) needs to go on from here, as text.
    fn state(&self) -> String;

    /// Takes up a state that [`state`](Self::state) gave.
    ///
    /// # Errors
    /// A state of another kind of curriculum or of another training set; nothing has changed then.
    fn restore(&mut self, state: &str) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_samples_have_no_reward_and_solve_nothing() {
        let result = |rewards: &[Option<f64>]| ProblemResult {
            problem: 0,
            rewards: rewards.to_vec(),
        };
        let mixed = result(&[Some(1.0), None, Some(-2.0), Some(0.5)]);
        assert_eq!(mixed.mean_reward(), Some(-0.5 / 3.0));
        assert_eq!(mixed.solved_fraction(0.5), 0.5);
        assert_eq!(mixed.solved_fraction(2.0), 0.0);
        for nothing in [result(&[]), result(&[None, None])] {
            assert_eq!(nothing.mean_reward(), None);
            assert_eq!(nothing.solved_fraction(f64::MIN), 0.0);
        }
    }
}
