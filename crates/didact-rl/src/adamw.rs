//! AdamW with f32 state, keyed by tensor path.
//!
//! Owns the moments and the update of one parameter. Knows no loss and no schedule: the caller hands the
//! learning rate of each step. On the CPU the update is one pass over parameter, gradient and both moments
//! without a temporary; [`reference_update`] is the same in plain tensor operations.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use didact_models::{Decoder, ParameterMapper};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::gradients::{CHUNK, Gradients, mutable, read, values};
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

/// The constants of AdamW.
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

/// The moments of one parameter.
#[derive(Debug, Clone)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
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
/// The update is element-wise, so it is the same for any number of threads.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    step: u64,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// An optimizer without state.
    #[must_use]
    pub const fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            step: 0,
            moments: BTreeMap::new(),
        }
    }

    /// The number of updates made.
    #[must_use]
    pub const fn updates(&self) -> u64 {
        self.step
    }

    /// Bytes that the moments take.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.moments
            .values()
            .map(|m| 4 * (m.first.len() + m.second.len()))
            .sum()
    }

    /// Updates every parameter of `decoder` that has a gradient.
    ///
    /// Ids, devices and gradient tracking of the parameters stay. A buffer that nothing else shares is
    /// changed in place; one that a snapshot still shares is copied first.
    ///
    /// # Errors
    /// A gradient whose path or shape belongs to no parameter; a tensor that cannot be read.
    pub fn update(
        &mut self,
        decoder: Decoder,
        gradients: Gradients,
        learning_rate: f64,
    ) -> Result<Decoder> {
        self.step += 1;
        let mut pass = UpdatePass {
            scalars: Scalars::new(&self.config, self.step, learning_rate),
            decayed: self.config.decayed,
            moments: &mut self.moments,
            gradients,
            outcome: Ok(()),
        };
        let decoder = decoder.map_parameters(&mut pass);
        pass.outcome?;
        if let Some(path) = pass.gradients.paths().next() {
            return Err(Error::UnknownTensor {
                path: path.to_owned(),
            });
        }
        Ok(decoder)
    }
}

/// The numbers of one step, the same for every entry.
#[derive(Debug, Clone, Copy)]
struct Scalars {
    beta1: f32,
    beta2: f32,
    keep: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
}

impl Scalars {
    fn new(config: &AdamWConfig, step: u64, learning_rate: f64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            beta1: config.beta1 as f32,
            beta2: config.beta2 as f32,
            keep: (1.0 - learning_rate * config.weight_decay) as f32,
            step_size: (learning_rate / correction(config.beta1)) as f32,
            root_correction: (1.0 / correction(config.beta2).sqrt()) as f32,
            epsilon: config.epsilon as f32,
        }
    }

    /// One pass over four arrays of equal length.
    fn update(self, keep: f32, parameter: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        let Self {
            beta1,
            beta2,
            step_size,
            root_correction,
            epsilon,
            ..
        } = self;
        let (rest1, rest2) = (1.0 - beta1, 1.0 - beta2);
        parameter
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(moments.first.par_chunks_mut(CHUNK))
            .zip(moments.second.par_chunks_mut(CHUNK))
            .for_each(|(((parameter, gradient), first), second)| {
                let entries = parameter.iter_mut().zip(gradient).zip(first).zip(second);
                for (((p, &g), m), v) in entries {
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *p = *p * keep - step_size * *m / (v.sqrt() * root_correction + epsilon);
                }
            });
    }
}

struct UpdatePass<'a> {
    scalars: Scalars,
    decayed: DecayedParameters,
    moments: &'a mut BTreeMap<String, Moments>,
    gradients: Gradients,
    outcome: Result<()>,
}

impl UpdatePass<'_> {
    fn update(&mut self, path: &str, parameter: &mut TensorData) -> Result<()> {
        let Some(gradient) = self.gradients.remove(path) else {
            return Ok(());
        };
        if gradient.shape() != parameter.shape() {
            return Err(Error::MismatchedTensor {
                path: path.to_owned(),
                expected: format!("{:?}", parameter.shape()),
                found: format!("a gradient of {:?}", gradient.shape()),
            });
        }
        let count = parameter.num_elements();
        let moments = self
            .moments
            .entry(path.to_owned())
            .or_insert_with(|| Moments {
                first: vec![0.0; count],
                second: vec![0.0; count],
            });
        let decays = self.decayed == DecayedParameters::All || parameter.rank() > 1;
        let keep = if decays { self.scalars.keep } else { 1.0 };
        self.scalars.update(
            keep,
            mutable(path, parameter)?,
            values(path, &gradient)?,
            moments,
        );
        Ok(())
    }
}

impl ParameterMapper for UpdatePass<'_> {
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.outcome.is_err() || self.gradients.get(path).is_none() {
            return parameter;
        }
        let (id, tensor, mapper) = parameter.consume();
        let (device, dtype, tracked) = (tensor.device(), tensor.dtype(), tensor.is_require_grad());
        let tensor = match read(path, tensor.inner()) {
            Ok(mut data) => {
                self.outcome = self.update(path, &mut data);
                let tensor = Tensor::from_data(data, (&device, dtype));
                if tracked {
                    tensor.require_grad()
                } else {
                    tensor
                }
            }
            // The update as a whole fails: what stands in this parameter no longer matters.
            Err(error) => {
                self.outcome = Err(error);
                Tensor::empty([0; D], &device)
            }
        };
        Param::from_mapped_value(id, tensor, mapper)
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
