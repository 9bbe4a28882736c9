//! What a recipe begins with: models and problems, where they are.
//!
//! Owns loading them and naming them by hash. Knows nothing of stages.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, FloatDType};
use didact_core::Problem;
use didact_data::{PromptFormat, Tokenizer, read_problems_with};
use didact_gguf::Gguf;
use didact_models::{Decoder, DecoderConfig};
use didact_rl::memory::{MemoryPlace, WeightStorage};

use super::{ModelSource, ProblemSource, Recipe};
use crate::stage::hash_of;
use crate::{Error, Result};

/// A model that is there: read from outside, or made by a stage.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) path: PathBuf,
    pub(super) weights: WeightStorage,
}

impl Located {
    fn is_folder(&self) -> bool {
        self.path.is_dir()
    }

    pub(super) fn tokenizer(&self) -> Result<Arc<Tokenizer>> {
        Ok(Arc::new(if self.is_folder() {
            Tokenizer::from_folder(&self.path)?
        } else {
            Tokenizer::from_gguf(&self.gguf()?)?
        }))
    }

    pub(super) fn sizes(&self) -> Result<DecoderConfig> {
        Ok(if self.is_folder() {
            DecoderConfig::from_file(self.path.join("config.json"))?
        } else {
            DecoderConfig::from_gguf(&self.gguf()?)?
        })
    }

    /// The model on a device that records gradients.
    pub(super) fn load(&self, device: &Device) -> Result<Decoder> {
        // Files are read as f32, for which a GPU that holds bf16 may be too small.
        let through_host = self.weights.is_half() && MemoryPlace::of(device) == MemoryPlace::Device;
        let first = if through_host {
            Device::flex().autodiff()
        } else {
            device.clone()
        };
        let decoder = match (self.is_folder(), self.weights.bits()) {
            (true, None) => Decoder::load_folder(&self.path, &first)?,
            (true, Some(bits)) => Decoder::load_folder_quantised(&self.path, bits, &first)?,
            (false, None) => Decoder::load_gguf(&self.gguf()?, &first)?,
            (false, Some(bits)) => Decoder::load_gguf_quantised(&self.gguf()?, bits, &first)?,
        };
        let decoder = self.in_precision(decoder);
        Ok(if through_host {
            decoder.fork(device)
        } else {
            decoder
        })
    }

    /// The decoder, and an adapter that it has got since, in the precision of the weights that are not frozen.
    pub(super) fn in_precision(&self, decoder: Decoder) -> Decoder {
        if self.weights.is_half() {
            decoder.cast(FloatDType::BF16)
        } else {
            decoder
        }
    }

    fn gguf(&self) -> Result<Gguf> {
        Gguf::open(&self.path).map_err(|error| Error::Models(error.into()))
    }
}

impl Recipe {
    /// Where a model of [`models`](Recipe::models) is, if it is there.
    pub(super) fn find_model(&self, source: &ModelSource) -> Option<Located> {
        let path = self.at(&source.path);
        path.exists().then_some(Located {
            path,
            weights: source.weights,
        })
    }

    /// The sizes of a model of [`models`](Recipe::models), from its folder or from what is given to plan with.
    pub(super) fn model_sizes(&self, name: &str) -> Result<DecoderConfig> {
        let source = &self.models[name];
        match (self.find_model(source), &source.sizes) {
            (Some(found), _) => found.sizes(),
            (None, Some(sizes)) => Ok(DecoderConfig::from_file(self.at(sizes))?),
            (None, None) => Err(self.missing("models", name, &source.path, "sizes")),
        }
    }

    /// How a stage's trained model is kept when it is read again: saved whole, it is in half precision if what
    /// training began with was.
    pub(super) fn trained_weights(&self, name: &str) -> WeightStorage {
        if self.models[self.origin(name)].weights.is_half() {
            WeightStorage::Half
        } else {
            WeightStorage::F32
        }
    }

    /// The problems of that name, if they are there.
    pub(super) fn find_problems(
        &self,
        name: &str,
        format: &PromptFormat,
    ) -> Result<Option<Vec<Problem>>> {
        let source = &self.problems[name];
        let path = self.at(&source.path);
        if !path.exists() {
            return Ok(None);
        }
        let mut problems = read_problems_with(&path, format)?;
        problems.truncate(source.first.unwrap_or(usize::MAX));
        prefix(&mut problems, source);
        Ok(Some(problems))
    }

    /// The hash of a model's or a problem file's bytes.
    pub(super) fn hash_of_source(&self, path: &Path) -> Result<String> {
        hash_of(&self.at(path))
    }

    pub(super) fn missing(&self, table: &str, name: &str, path: &Path, instead: &str) -> Error {
        self.refusal(format!(
            "{table}.{name}: nothing is at {}; put it there, or give `{instead}` to plan without it",
            self.at(path).display()
        ))
    }

    pub(super) fn refusal(&self, problem: String) -> Error {
        Error::Recipe {
            path: self.path.clone(),
            problem,
        }
    }
}

fn prefix(problems: &mut [Problem], source: &ProblemSource) {
    if !source.question_prefix.is_empty() {
        for problem in problems {
            problem.question.insert_str(0, &source.question_prefix);
        }
    }
}
