//! Half-open ranges of token positions.

use serde::{Deserialize, Serialize};

/// The token positions `start..end` of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Position of the first token.
    pub start: usize,
    /// Position after the last token.
    pub end: usize,
}

impl Span {
    /// The span `start..end`; one whose `end` lies before its `start` is empty.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The number of tokens.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether the span holds no token.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// The positions of the tokens.
    #[must_use]
    pub const fn range(&self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// The span, or `None` where it is empty.
    #[must_use]
    pub const fn non_empty(self) -> Option<Self> {
        if self.is_empty() { None } else { Some(self) }
    }
}
