//! Draws taken one after the other from a random stream.

use didact::core::{RandomStream, StreamKey};

/// A random stream with a place in it.
#[derive(Debug, Clone)]
pub struct Draws {
    stream: RandomStream,
    next: u64,
}

impl Draws {
    /// The draws of item `index` of what `use_` names, under the run's seed.
    pub const fn new(seed: u64, use_: u64, index: u64) -> Self {
        let stream = StreamKey {
            run_seed: seed,
            step: use_,
            problem: index,
            sample: 0,
        }
        .stream();
        Self { stream, next: 0 }
    }

    /// A number below `bound`, which must be above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let drawn = self.stream.below(self.next, bound);
        self.next += 1;
        drawn
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// One of `items`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// A number in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        let drawn = self.stream.uniform(self.next);
        self.next += 1;
        drawn
    }

    /// True with probability `probability`.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }
}
