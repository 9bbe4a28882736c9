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

    /// The fraction `successes / trials` with its two-sided 95 % interval by Wilson's score,
    /// `(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)` with `z` the normal quantile 0.975.
    ///
    /// Unlike [`of`](Self::of), it stays within `[0, 1]` and is not of width 0 where all trials end alike. The
    /// trials must be independent (E. B. Wilson, "Probable inference, the law of succession, and statistical
    /// inference", 1927). `None` without trials or with more successes than trials.
    #[must_use]
    pub fn of_proportion(successes: f64, trials: usize) -> Option<Self> {
        let n = trials as f64;
        if trials == 0 || !(0.0..=n).contains(&successes) {
            return None;
        }
        let (p, z2) = (successes / n, Z * Z);
        let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
        Some(Self {
            mean: p,
            // At either end the formula gives the end itself, but for rounding.
            low: if successes == 0.0 { 0.0 } else { middle - half },
            high: if successes == n { 1.0 } else { middle + half },
            count: trials,
        })
    }

    /// The mean of values in `[0, 1]` that come in clusters of equal size, by the clusters' means; `count` is the
    /// number of clusters.
    ///
    /// Answers to one problem are alike, so only whole problems are independent observations. With clusters of
    /// equal size the cluster-robust standard error is that of the clusters' means, `s / √n`, with Student's t of
    /// `n − 1` degrees: [`of`](Self::of) on these means. It covers the choice of problems and the sampling of
    /// answers alike. Where all means are equal, `s = 0` would claim certainty: then it is
    /// [`of_proportion`](Self::of_proportion) with one trial a cluster, which is wide, as if all answers to a problem
    /// were one. It ends at 0 and at 1. `None` for fewer than two clusters.
    #[must_use]
    pub fn of_cluster_means(means: &[f64]) -> Option<Self> {
        let (first, rest) = means.split_first()?;
        if rest.is_empty() {
            None
        } else if rest.iter().all(|mean| mean == first) {
            Self::of_proportion(first * means.len() as f64, means.len())
        } else {
            // No mean of values in [0, 1] lies outside.
            Self::of(means).map(|interval| Self {
                low: interval.low.max(0.0),
                high: interval.high.min(1.0),
                ..interval
            })
        }
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

/// The 0.975 quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 0.975 quantile of Student's t with `degrees` of freedom, by bisection: it is between that of one degree and the
/// normal one.
fn student_t_975(degrees: usize) -> f64 {
    if degrees == 0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (Z, 12.8);
    // Halved until the ends are neighbours.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if student_t_within(middle, degrees) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The probability that Student's t lies within ±`t`, a finite sum for whole degrees of freedom (Abramowitz and Stegun,
/// 26.7.3 and 26.7.4).
fn student_t_within(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = degrees % 2 == 1;
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = 0.0;
    for k in 1..=degrees / 2 {
        sum += term;
        let below = (if odd { 2 * k } else { 2 * k - 1 }) as f64;
        term *= cosine * cosine * below / (below + 1.0);
    }
    if odd {
        (angle + sine * sum) * std::f64::consts::FRAC_2_PI
    } else {
        sine * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_tables() {
        // As scipy 1.17.1 has them: scipy.stats.t.ppf(0.975, degrees).
        for (degrees, expected) in [
            (1, 12.706_204_736_174_694),
            (2, 4.302_652_729_749_462),
            (3, 3.182_446_305_283_707_8),
            (4, 2.776_445_105_197_793_4),
            (5, 2.570_581_835_636_314_6),
            (10, 2.228_138_851_986_274),
            (63, 1.998_340_542_520_741),
            (499, 1.964_729_390_987_688_6),
        ] {
            let found = student_t_975(degrees);
            assert!(
                (found / expected - 1.0_f64).abs() < 1e-9,
                "{degrees}: {found}"
            );
        }
    }

    #[test]
    fn an_interval_is_the_textbook_one() {
        // Half width 2.7764 / √5 · s with s² = 2.5.
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("five values");
        assert_eq!(interval.mean, 3.0);
        assert!((interval.high - 4.963_243).abs() < 1e-6, "{interval:?}");
    }

    #[test]
    fn wilson_is_the_textbook_one() {
        // 8 of 10: (0.4902, 0.9433), as statsmodels' proportion_confint(8, 10, method="wilson") has it.
        let interval = Interval::of_proportion(8.0, 10).expect("ten trials");
        assert!((interval.low - 0.490_162).abs() < 1e-5, "{interval:?}");
        assert!((interval.high - 0.943_318).abs() < 1e-5, "{interval:?}");
        let none = Interval::of_proportion(0.0, 30).expect("thirty trials");
        assert!(
            none.low == 0.0 && none.high > 0.1 && none.high < 0.12,
            "{none:?}"
        );
        assert!(Interval::of_proportion(0.0, 0).is_none());
    }

    #[test]
    fn clusters_count_once() {
        let means = [0.25, 0.75, 0.5, 0.5, 0.25];
        assert_eq!(Interval::of_cluster_means(&means), Interval::of(&means));
        let cut = Interval::of_cluster_means(&[0.25, 0.75, 0.5, 0.0]).expect("four clusters");
        assert!(cut.low == 0.0 && cut.high < 1.0, "{cut:?}");
        let alike = Interval::of_cluster_means(&[1.0; 4]).expect("four clusters");
        assert!(alike.low < 0.6 && alike.high == 1.0, "{alike:?}");
        assert!(Interval::of_cluster_means(&[1.0]).is_none());
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
