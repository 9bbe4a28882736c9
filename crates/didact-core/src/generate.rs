//! Sampling completions from a model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Completion, RandomStream, Result, TokenId};

/// How to sample, the same for every request of a call or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits. 0 takes the likeliest token each time (the lowest id where several are).
    pub temperature: f64,
    /// Keeps the likeliest tokens whose probabilities first sum to at least this; 1 keeps all.
    #[serde(default = "one")]
    pub top_p: f64,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    #[serde(default)]
    pub top_k: usize,
    /// Keeps tokens at least this fraction as probable as the likeliest; 0 keeps all.
    #[serde(default)]
    pub min_p: f64,
    /// At most this many new tokens.
    pub max_tokens: usize,
    /// Sampling ends after any of these ids.
    #[serde(default)]
    pub stop_tokens: Vec<TokenId>,
    /// Sampling ends once the completion's bytes contain any of these.
    #[serde(default)]
    pub stop_strings: Vec<String>,
}

const fn one() -> f64 {
    1.0
}

impl Sampling {
    /// Plain sampling at `temperature`: nothing cut off, no stop but the limit.
    #[must_use]
    pub const fn new(temperature: f64, max_tokens: usize) -> Self {
        Self {
            temperature,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            max_tokens,
            stop_tokens: Vec::new(),
            stop_strings: Vec::new(),
        }
    }

    /// The likeliest token each time.
    #[must_use]
    pub const fn greedy(max_tokens: usize) -> Self {
        Self::new(0.0, max_tokens)
    }

    /// The same, ending after any of `ids`.
    #[must_use]
    pub fn with_stop_tokens(mut self, ids: impl Into<Vec<TokenId>>) -> Self {
        self.stop_tokens = ids.into();
        self
    }

    /// The same, ending once the bytes contain any of `strings`.
    #[must_use]
    pub fn with_stop_strings(mut self, strings: impl Into<Vec<String>>) -> Self {
        self.stop_strings = strings.into();
        self
    }
}

/// One completion to sample.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The ids to continue. Requests with equal prompts share its computation.
    pub prompt: Arc<[TokenId]>,
    /// How to sample.
    pub sampling: Sampling,
    /// Where the draws come from: the i-th token takes the i-th draw, whatever else is in the batch.
    pub stream: RandomStream,
}

/// A model that continues prompts.
pub trait Generate {
    /// Samples one completion a request, in the order of the requests.
    ///
    /// # Errors
    /// A prompt that is empty, leaves no room in the context or holds an id outside the vocabulary;
    /// sampling settings that mean nothing; a non-finite logit.
    fn generate(&mut self, requests: &[GenerateRequest]) -> Result<Vec<Completion>>;
}
