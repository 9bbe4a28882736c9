//! What a model sampled after a prompt.

use serde::{Deserialize, Serialize};

use crate::TokenId;

/// Why sampling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A stop token was sampled; it is the completion's last id.
    StopToken,
    /// The completion's bytes came to contain a stop string; its ids are kept whole.
    StopString,
    /// The limit of new tokens was reached: the completion is truncated.
    MaxTokens,
    /// The model's context was full: the completion is truncated.
    ContextFull,
}

impl StopReason {
    /// Whether sampling was cut off rather than ended by the model.
    #[must_use]
    pub const fn is_truncated(self) -> bool {
        matches!(self, Self::MaxTokens | Self::ContextFull)
    }
}

/// Sampled ids with the log-probs they were sampled at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The sampled ids, a stop token included.
    pub ids: Vec<TokenId>,
    /// For each id its log-prob under the full softmax at the sampling temperature, before top-k, top-p
    /// or min-p cut the distribution. At temperature 0 the softmax is taken at temperature 1.
    pub sampling_log_probs: Vec<f32>,
    /// Why sampling ended.
    pub stop: StopReason,
    /// The version of the weights that sampled it.
    pub policy_version: u64,
}
