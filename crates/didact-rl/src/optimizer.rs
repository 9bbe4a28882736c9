//! Optimizers with f32 state, keyed by tensor path.
//!
//! Owns which rule updates which parameter, the walk over a model's parameters, and the state between updates, which
//! lies in host memory for models on the CPU and under Muon, and on the GPU for AdamW there. Knows no loss and no
//! schedule: the caller hands the learning rate of each update. Every reduction has a fixed order and the rest is
//! element-wise, so an update is the same for any number of threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use didact_kernels::{adamw_in_place, is_cpu};
use didact_models::{Decoder, ParameterMapper};
use serde::{Deserialize, Serialize};

mod adamw;
mod muon;
mod on_device;
mod state;

pub use self::adamw::{AdamWConfig, DecayedParameters, reference_update};
pub use self::muon::{MuonConfig, MuonScale, orthogonalise};
pub use self::state::OptimizerState;

use self::adamw::AdamWUpdate;
use self::muon::MuonStep;
use self::on_device::DeviceSlots;
use self::state::{FIRST_MOMENT, MASTER, MOMENTUM, SECOND_MOMENT, Slots, Trainable, entries, name};
use crate::gradients::{Gradients, mutable, read, shaped, values};
use crate::{Error, Result};

/// Which optimizer, and its constants: in TOML, `optimizer = { kind = "adamw", beta2 = 0.95 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// AdamW for every tensor; the default.
    Adamw(AdamWConfig),
    /// Muon for the matrices of the layers, AdamW for the rest.
    Muon(MuonConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adamw(AdamWConfig::default())
    }
}

impl From<AdamWConfig> for OptimizerConfig {
    fn from(config: AdamWConfig) -> Self {
        Self::Adamw(config)
    }
}

impl From<MuonConfig> for OptimizerConfig {
    fn from(config: MuonConfig) -> Self {
        Self::Muon(config)
    }
}

impl OptimizerConfig {
    /// Checks the ranges; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn validate(&self, key: &str) -> Result<()> {
        match self {
            Self::Adamw(config) => config.validate(key),
            Self::Muon(config) => config.validate(key),
        }
    }

    /// What updates the tensor called `path`.
    fn rule(&self, path: &str, rank: usize) -> Rule {
        match self {
            Self::Muon(_) if MuonConfig::updates(path, rank) => Rule::Muon,
            Self::Adamw(_) | Self::Muon(_) => Rule::Adamw,
        }
    }

    const fn adamw(&self) -> &AdamWConfig {
        match self {
            Self::Adamw(config) => config,
            Self::Muon(config) => &config.adamw,
        }
    }
}

/// How one parameter is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Adamw,
    Muon,
}

/// An optimizer and its state.
///
/// Parameters of half precision have a master copy in f32: updates are added to it, and the weights are its
/// rounding, to the nearest, so that steps too small for the weights' own precision add up.
#[derive(Debug, Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// What lies in host memory.
    state: OptimizerState,
    /// What lies on a GPU, by parameter.
    on_device: BTreeMap<String, DeviceSlots>,
}

impl Optimizer {
    /// An optimizer without state.
    #[must_use]
    pub fn new(config: impl Into<OptimizerConfig>) -> Self {
        Self {
            config: config.into(),
            state: OptimizerState::default(),
            on_device: BTreeMap::new(),
        }
    }

    /// The number of updates made.
    #[must_use]
    pub const fn updates(&self) -> u64 {
        self.state.updates
    }

