//! PPO's clip, with separate sides and an optional cap.
//!
//! ```text
//! −min( min(ρ, delta)·A, clamp(ρ, 1 − epsilon, 1 + epsilon_high)·A )
//! ```
//!
//! Used by GRPO, Dr. GRPO, DAPO (`epsilon_high` above `epsilon`: "clip higher", arXiv 2503.14476), BNPO, GSPO,
//! LUSPO and REINFORCE++. Source: arXiv 1707.06347; `delta` as in TRL, on the unclipped branch alone: it bounds
//! the loss of a token with a negative advantage, whose clipped branch is not the smaller one.

use super::{Surrogate, SurrogateOutput};
use crate::Result;
use crate::config::check;

pub(super) fn resolve(
    epsilon: f64,
    epsilon_high: Option<f64>,
    delta: Option<f64>,
) -> Result<Surrogate> {
    let epsilon_high = epsilon_high.unwrap_or(epsilon);
    check(
        "loss.surrogate.epsilon",
        (0.0..=1.0).contains(&epsilon),
        || format!("{epsilon} is not between 0 and 1"),
    )?;
    check("loss.surrogate.epsilon_high", epsilon_high >= 0.0, || {
        format!("{epsilon_high} is not at least 0")
    })?;
    let (high, delta) = (1.0 + epsilon_high, delta.unwrap_or(f64::INFINITY));
    check("loss.surrogate.delta", delta > high, || {
        format!("{delta} is not above 1 + epsilon_high, {high}, which would never be reached")
    })?;
    Ok(Surrogate::Clipped {
        low: 1.0 - epsilon,
        high,
        delta,
    })
}

pub(super) struct Clipped {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) delta: f64,
}

impl Clipped {
    pub(super) fn evaluate(&self, ratio: f64, advantage: f64) -> SurrogateOutput {
        let free = ratio.min(self.delta) * advantage;
        let clipped = ratio.clamp(self.low, self.high) * advantage;
        let d_free = if ratio <= self.delta { advantage } else { 0.0 };
        let inside = (self.low..=self.high).contains(&ratio);
        let d_clipped = if inside { advantage } else { 0.0 };
        if free < clipped {
            SurrogateOutput::of_ratio(-free, -d_free)
        } else if clipped < free {
            SurrogateOutput::of_ratio(-clipped, -d_clipped)
        } else {
            // A tie is a kink or the inside of the range: the mean serves both.
            SurrogateOutput::of_ratio(-free, -0.5 * (d_free + d_clipped))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_branches_with_both_signs_by_hand() {
        let clip = Clipped {
            low: 0.8,
            high: 1.28,
            delta: 2.0,
        };
        let found = |ratio, advantage| {
            let output = clip.evaluate(ratio, advantage);
            (output.value, output.d_ratio)
        };
        assert_eq!(
            found(1.5, 1.0),
            (-1.28, 0.0),
            "no more reward for what rose"
        );
        assert_eq!(found(1.5, -1.0), (1.5, 1.0), "what should fall is pushed");
        assert_eq!(found(0.5, 1.0), (-0.5, -1.0));
        assert_eq!(found(0.5, -1.0), (0.8, 0.0), "nor more for what fell");
        assert_eq!(found(3.0, -1.0), (2.0, 0.0), "delta bounds the loss");
        assert_eq!(found(1.0, 2.0), (-2.0, -2.0));
        assert_eq!(found(0.8, -1.0), (0.8, 1.0), "the edge is inside");
    }
}
