//! A folder of checkpoints.
//!
//! Owns the way a checkpoint gets to the disk whole or not at all, which ones stay, and what is read back. Knows no
//! training.
//!
//! A checkpoint is written to `step_000123.partial`: every file is made durable, the manifest last, then the folder
//! is renamed and its parent made durable. Killed at any moment, a process leaves the checkpoints before and at
//! most a folder that no reader takes for a checkpoint; the next start removes it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Param;
use burn::tensor::{DType, Tensor, TensorData};
use didact_models::{Decoder, ParameterVisitor};

use super::files::{Files, SystemFiles};
use super::lock::FolderLock;
use super::manifest::{self, FORMAT, HashedFile, Manifest};
use super::tensors::{self, Described};
use super::{Best, Checkpoint, CheckpointConfig, Identity, RunState};
use crate::gradients::read;
use crate::optimizer::{Optimizer, OptimizerState};
use crate::{Error, Result};

const TRAINABLE: &str = "trainable.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const REFERENCE: &str = "reference.safetensors";
const STATE: &str = "state.json";

/// A folder that is being written, or that was not renamed before the process died.
const PARTIAL: &str = ".partial";
/// A checkpoint whose successor of the same step is being put in its place.
const REPLACED: &str = ".replaced";
/// A checkpoint that is being removed.
const REMOVED: &str = ".removed";

/// What a checkpoint is made of.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// Whose it is.
    pub identity: &'a Identity,
    /// Counters and cursors.
    pub state: &'a RunState,
    /// The model; the parameters that record gradients are written.
    pub policy: &'a Decoder,
    /// The optimizer's state for them.
    pub optimizer: &'a Optimizer,
    /// The reference, where it is not the initial policy any more; all its parameters are written.
    pub reference: Option<&'a Decoder>,
}

/// A folder of checkpoints, held by this process alone.
#[derive(Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    files: Arc<dyn Files>,
    _lock: FolderLock,
}

