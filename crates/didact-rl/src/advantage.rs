//! Advantages: how much better a sample was than its group.
//!
//! Owns the placing of refused samples, the centring on the group's mean and the scaling. Knows no loss and
//! no model: rewards in, advantages out, in f64.

use didact_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Added to a standard deviation before dividing by it, as TRL and the published RLT implementation do.
pub const EPSILON: f64 = 1e-4;

/// What the centred rewards are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageScale {
    /// The group's standard deviation (GRPO, arXiv 2402.03300; the published RLT run).
    #[default]
    Group,
    /// The standard deviation of all rewards of the step.
    Batch,
    /// Nothing (Dr. GRPO, arXiv 2503.20783).
    None,
}

/// How several rewards of one sample become one advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardMixing {
    /// The rewards are weighted and added, then centred and scaled.
    #[default]
    SumThenNormalise,
    /// Each reward is centred and scaled by its group, the results are weighted and added, and the sum is
    /// centred and scaled over the batch (GDPO, arXiv 2601.05242; `normalize_then_sum` in TRL). A reward
    /// of small spread then counts as much as its weight says. [`AdvantageConfig::scale`] is not read.
    NormaliseThenSum,
}

/// How advantages are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdvantageConfig {
    /// What the centred rewards are divided by. Default: the group's standard deviation.
    pub scale: AdvantageScale,
    /// How far below its group's worst reward a refused sample is placed; finite and above 0. Default: 1.
    pub refused_margin: f64,
}

impl Default for AdvantageConfig {
    fn default() -> Self {
        Self {
            scale: AdvantageScale::Group,
            refused_margin: 1.0,
        }
    }
}

impl AdvantageConfig {
    /// Checks the options, so that a run is refused before its first step.
    ///
    /// # Errors
    /// A margin that is not finite and above 0.
    pub fn validate(&self) -> Result<()> {
        let margin = self.refused_margin;
        if margin > 0.0 && margin.is_finite() {
            return Ok(());
        }
        Err(Error::InvalidRequest {
            what: "`refused_margin` of the advantages".to_owned(),
            problem: format!("{margin} is not finite and above 0"),
        })
    }
}

/// The advantages of a step's groups: `A = (r − mean_g) / (std + 1e-4)`.
///
/// `std` is that of the group or of the batch with Bessel's correction (divisor `n − 1`; 0 for a single
/// sample), or the divisor is 1, as [`AdvantageScale`] says.
///
/// A refused sample (`None`) has no reward. It is placed at `min(rewards of its group) − refused_margin`, so
/// that it is always the group's worst, and then counts like any other. A group in which every sample was
/// refused teaches nothing: its advantages are 0, and it is left out of the batch's standard deviation.
///
/// # Errors
/// A reward that is not finite, with its group and sample; a margin that is not finite and above 0.
pub fn advantages(rewards: &[Vec<Option<f64>>], config: &AdvantageConfig) -> Result<Vec<Vec<f64>>> {
    config.validate()?;
    let placed = place_refused(rewards, config.refused_margin)?;
    let all = flatten(&placed);
    let batch_deviation = deviation(&all);
    Ok(each_group(&placed, rewards, |group| match config.scale {
        AdvantageScale::Group => scaled(group, mean(group), deviation(group)),
        AdvantageScale::Batch => scaled(group, mean(group), batch_deviation),
        AdvantageScale::None => {
            let centre = mean(group);
            group.iter().map(|r| r - centre).collect()
        }
    }))
}

