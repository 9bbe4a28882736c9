//! What can be wrong with a GGUF file.

use std::path::PathBuf;

use crate::TensorType;

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a GGUF file; every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("{}: cannot read {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being read.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file does not begin with `GGUF`.
    #[error("{}: not a GGUF file: it begins with {found:02x?}, not with \"GGUF\"", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// A version of the format that is not read here.
    #[error("{}: GGUF version {version} is not supported{}; versions 2 and 3 (little-endian) are", path.display(), if *big_endian { " (a big-endian file)" } else { "" })]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        version: u32,
        /// Whether the version makes sense with its bytes swapped.
        big_endian: bool,
    },
    /// The file ends too early, or something in it claims to be longer than the file.
    #[error("{}: {what} needs {needed} bytes at offset {offset}, but only {available} are there; is the file truncated?", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Which part, with its key or tensor.
        what: String,
        /// Where in the file it begins.
        offset: u64,
        /// Its length in bytes, as far as known; `u64::MAX` when it is beyond counting.
        needed: u64,
        /// What the file has from there on.
        available: u64,
    },
    /// A number in the file beyond a [`Limits`](crate::Limits) field.
    #[error("{}: {what} is {found}, beyond the limit of {limit} (Limits::{name})", path.display())]
    LimitExceeded {
        /// The file.
        path: PathBuf,
        /// Which number, with its key or tensor.
        what: String,
        /// Its value.
        found: u64,
        /// The limit's value.
        limit: u64,
        /// The field of [`Limits`](crate::Limits).
        name: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("{}: {what} at offset {offset} is not UTF-8", path.display())]
    InvalidUtf8 {
        /// The file.
        path: PathBuf,
        /// Which string, with its key or tensor.
        what: String,
        /// Where in the file it begins.
        offset: u64,
    },
    /// A metadata entry that the format does not allow.
    #[error("{}: metadata `{key}`: {problem}", path.display())]
    InvalidMetadata {
        /// The file.
        path: PathBuf,
        /// The entry's key.
        key: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A tensor that the format does not allow.
    #[error("{}: tensor `{tensor}`: {problem}", path.display())]
    InvalidTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A key that the reader of the model needs and the file does not have.
    #[error("{}: metadata `{key}` is missing", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A metadata value of another type than asked for, or outside that type's range.
    #[error("{}: metadata `{key}` is {found}, but {expected} is needed", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
        /// What stands in the file.
        found: String,
    },
    /// A tensor that was asked for and that the file does not have.
    #[error("{}: tensor `{tensor}` is missing", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor in blocks that are not decoded here.
    #[error("{}: tensor `{tensor}` is stored as {kind}, which is not supported; supported are {}", path.display(), TensorType::SUPPORTED)]
    UnsupportedType {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// How it is stored.
        kind: TensorType,
    },
    /// A weight that is not a finite number.
    #[error("{}: tensor `{tensor}` holds {value} at element {element}", path.display())]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The element's row-major index.
        element: usize,
        /// Its value.
        value: f32,
    },
    /// Bytes that are not whole blocks of their type.
    #[error("{bytes} bytes of {kind} are not whole blocks that give {elements} elements")]
    RaggedBlocks {
        /// How the data are stored.
        kind: TensorType,
        /// How many bytes were given.
        bytes: usize,
        /// How many elements were asked for.
        elements: usize,
    },
}
