//! What can go wrong between the crates.

use crate::Span;

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a model, a reward or a curriculum can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A span reaches tokens that have no log-prob.
    #[error("tokens {}..{} have no log-prob: only {}..{} do", span.start, span.end, available.start, available.end)]
    SpanWithoutLogProbs {
        /// The span asked for.
        span: Span,
        /// The tokens that have an entry.
        available: Span,
    },
    /// A sequence does not fit into the model's context.
    #[error(
        "{what} needs {needed} tokens, but the model's context holds {limit}; shorten it or choose a model with a longer context"
    )]
    ContextOverflow {
        /// Which sequence.
        what: String,
        /// Its length in tokens.
        needed: usize,
        /// The model's context in tokens.
        limit: usize,
    },
    /// An id that the model does not have.
    #[error(
        "{what} holds token {id}, but the vocabulary ends at {vocabulary}; is this the model's own tokenizer?"
    )]
    UnknownToken {
        /// Which sequence.
        what: String,
        /// The id.
        id: u32,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// A request that means nothing.
    #[error("{what}: {problem}")]
    InvalidRequest {
        /// Which request or setting.
        what: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// A number that should be finite is not.
    #[error("{what} is {value}")]
    NonFinite {
        /// Which number of which sample.
        what: String,
        /// Its value.
        value: f64,
    },
    /// A number of one sample that should be finite is not.
    #[error("{what} of {sample} is {value}")]
    NonFiniteSample {
        /// The sample's id.
        sample: String,
        /// Which number.
        what: String,
        /// Its value.
        value: f64,
    },
    /// A number of one request that should be finite is not.
    #[error("{what} of request {request} is {value}")]
    NonFiniteRequest {
        /// The request's place in the call.
        request: usize,
        /// Which number.
        what: String,
        /// Its value.
        value: f64,
    },
    /// Scores that do not match what the reward asked for.
    #[error("sample {sample}: {problem}")]
    MismatchedScores {
        /// The sample's id.
        sample: String,
        /// What was expected and found.
        problem: String,
    },
    /// A saved state that does not belong here.
    #[error("saved state of {what} cannot be restored: {problem}")]
    InvalidState {
        /// Whose state.
        what: String,
        /// What was expected and found.
        problem: String,
    },
    /// A failure of the implementation behind a trait.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}
