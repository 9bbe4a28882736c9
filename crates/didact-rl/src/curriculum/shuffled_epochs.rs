//! Every problem once an epoch, in an order drawn anew for each.

use didact_core::Curriculum;
use serde::{Deserialize, Serialize};

use super::{PERMUTATION, draws, load, same, save};

/// Shuffled epochs over a training set.
///
/// Each epoch is a seeded permutation of all problems; a step that reaches its end goes on with the next
/// epoch, so no problem is dropped. The problems of a step are a function of the seed and of how many
/// were taken before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffledEpochs {
    seed: u64,
    problems: usize,
    taken: u64,
    #[serde(skip)]
    order: Vec<usize>,
    #[serde(skip)]
    epoch: u64,
}

const NAME: &str = "shuffled_epochs";

impl ShuffledEpochs {
    /// Epochs over the problems `0..problems`.
    #[must_use]
    pub const fn new(seed: u64, problems: usize) -> Self {
        Self {
            seed,
            problems,
            taken: 0,
            order: Vec::new(),
            epoch: 0,
        }
    }
}

impl Curriculum for ShuffledEpochs {
    fn next(&mut self, _step: u64, count: usize) -> Vec<usize> {
        if self.problems == 0 {
            return Vec::new();
        }
        let length = self.problems as u64;
        let mut chosen = Vec::new();
        for _ in 0..count {
            let epoch = self.taken / length;
            if self.order.is_empty() || epoch != self.epoch {
                self.order = draws(self.seed, PERMUTATION, epoch).permutation(self.problems);
                self.epoch = epoch;
            }
            chosen.push(self.order[(self.taken % length) as usize]);
            self.taken += 1;
        }
        chosen
    }

    fn state(&self) -> String {
        save(NAME, self)
    }

    fn restore(&mut self, state: &str) -> didact_core::Result<()> {
        let saved: Self = load(NAME, state)?;
        same(NAME, "problems", &self.problems, &saved.problems)?;
        same(NAME, "seed", &self.seed, &saved.seed)?;
        *self = saved;
        Ok(())
    }
}
