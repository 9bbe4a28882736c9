//! Baseline and divisor of every group.
//!
//! Owns the arithmetic that all kinds of advantages share. Knows no token.

use didact_core::Error;

use super::{AdvantageConfig, AdvantageScale, Baseline, EPSILON};
use crate::Result;

/// The advantages of a step, with what they were divided by.
pub(super) struct Normalised {
    /// By group.
    pub(super) advantages: Vec<Vec<f64>>,
    /// One a group; `None` where the deviation is at most [`EPSILON`], so that the quotient is no longer a
    /// number of deviations.
    pub(super) divisors: Vec<Option<f64>>,
}

pub(super) fn normalise(
    rewards: &[Vec<Option<f64>>],
    config: &AdvantageConfig,
) -> Result<Normalised> {
    config.validate()?;
    let placed = place_refused(rewards, config.refused_margin)?;
    let centred: Vec<Option<Vec<f64>>> = placed
        .iter()
        .map(|group| group.as_ref().map(|group| centre(group, config.baseline)))
        .collect();
    let (shift, step) = match config.scale {
        AdvantageScale::Group | AdvantageScale::None => (0.0, 0.0),
        AdvantageScale::Batch => (0.0, deviation(&flatten(&placed))),
        AdvantageScale::Whitened => {
            let all = flatten(&centred);
            (mean(&all), deviation(&all))
        }
    };
    let spreads: Vec<Option<f64>> = placed
        .iter()
        .map(|group| match config.scale {
            AdvantageScale::Group => group.as_deref().map(deviation),
            AdvantageScale::Batch | AdvantageScale::Whitened => Some(step),
            AdvantageScale::None => None,
        })
        .collect();
    let scale = |centred: &[f64], spread: Option<f64>| match spread {
        Some(spread) => scaled(centred, shift, spread),
        None => centred.to_vec(),
    };
    let groups = centred.iter().zip(&spreads).zip(rewards);
    let advantages = groups
        .map(|((group, spread), samples)| match group {
            Some(group) => scale(group, *spread),
            None => vec![0.0; samples.len()],
        })
        .collect();
    let divisor = |spread: &Option<f64>| match spread {
        Some(spread) => (*spread > EPSILON).then_some(spread + EPSILON),
        None if config.scale == AdvantageScale::None => Some(1.0),
        None => None,
    };
    Ok(Normalised {
        advantages,
        divisors: spreads.iter().map(divisor).collect(),
    })
}

/// The values less their baseline.
pub(super) fn centre(values: &[f64], baseline: Baseline) -> Vec<f64> {
    match baseline {
        Baseline::Group => {
            let centre = mean(values);
            values.iter().map(|value| value - centre).collect()
        }
        Baseline::LeaveOneOut => {
            let (sum, others) = (values.iter().sum::<f64>(), values.len() - 1);
            let of_others = |value: f64| (sum - value) / others as f64;
            let centred = |&value: &f64| {
                if others == 0 {
                    0.0
                } else {
                    value - of_others(value)
                }
            };
            values.iter().map(centred).collect()
        }
        Baseline::None => values.to_vec(),
    }
}

/// Every group with its refused samples placed; `None` for a group without any reward.
fn place_refused(rewards: &[Vec<Option<f64>>], margin: f64) -> Result<Vec<Option<Vec<f64>>>> {
    let place = |(index, group): (usize, &Vec<Option<f64>>)| {
        for (sample, reward) in group.iter().enumerate() {
            if let Some(value) = reward.filter(|r| !r.is_finite()) {
                let what = format!("the reward of sample {sample} of group {index}");
                return Err(Error::NonFinite { what, value }.into());
            }
        }
        let worst = group.iter().flatten().copied().reduce(f64::min);
        Ok(worst.map(|worst| group.iter().map(|r| r.unwrap_or(worst - margin)).collect()))
    };
    rewards.iter().enumerate().map(place).collect()
}

/// The advantages of every group: zeros for one without any reward.
pub(super) fn each_group(
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

pub(super) fn flatten(placed: &[Option<Vec<f64>>]) -> Vec<f64> {
    placed.iter().flatten().flatten().copied().collect()
}

pub(super) fn scaled(values: &[f64], centre: f64, spread: f64) -> Vec<f64> {
    values
        .iter()
        .map(|value| (value - centre) / (spread + EPSILON))
        .collect()
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation with Bessel's correction; 0 for fewer than two values.
pub(super) fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let centre = mean(values);
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}
