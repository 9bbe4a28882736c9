//! The engine that runs a model in this process.
//!
//! It owns the inference snapshot of a decoder and its version; how it generates and scores stands
//! in their own modules.

use std::fmt;
use std::sync::{Arc, OnceLock};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use didact_core::{Error, Result, TokenBytes, TokenId};
use didact_models::{Decoder, DecodingModel};

use crate::{EngineConfig, GenerationReport};

/// A model in this process: implements [`Generate`](didact_core::Generate) and
/// [`Score`](didact_core::Score).
///
/// It holds an inference snapshot, never a tensor of an autodiff device, and shares the weights'
/// memory with the decoder it was made of. Decoding in bf16 takes a copy beside it, from the first
/// generation with these weights on.
#[derive(Clone)]
pub struct LocalEngine {
    pub(crate) decoder: Decoder,
    /// Made at the first generation: an engine that only scores never pays for it.
    decoding: OnceLock<DecodingModel>,
    pub(crate) report: GenerationReport,
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
            decoding: OnceLock::new(),
            report: GenerationReport::default(),
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
        self.decoding = OnceLock::new();
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

    /// What the last call of [`generate`](didact_core::Generate::generate) did; all zero before the first and
    /// after one that failed.
    #[must_use]
    pub const fn last_generation(&self) -> GenerationReport {
        self.report
    }

    /// How much the engine computes and keeps at once.
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

    /// The weights as decoding reads them.
    pub(crate) fn decoding(&self) -> &DecodingModel {
        self.decoding
            .get_or_init(|| DecodingModel::new(&self.decoder, self.config.decoding_weights))
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

/// An error that names itself.
pub(crate) fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(error.into())
}
