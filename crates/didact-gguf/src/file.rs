//! An open GGUF file: its metadata, its tensor directory, and its tensors on demand.
//!
//! Knows the order of the format's sections; does not know what a key or a tensor is for.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{Cursor as Memory, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::cursor::Cursor;
use crate::{Error, FromValue, Limits, Result, TensorInfo, TensorType, Value, block};

/// The alignment of tensor data where `general.alignment` does not say another.
const DEFAULT_ALIGNMENT: u64 = 32;

trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

/// An open GGUF file. Metadata and directory are in memory; tensor data are read when asked for.
pub struct Gguf {
    path: PathBuf,
    version: u32,
    metadata: HashMap<String, Value>,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
    source: Mutex<Box<dyn Source>>,
}

impl fmt::Debug for Gguf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gguf")
            .field("path", &self.path)
            .field("version", &self.version)
            .field("metadata", &self.metadata.len())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

impl Gguf {
    /// Opens a file under the default [`Limits`].
    ///
    /// # Errors
    ///
    /// If it cannot be read or is not well-formed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &Limits::default())
    }

    /// Opens a file under limits of one's own.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not well-formed or exceeds a limit.
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        let path = path.as_ref();
        let io = |source| Error::Io {
            path: path.to_owned(),
            what: "the file".to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        Self::from_source(path, Box::new(file), bytes, limits)
    }

    /// Reads a file that is in memory; `name` stands for its path in errors.
    ///
    /// # Errors
    ///
    /// If it is not well-formed or exceeds a limit.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>, limits: &Limits) -> Result<Self> {
        let length = bytes.len() as u64;
        Self::from_source(name.as_ref(), Box::new(Memory::new(bytes)), length, limits)
    }

    fn from_source(
        path: &Path,
        mut source: Box<dyn Source>,
        file_bytes: u64,
        limits: &Limits,
    ) -> Result<Self> {
        let mut cursor = Cursor::new(&mut source, path, limits, file_bytes);
        let version = read_preamble(&mut cursor, path)?;
        let tensor_count = cursor.u64(|| "the number of tensors".to_owned())?;
        let metadata_count = cursor.u64(|| "the number of metadata entries".to_owned())?;
        let metadata = read_metadata(&mut cursor, path, limits, metadata_count)?;
        let alignment = alignment(path, &metadata)?;
        let mut tensors = read_directory(&mut cursor, path, limits, tensor_count)?;
        // No overflow: the position is within the file and the alignment below 2^32.
        let data_start = cursor.position().next_multiple_of(alignment);
        place(path, &mut tensors, data_start, alignment, file_bytes)?;
        let by_name = tensors
            .iter()
            .enumerate()
            .map(|(at, t)| (t.name.clone(), at))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            version,
            metadata,
            tensors,
            by_name,
            source: Mutex::new(source),
        })
    }

    /// The path that the file was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format's version: 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The value of a metadata key as stored, if there is one.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// All metadata keys, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.metadata.keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }

    /// The value of a metadata key that must be there, as a Rust type.
    ///
    /// # Errors
    ///
    /// [`Error::MissingKey`] or [`Error::WrongType`].
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        self.find(key)?.ok_or_else(|| Error::MissingKey {
            path: self.path.clone(),
            key: key.to_owned(),
        })
    }

    /// The value of a metadata key that may be missing, as a Rust type.
    ///
    /// # Errors
    ///
    /// [`Error::WrongType`] if it is there and of another type.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.metadata.get(key) else {
            return Ok(None);
        };
        match T::from_value(value) {
            Some(found) => Ok(Some(found)),
            None => Err(Error::WrongType {
                path: self.path.clone(),
                key: key.to_owned(),
                expected: T::EXPECTED,
                found: value.describe(),
            }),
        }
    }

    /// The tensor directory, in the file's order.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The directory's entry of a tensor, if there is one.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&at| &self.tensors[at])
    }

    /// A tensor's elements as f32, row-major in the order of [`TensorInfo::shape`].
    ///
    /// # Errors
    ///
    /// If there is no such tensor, its type is unsupported ([`Error::UnsupportedType`]), the file
    /// cannot be read, or an element is not finite.
    pub fn dequantise(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensor(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })?;
        if tensor.kind.block().is_none() {
            return Err(Error::UnsupportedType {
                path: self.path.clone(),
                tensor: name.to_owned(),
                kind: tensor.kind,
            });
        }
        let numbers = block::dequantise(tensor.kind, &self.read(tensor)?, tensor.elements)?;
        match numbers.iter().position(|number| !number.is_finite()) {
            None => Ok(numbers),
            Some(element) => Err(Error::NonFinite {
                path: self.path.clone(),
                tensor: name.to_owned(),
                element,
                value: numbers[element],
            }),
        }
    }

    fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>> {
        let mut bytes = vec![0; tensor.bytes];
        // A poisoned lock is no harm: every read seeks first.
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source
            .seek(SeekFrom::Start(tensor.offset))
            .and_then(|_| source.read_exact(&mut bytes))
            .map_err(|source| Error::Io {
                path: self.path.clone(),
                what: format!("tensor `{}`", tensor.name),
                source,
            })?;
        Ok(bytes)
    }
}

/// Magic and version.
fn read_preamble<R: Read>(cursor: &mut Cursor<'_, R>, path: &Path) -> Result<u32> {
    let magic = cursor.bytes(|| "the magic".to_owned())?;
    if magic != *b"GGUF" {
        return Err(Error::NotGguf {
            path: path.to_owned(),
            found: magic,
        });
    }
    let version = cursor.u32(|| "the version".to_owned())?;
    if !(2..=3).contains(&version) {
        return Err(Error::UnsupportedVersion {
            path: path.to_owned(),
            version,
            big_endian: (1..=3).contains(&version.swap_bytes()),
        });
    }
    Ok(version)
}

