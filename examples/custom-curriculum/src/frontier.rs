//! The curriculum of this example: problems at the frontier of what the policy can do.
//!
//! A group whose samples are all rewarded alike teaches nothing, be they all right or all wrong. So a problem's chance
//! to be drawn grows with how much its rewards differed lately.

use didact::core::{Curriculum, Error, ProblemResult, RandomStream, Result};
use serde::{Deserialize, Serialize};

/// No chance falls below this: what is hopeless now may be at the frontier later.
const FLOOR: f64 = 0.05;

#[derive(Serialize, Deserialize)]
pub(crate) struct Frontier {
    pub(crate) seed: u64,
    pub(crate) drawn: u64,
    /// A problem's chance: a moving average of its groups' standard deviations.
    pub(crate) chances: Vec<f64>,
}

impl Curriculum for Frontier {
    fn next(&mut self, _step: u64, count: usize) -> Vec<usize> {
        let (stream, sum) = (
            RandomStream::new(self.seed),
            self.chances.iter().sum::<f64>(),
        );
        let draws = self.drawn..self.drawn + count as u64;
        self.drawn = draws.end;
        let draw = |index| {
            let mut left = stream.uniform(index) * sum;
            let mut chances = self.chances.iter();
            let found = chances.position(|chance| {
                left -= chance;
                left < 0.0
            });
            found.unwrap_or(0)
        };
        draws.map(draw).collect()
    }

    fn observe(&mut self, _step: u64, results: &[ProblemResult]) {
        for result in results {
            let mean = result.mean_reward().unwrap_or(0.0);
            let squares = result.rewards.iter().flatten().map(|r| (r - mean).powi(2));
            let deviation = (squares.sum::<f64>() / result.rewards.len() as f64).sqrt();
            let chance = &mut self.chances[result.problem];
            *chance = FLOOR.max(0.5 * *chance + 0.5 * deviation);
        }
    }

    fn state(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn restore(&mut self, state: &str) -> Result<()> {
        *self = serde_json::from_str(state).map_err(|error| Error::Other(error.into()))?;
        Ok(())
    }
}