/// The advantages of a step's groups under several rewards, `rewards[function][group][sample]`.
///
/// A sample that one of the rewards refused is refused. See [`RewardMixing`] for the two orders.
///
/// # Errors
/// As [`advantages`]; not one finite weight a reward; rewards whose groups or samples do not match.
pub fn advantages_of_several(
    rewards: &[Vec<Vec<Option<f64>>>],
    weights: &[f64],
    mixing: RewardMixing,
    config: &AdvantageConfig,
) -> Result<Vec<Vec<f64>>> {
    match mixing {
        RewardMixing::SumThenNormalise => advantages(&weighted_sum(rewards, weights)?, config),
        RewardMixing::NormaliseThenSum => {
            // A refused sample is placed below its group in each reward; a negative weight would lift it above.
            if let Some(weight) = weights.iter().find(|&&weight| weight < 0.0) {
                return Err(Error::InvalidRequest {
                    what: "rewards that are normalised before they are summed".to_owned(),
                    problem: format!(
                        "a weight is {weight}, but must be 0 or above; negate the reward instead"
                    ),
                });
            }
            // Also checks the shapes, and says which samples are refused by any reward.
            let summed = weighted_sum(rewards, weights)?;
            let by_group = AdvantageConfig {
                scale: AdvantageScale::Group,
                ..*config
            };
            let mut mixed: Vec<Vec<f64>> = summed.iter().map(|g| vec![0.0; g.len()]).collect();
            for (function, &weight) in rewards.iter().zip(weights) {
                let kept = keep_where_scored(function, &summed);
                for (group, found) in mixed.iter_mut().zip(advantages(&kept, &by_group)?) {
                    for (sum, advantage) in group.iter_mut().zip(found) {
                        *sum += weight * advantage;
                    }
                }
            }
            let placed: Vec<Option<Vec<f64>>> = mixed
                .into_iter()
                .zip(&summed)
                .map(|(group, scores)| scores.iter().any(Option::is_some).then_some(group))
                .collect();
            let all = flatten(&placed);
            let (centre, spread) = (mean(&all), deviation(&all));
            Ok(each_group(&placed, &summed, |group| {
                scaled(group, centre, spread)
            }))
        }
    }
}

/// `Σ_f weight_f · reward_f` of every sample, `rewards[function][group][sample]`; `None` where one of the
/// rewards refused the sample.
///
/// # Errors
/// Not one finite weight a reward; rewards whose groups or samples do not match.
pub fn weighted_sum(
    rewards: &[Vec<Vec<Option<f64>>>],
    weights: &[f64],
) -> Result<Vec<Vec<Option<f64>>>> {
    let invalid = |problem: String| Error::InvalidRequest {
        what: "sum of several rewards".to_owned(),
        problem,
    };
    let Some(first) = rewards.first() else {
        return Err(invalid("there is no reward; give at least one".to_owned()));
    };
    if weights.len() != rewards.len() {
        let (weights, rewards) = (weights.len(), rewards.len());
        return Err(invalid(format!(
            "{weights} weights for {rewards} rewards; give one each"
        )));
    }
    if let Some(weight) = weights.iter().find(|w| !w.is_finite()) {
        return Err(invalid(format!("a weight is {weight}, but must be finite")));
    }
    let sizes =
        |function: &[Vec<Option<f64>>]| -> Vec<usize> { function.iter().map(Vec::len).collect() };
    let mut sums: Vec<Vec<Option<f64>>> = first.iter().map(|g| vec![Some(0.0); g.len()]).collect();
    for (index, (function, &weight)) in rewards.iter().zip(weights).enumerate() {
        if sizes(function) != sizes(first) {
            return Err(invalid(format!(
                "reward {index} scored groups of {:?} samples, reward 0 groups of {:?}",
                sizes(function),
                sizes(first)
            )));
        }
        for (sums, group) in sums.iter_mut().zip(function) {
            for (sum, reward) in sums.iter_mut().zip(group) {
                *sum = sum.zip(*reward).map(|(sum, reward)| sum + weight * reward);
            }
        }
    }
    Ok(sums)
}

