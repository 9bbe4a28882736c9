//! Fused language-model operations behind one backend trait, each beside its plain reference, for
//! burn on CPU, CUDA and wgpu.
//!
//! This crate knows tensors and the layout of packed sequences. It knows no model, no weights and no
//! text. Activations are packed: `[N, …]` with `N` tokens of all sequences one after the other and no
//! padding; a [`PackedLayout`] says which tokens belong together and which prefix they share.
//!
//! | operation | what it computes |
//! |---|---|
//! | [`linear()`] | activations times a weight |
//! | [`linear_log_prob()`] | log-probability, log-sum-exp and entropy of targets, without the whole logits |
//! | [`linear_kl()`] | divergence of two models' distributions, without the whole logits |
//! | [`attention()`] | causal attention over packed segments with shared prefixes and grouped heads |
//! | [`rms_norm`] | root-mean-square normalisation |
//! | [`rotary`] | rotary position embedding |
//! | [`gated`] | SwiGLU and GeGLU |
//! | [`cached_attention`], [`write_slots`] | attention of new rows over a key/value cache |
//! | [`sample()`] | one token of each row of logits |
//! | [`adamw()`] | AdamW's update of one parameter |
//! | [`streamed_product`] | few rows times a matrix that is read once, in f32 or bf16 |
//! | [`quantised_linear`], [`streamed_quantised_product`] | rows times a frozen [`QuantisedMatrix`] of 8 or 4 bits |
#![allow(unsafe_code)]
#![allow(
    clippy::too_many_arguments,
    reason = "the tensors of an operation, each an argument of its own"
)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod adamw;
mod attention;
mod backend;
mod cache;
#[cfg(feature = "cube")]
mod cube;
mod device;
mod error;
mod flex;
mod gated;
mod layout;
mod linear;
mod linear_kl;
mod linear_log_prob;
mod norm;
mod quantised;
pub mod reference;
mod rotary;
mod sample;
mod streamed;

pub use adamw::{AdamWOps, AdamWStep, adamw, adamw_in_place};
pub use attention::{AttentionOps, attention};
pub use backend::LmBackend;
pub use cache::{CacheLayout, CacheOps, CachedRun, cached_attention, write_slots};
#[cfg(feature = "cube")]
#[doc(hidden)]
pub use cube::limit_tiles;
#[cfg(feature = "cuda-sources")]
pub use cube::{CudaSource, cuda_sources};
pub use device::{device, is_cpu};
pub use error::Error;
pub use gated::{Activation, GatedOps, gated};
pub use layout::{PackedLayout, Segment};
pub use linear::{LinearOps, linear};
pub use linear_kl::{KlDirection, LinearKlOps, Projected, linear_kl};
pub use linear_log_prob::{LinearLogProbOps, linear_log_prob, projected_rows, validate_rows};
pub use norm::{NormOps, rms_norm};
pub use quantised::{
    Bits, QuantisedMatrix, QuantisedOps, StreamedQuantisedOps, quantised_linear,
    streamed_quantised_product,
};
pub use rotary::{RotaryOps, rotary};
#[cfg(feature = "cube")]
pub use sample::SampleOps;
pub use sample::{Draw, sample};
pub use streamed::{StreamedOps, streamed_product};
