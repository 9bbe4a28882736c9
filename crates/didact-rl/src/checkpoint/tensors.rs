//! Named tensors in a safetensors file, in the element type and shape that they have in memory.
//!
//! Owns the container. The file is written piece by piece, so that a checkpoint takes no copy of its tensors; the
//! manifest's hash is checked before it is read. Knows no model.

use std::collections::BTreeMap;
use std::io::{self, Write};

use burn::tensor::{DType, TensorData, bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, json};

/// Bytes that one call of `write` is given at most.
const PIECE: usize = 1 << 20;

/// A tensor as the header describes it.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
}

/// Writes everything that stands before the tensors themselves.
pub(super) fn write_header(file: &mut impl Write, tensors: &[Described]) -> io::Result<()> {
    let mut header = Map::new();
    let mut begin = 0;
    for Described { name, dtype, shape } in tensors {
        let element = element(*dtype).ok_or_else(|| unsupported(name, *dtype))?;
        let end = begin + shape.iter().product::<usize>() * dtype.size();
        let offsets = [begin, end];
        let description = json!({"dtype": element, "shape": shape, "data_offsets": offsets});
        header.insert(name.clone(), description);
        begin = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // The format wants its tensors to begin at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)
}

/// Writes one tensor, in the order of the header.
pub(super) fn write_tensor(file: &mut impl Write, tensor: &TensorData) -> io::Result<()> {
    let mut pieces = tensor.as_bytes().chunks(PIECE);
    pieces.try_for_each(|piece| file.write_all(piece))
}

/// Reads all tensors of a file.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, TensorData>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    file.iter()
        .map(|(name, view)| {
            let (bytes, shape) = (view.data(), view.shape().to_vec());
            // Typed entries: bytes of a file may stand where f32 may not.
            let data = match view.dtype() {
                Dtype::F32 => TensorData::new(entries(bytes, f32::from_le_bytes), shape),
                Dtype::F16 => TensorData::new(entries(bytes, f16::from_le_bytes), shape),
                Dtype::BF16 => TensorData::new(entries(bytes, bf16::from_le_bytes), shape),
                other => {
                    return Err(format!(
                        "tensor {name} has elements of {other:?}; F32, F16 and BF16 are known"
                    ));
                }
            };
            Ok((name.to_owned(), data))
        })
        .collect()
}

fn entries<const N: usize, T>(bytes: &[u8], entry: fn([u8; N]) -> T) -> Vec<T> {
    let (entries, _) = bytes.as_chunks::<N>();
    entries.iter().map(|&bytes| entry(bytes)).collect()
}

const fn element(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("F32"),
        DType::F16 => Some("F16"),
        DType::BF16 => Some("BF16"),
        _ => None,
    }
}

fn unsupported(name: &str, dtype: DType) -> io::Error {
    let problem = format!("tensor {name} has elements of {dtype:?}, which checkpoints do not hold");
    io::Error::new(io::ErrorKind::Unsupported, problem)
}
