//! Decoder language models of the Llama, Qwen and Gemma families over burn, configured and stored as
//! Hugging Face folders.
//!
//! One [`Decoder`] serves every [`Family`]. It works on packed sequences (no batch dimension, no
//! padding) and returns hidden states; it knows nothing of sampling, of caches, of losses or of text.
#![forbid(unsafe_code)]

mod assemble;
mod config;
mod decoder;
mod error;
mod init;
mod layer;
mod parameters;
mod rotary;
mod weights;

pub use config::{Activation, DecoderConfig, DecoderOptions, Family, Limits, Llama3Scaling};
pub use decoder::Decoder;
pub use error::{Error, Result, TensorProblem};
pub use parameters::{ParameterMapper, ParameterVisitor};
pub use rotary::{RotaryTables, frequencies};
