//! Which problems come next: every problem once an epoch, in an order drawn anew for each.

use didact_core::{Curriculum, StreamKey};
use serde::{Deserialize, Serialize};

/// Shuffled epochs over a training set.
///
/// Each epoch is a seeded permutation of all problems; a step that reaches its end goes on with the next
/// epoch, so no problem is dropped. The problems of a step are a function of the seed and of how many
/// were taken before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffledEpochs {
    seed: u64,
    problems: usize,
    taken: u64,
    #[serde(skip)]
    order: Vec<usize>,
    #[serde(skip)]
    epoch: u64,
}

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

/// Names the stream of the permutations among the others of a run.
const PERMUTATION: u64 = u64::MAX;

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
                let key = StreamKey {
                    run_seed: self.seed,
                    step: PERMUTATION,
                    problem: epoch,
                    sample: 0,
                };
                self.order = key.stream().permutation(self.problems);
                self.epoch = epoch;
            }
            chosen.push(self.order[(self.taken % length) as usize]);
            self.taken += 1;
        }
        chosen
    }

    fn state(&self) -> String {
        // Three integers: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn restore(&mut self, state: &str) -> didact_core::Result<()> {
        let refuse = |problem: String| didact_core::Error::InvalidState {
            what: "shuffled epochs".to_owned(),
            problem,
        };
        let saved: Self = serde_json::from_str(state).map_err(|e| refuse(e.to_string()))?;
        if (saved.problems, saved.seed) != (self.problems, self.seed) {
            return Err(refuse(format!(
                "it is of {} problems with seed {}, expected {} with seed {}",
                saved.problems, saved.seed, self.problems, self.seed
            )));
        }
        *self = saved;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_every_problem_once() {
        let mut curriculum = ShuffledEpochs::new(3, 7);
        let mut first: Vec<usize> = (0..7).flat_map(|step| curriculum.next(step, 1)).collect();
        let mut second = curriculum.next(7, 7);
        assert_ne!(first, second, "each epoch has its own order");
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!(first, (0..7).collect::<Vec<_>>());
        assert_eq!(second, first);
        assert_eq!(curriculum.next(8, 9).len(), 9, "a step may cross epochs");
    }

    #[test]
    fn a_restored_state_goes_on_alike() {
        let mut curriculum = ShuffledEpochs::new(3, 5);
        curriculum.next(0, 8);
        let mut restored = ShuffledEpochs::new(3, 5);
        restored.restore(&curriculum.state()).unwrap();
        assert_eq!(restored.next(1, 6), curriculum.next(1, 6));
        assert!(
            ShuffledEpochs::new(3, 6)
                .restore(&curriculum.state())
                .is_err()
        );
    }
}
