//! A hardened reader of the GGUF container: metadata, tensor directory and block dequantisation.
//!
//! GGUF (versions 2 and 3, little-endian) is the file format of llama.cpp. This crate knows the
//! container and the block layouts of ggml; it knows no model, no tokenizer and no tensor library.
//! What a key or a tensor name means is for the reader of the model to say.
//!
//! A file is untrusted input: every count, length, dimension, offset and size is checked against
//! the file's size and against [`Limits`] *before* anything is allocated for it, and every error
//! names the file and the key or the tensor. Tensor data stay on disk until they are asked for.
//!
//! ```no_run
//! use didact_gguf::Gguf;
//!
//! let gguf = Gguf::open("SmolLM2-135M-Instruct.Q4_1.gguf")?;
//! let architecture: &str = gguf.get("general.architecture")?;
//! let layers: usize = gguf.get(&format!("{architecture}.block_count"))?;
//! let window: Option<usize> = gguf.find(&format!("{architecture}.attention.sliding_window"))?;
//! let norm: Vec<f32> = gguf.dequantise("output_norm.weight")?;
//! # let _ = (layers, window, norm);
//! # Ok::<(), didact_gguf::Error>(())
//! ```
#![forbid(unsafe_code)]

mod block;
mod cursor;
mod error;
mod file;
mod limits;
mod tensor;
mod value;

pub use block::dequantise;
pub use error::{Error, Result};
pub use file::Gguf;
pub use limits::Limits;
pub use tensor::{TensorInfo, TensorType};
pub use value::{Array, FromValue, Value};
