//! Every problem once an epoch, in the order of the rewards so far.

use std::cmp::Ordering;

use didact_core::{Curriculum, ProblemResult};
use serde::{Deserialize, Serialize};

use super::{PERMUTATION, draws, load, refuse, same, save};

/// From problems of high reward to problems of low reward, epoch by epoch.
///
/// An epoch's order is settled when it begins, so that it holds every problem once whatever is learnt meanwhile.
/// The estimate of a problem's reward is the moving average
///
/// ```text
/// estimate ← smoothing · estimate + (1 − smoothing) · mean reward of its latest group
/// ```
///
/// with the first group's mean as it is. A group all of whose samples were refused says nothing. Problems without an
/// estimate come last, as if they were the hardest, and problems alike in a seeded order: so the first epoch is
/// shuffled, unless estimates are given ([`with_estimates`](Self::with_estimates)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EasyToHard {
    seed: u64,
    smoothing: f64,
    /// Of each problem, where there is one.
    estimates: Vec<Option<f64>>,
    /// Epochs begun.
    epochs: u64,
    /// The order of the epoch that goes on.
    order: Vec<usize>,
    /// How many of it were taken.
    taken: usize,
}

const NAME: &str = "easy_to_hard";

impl EasyToHard {
    /// Epochs over the problems `0..problems`, of which nothing is known.
    #[must_use]
    pub fn new(seed: u64, problems: usize, smoothing: f64) -> Self {
        Self {
            seed,
            smoothing,
            estimates: vec![None; problems],
            epochs: 0,
            order: Vec::new(),
            taken: 0,
        }
    }

    /// The same with estimates to begin with, such as rewards before training. One that is not finite is none; those
    /// that are missing at the end are none too, and those too many are not looked at.
    #[must_use]
    pub fn with_estimates(mut self, estimates: &[Option<f64>]) -> Self {
        for (own, given) in self.estimates.iter_mut().zip(estimates) {
            *own = given.filter(|reward| reward.is_finite());
        }
        self
    }

    /// The estimated reward of each problem.
    #[must_use]
    pub fn estimates(&self) -> &[Option<f64>] {
        &self.estimates
    }

    fn begin_epoch(&mut self) {
        self.order = draws(self.seed, PERMUTATION, self.epochs).permutation(self.estimates.len());
        let estimate = |problem: &usize| self.estimates[*problem].unwrap_or(f64::NEG_INFINITY);
        // Stable: problems alike stay as drawn. All estimates are finite.
        self.order.sort_by(|a, b| {
            estimate(b)
                .partial_cmp(&estimate(a))
                .unwrap_or(Ordering::Equal)
        });
        self.epochs += 1;
        self.taken = 0;
    }
}

impl Curriculum for EasyToHard {
    fn next(&mut self, _step: u64, count: usize) -> Vec<usize> {
        if self.estimates.is_empty() {
            return Vec::new();
        }
        let mut chosen = Vec::with_capacity(count);
        for _ in 0..count {
            if self.taken == self.order.len() {
                self.begin_epoch();
            }
            chosen.push(self.order[self.taken]);
            self.taken += 1;
        }
        chosen
    }

    fn observe(&mut self, _step: u64, results: &[ProblemResult]) {
        for result in results {
            let Some(estimate) = self.estimates.get_mut(result.problem) else {
                continue;
            };
            let Some(reward) = result.mean_reward().filter(|reward| reward.is_finite()) else {
                continue;
            };
            *estimate = Some(estimate.map_or(reward, |before| {
                self.smoothing * before + (1.0 - self.smoothing) * reward
            }));
        }
    }

    fn state(&self) -> String {
        save(NAME, self)
    }

    fn restore(&mut self, state: &str) -> didact_core::Result<()> {
        let saved: Self = load(NAME, state)?;
        let problems = self.estimates.len();
        same(NAME, "problems", &problems, &saved.estimates.len())?;
        same(NAME, "seed", &self.seed, &saved.seed)?;
        same(NAME, "smoothing", &self.smoothing, &saved.smoothing)?;
        let mut sorted = saved.order.clone();
        sorted.sort_unstable();
        let whole = sorted.is_empty() || sorted.iter().copied().eq(0..problems);
        if !whole || saved.taken > saved.order.len() {
            return Err(refuse(
                NAME,
                "its epoch does not hold every problem once; was the state edited?",
            ));
        }
        *self = saved;
        Ok(())
    }
}
