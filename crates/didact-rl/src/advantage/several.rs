//! Several rewards of one sample.
//!
//! Owns the two orders of summing and normalising. Knows no loss.

use didact_core::Error;
use serde::{Deserialize, Serialize};

use super::normalise::{deviation, each_group, flatten, mean, scaled};
use super::{AdvantageConfig, AdvantageScale, Baseline, advantages};
use crate::Result;

/// How several rewards of one sample become one advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardMixing {
    /// The rewards are weighted and added, then centred and scaled.
    #[default]
    SumThenNormalise,
    /// Each reward is centred and scaled by its group, the results are weighted and added, and the sum is
    /// centred and scaled over the batch (GDPO, arXiv 2601.05242; `normalize_then_sum` in TRL). A reward
    /// of small spread then counts as much as its weight says. [`AdvantageConfig`]'s baseline
    /// and scale are not read.
    NormaliseThenSum,
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
                }
                .into());
            }
            // Also checks the shapes, and says which samples are refused by any reward.
            let summed = weighted_sum(rewards, weights)?;
            let by_group = AdvantageConfig {
                baseline: Baseline::Group,
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
        return Err(invalid("there is no reward; give at least one".to_owned()).into());
    };
    if weights.len() != rewards.len() {
        let (weights, rewards) = (weights.len(), rewards.len());
        return Err(invalid(format!(
            "{weights} weights for {rewards} rewards; give one each"
        ))
        .into());
    }
    if let Some(weight) = weights.iter().find(|w| !w.is_finite()) {
        return Err(invalid(format!("a weight is {weight}, but must be finite")).into());
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
            ))
            .into());
        }
        for (sums, group) in sums.iter_mut().zip(function) {
            for (sum, reward) in sums.iter_mut().zip(group) {
                *sum = sum.zip(*reward).map(|(sum, reward)| sum + weight * reward);
            }
        }
    }
    Ok(sums)
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
