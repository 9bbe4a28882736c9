//! Where model and problems come from.

use std::path::Path;

use didact::Device;
use didact::core::Problem;
use didact::data::{PromptFormat, Tokenizer, read_problems_from};
use didact::gguf::Gguf;
use didact::models::Decoder;

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

/// Loads a folder, a GGUF file or a hub id; SmolLM2 where none is given.
pub(crate) fn load(model: Option<&str>, device: &Device) -> Result<(Decoder, Tokenizer)> {
    let Some(model) = model else {
        return load_gguf(&smollm2_weights::obtain(Path::new("models"))?, device);
    };
    let path = Path::new(model);
    if path.is_dir() {
        return load_folder(path, device);
    }
    if path.is_file() {
        return load_gguf(path, device);
    }
    from_hub(model, device)
}

fn load_folder(path: &Path, device: &Device) -> Result<(Decoder, Tokenizer)> {
    Ok((
        Decoder::load_folder(path, device)?,
        Tokenizer::from_folder(path)?,
    ))
}

fn load_gguf(path: &Path, device: &Device) -> Result<(Decoder, Tokenizer)> {
    let file = Gguf::open(path)?;
    Ok((
        Decoder::load_gguf(&file, device)?,
        Tokenizer::from_gguf(&file)?,
    ))
}

#[cfg(feature = "hub")]
fn from_hub(model: &str, device: &Device) -> Result<(Decoder, Tokenizer)> {
    load_folder(&smollm2_weights::from_hub(model)?, device)
}

#[cfg(not(feature = "hub"))]
fn from_hub(model: &str, _device: &Device) -> Result<(Decoder, Tokenizer)> {
    Err(format!(
        "{model} is neither a folder nor a file; to load a hub id, build with --features hub"
    )
    .into())
}
