//! What an optimizer remembers between updates.
//!
//! Owns the names and shapes of the state and the check that a state belongs to a model. Knows no formula.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Param;
use burn::tensor::{DType, Tensor, TensorData, bf16, f16};
use didact_models::{Decoder, ParameterVisitor};
use rayon::prelude::*;

use super::{OptimizerConfig, Rule};
use crate::gradients::{CHUNK, mutable, read, values};
use crate::{Error, Result};

/// An optimizer's state by tensor name, to be written and read back.
///
/// A parameter's tensors are called `<path>.first_moment` and `<path>.second_moment` under AdamW, or
/// `<path>.momentum` under Muon, and `<path>.master` where its weights are half precision. All are f32, in the
/// shape that the parameter has in memory (projections `[in, out]`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimizerState {
    /// The number of updates made.
    pub updates: u64,
    /// The tensors, shared with the optimizer: taking a state copies nothing, and the next update copies what
    /// is still held.
    pub tensors: BTreeMap<String, Arc<TensorData>>,
}

impl OptimizerState {
    /// Bytes that the tensors take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tensors.values().map(|t| t.as_bytes().len()).sum()
    }

    /// The same with every f32 tensor where f32 may stand in memory, which bytes read from a file may not.
    pub(super) fn aligned(mut self) -> Self {
        for tensor in self.tensors.values_mut() {
            if tensor.dtype() == DType::F32 && tensor.as_slice::<f32>().is_err() {
                let entries = tensor.as_bytes().chunks_exact(4);
                let entries = entries.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                let shape = tensor.shape().clone();
                *tensor = Arc::new(TensorData::new(entries.collect::<Vec<f32>>(), shape));
            }
        }
        self
    }
}

pub(super) const FIRST_MOMENT: &str = "first_moment";
pub(super) const SECOND_MOMENT: &str = "second_moment";
pub(super) const MOMENTUM: &str = "momentum";
pub(super) const MASTER: &str = "master";

/// The name of one tensor of the state.
pub(super) fn name(path: &str, slot: &str) -> String {
    format!("{path}.{slot}")
}

/// A parameter that records gradients.
#[derive(Debug, Clone)]
pub(super) struct Trainable {
    pub(super) path: String,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DType,
}

impl Trainable {
    /// All of a model's, in its own order.
    pub(super) fn all(decoder: &Decoder) -> Vec<Self> {
        struct Collect(Vec<Trainable>);
        impl ParameterVisitor for Collect {
            fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
                let tensor = parameter.base();
                if tensor.is_require_grad() {
                    self.0.push(Trainable {
                        path: path.to_owned(),
                        shape: tensor.dims().to_vec(),
                        dtype: tensor.dtype(),
                    });
                }
            }
        }
        let mut collect = Collect(Vec::new());
        decoder.visit_parameters(&mut collect);
        collect.0
    }

    /// Whether the weights are too coarse to add small updates to.
    pub(super) fn is_half(dtype: DType) -> bool {
        matches!(dtype, DType::F16 | DType::BF16)
    }

    /// The parts of its state.
    pub(super) fn slots(&self, config: &OptimizerConfig) -> impl Iterator<Item = &'static str> {
        let moments: &[&str] = match config.rule(&self.path, self.shape.len()) {
            Rule::Adamw => &[FIRST_MOMENT, SECOND_MOMENT],
            Rule::Muon => &[MOMENTUM],
        };
        let master = Self::is_half(self.dtype).then_some(MASTER);
        moments.iter().copied().chain(master)
    }
}

