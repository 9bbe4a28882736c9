//! How much an engine computes and keeps at once.

use std::num::NonZeroUsize;

use didact_models::WeightPrecision;
use serde::{Deserialize, Serialize};

/// How much an engine computes and keeps at once: memory and speed, not results, but for
/// [`decoding_weights`](Self::decoding_weights).
///
/// ```
/// use didact_engine::EngineConfig;
///
/// let config = EngineConfig { max_batch: 16_usize.try_into()?, ..EngineConfig::default() };
/// assert_eq!(config.page_tokens.get(), 16);
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Sequences that are generated side by side. More use the machine better and need more memory
    /// for keys and values.
    pub max_batch: NonZeroUsize,
    /// Packed tokens in one forward pass of prompts or of sequences to score, which bounds the memory of
    /// activations. A single longer sequence to score still passes, alone, and so does a longer prompt, in
    /// parts of [`prefill_chunk`](Self::prefill_chunk).
    pub max_batch_tokens: NonZeroUsize,
    /// A prompt of more tokens than this is read in parts of so many, one before each token of the sequences
    /// that are being generated.
    pub prefill_chunk: NonZeroUsize,
    /// Tokens whose keys and values are allocated together. A sequence wastes up to one page, and so does
    /// a prompt.
    pub page_tokens: NonZeroUsize,
    /// Bytes of keys and values that generation may keep. Where they run out, the sequences that began last
    /// give theirs up and are read again later; a request that could not run alone is refused.
    pub cache_bytes: u64,
    /// In which precision new tokens are computed; prompts and scores always take the weights as they are.
    pub decoding_weights: WeightPrecision,
}

impl Default for EngineConfig {
    fn default() -> Self {
        const fn tokens(count: usize) -> NonZeroUsize {
            NonZeroUsize::new(count).expect("not zero")
        }
        Self {
            max_batch: const { tokens(64) },
            max_batch_tokens: const { tokens(4096) },
            prefill_chunk: const { tokens(2048) },
            page_tokens: const { tokens(16) },
            cache_bytes: 4 << 30,
            decoding_weights: WeightPrecision::Exact,
        }
    }
}