/// Every group with its refused samples placed; `None` for a group without any reward.
fn place_refused(rewards: &[Vec<Option<f64>>], margin: f64) -> Result<Vec<Option<Vec<f64>>>> {
    let place = |(index, group): (usize, &Vec<Option<f64>>)| {
        for (sample, reward) in group.iter().enumerate() {
            if let Some(value) = reward.filter(|r| !r.is_finite()) {
                let what = format!("the reward of sample {sample} of group {index}");
                return Err(Error::NonFinite { what, value });
            }
        }
        let worst = group.iter().flatten().copied().reduce(f64::min);
        Ok(worst.map(|worst| group.iter().map(|r| r.unwrap_or(worst - margin)).collect()))
    };
    rewards.iter().enumerate().map(place).collect()
}

/// `function` without the samples that `summed` has no value for.
fn keep_where_scored(
    function: &[Vec<Option<f64>>],
    summed: &[Vec<Option<f64>>],
) -> Vec<Vec<Option<f64>>> {
    let keep = |(group, sums): (&Vec<Option<f64>>, &Vec<Option<f64>>)| {
        group
            .iter()
            .zip(sums)
            .map(|(reward, sum)| sum.and(*reward))
            .collect()
    };
    function.iter().zip(summed).map(keep).collect()
}

/// The advantages of every group: zeros for one without any reward.
fn each_group(
    placed: &[Option<Vec<f64>>],
    rewards: &[Vec<Option<f64>>],
    advantages: impl Fn(&[f64]) -> Vec<f64>,
) -> Vec<Vec<f64>> {
    let groups = placed.iter().zip(rewards);
    groups
        .map(|(group, samples)| match group {
            Some(group) => advantages(group),
            None => vec![0.0; samples.len()],
        })
        .collect()
}

fn flatten(placed: &[Option<Vec<f64>>]) -> Vec<f64> {
    placed.iter().flatten().flatten().copied().collect()
}