/// Checks that `state` has exactly the tensors that an optimizer of `config` has for `decoder`.
pub(super) fn check(
    state: &OptimizerState,
    config: &OptimizerConfig,
    decoder: &Decoder,
) -> Result<()> {
    let mut problems = Vec::new();
    let mut expected = BTreeMap::new();
    // Before the first update there is no state.
    for trainable in Trainable::all(decoder).iter().filter(|_| state.updates > 0) {
        for slot in trainable.slots(config) {
            expected.insert(name(&trainable.path, slot), trainable.shape.clone());
        }
    }
    for (name, shape) in &expected {
        match state.tensors.get(name) {
            None => problems.push(format!("{name} is missing")),
            Some(found) if **found.shape() != **shape || found.dtype() != DType::F32 => {
                problems.push(format!(
                    "{name} should be F32 {shape:?}, but is {:?} {:?}",
                    found.dtype(),
                    &**found.shape()
                ));
            }
            Some(found) => {
                let entries = values(name, found)?;
                if !entries
                    .par_chunks(CHUNK)
                    .all(|c| c.iter().all(|v| v.is_finite()))
                {
                    problems.push(format!("{name} holds a number that is not finite"));
                }
            }
        }
    }
    for name in state.tensors.keys().filter(|n| !expected.contains_key(*n)) {
        problems.push(format!(
            "{name} belongs to no trained parameter of the model"
        ));
    }
    if problems.is_empty() {
        check_masters(state, decoder)
    } else {
        Err(Error::OptimizerState { problems })
    }
}

/// Half weights are their master copies rounded: others belong to another moment of the run, and the next update
/// would silently put the older ones back.
fn check_masters(state: &OptimizerState, decoder: &Decoder) -> Result<()> {
    struct Compare<'a> {
        state: &'a OptimizerState,
        problems: Vec<String>,
        outcome: Result<()>,
    }
    impl ParameterVisitor for Compare<'_> {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let Some(master) = self.state.tensors.get(&name(path, MASTER)) else {
                return;
            };
            let tensor = parameter.base();
            let found = read(path, tensor.clone().inner());
            match found.and_then(|found| Ok((rounded(path, master, tensor.dtype())?, found))) {
                Ok((expected, found)) if expected.as_bytes() != found.as_bytes() => {
                    self.problems.push(format!(
                        "{path} of the model is not its master copy rounded"
                    ));
                }
                Ok(_) => {}
                Err(error) => self.outcome = Err(error),
            }
        }
    }
    let mut compare = Compare {
        state,
        problems: Vec::new(),
        outcome: Ok(()),
    };
    decoder.visit_parameters(&mut compare);
    compare.outcome?;
    if compare.problems.is_empty() {
        Ok(())
    } else {
        Err(Error::OptimizerState {
            problems: compare.problems,
        })
    }
}

/// An f32 tensor rounded to `dtype`, to the nearest, ties to even.
pub(super) fn rounded(path: &str, master: &TensorData, dtype: DType) -> Result<TensorData> {
    let entries = values(path, master)?;
    let shape = master.shape().clone();
    Ok(match dtype {
        DType::F16 => TensorData::new(
            entries.par_iter().map(|&v| f16::from_f32(v)).collect(),
            shape,
        ),
        DType::BF16 => TensorData::new(
            entries.par_iter().map(|&v| bf16::from_f32(v)).collect(),
            shape,
        ),
        _ => master.clone(),
    })
}

/// The tensors of one parameter's state while it is updated.
pub(super) struct Slots<'a> {
    pub(super) path: &'a str,
    pub(super) tensors: &'a mut BTreeMap<String, Arc<TensorData>>,
}

impl Slots<'_> {
    /// Takes a slot out, to be changed and put back.
    pub(super) fn take(&mut self, slot: &str) -> Option<Arc<TensorData>> {
        self.tensors.remove(&name(self.path, slot))
    }

    /// [`take`](Self::take), or zeros where there is no such slot yet.
    pub(super) fn take_or_zeros(&mut self, slot: &str, shape: &[usize]) -> Arc<TensorData> {
        self.take(slot).unwrap_or_else(|| {
            let entries = vec![0.0_f32; shape.iter().product()];
            Arc::new(TensorData::new(entries, shape))
        })
    }

    pub(super) fn put(&mut self, slot: &str, tensor: Arc<TensorData>) {
        self.tensors.insert(name(self.path, slot), tensor);
    }
}

/// The entries of a shared tensor, copied first where a state still holds it.
pub(super) fn entries<'a>(path: &str, tensor: &'a mut Arc<TensorData>) -> Result<&'a mut [f32]> {
    mutable(path, Arc::make_mut(tensor))
}
