//! Reading given tokens with a model.

use std::sync::Arc;

use crate::{Result, Span, SpannedSequence, TokenId, TokenLogProbs};

/// Asks for the log-probs of some spans of one sequence.
#[derive(Debug, Clone)]
pub struct ScoreRequest {
    /// The first ids of the sequence. Requests with equal prefixes share their computation.
    pub prefix: Arc<[TokenId]>,
    /// The ids after the prefix.
    pub continuation: Vec<TokenId>,
    /// The spans, in positions of `prefix ++ continuation`. None may hold position 0.
    pub spans: Vec<Span>,
    /// Divides the logits before the softmax; above 0.
    pub temperature: f64,
}

impl ScoreRequest {
    /// Asks for `spans` of `sequence`.
    #[must_use]
    pub fn new(sequence: &SpannedSequence, spans: Vec<Span>, temperature: f64) -> Self {
        Self {
            prefix: sequence.prefix.clone(),
            continuation: sequence.continuation.clone(),
            spans,
            temperature,
        }
    }
}

/// A model that says how likely given tokens are.
pub trait Score {
    /// For each request, in order, the log-probs of each of its spans.
    ///
    /// # Errors
    /// A sequence longer than the context, an id outside the vocabulary, a span that holds position 0
    /// or ends after the sequence, a temperature that is not above 0, a non-finite log-prob.
    fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Vec<TokenLogProbs>>>;
}
