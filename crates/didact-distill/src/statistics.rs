//! Means with intervals, for before-and-after comparisons on the same problems.
//!
//! Knows numbers only.

use serde::{Deserialize, Serialize};

/// A mean with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The sample mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// The number of observations.
    pub count: usize,
}

impl Interval {
    /// The mean of `values` with its two-sided 95 % interval by Student's t:
    /// `mean ± t(0.975, n − 1) · s / √n`, with `s` the sample standard deviation (divisor `n − 1`).
    ///
    /// `None` for fewer than two values, of which no interval can be told.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count < 2 {
            return None;
        }
        let n = count as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = student_t_975(count - 1) * (variance / n).sqrt();
        Some(Self {
            mean,
            low: mean - half,
            high: mean + half,
            count,
        })
    }

    /// The mean of `after − before`, pair by pair; pairs in which either is missing are left out.
    #[must_use]
    pub fn of_differences(before: &[Option<f64>], after: &[Option<f64>]) -> Option<Self> {
        let differences: Vec<f64> = before
            .iter()
            .zip(after)
            .filter_map(|(b, a)| Some((*a)? - (*b)?))
            .collect();
        Self::of(&differences)
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(
            f,
            "{:.digits$} [{:.digits$}, {:.digits$}]",
            self.mean, self.low, self.high
        )
    }
}

/// The 0.975 quantile of Student's t with `degrees` of freedom.
///
/// Exact for one and two degrees, above that the Cornish–Fisher expansion about the normal quantile
/// (Abramowitz and Stegun, 26.7.5), whose error is 2 % at 3 degrees and below 0.2 % from 5 on.
fn student_t_975(degrees: usize) -> f64 {
    const Z: f64 = 1.959_963_984_540_054;
    match degrees {
        0 => f64::INFINITY,
        1 => 12.706_204_736_432_1,
        2 => 4.302_652_729_749_46,
        _ => {
            let v = degrees as f64;
            let g1 = (Z.powi(3) + Z) / 4.0;
            let g2 = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
            let g3 = (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0;
            Z + g1 / v + g2 / v.powi(2) + g3 / v.powi(3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_tables() {
        for (degrees, expected, tolerance) in [
            (3, 3.182_446, 0.02),
            (5, 2.570_582, 0.002),
            (10, 2.228_139, 2e-4),
            (63, 1.998_341, 1e-5),
        ] {
            let found = student_t_975(degrees);
            assert!(
                (found / expected - 1.0_f64).abs() < tolerance,
                "{degrees}: {found}"
            );
        }
    }

    #[test]
    fn an_interval_is_the_textbook_one() {
        // s = 1, n = 5: half width 2.776 / √5 · s with s² = 2.5.
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("five values");
        assert_eq!(interval.mean, 3.0);
        assert!((interval.high - 4.963_2).abs() < 0.01, "{interval:?}");
    }

    #[test]
    fn incomplete_pairs_are_left_out() {
        let before = [Some(1.0), None, Some(2.0)];
        let after = [Some(2.0), Some(9.0), Some(3.0)];
        let interval = Interval::of_differences(&before, &after).expect("two pairs");
        assert_eq!((interval.mean, interval.count), (1.0, 2));
        assert!(Interval::of(&[]).is_none() && Interval::of(&[1.0]).is_none());
    }
}
