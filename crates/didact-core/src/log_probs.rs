//! Log-probabilities that know which tokens they belong to.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Span};

/// The log-probabilities of consecutive tokens of one sequence.
///
/// The entry of token `t` is `log p(token t | all tokens before t)`, in nats, at the temperature it was
/// asked for. The first token of a sequence has none, so `first` is at least 1 for a whole sequence.
/// This is the only index convention in Didact: nothing is shifted by one anywhere else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogProbs {
    first: usize,
    values: Vec<f32>,
}

impl TokenLogProbs {
    /// Log-probs of the tokens `first`, `first + 1`, ….
    #[must_use]
    pub const fn new(first: usize, values: Vec<f32>) -> Self {
        Self { first, values }
    }

    /// The tokens that have an entry.
    #[must_use]
    pub const fn span(&self) -> Span {
        Span::new(self.first, self.first + self.values.len())
    }

    /// All entries, in the order of their tokens.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The entries, in the order of their tokens.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no token has an entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The log-prob of the token at `position`, if it has one.
    #[must_use]
    pub fn of_token(&self, position: usize) -> Option<f32> {
        self.values.get(position.checked_sub(self.first)?).copied()
    }

    /// The log-probs of a span's tokens.
    ///
    /// # Errors
    /// [`Error::SpanWithoutLogProbs`] where a token of the span has no entry.
    pub fn of_span(&self, span: Span) -> Result<&[f32]> {
        let outside = || Error::SpanWithoutLogProbs {
            span,
            available: self.span(),
        };
        let start = span.start.checked_sub(self.first).ok_or_else(outside)?;
        self.values
            .get(start..start + span.len())
            .ok_or_else(outside)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_span_reads_the_entries_of_its_own_tokens(
            first in 1usize..20, len in 0usize..20, start in 0usize..40, width in 0usize..20,
        ) {
            let values: Vec<f32> = (0..len).map(|i| -((first + i) as f32)).collect();
            let log_probs = TokenLogProbs::new(first, values);
            let span = Span::new(start, start + width);
            match log_probs.of_span(span) {
                Ok(found) => {
                    let expected: Vec<f32> = span.range().map(|t| -(t as f32)).collect();
                    prop_assert_eq!(found, &expected[..]);
                }
                Err(_) => prop_assert!(start < first || start + width > first + len),
            }
        }
    }

    #[test]
    fn the_first_token_has_no_entry() {
        let log_probs = TokenLogProbs::new(1, vec![-1.0]);
        assert_eq!(log_probs.of_token(0), None);
        assert_eq!(log_probs.of_token(1), Some(-1.0));
        assert!(log_probs.of_span(Span::new(0, 1)).is_err());
    }
}
