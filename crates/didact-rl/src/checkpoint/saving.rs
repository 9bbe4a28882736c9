//! What trainers share in saving and taking up a run.
//!
//! Owns when a checkpoint is written, the warning when it cannot be, and tensors put into a model by path.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use didact_models::{Decoder, ParameterMapper, ParameterVisitor};

use super::{CheckpointConfig, CheckpointStore, Identity, OnFailure, Snapshot};
use crate::warnings::{Warning, WarningKind};
use crate::{Error, Observer, Result};

/// Where a trainer saves.
#[derive(Debug)]
pub(crate) struct Saving {
    pub(crate) store: CheckpointStore,
    pub(crate) identity: Identity,
}

impl Saving {
    /// Writes a checkpoint and removes old ones. A failure is a warning, unless the configuration says otherwise.
    pub(crate) fn save(
        &self,
        config: &CheckpointConfig,
        stage: &str,
        snapshot: Snapshot<'_>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let step = snapshot.state.step;
        // What was recorded of these steps must outlive the checkpoint that follows them.
        let outcome = observer
            .sync()
            .and_then(|()| self.store.write(snapshot))
            .and_then(|_| self.store.prune(config, snapshot.state.best));
        let Err(error) = outcome else {
            return Ok(());
        };
        if config.on_failure == OnFailure::Abort || !matches!(error, Error::Io { .. }) {
            return Err(error);
        }
        observer.on_warning(&Warning {
            stage: stage.to_owned(),
            step,
            kind: WarningKind::Run,
            text: format!("the checkpoint after step {step} failed: {error}"),
            advice: "free space on the disk; training goes on, the checkpoints before are as they were, and the \
                     next one is written when it is due"
                .to_owned(),
        })
    }
}

/// Puts `tensors` into `decoder`, as they are: exactly its parameters, or exactly those that record gradients.
///
/// # Errors
/// The first tensor that is missing, that belongs to no such parameter, or that has another shape or element type.
/// Nothing is set then.
pub(crate) fn set_parameters(
    decoder: Decoder,
    mut tensors: BTreeMap<String, TensorData>,
    trained_only: bool,
) -> Result<Decoder> {
    let mut check = Check {
        trained_only,
        tensors: &tensors,
        known: 0,
        outcome: Ok(()),
    };
    decoder.visit_parameters(&mut check);
    let known = check.known;
    check.outcome?;
    if known != tensors.len() {
        let mut paths = Vec::new();
        decoder.visit_parameters(&mut Paths(trained_only, &mut paths));
        tensors.retain(|path, _| !paths.contains(path));
        let path = tensors.into_keys().next().unwrap_or_default();
        return Err(Error::UnknownTensor { path });
    }
    Ok(decoder.map_parameters(&mut Set {
        trained_only,
        tensors,
    }))
}

struct Check<'a> {
    trained_only: bool,
    tensors: &'a BTreeMap<String, TensorData>,
    known: usize,
    outcome: Result<()>,
}

impl ParameterVisitor for Check<'_> {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        let tensor = parameter.base();
        if self.outcome.is_err() || (self.trained_only && !tensor.is_require_grad()) {
            return;
        }
        self.known += 1;
        let expected = format!("{:?} {:?}", tensor.dtype(), tensor.dims());
        let found = match self.tensors.get(path) {
            None => "nothing".to_owned(),
            Some(data) if data.dtype() == tensor.dtype() && **data.shape() == tensor.dims() => {
                return;
            }
            Some(data) => format!("{:?} {:?}", data.dtype(), &**data.shape()),
        };
        self.outcome = Err(Error::MismatchedTensor {
            path: path.to_owned(),
            expected,
            found,
        });
    }
}

struct Paths<'a>(bool, &'a mut Vec<String>);

impl ParameterVisitor for Paths<'_> {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        if !self.0 || parameter.base().is_require_grad() {
            self.1.push(path.to_owned());
        }
    }
}

struct Set {
    trained_only: bool,
    tensors: BTreeMap<String, TensorData>,
}

impl ParameterMapper for Set {
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.trained_only && !parameter.base().is_require_grad() {
            return parameter;
        }
        let Some(data) = self.tensors.remove(path) else {
            return parameter;
        };
        let (id, old, mapper) = parameter.consume();
        let tensor = Tensor::from_data(data, (&old.device(), old.dtype()));
        let tensor = if old.is_require_grad() {
            tensor.require_grad()
        } else {
            tensor
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}
