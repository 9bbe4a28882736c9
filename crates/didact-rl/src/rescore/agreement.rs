//! What two rewards of the same samples have in common.
//!
//! Knows numbers only.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Rescored;

/// How a new reward orders samples, compared with the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreement {
    /// Samples that both rewards have a value of.
    pub samples: usize,
    /// Samples that only the new one refuses.
    pub newly_refused: usize,
    /// Samples that only the recorded one refused.
    pub newly_rewarded: usize,
    /// The largest distance of the two rewards.
    pub largest_difference: f64,
    /// Spearman's rank correlation over all samples; `None` where either is constant.
    pub rank_correlation: Option<f64>,
    /// The mean of the rank correlations within groups, which is what group-relative advantages see; over the
    /// groups that have one.
    pub group_rank_correlation: Option<f64>,
    /// The share of groups whose best sample is another one.
    pub other_best: f64,
}

impl Agreement {
    /// Compares the two rewards of `samples`.
    #[must_use]
    pub fn of(samples: &[Rescored]) -> Self {
        let mut groups: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        let (mut newly_refused, mut newly_rewarded) = (0, 0);
        for sample in samples {
            match (sample.recorded, sample.outcome.reward()) {
                (Some(old), Some(new)) => {
                    let kind = format!("{:?}", sample.kind);
                    let key = (&sample.stage, kind, sample.step, sample.group);
                    groups.entry(key).or_default().push((old, new));
                }
                (Some(_), None) => newly_refused += 1,
                (None, Some(_)) => newly_rewarded += 1,
                (None, None) => {}
            }
        }
        let correlation = |pairs: &[(f64, f64)]| {
            let (old, new): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            rank_correlation(&old, &new)
        };
        let all: Vec<(f64, f64)> = groups.values().flatten().copied().collect();
        let within: Vec<f64> = groups.values().filter_map(|g| correlation(g)).collect();
        let other = groups.values().filter(|g| other_best(g)).count();
        let mean = within.iter().sum::<f64>() / within.len() as f64;
        Self {
            samples: all.len(),
            newly_refused,
            newly_rewarded,
            largest_difference: all.iter().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max),
            rank_correlation: correlation(&all),
            group_rank_correlation: (!within.is_empty()).then_some(mean),
            other_best: other as f64 / groups.len().max(1) as f64,
        }
    }
}

/// Whether no sample is the best of the group by both rewards.
fn other_best(group: &[(f64, f64)]) -> bool {
    let best =
        |value: fn(&(f64, f64)) -> f64| group.iter().map(value).fold(f64::NEG_INFINITY, f64::max);
    let (old, new) = (best(|g| g.0), best(|g| g.1));
    !group.iter().any(|&(a, b)| a == old && b == new)
}

/// Spearman's rank correlation `ρ`: Pearson's correlation of the ranks, equal values sharing their mean rank.
///
/// `None` for fewer than two pairs, and where one list is constant.
#[must_use]
pub fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    let centre = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        let pairs = x.iter().zip(y);
        pairs.map(|(x, y)| (x - centre) * (y - centre)).sum()
    };
    let (spread_a, spread_b) = (product(&a, &a), product(&b, &b));
    (spread_a > 0.0 && spread_b > 0.0).then(|| product(&a, &b) / (spread_a * spread_b).sqrt())
}

/// The rank of each value from 0.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let tied = order[start..]
            .iter()
            .take_while(|&&i| values[i] == values[order[start]])
            .count()
            .max(1);
        let rank = start as f64 + (tied - 1) as f64 / 2.0;
        for &place in &order[start..start + tied] {
            ranks[place] = rank;
        }
        start += tied;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranks_by_hand() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.5]), [2.5, 1.0, 2.5, 0.0]);
        // scipy.stats.spearmanr([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]).
        let found = rank_correlation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]);
        assert!((found.unwrap() - 0.820_782_681_668_123_3).abs() < 1e-12);
        assert_eq!(rank_correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(rank_correlation(&[1.0], &[1.0]), None);
    }

    #[test]
    fn the_best_may_be_one_of_several() {
        assert!(!other_best(&[(1.0, 2.0), (1.0, 3.0)]));
        assert!(other_best(&[(1.0, 3.0), (2.0, 2.0)]));
    }

    proptest! {
        #[test]
        fn any_rising_function_keeps_the_order(values in proptest::collection::vec(-5i32..5, 2..20)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let risen: Vec<f64> = values.iter().map(|v| v.exp() + 3.0 * v).collect();
            let fallen: Vec<f64> = values.iter().map(|v| -v).collect();
            if let Some(found) = rank_correlation(&values, &risen) {
                prop_assert!((found - 1.0).abs() < 1e-12);
                prop_assert!((rank_correlation(&values, &fallen).unwrap() + 1.0).abs() < 1e-12);
            }
        }
    }
}
