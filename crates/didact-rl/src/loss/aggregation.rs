//! What a token weighs in the loss of a step.
//!
//! Owns the weights. Knows no ratio and no advantage.

use serde::{Deserialize, Serialize};

use super::Normalisers;
use crate::{Error, Result};

/// An [`Aggregation`] as a user writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AggregationConfig {
    /// [`Aggregation::SequenceMean`].
    #[default]
    #[serde(deserialize_with = "crate::config::no_other_keys")]
    SequenceMean,
    /// [`Aggregation::TokenMean`].
    #[serde(deserialize_with = "crate::config::no_other_keys")]
    TokenMean,
    /// [`Aggregation::MicroBatchTokenMean`].
    #[serde(deserialize_with = "crate::config::no_other_keys")]
    MicroBatchTokenMean,
    /// [`Aggregation::SequenceSum`].
    #[serde(deserialize_with = "crate::config::no_other_keys")]
    SequenceSum,
    /// [`Aggregation::Constant`].
    Constant {
        /// The constant length; at least 1. In a trainer's configuration by default its
        /// `max_completion_tokens`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<usize>,
    },
}

impl AggregationConfig {
    pub(super) fn resolve(self) -> Result<Aggregation> {
        Ok(match self {
            Self::SequenceMean => Aggregation::SequenceMean,
            Self::TokenMean => Aggregation::TokenMean,
            Self::MicroBatchTokenMean => Aggregation::MicroBatchTokenMean,
            Self::SequenceSum => Aggregation::SequenceSum,
            Self::Constant { tokens } => {
                let tokens = tokens.filter(|&tokens| tokens > 0);
                Aggregation::Constant {
                    tokens: tokens.ok_or_else(|| Error::Configuration {
                        key: "loss.aggregation.tokens".to_owned(),
                        problem: "a constant length of at least 1 is needed; usual is the limit of a completion"
                            .to_owned(),
                    })?,
                }
            }
        })
    }
}

/// What the loss of one token, in a sequence of `L` tokens that count, is multiplied with before all are
/// added, in a step of `S` sequences and `N` tokens that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Aggregation {
    /// `1 / (S·L)`: the mean over sequences of their means (GRPO, SAPO). Tokens of long sequences weigh less.
    SequenceMean,
    /// `1 / N` (DAPO, CISPO, VESPO): every token weighs the same.
    TokenMean,
    /// `1 / (M·N_m)` for the `N_m` tokens of the micro-batch, one of `M` (BNPO in TRL).
    ///
    /// **It depends on how the step is cut, by definition**: memory limits change the gradient. On a step
    /// that is not cut it is [`TokenMean`](Self::TokenMean).
    MicroBatchTokenMean,
    /// `1 / S`: the mean over sequences of their sums (LUSPO, RLOO). Long sequences weigh more.
    SequenceSum,
    /// `1 / (S·tokens)` (Dr. GRPO): as a sum over a sequence, of the usual size.
    Constant {
        /// The constant length.
        tokens: usize,
    },
}

impl Aggregation {
    /// The weight of a token in a sequence of `tokens`, in a micro-batch of `micro_batch_tokens`.
    pub(super) fn weight(
        self,
        tokens: usize,
        micro_batch_tokens: usize,
        normalisers: Normalisers,
    ) -> f64 {
        let count = |n: usize| n.max(1) as f64;
        let per_sequence = 1.0 / count(normalisers.sequences);
        match self {
            Self::SequenceMean => per_sequence / count(tokens),
            Self::TokenMean => 1.0 / count(normalisers.tokens),
            Self::MicroBatchTokenMean => {
                1.0 / (count(normalisers.micro_batches) * count(micro_batch_tokens))
            }
            Self::SequenceSum => per_sequence,
            Self::Constant { tokens } => per_sequence / count(tokens),
        }
    }
}
