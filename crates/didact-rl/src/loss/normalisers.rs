//! What a loss divides by.
//!
//! Owns the counts of a step. Knows no loss.

use didact_core::{Error, Result};

use super::{EntropyCut, LossSequence};

/// What a loss divides by: counts of the **whole step**, not of a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisers {
    /// The step's sequences, those without a token that counts included.
    pub sequences: usize,
    /// The step's tokens that count.
    pub tokens: usize,
    /// How many parts the step is cut into; read by
    /// [`Aggregation::MicroBatchTokenMean`](super::Aggregation::MicroBatchTokenMean) alone.
    pub micro_batches: usize,
    /// Where the step's tokens of high entropy begin, for a loss that
    /// [asks](super::LossNeeds::top_entropy).
    pub entropy_cut: Option<EntropyCut>,
}

impl Normalisers {
    /// The counts of a step that is not cut.
    #[must_use]
    pub fn of(sequences: &[LossSequence]) -> Self {
        Self {
            sequences: sequences.len(),
            tokens: sequences.iter().map(LossSequence::tokens).sum(),
            micro_batches: 1,
            entropy_cut: None,
        }
    }

    /// The same counts with the cut that keeps this fraction of the step's tokens.
    ///
    /// # Errors
    /// A sequence without entropies.
    pub fn with_top_entropy(self, fraction: f64, sequences: &[LossSequence]) -> Result<Self> {
        let mut entropies = Vec::new();
        for sequence in sequences {
            let given = sequence.require("entropies", sequence.entropies.as_ref())?;
            let counted = given.iter().zip(&sequence.mask);
            entropies.extend(counted.filter(|(_, counts)| **counts).map(|(e, _)| *e));
        }
        Ok(Self {
            entropy_cut: Some(EntropyCut::new(fraction, entropies)),
            ..self
        })
    }

    /// Checks the sequences, and that they can be part of a step of these counts.
    pub(super) fn check(self, sequences: &[LossSequence]) -> Result<()> {
        for sequence in sequences {
            sequence.check()?;
        }
        let part = Self::of(sequences);
        if part.sequences > self.sequences || part.tokens > self.tokens {
            return Err(Error::InvalidRequest {
                what: "normalisers of a loss".to_owned(),
                problem: format!(
                    "a micro-batch of {} sequences and {} tokens cannot be part of a step of {} and {}; count the whole step",
                    part.sequences, part.tokens, self.sequences, self.tokens
                ),
            });
        }
        Ok(())
    }
}
