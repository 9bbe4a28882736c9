#![doc = include_str!("../README.md")]
//!
//! # What stands where
//!
//! A [`Decoder`] works on packed sequences and returns hidden states. It knows nothing of sampling, of
//! caches, of losses or of text: [`Decoder::forward_with`] lets the caller bring the attention, and
//! [`Decoder::output_embedding`] is what hidden states are projected onto, a few rows at a time. A
//! [`LoraConfig`] says which projections get an adapter, which is then all that is trained.
#![forbid(unsafe_code)]

mod adapter;
mod assemble;
mod config;
mod decoder;
mod decoding;
mod error;
mod init;
mod layer;
mod parameters;
mod precision;
mod quantised;
mod rotary;
#[cfg(test)]
mod testing;
mod weights;

pub use adapter::{LoraConfig, LoraTargets};
pub use config::{Activation, DecoderConfig, DecoderOptions, Family, Limits, Llama3Scaling};
pub use decoder::Decoder;
pub use decoding::{DecodingModel, WeightPrecision};
pub use didact_kernels::Bits;
pub use error::{Error, Result, TensorProblem};
pub use parameters::{ParameterMapper, ParameterVisitor};
pub use rotary::{RotaryTables, frequencies};
