//! A token sequence in which the spans that matter are marked.

use std::sync::Arc;

use crate::{Span, TokenId};

/// One sequence for a model to read, with the spans of thought and solution marked.
///
/// The ids are `prefix ++ continuation`; sequences of one group hold the same `prefix`, which a scorer
/// then computes once. Spans count positions of the whole sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpannedSequence {
    /// The ids that a group shares: everything before the first sampled token.
    pub prefix: Arc<[TokenId]>,
    /// The ids after the prefix.
    pub continuation: Vec<TokenId>,
    /// The tokens of the explanation; `None` where it is empty.
    pub thought: Option<Span>,
    /// The tokens of the solution; `None` where no token lies wholly inside it.
    pub solution: Option<Span>,
}

impl SpannedSequence {
    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefix.len() + self.continuation.len()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All ids in order.
    #[must_use]
    pub fn ids(&self) -> Vec<TokenId> {
        self.prefix
            .iter()
            .chain(&self.continuation)
            .copied()
            .collect()
    }
}