fn scaled(values: &[f64], centre: f64, spread: f64) -> Vec<f64> {
    values
        .iter()
        .map(|value| (value - centre) / (spread + EPSILON))
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation with Bessel's correction; 0 for fewer than two values.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let centre = mean(values);
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scored(groups: &[&[f64]]) -> Vec<Vec<Option<f64>>> {
        groups
            .iter()
            .map(|group| group.iter().copied().map(Some).collect())
            .collect()
    }

    fn with_scale(scale: AdvantageScale) -> AdvantageConfig {
        AdvantageConfig {
            scale,
            ..AdvantageConfig::default()
        }
    }

    #[test]
    fn the_three_scales_by_hand() {
        let rewards = scored(&[&[1.0, 3.0], &[0.0, 4.0]]);
        let found = |scale| advantages(&rewards, &with_scale(scale)).unwrap();
        let by_two = 2.0_f64.sqrt() + EPSILON;
        let by_eight = 8.0_f64.sqrt() + EPSILON;
        // Variance of 1, 3, 0, 4 around 2 with divisor 3.
        let batch = (10.0_f64 / 3.0).sqrt() + EPSILON;
        let close = |found: Vec<Vec<f64>>, expected: [[f64; 2]; 2]| {
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{found} is not {expected}"
                );
            }
        };
        close(
            found(AdvantageScale::Group),
            [
                [-1.0 / by_two, 1.0 / by_two],
                [-2.0 / by_eight, 2.0 / by_eight],
            ],
        );
        close(
            found(AdvantageScale::Batch),
            [[-1.0 / batch, 1.0 / batch], [-2.0 / batch, 2.0 / batch]],
        );
        close(found(AdvantageScale::None), [[-1.0, 1.0], [-2.0, 2.0]]);
    }

    #[test]
    fn a_refused_sample_is_its_groups_worst() {
        let rewards = vec![vec![Some(-3.0), None, Some(-2.0)]];
        let config = AdvantageConfig {
            scale: AdvantageScale::None,
            refused_margin: 0.5,
        };
        let found = advantages(&rewards, &config).unwrap();
        let mean = (-3.0 - 3.5 - 2.0) / 3.0;
        for (found, placed) in found[0].iter().zip([-3.0, -3.5, -2.0]) {
            assert!((found - (placed - mean)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_group_refused_as_a_whole_teaches_nothing() {
        let rewards = vec![vec![None, None], vec![Some(1.0), Some(3.0)]];
        let alone = advantages(&rewards[1..], &with_scale(AdvantageScale::Batch)).unwrap();
        let found = advantages(&rewards, &with_scale(AdvantageScale::Batch)).unwrap();
        assert_eq!(found, [vec![0.0, 0.0], alone[0].clone()]);
    }

    #[test]
    fn one_sample_has_no_advantage() {
        for scale in [
            AdvantageScale::Group,
            AdvantageScale::Batch,
            AdvantageScale::None,
        ] {
            assert_eq!(
                advantages(&scored(&[&[7.0]]), &with_scale(scale)).unwrap(),
                [[0.0]]
            );
        }
    }

    #[test]
    fn a_sample_that_one_reward_refused_is_refused() {
        let rewards = [
            vec![vec![Some(1.0), Some(2.0)]],
            vec![vec![Some(4.0), None]],
        ];
        assert_eq!(
            weighted_sum(&rewards, &[1.0, 0.5]).unwrap(),
            [[Some(3.0), None]]
        );
        for mixing in [
            RewardMixing::SumThenNormalise,
            RewardMixing::NormaliseThenSum,
        ] {
            let config = AdvantageConfig::default();
            let found = advantages_of_several(&rewards, &[1.0, 0.5], mixing, &config).unwrap();
            assert!(found[0][1] < found[0][0], "{mixing:?}: {found:?}");
        }
    }

    #[test]
    fn bad_input_is_named() {
        let config = AdvantageConfig::default();
        let error = advantages(&scored(&[&[0.0], &[1.0, f64::NAN]]), &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the reward of sample 1 of group 1 is NaN"
        );
        let none = AdvantageConfig {
            refused_margin: 0.0,
            ..config
        };
        assert!(advantages(&scored(&[&[0.0]]), &none).is_err());
        let two = [scored(&[&[0.0, 1.0]]), scored(&[&[0.0]])];
        assert!(weighted_sum(&two, &[1.0, 1.0]).is_err());
        assert!(weighted_sum(&two[..1], &[1.0, 1.0]).is_err());
        assert!(weighted_sum(&[], &[]).is_err());
    }

    fn groups() -> impl Strategy<Value = Vec<Vec<f64>>> {
        prop::collection::vec(prop::collection::vec(-10.0f64..10.0, 1..8), 1..5)
    }

    proptest! {
        #[test]
        fn a_groups_advantages_sum_to_zero(groups in groups(), shift in -100.0f64..100.0) {
            for scale in [AdvantageScale::Group, AdvantageScale::Batch, AdvantageScale::None] {
                let rewards: Vec<Vec<Option<f64>>> =
                    groups.iter().map(|g| g.iter().copied().map(Some).collect()).collect();
                let found = advantages(&rewards, &with_scale(scale)).unwrap();
                for group in &found {
                    prop_assert!(group.iter().sum::<f64>().abs() < 1e-6);
                }
                let shifted: Vec<Vec<Option<f64>>> = rewards
                    .iter()
                    .map(|g| g.iter().map(|r| r.map(|r| r + shift)).collect())
                    .collect();
                let other = advantages(&shifted, &with_scale(scale)).unwrap();
                for (a, b) in found.iter().flatten().zip(other.iter().flatten()) {
                    prop_assert!((a - b).abs() < 1e-6, "{scale:?}: {a} then {b}");
                }
            }
        }

        #[test]
        fn a_better_reward_has_a_better_advantage(group in prop::collection::vec(-10.0f64..10.0, 2..8)) {
            let rewards = vec![group.iter().copied().map(Some).collect()];
            let found = &advantages(&rewards, &AdvantageConfig::default()).unwrap()[0];
            for i in 1..group.len() {
                let same_order = (group[i] - group[0]) * (found[i] - found[0]) >= 0.0;
                prop_assert!(same_order);
            }
        }
    }
}