    /// Bytes that the state takes.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        let on_device: usize = self.on_device.values().map(DeviceSlots::bytes).sum();
        self.state.bytes() + on_device
    }

    /// Updates every parameter of `decoder` that has a gradient.
    ///
    /// Ids, devices, precision and gradient tracking of the parameters stay. A buffer that nothing else shares is
    /// changed in place; one that a snapshot still shares is copied first. Parameters that record no gradient
    /// have no state. The gradients are taken to be finite, as [`Gradients::clip`] checks.
    ///
    /// # Errors
    /// A gradient whose path or shape belongs to no parameter that records gradients: then neither state nor
    /// weights are changed. A tensor that cannot be read: then both are lost.
    pub fn update(
        &mut self,
        decoder: Decoder,
        gradients: Gradients,
        learning_rate: f64,
    ) -> Result<Decoder> {
        check_gradients(&decoder, &gradients)?;
        self.state.updates += 1;
        let mut pass = UpdatePass {
            config: self.config,
            adamw: AdamWUpdate::new(self.config.adamw(), self.state.updates, learning_rate),
            muon: match self.config {
                OptimizerConfig::Muon(config) => Some(MuonStep::new(config, learning_rate)),
                OptimizerConfig::Adamw(_) => None,
            },
            tensors: &mut self.state.tensors,
            on_device: &mut self.on_device,
            gradients,
            outcome: Ok(()),
        };
        let decoder = decoder.map_parameters(&mut pass);
        pass.outcome?;
        Ok(decoder)
    }

    /// The state as it is now. Of a model on the CPU without a copy: the next update copies each tensor that is still
    /// held.
    ///
    /// # Errors
    /// A tensor that cannot be read from its device.
    pub fn state(&self) -> Result<OptimizerState> {
        let read = |(name, held): (String, Held<'_>)| Ok((name, held.read()?));
        Ok(OptimizerState {
            updates: self.updates(),
            tensors: self.held().into_iter().map(read).collect::<Result<_>>()?,
        })
    }

    /// Every tensor of the state by its name, wherever it lies.
    pub(crate) fn held(&self) -> BTreeMap<String, Held<'_>> {
        let on_host = self.state.tensors.iter();
        let on_host = on_host.map(|(name, data)| (name.clone(), Held::OnHost(data)));
        let on_device = self.on_device.iter().flat_map(|(path, slots)| {
            let there = |(slot, tensor)| {
                let held = Held::OnDevice {
                    path,
                    tensor,
                    shape: slots.shape(),
                };
                (name(path, slot), held)
            };
            slots.parts().map(there)
        });
        on_host.chain(on_device).collect()
    }

    /// Goes on from `state`, which an optimizer of the same configuration had for the weights of `decoder`.
    ///
    /// # Errors
    /// [`Error::OptimizerState`] names every tensor that is missing, that belongs to no trained parameter, that
    /// has another shape or a number that is not finite, and every half-precision weight that is not its master
    /// copy rounded. The optimizer is as before then.
    pub fn restore(&mut self, state: OptimizerState, decoder: &Decoder) -> Result<()> {
        let state = state.aligned();
        state::check(&state, &self.config, decoder)?;
        self.state = state;
        self.on_device.clear();
        Ok(())
    }
}

/// A tensor of the state, all of which are f32.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held<'a> {
    OnHost(&'a Arc<TensorData>),
    OnDevice {
        /// The parameter's.
        path: &'a str,
        /// Flat.
        tensor: &'a Tensor<1>,
        shape: &'a [usize],
    },
}

impl Held<'_> {
    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Self::OnHost(data) => data.shape(),
            Self::OnDevice { shape, .. } => shape,
        }
    }

    /// Shared with the optimizer where it lies in host memory.
    pub(crate) fn read(&self) -> Result<Arc<TensorData>> {
        match *self {
            Self::OnHost(data) => Ok(data.clone()),
            Self::OnDevice {
                path,
                tensor,
                shape,
            } => Ok(Arc::new(shaped(read(path, tensor.clone())?, shape))),
        }
    }
}

fn check_gradients(decoder: &Decoder, gradients: &Gradients) -> Result<()> {
    let trainable: BTreeMap<String, Vec<usize>> = Trainable::all(decoder)
        .into_iter()
        .map(|t| (t.path, t.shape))
        .collect();
    for path in gradients.paths() {
        let Some(shape) = trainable.get(path) else {
            return Err(Error::UnknownTensor {
                path: path.to_owned(),
            });
        };
        let found = gradients.shape_of(path);
        if found.is_some_and(|found| found != &**shape) {
            return Err(Error::MismatchedTensor {
                path: path.to_owned(),
                expected: format!("{shape:?}"),
                found: format!("a gradient of {found:?}"),
            });
        }
    }
    Ok(())
}

struct UpdatePass<'a> {
    config: OptimizerConfig,
    adamw: AdamWUpdate,
    muon: Option<MuonStep>,
    tensors: &'a mut BTreeMap<String, Arc<TensorData>>,
    on_device: &'a mut BTreeMap<String, DeviceSlots>,
    gradients: Gradients,
    outcome: Result<()>,
}

