//! The engine that runs a model in this process.
//!
//! It owns the inference snapshot of a decoder and its version; how it generates and scores stands
//! in their own modules.

use std::fmt;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use didact_core::{Error, Result, TokenBytes, TokenId};
use didact_models::Decoder;
use serde::{Deserialize, Serialize};

/// How much an engine computes at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Sequences that are generated side by side. More use the machine better and need more memory
    /// for keys and values.
    pub max_batch: usize,
    /// Packed tokens in one forward pass of prompts or of sequences to score, which bounds the memory of
    /// activations. A single longer sequence still passes, alone.
    pub max_batch_tokens: usize,
    /// Where keys and values are kept while generating.
    pub cache: CacheKind,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_batch: 64,
            max_batch_tokens: 4096,
            cache: CacheKind::Host,
        }
    }
}

/// Where keys and values are kept while generating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheKind {
    /// In host memory, where attention is computed too; for models on the CPU.
    Host,
    /// On the model's device, in plain tensor operations that copy the cache at every token: the
    /// reference.
    Device,
}

/// A model in this process: implements [`Generate`](didact_core::Generate) and
/// [`Score`](didact_core::Score).
///
/// It holds an inference snapshot, never a tensor of an autodiff device, and shares the weights'
/// memory with the decoder it was made of.
#[derive(Clone)]
pub struct LocalEngine {
    pub(crate) decoder: Decoder,
    pub(crate) config: EngineConfig,
    pub(crate) token_bytes: Option<Arc<dyn TokenBytes>>,
    pub(crate) version: u64,
}

impl fmt::Debug for LocalEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEngine")
            .field("model", self.decoder.config())
            .field("config", &self.config)
            .field("token_bytes", &self.token_bytes.is_some())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl LocalEngine {
    /// An engine that runs `decoder`'s weights as they are now, as version 0.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "an engine owns its weights")]
    pub fn new(decoder: Decoder, config: EngineConfig) -> Self {
        Self {
            decoder: snapshot(&decoder),
            config,
            token_bytes: None,
            version: 0,
        }
    }

    /// The same, able to find stop strings by the bytes of tokens.
    #[must_use]
    pub fn with_token_bytes(mut self, token_bytes: Arc<dyn TokenBytes>) -> Self {
        self.token_bytes = Some(token_bytes);
        self
    }

    /// Runs `decoder`'s weights from now on; completions carry `version`.
    #[expect(clippy::needless_pass_by_value, reason = "an engine owns its weights")]
    pub fn update_weights(&mut self, decoder: Decoder, version: u64) {
        self.decoder = snapshot(&decoder);
        self.version = version;
    }

    /// The version of the weights, as [`update_weights`](Self::update_weights) was told.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The inference snapshot.
    #[must_use]
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// How much the engine computes at once.
    #[must_use]
    pub const fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Refuses ids that the model does not have and sequences longer than its context.
    pub(crate) fn check_sequence(
        &self,
        what: impl Fn() -> String,
        ids: impl Iterator<Item = TokenId>,
        needed: usize,
    ) -> Result<()> {
        let limit = self.decoder.config().max_position_embeddings;
        if needed > limit {
            return Err(Error::ContextOverflow {
                what: what(),
                needed,
                limit,
            });
        }
        let vocabulary = self.decoder.config().vocab_size;
        for id in ids {
            if id as usize >= vocabulary {
                return Err(Error::UnknownToken {
                    what: what(),
                    id,
                    vocabulary,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn device(&self) -> Device {
        self.decoder.device()
    }
}

/// Without the gradient tape: rollouts and scores on an autodiff device would be recorded.
fn snapshot(decoder: &Decoder) -> Decoder {
    decoder.valid()
}

/// Uploads indices, which the checks above keep far below 2³¹.
pub(crate) fn upload(indices: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i32> = indices.map(|index| index as i32).collect();
    let count = indices.len();
    Tensor::from_data(TensorData::new(indices, [count]), device)
}
