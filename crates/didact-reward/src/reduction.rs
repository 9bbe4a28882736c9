//! From one number a token to one number a span.
//!
//! Knows no token and no model: slices of `f64` in, `f64` out.

use serde::{Deserialize, Serialize};

/// How the tokens' values of a span become one score.
///
/// For values `x_1 … x_n` sorted as `x_(1) ≤ … ≤ x_(n)`. Follows the reductions of the published RLT
/// implementation (arXiv 2506.08388), which are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// `Σ x_i / n`.
    Mean,
    /// `Σ x_i`.
    Sum,
    /// `x_(1)`.
    Min,
    /// `x_(n)`.
    Max,
    /// The lower median `x_(⌈n/2⌉)`: a value of the span itself also where `n` is even.
    Median,
    /// The quantile at 1/4, interpolated linearly between the neighbouring values.
    FirstQuartile,
    /// The quantile at 3/4, interpolated linearly between the neighbouring values.
    LastQuartile,
}

impl Reduction {
    /// All reductions, in the order in which they are logged.
    pub const ALL: [Self; 7] = [
        Self::Mean,
        Self::Sum,
        Self::Min,
        Self::Max,
        Self::Median,
        Self::FirstQuartile,
        Self::LastQuartile,
    ];

    /// The name that configurations and metrics carry it under.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Median => "median",
            Self::FirstQuartile => "first_quartile",
            Self::LastQuartile => "last_quartile",
        }
    }

    /// The score of a span's values; `None` where there are none.
    ///
    /// A span without tokens has no mean, and the sum of nothing would pass for a perfect score: the
    /// published implementation puts constants there, of up to 3.4e36 for an empty solution.
    #[must_use]
    pub fn reduce(self, values: &[f64]) -> Option<f64> {
        let last = values.len().checked_sub(1)?;
        Some(match self {
            Self::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Self::Sum => values.iter().sum(),
            Self::Min => sorted(values)[0],
            Self::Max => sorted(values)[last],
            Self::Median => sorted(values)[last / 2],
            Self::FirstQuartile => quantile(&sorted(values), 0.25),
            Self::LastQuartile => quantile(&sorted(values), 0.75),
        })
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Of at least one value, sorted.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let position = fraction * (sorted.len() - 1) as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(values: &[f64]) -> Vec<f64> {
        Reduction::ALL
            .iter()
            .map(|r| r.reduce(values).unwrap())
            .collect()
    }

    #[test]
    fn an_even_count_takes_the_lower_median_and_interpolates_quartiles() {
        // numpy.quantile([1, 2, 4, 8], [.25, .75]) is [1.75, 5]; torch.median gives 2.
        assert_eq!(
            all(&[8.0, 1.0, 4.0, 2.0]),
            [3.75, 15.0, 1.0, 8.0, 2.0, 1.75, 5.0]
        );
    }

    #[test]
    fn one_value_is_every_reduction_of_itself() {
        assert_eq!(all(&[-2.5]), [-2.5; 7]);
    }

    #[test]
    fn nothing_has_no_score() {
        assert!(Reduction::ALL.iter().all(|r| r.reduce(&[]).is_none()));
    }

    proptest! {
        #[test]
        fn scores_lie_in_order(values in prop::collection::vec(-50.0f64..50.0, 1..40)) {
            let [mean, sum, min, max, median, first, last] = all(&values)[..] else { panic!() };
            prop_assert!(min <= first && first <= last && last <= max);
            prop_assert!(min <= median && median <= max);
            prop_assert!(min - 1e-9 <= mean && mean <= max + 1e-9);
            prop_assert!((sum - mean * values.len() as f64).abs() < 1e-6);
        }
    }
}
