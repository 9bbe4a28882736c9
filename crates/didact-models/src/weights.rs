//! Weights in and out of files.
//!
//! A [`Checkpoint`] is any file or set of files with named tensors. Its list is compared with what
//! the configuration asks for before a single tensor is read, and every difference is reported at
//! once. Then tensors are read one by one, so that at most one of them is in memory twice.

mod folder;
mod gguf;
mod safetensors;

pub(crate) use folder::replace;
pub(crate) use gguf::ROTARY_FACTORS;
pub(crate) use safetensors::{Entry, SafetensorsFile, SafetensorsWriter};

use std::collections::BTreeMap;

use burn::tensor::Device;

use crate::assemble::{Slot, assemble, slots};
use crate::{Bits, Decoder, DecoderConfig, Error, Result, TensorProblem};

/// A tensor as its file describes it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) shape: Vec<usize>,
    /// The file that has it, as errors name it.
    pub(crate) file: String,
    /// Its element type where that cannot become f32.
    pub(crate) unreadable: Option<String>,
}

/// Files with named tensors.
pub(crate) trait Checkpoint {
    /// The file or folder, as errors name it.
    fn place(&self) -> String;

    /// The checkpoint's name for the parameter at `path`.
    fn name_of(&self, path: &str) -> String;

    /// Whether a tensor that no parameter wants may be passed over.
    fn may_ignore(&self, name: &str) -> bool;

    /// All tensors by name.
    fn tensors(&self) -> BTreeMap<String, Described>;

    /// What is wrong with the files beside single tensors.
    fn problems(&self) -> Vec<TensorProblem> {
        Vec::new()
    }

    /// The numbers of the tensor that the parameter at `path` is made from, row-major in Hugging
    /// Face's shape.
    fn read(&mut self, path: &str) -> Result<Vec<f32>>;
}

/// Builds the decoder from a checkpoint that has exactly the tensors of `config`; with `bits`, its projections
/// quantised.
pub(crate) fn load(
    config: &DecoderConfig,
    device: &Device,
    bits: Option<Bits>,
    checkpoint: &mut dyn Checkpoint,
) -> Result<Decoder> {
    let head = checkpoint.name_of("lm_head.weight");
    compare(slots(config), checkpoint, |name, tensor| {
        // Some writers store the shared embedding twice; the configuration says which one counts.
        config.tie_word_embeddings
            && name == head
            && tensor.shape == [config.vocab_size, config.hidden_size]
    })?;
    assemble(config, device, bits, &mut |slot| {
        read_finite(checkpoint, &slot.path)
    })
}

/// The numbers of a tensor, all of them finite.
pub(crate) fn read_finite(checkpoint: &mut dyn Checkpoint, path: &str) -> Result<Vec<f32>> {
    let values = checkpoint.read(path)?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::NonFinite {
            place: checkpoint.place(),
            tensor: checkpoint.name_of(path),
            index,
            value: values[index],
        });
    }
    Ok(values)
}

/// Refuses a checkpoint that has other tensors than `slots`, but for those that `may_ignore` passes over.
pub(crate) fn compare(
    slots: Vec<Slot>,
    checkpoint: &dyn Checkpoint,
    may_ignore: impl Fn(&str, &Described) -> bool,
) -> Result<()> {
    let mut found = checkpoint.tensors();
    let mut problems = checkpoint.problems();
    for slot in slots {
        let name = checkpoint.name_of(&slot.path);
        let Some(tensor) = found.remove(&name) else {
            let promised = problems.iter().any(
                |problem| matches!(problem, TensorProblem::NotInShard { name: of, .. } if *of == name),
            );
            if !promised {
                problems.push(TensorProblem::Missing {
                    name,
                    shape: slot.shape,
                });
            }
            continue;
        };
        if tensor.shape != slot.shape {
            problems.push(TensorProblem::Misshapen {
                name,
                expected: slot.shape,
                found: tensor.shape,
                file: tensor.file,
            });
        } else if let Some(found) = tensor.unreadable {
            problems.push(TensorProblem::ElementType {
                name,
                found,
                file: tensor.file,
            });
        }
    }
    for (name, tensor) in found {
        if !may_ignore(&name, &tensor) && !checkpoint.may_ignore(&name) {
            problems.push(TensorProblem::Unused {
                name,
                shape: tensor.shape,
                file: tensor.file,
            });
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::MismatchedWeights {
        place: checkpoint.place(),
        problems,
    })
}

#[cfg(test)]
mod tests;
