//! Named tensors in a safetensors file, in the element type and shape that they have in memory.
//!
//! Owns the container. The file is written piece by piece and read tensor by tensor, so that a checkpoint takes no copy of
//! all of them; the manifest's hash is checked before it is read. Knows no model.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use burn::tensor::{DType, TensorData, bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
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

/// Reads all tensors of a file, one after the other.
///
/// # Errors
/// What the system says; `InvalidData` or `UnexpectedEof` where the file is not what it should be.
pub(super) fn read(file: &mut impl Read) -> io::Result<BTreeMap<String, TensorData>> {
    let mut bytes = |count: usize| {
        let mut bytes = Vec::new();
        let found = (&mut *file).take(count as u64).read_to_end(&mut bytes)?;
        if found < count {
            let problem = format!("it ends {} bytes too soon", count - found);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        Ok(bytes)
    };
    let length = bytes(size_of::<u64>())?;
    let length = length
        .iter()
        .rev()
        .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    let length = usize::try_from(length).map_err(io::Error::other)?;
    // Checks that tensors follow each other and have the bytes of their shapes.
    let header: Metadata = serde_json::from_slice(&bytes(length)?)?;
    let mut tensors = BTreeMap::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else {
            continue;
        };
        let (begin, end) = info.data_offsets;
        let (bytes, shape) = (bytes(end - begin)?, info.shape.clone());
        // Typed entries: bytes of a file may stand where f32 may not.
        let data = match info.dtype {
            Dtype::F32 => TensorData::new(entries(&bytes, f32::from_le_bytes), shape),
            Dtype::F16 => TensorData::new(entries(&bytes, f16::from_le_bytes), shape),
            Dtype::BF16 => TensorData::new(entries(&bytes, bf16::from_le_bytes), shape),
            other => {
                let problem =
                    format!("tensor {name} has elements of {other:?}; F32, F16 and BF16 are known");
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
        };
        tensors.insert(name, data);
    }
    if file.read(&mut [0])? > 0 {
        let problem = "bytes follow its last tensor";
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(tensors)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(tensors: &[(&str, TensorData)]) -> Vec<u8> {
        let described: Vec<Described> = tensors
            .iter()
            .map(|(name, data)| Described {
                name: (*name).to_owned(),
                dtype: data.dtype(),
                shape: data.shape().to_vec(),
            })
            .collect();
        let mut file = Vec::new();
        write_header(&mut file, &described).expect("memory");
        for (_, data) in tensors {
            write_tensor(&mut file, data).expect("memory");
        }
        file
    }

    #[test]
    fn tensors_come_back_and_a_file_of_another_length_is_refused() {
        let [a, b] = [
            TensorData::new(vec![1.0_f32, -2.5, 3.0], [3, 1]),
            TensorData::new(vec![bf16::ONE, bf16::NEG_ONE], [2]),
        ];
        let tensors = [("b", a.clone()), ("a", b.clone())];
        let file = written(&tensors);
        let found = read(&mut &*file).expect("as written");
        let expected = BTreeMap::from([("b".to_owned(), a), ("a".to_owned(), b)]);
        assert_eq!(found, expected);
        for length in 0..file.len() {
            let error = read(&mut &file[..length]).expect_err("it is cut off");
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{length}: {error}"
            );
        }
        let longer = [&*file, b"!"].concat();
        let error = read(&mut &*longer).expect_err("it is too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // A length that no file has.
        let error = read(&mut &[255_u8; 100][..]).expect_err("no header");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