impl UpdatePass<'_> {
    /// The weights after the update, of the precision that they had.
    fn update(&mut self, path: &str, device: &Device, weights: TensorData) -> Result<TensorData> {
        let dtype = weights.dtype();
        if !Trainable::is_half(dtype) {
            let mut weights = weights;
            self.update_f32(path, device, &mut weights)?;
            return Ok(weights);
        }
        let mut slots = Slots {
            path,
            tensors: self.tensors,
        };
        let mut master = slots
            .take(MASTER)
            .unwrap_or_else(|| Arc::new(weights.convert_dtype(DType::F32)));
        self.update_f32(path, device, Arc::make_mut(&mut master))?;
        let weights = state::rounded(path, &master, dtype)?;
        let mut slots = Slots {
            path,
            tensors: self.tensors,
        };
        slots.put(MASTER, master);
        Ok(weights)
    }

    /// Takes the state of a parameter that lay on a GPU before into host memory.
    fn bring_back(&mut self, path: &str) -> Result<()> {
        if let Some(slots) = self.on_device.remove(path) {
            let mut tensors = Slots {
                path,
                tensors: self.tensors,
            };
            for (slot, tensor) in slots.parts() {
                let data = shaped(read(path, tensor.clone())?, slots.shape());
                tensors.put(slot, Arc::new(data));
            }
        }
        Ok(())
    }

    /// The weights after the update, which is made where they lie.
    fn update_there<const D: usize>(&mut self, path: &str, weights: Tensor<D>) -> Tensor<D> {
        let held = self.on_device.remove(path);
        let slots = held.unwrap_or_else(|| {
            let mut slots = Slots {
                path,
                tensors: self.tensors,
            };
            DeviceSlots::new(&mut slots, &weights)
        });
        let gradient = self.gradients.remove(path);
        let (weights, slots) = slots.update(self.adamw.of_rank(D), weights, gradient);
        self.on_device.insert(path.to_owned(), slots);
        weights
    }

    fn update_f32(
        &mut self,
        path: &str,
        device: &Device,
        parameter: &mut TensorData,
    ) -> Result<()> {
        let (rank, shape) = (parameter.rank(), parameter.shape().to_vec());
        let gradient = self.gradients.remove(path);
        let gradient = gradient.map(|g| g.into_host(path)).transpose()?;
        let mut slots = Slots {
            path,
            tensors: self.tensors,
        };
        match (self.config.rule(path, rank), self.muon) {
            (Rule::Muon, Some(muon)) => {
                let mut momentum = slots.take_or_zeros(MOMENTUM, &shape);
                if let Some(gradient) = gradient {
                    let momentum = entries(path, &mut momentum)?;
                    muon.update(path, device, parameter, gradient, momentum)?;
                }
                slots.put(MOMENTUM, momentum);
            }
            _ => {
                let mut first = slots.take_or_zeros(FIRST_MOMENT, &shape);
                let mut second = slots.take_or_zeros(SECOND_MOMENT, &shape);
                if let Some(gradient) = gradient {
                    adamw_in_place(
                        self.adamw.of_rank(rank),
                        mutable(path, parameter)?,
                        values(path, &gradient)?,
                        [entries(path, &mut first)?, entries(path, &mut second)?],
                    );
                }
                slots.put(FIRST_MOMENT, first);
                slots.put(SECOND_MOMENT, second);
            }
        }
        Ok(())
    }
}

impl ParameterMapper for UpdatePass<'_> {
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.outcome.is_err() || !parameter.base().is_require_grad() {
            return parameter;
        }
        let (id, tensor, mapper) = parameter.consume();
        let (device, dtype) = (tensor.device(), tensor.dtype());
        let checkpointing = tensor.gradient_checkpointing_strategy();
        let inner = tensor.inner();
        let inner_device = inner.device();
        if !is_cpu(&inner_device) && self.config.rule(path, D) == Rule::Adamw {
            let mut tensor = Tensor::from_inner(self.update_there(path, inner));
            if let Some(strategy) = checkpointing {
                tensor = tensor.with_gradient_checkpointing_strategy(strategy);
            }
            return Param::from_mapped_value(id, tensor.require_grad(), mapper);
        }
        let weights = self
            .bring_back(path)
            .and_then(|()| read(path, inner))
            .and_then(|data| self.update(path, &inner_device, data));
        let tensor = match weights {
            Ok(data) => Tensor::from_data(data, (&device, dtype)).require_grad(),
            // The update as a whole fails: what stands in this parameter no longer matters.
            Err(error) => {
                self.outcome = Err(error);
                Tensor::empty([0; D], &device)
            }
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests;
