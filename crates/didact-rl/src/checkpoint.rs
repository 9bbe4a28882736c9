//! Checkpoints: what a run needs to go on as if it had never stopped.
//!
//! Owns files, hashes and identity; a trainer says what to save and takes it up again. One checkpoint is a folder:
//!
//! | file | content |
//! |---|---|
//! | `trainable.safetensors` | every tensor that is trained, by path: under LoRA the adapter alone |
//! | `optimizer.safetensors` | the optimizer's state, by tensor path |
//! | `reference.safetensors` | the reference, once it is not the initial policy any more |
//! | `state.json` | steps made, the curriculum's state, evaluations, the best value, skipped steps |
//! | `manifest.json` | version, identity, size and BLAKE3 hash of every other file; written last |
//!
//! No state of a random generator is among them: every draw is a function of the seed, the step, the problem, the
//! sample and the token. The learning rate is a function of the step.
//!
//! The models that a run began with are not saved: who resumes gives them again, and the identity makes sure that
//! they are the same.

mod config;
pub mod files;
mod identity;
mod lock;
mod manifest;
mod saving;
mod store;
mod tensors;

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use crate::evaluation::Evaluation;
use crate::optimizer::OptimizerState;
use crate::warnings::Watch;
use crate::{Error, Result};

pub use config::{Best, CheckpointConfig, KeepBest, OnFailure};
pub use identity::{FREE_KEYS, Identity};
pub use lock::FolderLock;
pub use manifest::FORMAT;
pub use store::{CheckpointStore, Snapshot};

pub(crate) use identity::{Fingerprint, fingerprint};
pub(crate) use saving::{Saving, set_parameters};
pub(crate) use store::step_of;

/// Counters and cursors of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Steps made, skipped ones included. The order of examples and every random stream follow from it.
    pub step: u64,
    /// Updates that the optimizer made.
    pub updates: u64,
    /// Steps skipped since the last one that was not.
    pub skipped_in_a_row: u64,
    /// The best step so far, where the configuration asks for it.
    pub best: Option<Best>,
    /// The curriculum's own state, where there is one.
    pub curriculum: Option<String>,
    /// The looks at held-out problems so far.
    pub evaluations: Vec<Evaluation>,
    /// The losses so far, of supervised fine-tuning.
    pub losses: Vec<f64>,
    /// What the watch over a teacher's metrics remembers.
    #[serde(default)]
    pub watch: Option<Watch>,
}

/// A checkpoint that was read back whole.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Whose it is.
    pub identity: Identity,
    /// Counters and cursors.
    pub state: RunState,
    /// The trained tensors by path, in the shape that they have in memory (projections `[in, out]`).
    pub trainable: BTreeMap<String, TensorData>,
    /// The optimizer's state.
    pub optimizer: OptimizerState,
    /// All tensors of the reference, where it was not the initial policy any more.
    pub reference: Option<BTreeMap<String, TensorData>>,
}

impl Checkpoint {
    /// Checks that it belongs to the run that `here` describes.
    ///
    /// # Errors
    /// [`Error::OtherRun`] lists every difference with both values.
    pub fn check_identity(&self, here: &Identity) -> Result<()> {
        let differences = self.identity.differences(here);
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::OtherRun {
            path: self.path.clone(),
            differences,
        })
    }
}