impl CheckpointStore {
    /// Opens `folder`, which is made where it is not there, and removes what an earlier process left unfinished.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it open; a file operation that fails.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(folder, Arc::new(SystemFiles))
    }

    /// The same with other file operations.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl Into<PathBuf>, files: Arc<dyn Files>) -> Result<Self> {
        let folder = folder.into();
        files
            .create_folder(&folder)
            .map_err(|e| Error::io(&folder, e))?;
        let lock = FolderLock::take(&folder)?;
        let store = Self {
            folder,
            files,
            _lock: lock,
        };
        store.tidy()?;
        Ok(store)
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The steps that have a checkpoint, in ascending order. None of them is looked into.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let names = self.names()?;
        let mut steps: Vec<u64> = names.iter().filter_map(|name| step_of(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Writes a checkpoint and returns when it is on the disk.
    ///
    /// Where it cannot be written, all checkpoints are as before.
    ///
    /// # Errors
    /// A file operation that fails; a tensor that cannot be read.
    pub fn write(&self, snapshot: Snapshot<'_>) -> Result<PathBuf> {
        let name = step_name(snapshot.state.step);
        let place = self.folder.join(&name);
        let partial = self.folder.join(format!("{name}{PARTIAL}"));
        let written = self
            .write_partial(&partial, snapshot)
            .and_then(|()| self.put_in_place(&name, &partial, &place));
        if written.is_err() {
            // What cannot be removed now is removed at the next start.
            let _ = self.files.remove_folder(&partial);
        }
        written.map(|()| place)
    }

    /// Reads the checkpoint after `step` steps; every hash is compared before a tensor is read.
    ///
    /// # Errors
    /// [`Error::DamagedCheckpoint`] names the file; [`Error::CheckpointFormat`] for one of another version; a file
    /// that cannot be read.
    pub fn load(&self, step: u64) -> Result<Checkpoint> {
        let folder = self.folder.join(step_name(step));
        let files = &*self.files;
        let manifest = Manifest::read(files, &folder)?;
        let damaged = |name: &str, problem: String| Error::DamagedCheckpoint {
            path: folder.join(name),
            problem,
        };
        if manifest.step != step {
            let problem = format!("it is of step {}", manifest.step);
            return Err(damaged(manifest::NAME, problem));
        }
        for name in [TRAINABLE, OPTIMIZER, STATE] {
            if !manifest.files.contains_key(name) {
                return Err(damaged(manifest::NAME, format!("it does not list {name}")));
            }
        }
        manifest.verify(files, &folder)?;
        let open = |name: &str| {
            let path = folder.join(name);
            let file = files.open(&path).map_err(|e| Error::io(&path, e))?;
            Ok::<_, Error>((file, path))
        };
        let tensors = |name: &str| -> Result<BTreeMap<String, TensorData>> {
            let (mut file, path) = open(name)?;
            tensors::read(&mut file).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    damaged(name, error.to_string())
                }
                _ => Error::io(&path, error),
            })
        };
        let (mut file, path) = open(STATE)?;
        let mut state = Vec::new();
        file.read_to_end(&mut state)
            .map_err(|e| Error::io(&path, e))?;
        let state: RunState =
            serde_json::from_slice(&state).map_err(|e| damaged(STATE, e.to_string()))?;
        let optimizer = OptimizerState {
            updates: state.updates,
            tensors: tensors(OPTIMIZER)?
                .into_iter()
                .map(|(name, tensor)| (name, Arc::new(tensor)))
                .collect(),
        };
        let reference = manifest
            .files
            .contains_key(REFERENCE)
            .then(|| tensors(REFERENCE));
        Ok(Checkpoint {
            trainable: tensors(TRAINABLE)?,
            reference: reference.transpose()?,
            identity: manifest.identity,
            path: folder,
            state,
            optimizer,
        })
    }

    /// The newest checkpoint; `None` where there is none.
    ///
    /// # Errors
    /// As [`load`](Self::load): a damaged one is not passed over silently.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        self.steps()?
            .last()
            .map(|&step| self.load(step))
            .transpose()
    }

    /// The newest checkpoint that is whole, with what is wrong with those after it.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn latest_intact(&self) -> Result<(Option<Checkpoint>, Vec<Error>)> {
        let mut passed_over = Vec::new();
        for &step in self.steps()?.iter().rev() {
            match self.load(step) {
                Ok(checkpoint) => return Ok((Some(checkpoint), passed_over)),
                Err(error) => passed_over.push(error),
            }
        }
        Ok((None, passed_over))
    }

    /// Removes the checkpoints that `config` does not keep.
    ///
    /// # Errors
    /// A file operation that fails; checkpoints that are to be kept are untouched.
    pub fn prune(&self, config: &CheckpointConfig, best: Option<Best>) -> Result<()> {
        self.remove(&config.superfluous(&self.steps()?, best))
    }

    /// Removes the checkpoints after `step` steps: a run that goes on from there makes them again.
    ///
    /// # Errors
    /// A file operation that fails.
    pub fn remove_after(&self, step: u64) -> Result<()> {
        let mut steps = self.steps()?;
        steps.retain(|&other| other > step);
        self.remove(&steps)
    }

    fn remove(&self, steps: &[u64]) -> Result<()> {
        for &step in steps {
            let place = self.folder.join(step_name(step));
            let removed = self.folder.join(format!("{}{REMOVED}", step_name(step)));
            // One rename takes it away whole: a checkpoint is never half there.
            self.files
                .rename(&place, &removed)
                .and_then(|()| self.files.remove_folder(&removed))
                .map_err(|e| Error::io(&place, e))?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>> {
        self.files
            .list(&self.folder)
            .map_err(|e| Error::io(&self.folder, e))
    }

    /// Undoes what was left halfway.
    fn tidy(&self) -> Result<()> {
        let names = self.names()?;
        for name in &names {
            let path = self.folder.join(name);
            let outcome = if let Some(place) = name.strip_suffix(REPLACED) {
                if names.iter().any(|name| name == place) {
                    self.files.remove_folder(&path)
                } else {
                    self.files.rename(&path, &self.folder.join(place))
                }
            } else if name.ends_with(PARTIAL) || name.ends_with(REMOVED) {
                self.files.remove_folder(&path)
            } else {
                Ok(())
            };
            outcome.map_err(|e| Error::io(&path, e))?;
        }
        Ok(())
    }

    fn write_partial(&self, partial: &Path, snapshot: Snapshot<'_>) -> Result<()> {
        let files = &*self.files;
        // Left by an attempt that failed.
        match files.remove_folder(partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(partial, error));
            }
            _ => {}
        }
        files
            .create_folder(partial)
            .map_err(|e| Error::io(partial, e))?;
        let mut entries = BTreeMap::new();
        let mut write = |name: &str, content: Content<'_>| -> Result<()> {
            let path = partial.join(name);
            let mut file = HashedFile::create(files, &path).map_err(|e| Error::io(&path, e))?;
            content.write(&mut file, &path)?;
            let entry = file.finish().map_err(|e| Error::io(&path, e))?;
            entries.insert(name.to_owned(), entry);
            Ok(())
        };
        write(TRAINABLE, Content::Parameters(snapshot.policy, true))?;
        write(OPTIMIZER, Content::Optimizer(snapshot.optimizer))?;
        if let Some(reference) = snapshot.reference {
            write(REFERENCE, Content::Parameters(reference, false))?;
        }
        let path = partial.join(STATE);
        let state = serde_json::to_vec_pretty(snapshot.state).map_err(|e| Error::json(&path, e))?;
        write(STATE, Content::Bytes(&state))?;
        let path = partial.join(manifest::NAME);
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            step: snapshot.state.step,
            identity: snapshot.identity.clone(),
            files: std::mem::take(&mut entries),
        };
        let manifest = manifest.to_json().map_err(|e| Error::json(&path, e))?;
        let mut file = HashedFile::create(files, &path).map_err(|e| Error::io(&path, e))?;
        Content::Bytes(&manifest).write(&mut file, &path)?;
        file.finish().map_err(|e| Error::io(&path, e))?;
        files
            .sync_folder(partial)
            .map_err(|e| Error::io(partial, e))
    }

    fn put_in_place(&self, name: &str, partial: &Path, place: &Path) -> Result<()> {
        let files = &*self.files;
        let io = |e| Error::io(place, e);
        let replaced = self.folder.join(format!("{name}{REPLACED}"));
        let replaces = self.names()?.iter().any(|other| other == name);
        if replaces {
            files.rename(place, &replaced).map_err(io)?;
        }
        if let Err(error) = files.rename(partial, place) {
            if replaces {
                // Where even this fails, the next start does it.
                let _ = files.rename(&replaced, place);
            }
            return Err(io(error));
        }
        files.sync_folder(&self.folder).map_err(io)?;
        if replaces {
            files.remove_folder(&replaced).map_err(io)?;
        }
        Ok(())
    }
}

