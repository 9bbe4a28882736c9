//! Runs a language model in this process: generation with sampling log-probs, and scoring of packed
//! sequences with shared prefixes.
//!
//! [`LocalEngine`] implements `didact_core`'s [`Generate`](didact_core::Generate) and
//! [`Score`](didact_core::Score). It knows token ids and tensors, no text, no reward and no gradient: it
//! runs inference snapshots only.
//!
//! | module | what it owns |
//! |---|---|
//! | [`PackedBatch`], [`micro_batches`] | sequences packed with shared prefixes; training packs with them too |
//! | [`sample`] | one draw from one row of logits |
//! | [`LocalEngine`] | the model, its version, and both traits |
//! | `schedule`, `pages` | who runs, who waits, and who owns which slot of the cache; numbers only |
//! | `cache` | the keys and values of all slots |
//!
//! The numbers of a sequence do not depend on what else is in the call: prefixes are segments of their
//! own whether shared or not, draws come from each request's own stream, and a lone row is computed as a
//! row among others. What a sequence loses to others when the cache is full is computed again in another
//! order of sums, so its later numbers may differ by rounding.
#![doc = concat!("\n\n", include_str!("../README.md"))]
#![forbid(unsafe_code)]

mod cache;
mod config;
mod draws;
mod engine;
mod error;
mod generate;
mod pack;
mod pages;
mod report;
pub mod sample;
mod schedule;
mod score;
mod stop;

pub use config::EngineConfig;
pub use engine::LocalEngine;
pub use error::Error;
pub use pack::{PackedBatch, micro_batches};
pub use report::GenerationReport;
