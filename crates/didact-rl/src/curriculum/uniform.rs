//! Every problem as likely as any other, at any time.

use didact_core::Curriculum;
use serde::{Deserialize, Serialize};

use super::{DRAW, draws, load, same, save};

/// Draws with replacement: what was chosen before changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uniform {
    seed: u64,
    problems: usize,
    taken: u64,
}

const NAME: &str = "uniform";

impl Uniform {
    /// Draws from the problems `0..problems`.
    #[must_use]
    pub const fn new(seed: u64, problems: usize) -> Self {
        Self {
            seed,
            problems,
            taken: 0,
        }
    }
}

impl Curriculum for Uniform {
    fn next(&mut self, _step: u64, count: usize) -> Vec<usize> {
        if self.problems == 0 {
            return Vec::new();
        }
        let stream = draws(self.seed, DRAW, 0);
        let first = self.taken;
        self.taken += count as u64;
        (first..self.taken)
            .map(|draw| stream.below(draw, self.problems))
            .collect()
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
