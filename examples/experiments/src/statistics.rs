//! How two columns of figures go together.
//!
//! Knows numbers only.

use didact::core::StreamKey;

/// Pearson's correlation, `Σ(x−x̄)(y−ȳ) / √(Σ(x−x̄)² Σ(y−ȳ)²)`; 0 where a column does not vary.
pub fn pearson(pairs: &[(f64, f64)]) -> f64 {
    let count = pairs.len() as f64;
    let (x, y) = pairs
        .iter()
        .fold((0.0, 0.0), |(x, y), pair| (x + pair.0, y + pair.1));
    let (x, y) = (x / count, y / count);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        xy += (a - x) * (b - y);
        xx += (a - x).powi(2);
        yy += (b - y).powi(2);
    }
    if xx * yy > 0.0 {
        xy / (xx * yy).sqrt()
    } else {
        0.0
    }
}

/// Spearman's: Pearson's of the ranks, equal values sharing the mean of theirs.
pub fn spearman(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |values: Vec<f64>| -> Vec<f64> {
        let rank = |value: &f64| {
            let below = values.iter().filter(|v| *v < value).count() as f64;
            let equal = values.iter().filter(|v| *v == value).count() as f64;
            below + (equal + 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    };
    let x = ranks(pairs.iter().map(|pair| pair.0).collect());
    let y = ranks(pairs.iter().map(|pair| pair.1).collect());
    pearson(&x.into_iter().zip(y).collect::<Vec<_>>())
}

/// The 95 % interval of a correlation over groups of pairs by the bootstrap (B. Efron, 1979): whole groups are drawn
/// again, `draws` times, and the interval is from the quantile 0.025 to 0.975.
pub fn bootstrap(
    groups: &[Vec<(f64, f64)>],
    correlation: fn(&[(f64, f64)]) -> f64,
    draws: u64,
) -> (f64, f64) {
    let mut found: Vec<f64> = (0..draws)
        .map(|index| {
            let stream = StreamKey {
                run_seed: 0,
                step: 0,
                problem: index,
                sample: 0,
            }
            .stream();
            let drawn: Vec<(f64, f64)> = (0..groups.len())
                .flat_map(|place| {
                    groups[stream.below(place as u64, groups.len())]
                        .iter()
                        .copied()
                })
                .collect();
            correlation(&drawn)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |quantile: f64| found[((found.len() - 1) as f64 * quantile).round() as usize];
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_are_the_textbook_ones() {
        // By hand: 12 / √(5 · 38); 1 − 6 · 2 / (4 · 15).
        let pairs = [(1.0, 2.0), (2.0, 1.0), (3.0, 4.0), (4.0, 9.0)];
        assert!((pearson(&pairs) - 12.0 / 190.0_f64.sqrt()).abs() < 1e-12);
        assert!((spearman(&pairs) - 0.8).abs() < 1e-12);
        assert_eq!(spearman(&[(1.0, 1.0), (2.0, 1.0)]), 0.0);
        // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
        let ties = [(1.0, 1.0), (2.0, 2.0), (2.0, 3.0), (3.0, 4.0)];
        assert!((spearman(&ties) - 0.948_683_3).abs() < 1e-6);
    }

    #[test]
    fn groups_that_agree_leave_no_interval() {
        let groups = vec![vec![(1.0, 1.0), (2.0, 2.0)]; 4];
        assert_eq!(bootstrap(&groups, pearson, 100), (1.0, 1.0));
        let other = vec![vec![(1.0, 1.0), (2.0, 2.0)], vec![(1.0, 2.0), (2.0, 1.0)]];
        let (low, high) = bootstrap(&other, pearson, 400);
        assert_eq!((low, high), (-1.0, 1.0));
    }
}