/// What goes into one file.
enum Content<'a> {
    Bytes(&'a [u8]),
    Optimizer(&'a Optimizer),
    /// All parameters, or only those that record gradients.
    Parameters(&'a Decoder, bool),
}

impl Content<'_> {
    fn write(self, file: &mut impl Write, path: &Path) -> Result<()> {
        let io = |e| Error::io(path, e);
        match self {
            Self::Bytes(bytes) => file.write_all(bytes).map_err(io),
            Self::Optimizer(optimizer) => {
                let held = optimizer.held();
                let described: Vec<Described> = held
                    .iter()
                    .map(|(name, held)| Described {
                        name: name.clone(),
                        dtype: DType::F32,
                        shape: held.shape().to_vec(),
                    })
                    .collect();
                tensors::write_header(file, &described).map_err(io)?;
                // One at a time: what lies on a GPU need not fit into host memory.
                let mut all = held.values();
                all.try_for_each(|held| tensors::write_tensor(file, &*held.read()?).map_err(io))
            }
            Self::Parameters(decoder, trained) => {
                let mut describe = Describe {
                    trained,
                    found: Vec::new(),
                };
                decoder.visit_parameters(&mut describe);
                tensors::write_header(file, &describe.found).map_err(io)?;
                let mut write = WriteParameters {
                    trained,
                    file,
                    path,
                    outcome: Ok(()),
                };
                decoder.visit_parameters(&mut write);
                write.outcome
            }
        }
    }
}

struct Describe {
    trained: bool,
    found: Vec<Described>,
}

impl ParameterVisitor for Describe {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        let tensor = parameter.base();
        if !self.trained || tensor.is_require_grad() {
            self.found.push(Described {
                name: path.to_owned(),
                dtype: tensor.dtype(),
                shape: tensor.dims().to_vec(),
            });
        }
    }
}

/// One tensor at a time, so that no copy of the model is made.
struct WriteParameters<'a, W> {
    trained: bool,
    file: &'a mut W,
    path: &'a Path,
    outcome: Result<()>,
}

impl<W: Write> ParameterVisitor for WriteParameters<'_, W> {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        let tensor = parameter.base();
        if self.outcome.is_err() || (self.trained && !tensor.is_require_grad()) {
            return;
        }
        self.outcome = read(path, tensor.inner()).and_then(|data| {
            tensors::write_tensor(self.file, &data).map_err(|e| Error::io(self.path, e))
        });
    }
}

fn step_name(step: u64) -> String {
    format!("step_{step:06}")
}

/// The step of a complete checkpoint's folder; `None` for any other name.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step_")?.parse().ok()?;
    (step_name(step) == name).then_some(step)
}
