//! Models that are on disk, and how they are written there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use didact::Device;
use didact::models::Decoder;
use serde::{Deserialize, Serialize};

use crate::Result;

/// A model that is on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Where; as it is now, whatever was written when it was made.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The hash of its weights.
    pub weights: String,
    /// Seconds that making it took, not counting what it was made of.
    pub seconds: f64,
}

/// A look at held-out problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Updates before it.
    pub step: u64,
    /// Mean reward: of a solver, its accuracy.
    pub reward: f64,
    /// All means.
    pub metrics: BTreeMap<String, f64>,
}

/// A model after reinforcement learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taught {
    /// The model.
    pub model: Model,
    /// What was seen of it on held-out problems, the first before any update.
    pub looks: Vec<Look>,
    /// The mean reward of each step's batch.
    pub rewards: Vec<f64>,
    /// Sampled tokens.
    pub tokens: f64,
    /// Sampled texts.
    pub samples: f64,
}

/// How models are written to a stage's folder and read again.
pub trait Storage {
    /// Writes what `decoder` learnt.
    ///
    /// # Errors
    /// What cannot be written.
    fn keep(&self, decoder: &Decoder, folder: &Path) -> Result<()>;

    /// Reads it again, to be trained further.
    ///
    /// # Errors
    /// What cannot be read.
    fn load(&self, folder: &Path) -> Result<Decoder>;
}

/// Keeps all weights, as a folder that other programs open too.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Where they are loaded to.
    pub device: Device,
}

impl Storage for Folders {
    fn keep(&self, decoder: &Decoder, folder: &Path) -> Result<()> {
        Ok(decoder.save_folder(folder.join("model"))?)
    }

    fn load(&self, folder: &Path) -> Result<Decoder> {
        Ok(Decoder::load_folder(folder.join("model"), &self.device)?)
    }
}

/// Keeps adapters alone; all of them are of one base, whose memory they share.
#[derive(Debug, Clone)]
pub struct Adapters {
    /// The weights below.
    pub base: Decoder,
}

impl Storage for Adapters {
    fn keep(&self, decoder: &Decoder, folder: &Path) -> Result<()> {
        Ok(decoder.save_adapter(folder.join("adapter"))?)
    }

    fn load(&self, folder: &Path) -> Result<Decoder> {
        Ok(self.base.load_adapter(folder.join("adapter"))?)
    }
}
