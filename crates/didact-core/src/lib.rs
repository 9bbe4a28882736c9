//! The plain values that Didact's crates hand to each other, and the traits between them.
//!
//! This crate knows token ids, spans of them, their log-probabilities, problems, completions, scores
//! and outcomes. It knows no tensor, no tokenizer and no file format, and builds in seconds, so that
//! a reward, a curriculum or an engine of your own needs nothing else.
//!
//! Data flows one way through these types:
//!
//! ```text
//! Problem → Prompt → Completion → ScoreRequest → TokenLogProbs → Outcome → advantage → loss
//! ```
//!
//! | word | meaning here |
//! |---|---|
//! | problem | a question with its solution |
//! | prompt | the token ids that a model continues |
//! | completion | the ids that a model sampled after a prompt |
//! | explanation | the text that the teacher wrote; the same text is the *thought* in the student's format |
//! | span | a half-open range of token positions within one sequence |
//! | group | the completions of one problem, compared with each other |
//! | policy | the teacher being trained; *reference*: the model it is kept close to |
//!
//! ```
//! use didact_core::{Span, TokenLogProbs};
//!
//! // Log-probs of the tokens 1, 2 and 3 of a sequence: a root's first token has none.
//! let log_probs = TokenLogProbs::new(1, vec![-0.5, -2.0, -0.25]);
//! let solution = Span::new(2, 4);
//! assert_eq!(log_probs.of_span(solution)?, &[-2.0, -0.25]);
//! # Ok::<(), didact_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod completion;
mod curriculum;
mod error;
mod generate;
mod log_probs;
mod problem;
mod reward;
mod score;
mod sequence;
mod span;
mod stream;
mod token;

pub use completion::{Completion, StopReason};
pub use curriculum::{Curriculum, ProblemResult};
pub use error::{Error, Result};
pub use generate::{Generate, GenerateRequest, Sampling};
pub use log_probs::TokenLogProbs;
pub use problem::Problem;
pub use reward::{
    GroupScores, NamedValue, Outcome, Refusal, Reward, SampleScores, ScoreContext, ScoreSpec,
    Scorer, SpanName, TokenTerm,
};
pub use score::{Score, ScoreRequest};
pub use sequence::SpannedSequence;
pub use span::Span;
pub use stream::{RandomStream, StreamKey};
pub use token::{TokenBytes, TokenId};
