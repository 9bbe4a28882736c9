//! AdamW: its constants and its update of one parameter.
//!
//! Owns what a step's numbers are. Knows neither model nor paths. The update itself is `didact-kernels`': one pass over
//! parameter, gradient and both moments; [`reference_update`] is the same in plain tensor operations.

use burn::tensor::Tensor;
use didact_kernels::AdamWStep;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which parameters the weight decay shrinks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayedParameters {
    /// Matrices only: neither norm weights nor biases, as transformers does.
    #[default]
    Matrices,
    /// Every parameter.
    All,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019).
///
/// At step `t` (from 1), with learning rate `η` and gradient `g`:
///
/// ```text
/// θ ← θ − η·λ·θ
/// m ← β₁·m + (1−β₁)·g          v ← β₂·v + (1−β₂)·g²
/// θ ← θ − η · (m / (1−β₁ᵗ)) / (√(v / (1−β₂ᵗ)) + ε)
/// ```
///
/// Parameters, gradients and moments are f32 (8 bytes of state a parameter); the bias corrections are f64.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the first moment per step, in `[0, 1)`. Default 0.9.
    pub beta1: f64,
    /// Decay of the second moment per step, in `[0, 1)`. Default 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment, above 0. Default 1e-8.
    pub epsilon: f64,
    /// Fraction of a parameter, times the learning rate, that each step takes off. Default 0.
    pub weight_decay: f64,
    /// Which parameters `weight_decay` applies to. Default `matrices`.
    pub decayed: DecayedParameters,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decayed: DecayedParameters::Matrices,
        }
    }
}

impl AdamWConfig {
    /// Checks the ranges; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn validate(&self, key: &str) -> Result<()> {
        let refuse = |name: &str, problem: String| {
            Err(Error::Configuration {
                key: format!("{key}.{name}"),
                problem,
            })
        };
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            // The state is f32, in which a beta just below 1 would be 1 and its moment stay 0.
            if !(0.0..1.0).contains(&beta) || beta as f32 >= 1.0 {
                return refuse(name, format!("{beta} is not in [0, 1) in single precision"));
            }
        }
        // A smaller one would be 0 in f32, and an entry that never had a gradient 0 / 0.
        if !(self.epsilon >= f64::from(f32::MIN_POSITIVE) && self.epsilon.is_finite()) {
            return refuse(
                "epsilon",
                format!("{} is too close to 0 for single precision", self.epsilon),
            );
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse(
                "weight_decay",
                format!("{} is not 0 or above", self.weight_decay),
            );
        }
        Ok(())
    }
}

/// One step, and which parameters it shrinks.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdamWUpdate {
    step: AdamWStep,
    decayed: DecayedParameters,
}

impl AdamWUpdate {
    /// Step `step`, from 1.
    pub(super) fn new(config: &AdamWConfig, step: u64, learning_rate: f64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            step: AdamWStep {
                beta1: config.beta1 as f32,
                beta2: config.beta2 as f32,
                // The difference is taken before it is rounded: in f32, 1 − 0.999 is off by 1e-5 of itself.
                rest1: (1.0 - config.beta1) as f32,
                rest2: (1.0 - config.beta2) as f32,
                keep: (1.0 - learning_rate * config.weight_decay) as f32,
                step_size: (learning_rate / correction(config.beta1)) as f32,
                root_correction: (1.0 / correction(config.beta2).sqrt()) as f32,
                epsilon: config.epsilon as f32,
            },
            decayed: config.decayed,
        }
    }

    /// For a parameter of rank `rank`.
    pub(super) fn of_rank(self, rank: usize) -> AdamWStep {
        if self.decayed == DecayedParameters::All || rank > 1 {
            self.step
        } else {
            AdamWStep {
                keep: 1.0,
                ..self.step
            }
        }
    }
}

/// The update of one parameter in plain tensor operations: parameter, first and second moment after step
/// `step` (from 1). It decays the parameter whatever `config.decayed` says.
#[must_use]
pub fn reference_update<const D: usize>(
    config: &AdamWConfig,
    step: u64,
    learning_rate: f64,
    [parameter, gradient, first, second]: [Tensor<D>; 4],
) -> [Tensor<D>; 3] {
    let first = first * config.beta1 + gradient.clone() * (1.0 - config.beta1);
    let second = second * config.beta2 + gradient.clone() * gradient * (1.0 - config.beta2);
    let corrected_first = first.clone() / (1.0 - config.beta1.powf(step as f64));
    let corrected_second = second.clone() / (1.0 - config.beta2.powf(step as f64));
    let parameter = parameter * (1.0 - learning_rate * config.weight_decay)
        - corrected_first / (corrected_second.sqrt() + config.epsilon) * learning_rate;
    [parameter, first, second]
}