fn read_metadata<R: Read>(
    cursor: &mut Cursor<'_, R>,
    path: &Path,
    limits: &Limits,
    count: u64,
) -> Result<HashMap<String, Value>> {
    let what = || "the number of metadata entries".to_owned();
    cursor.limit(count, limits.metadata_entries, "metadata_entries", what)?;
    // An entry has at least its key's length, its type and one byte.
    cursor.require(count.saturating_mul(8 + 4 + 1), || {
        format!("{count} metadata entries")
    })?;
    let mut metadata = HashMap::new();
    for entry in 0..count {
        let key = cursor.name(|| format!("the key of metadata entry {entry}"))?;
        let value = cursor.value(&key)?;
        if metadata.contains_key(&key) {
            let problem = "the key stands in the file twice".to_owned();
            return Err(Error::InvalidMetadata {
                path: path.to_owned(),
                key,
                problem,
            });
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn alignment(path: &Path, metadata: &HashMap<String, Value>) -> Result<u64> {
    let key = "general.alignment";
    let invalid = |problem| Error::InvalidMetadata {
        path: path.to_owned(),
        key: key.to_owned(),
        problem,
    };
    match metadata.get(key) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&Value::U32(alignment)) if alignment.is_power_of_two() => Ok(alignment.into()),
        Some(other) => Err(invalid(format!(
            "a power of two as u32 is needed, not {}",
            other.describe()
        ))),
    }
}

/// The directory with offsets as stored: relative to the data, not yet checked.
fn read_directory<R: Read>(
    cursor: &mut Cursor<'_, R>,
    path: &Path,
    limits: &Limits,
    count: u64,
) -> Result<Vec<TensorInfo>> {
    cursor.limit(count, limits.tensors, "tensors", || {
        "the number of tensors".to_owned()
    })?;
    // An entry has at least its name's length, number of dimensions, type and offset.
    cursor.require(count.saturating_mul(8 + 4 + 4 + 8), || {
        format!("{count} tensor entries")
    })?;
    let mut tensors = Vec::new();
    for entry in 0..count {
        let name = cursor.name(|| format!("the name of tensor {entry}"))?;
        let what = || format!("the directory entry of tensor `{name}`");
        let invalid = |problem| Error::InvalidTensor {
            path: path.to_owned(),
            tensor: name.clone(),
            problem,
        };
        let dimensions = cursor.u32(what)?;
        if dimensions > 4 {
            return Err(invalid(format!(
                "it has {dimensions} dimensions; at most 4 are allowed"
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let length = cursor.u64(what)?;
            match usize::try_from(length) {
                Ok(length) if length > 0 => shape.push(length),
                _ => return Err(invalid(format!("a dimension is {length}"))),
            }
        }
        let kind = TensorType::from_id(cursor.u32(what)?);
        let offset = cursor.u64(what)?;
        let elements = shape
            .iter()
            .try_fold(1usize, |product, &length| product.checked_mul(length))
            .ok_or_else(|| invalid(format!("the product of the dimensions {shape:?} overflows")))?;
        // ggml's first dimension is the contiguous one, and blocks lie along it.
        let contiguous = shape.first().copied().unwrap_or(1);
        let bytes = match kind.block() {
            None => 0,
            Some((block_elements, block_bytes)) => {
                if contiguous % block_elements != 0 {
                    return Err(invalid(format!(
                        "its rows of {contiguous} elements are not whole blocks of {kind}, \
                         which have {block_elements}"
                    )));
                }
                (elements / block_elements)
                    .checked_mul(block_bytes)
                    .ok_or_else(|| invalid(format!("the size of {shape:?} overflows")))?
            }
        };
        shape.reverse();
        tensors.push(TensorInfo {
            name,
            shape,
            kind,
            elements,
            offset,
            bytes,
        });
    }
    Ok(tensors)
}

/// Checks names, alignment, bounds and overlaps, and makes the offsets absolute.
fn place(
    path: &Path,
    tensors: &mut [TensorInfo],
    data_start: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<()> {
    let invalid = |tensor: &TensorInfo, problem: String| Error::InvalidTensor {
        path: path.to_owned(),
        tensor: tensor.name.clone(),
        problem,
    };
    for tensor in tensors.iter_mut() {
        if tensor.offset % alignment != 0 {
            let offset = tensor.offset;
            let problem = format!("its offset {offset} is not a multiple of {alignment}");
            return Err(invalid(tensor, problem));
        }
        let start = data_start.checked_add(tensor.offset);
        let available = start.map_or(0, |start| file_bytes.saturating_sub(start));
        match start {
            Some(start) if tensor.bytes as u64 <= available => tensor.offset = start,
            _ => {
                return Err(Error::Truncated {
                    path: path.to_owned(),
                    what: format!("tensor `{}`", tensor.name),
                    offset: start.unwrap_or(u64::MAX),
                    needed: tensor.bytes as u64,
                    available,
                });
            }
        }
    }
    let mut by_name: Vec<&TensorInfo> = tensors.iter().collect();
    by_name.sort_unstable_by_key(|tensor| &tensor.name);
    if let Some(pair) = by_name.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(invalid(
            pair[0],
            "the name stands in the directory twice".to_owned(),
        ));
    }
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().filter(|t| t.bytes > 0).collect();
    by_offset.sort_unstable_by_key(|tensor| tensor.offset);
    let overlap = |pair: &&[&TensorInfo]| pair[0].offset + pair[0].bytes as u64 > pair[1].offset;
    if let Some(pair) = by_offset.windows(2).find(overlap) {
        return Err(invalid(
            pair[1],
            format!("its data overlap those of `{}`", pair[0].name),
        ));
    }
    Ok(())
}
