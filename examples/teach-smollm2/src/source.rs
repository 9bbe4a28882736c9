//! Where model and problems come from.

use std::path::{Path, PathBuf};

use didact::Device;
use didact::core::Problem;
use didact::data::{PromptFormat, Tokenizer, read_problems_from};
use didact::gguf::Gguf;
use didact::models::{Decoder, DecoderConfig};

use crate::Result;

const TRAIN: &str = include_str!("../data/gsm_symbolic.train.jsonl");
const HELD_OUT: &str = include_str!("../data/gsm_symbolic.test.jsonl");

pub(crate) fn shipped_train() -> Result<Vec<Problem>> {
    Ok(read_problems_from(
        "gsm_symbolic.train.jsonl",
        TRAIN.as_bytes(),
        &PromptFormat::think(),
    )?)
}

pub(crate) fn shipped_held_out() -> Result<Vec<Problem>> {
    Ok(read_problems_from(
        "gsm_symbolic.test.jsonl",
        HELD_OUT.as_bytes(),
        &PromptFormat::think(),
    )?)
}

/// Gives problems without a reasoning trace the first step of their solution as one.
///
/// The warm-up learns to write the traces. A whole solution as explanation would teach the teacher to copy, which
/// leaves RL nothing to choose from; one step of it shows the format and leaves the rest open.
pub(crate) fn trace_by_first_step(problems: &mut [Problem]) {
    for problem in problems {
        let first = problem.solution.trim().lines().next().unwrap_or_default();
        problem
            .reasoning_trace
            .get_or_insert_with(|| first.to_owned());
    }
}

/// A model that was found and not read yet.
pub(crate) enum Source {
    /// In Hugging Face's layout.
    Folder(PathBuf),
    /// With everything in one file.
    Gguf(Gguf),
}

impl Source {
    /// A folder, a GGUF file or a hub id; SmolLM2 where none is given.
    pub(crate) fn find(model: Option<&str>) -> Result<Self> {
        let Some(model) = model else {
            let path = smollm2_weights::obtain(Path::new("models"))?;
            return Ok(Self::Gguf(Gguf::open(path)?));
        };
        let path = Path::new(model);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if path.is_file() {
            return Ok(Self::Gguf(Gguf::open(path)?));
        }
        Ok(Self::Folder(from_hub(model)?))
    }

    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        Ok(match self {
            Self::Folder(path) => Tokenizer::from_folder(path)?,
            Self::Gguf(file) => Tokenizer::from_gguf(file)?,
        })
    }

    pub(crate) fn sizes(&self) -> Result<DecoderConfig> {
        Ok(match self {
            Self::Folder(path) => DecoderConfig::from_file(path.join("config.json"))?,
            Self::Gguf(file) => DecoderConfig::from_gguf(file)?,
        })
    }

    pub(crate) fn weights(&self, device: &Device) -> Result<Decoder> {
        Ok(match self {
            Self::Folder(path) => Decoder::load_folder(path, device)?,
            Self::Gguf(file) => Decoder::load_gguf(file, device)?,
        })
    }
}

#[cfg(feature = "hub")]
fn from_hub(model: &str) -> Result<PathBuf> {
    Ok(smollm2_weights::from_hub(model)?)
}

#[cfg(not(feature = "hub"))]
fn from_hub(model: &str) -> Result<PathBuf> {
    Err(format!(
        "{model} is neither a folder nor a file; to load a hub id, build with --features hub"
    )
    .into())
}
