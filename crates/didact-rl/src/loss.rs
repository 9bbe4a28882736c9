//! Losses on the host: from per-token log-probs to a value and its derivatives, in f64, without tensors.
//!
//! Owns the contract between the training step and a loss. The step knows no algorithm: it hands over what
//! the models said of each sequence, and seeds its backward pass with the derivatives that come back. A
//! loss knows no model, no tensor and no micro-batch: its normalisers belong to the whole step, so that the
//! values, metrics and derivatives of a step's micro-batches add up to those of the step, however it is
//! cut.

use didact_core::{Error, NamedValue, Result};
use serde::{Deserialize, Serialize};

mod grpo;
mod sft;
#[cfg(test)]
mod tests;

pub use grpo::{GrpoConfig, GrpoLoss, Surrogate, SurrogateConfig};
pub use sft::SftLoss;

/// How much better than expected a sequence was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Advantage {
    /// The same for every token.
    Sequence(f64),
    /// One a token.
    Token(Vec<f64>),
}

impl Advantage {
    fn of_token(&self, token: usize) -> f64 {
        match self {
            Self::Sequence(advantage) => *advantage,
            Self::Token(advantages) => advantages[token],
        }
    }
}

/// What the models said of the trained tokens of one sequence.
///
/// All lists are of one length, one entry a token in order: `log_probs[t]` is the log-prob of token `t`
/// given all before it, in nats, at the training temperature. The three other log-probs are never mixed:
/// `old` is the policy's at the start of the update, `reference` the reference model's, `sampling` the
/// engine's at the time of sampling. Entries where `mask` is false are never read.
#[derive(Debug, Clone, PartialEq)]
pub struct LossSequence {
    /// Names the sequence in errors.
    pub id: String,
    /// The policy's log-probs, which the derivatives belong to.
    pub log_probs: Vec<f64>,
    /// The policy's log-probs at the start of the update.
    pub old_log_probs: Option<Vec<f64>>,
    /// The reference model's log-probs.
    pub reference_log_probs: Option<Vec<f64>>,
    /// The engine's log-probs at the time of sampling.
    pub sampling_log_probs: Option<Vec<f64>>,
    /// The policy's entropies of the distributions that the tokens were drawn from, in nats.
    pub entropies: Option<Vec<f64>>,
    /// The tokens that count.
    pub mask: Vec<bool>,
    /// The advantage; supervised sequences have none.
    pub advantage: Option<Advantage>,
}

impl LossSequence {
    /// A sequence of which every token counts, with nothing but the policy's log-probs.
    #[must_use]
    pub fn new(id: impl Into<String>, log_probs: Vec<f64>) -> Self {
        Self {
            id: id.into(),
            mask: vec![true; log_probs.len()],
            log_probs,
            old_log_probs: None,
            reference_log_probs: None,
            sampling_log_probs: None,
            entropies: None,
            advantage: None,
        }
    }

    /// The same with one advantage for all tokens.
    #[must_use]
    pub fn with_advantage(mut self, advantage: f64) -> Self {
        self.advantage = Some(Advantage::Sequence(advantage));
        self
    }

    /// The same with the policy's log-probs at the start of the update.
    #[must_use]
    pub fn with_old(mut self, log_probs: Vec<f64>) -> Self {
        self.old_log_probs = Some(log_probs);
        self
    }

    /// The same with the reference model's log-probs.
    #[must_use]
    pub fn with_reference(mut self, log_probs: Vec<f64>) -> Self {
        self.reference_log_probs = Some(log_probs);
        self
    }

    /// The same with only these tokens counting.
    #[must_use]
    pub fn with_mask(mut self, mask: Vec<bool>) -> Self {
        self.mask = mask;
        self
    }

    /// The number of tokens that count.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.mask.iter().filter(|&&counts| counts).count()
    }

    /// Checks that all lists are of one length and all entries that count are finite.
    fn check(&self) -> Result<()> {
        let lists = [
            ("log-prob", Some(&self.log_probs)),
            ("old log-prob", self.old_log_probs.as_ref()),
            ("reference log-prob", self.reference_log_probs.as_ref()),
            ("sampling log-prob", self.sampling_log_probs.as_ref()),
            ("entropy", self.entropies.as_ref()),
            (
                "advantage",
                match &self.advantage {
                    Some(Advantage::Token(advantages)) => Some(advantages),
                    Some(Advantage::Sequence(_)) | None => None,
                },
            ),
        ];
        for (what, list) in lists {
            let Some(list) = list else { continue };
            if list.len() != self.mask.len() {
                return Err(self.invalid(format!(
                    "{} entries of {what} for a mask of {} tokens",
                    list.len(),
                    self.mask.len()
                )));
            }
            for (token, (&value, &counts)) in list.iter().zip(&self.mask).enumerate() {
                if counts && !value.is_finite() {
                    return Err(self.non_finite(what, token, value));
                }
            }
        }
        if let Some(Advantage::Sequence(value)) = self.advantage
            && !value.is_finite()
        {
            return Err(Error::NonFinite {
                what: format!("the advantage of {}", self.id),
                value,
            });
        }
        Ok(())
    }

    fn non_finite(&self, what: &str, token: usize, value: f64) -> Error {
        Error::NonFinite {
            what: format!("the {what} of token {token} of {}", self.id),
            value,
        }
    }

    fn invalid(&self, problem: String) -> Error {
        Error::InvalidRequest {
            what: format!("loss of {}", self.id),
            problem,
        }
    }

    fn require<'a>(&self, what: &str, list: Option<&'a Vec<f64>>) -> Result<&'a [f64]> {
        list.map(Vec::as_slice)
            .ok_or_else(|| self.invalid(format!("this loss needs {what}, which are not given")))
    }
}

/// What a loss divides by: counts of the **whole step**, not of a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normalisers {
    /// The step's sequences, those without a token that counts included.
    pub sequences: usize,
    /// The step's tokens that count.
    pub tokens: usize,
}

impl Normalisers {
    /// The counts of a step.
    #[must_use]
    pub fn of(sequences: &[LossSequence]) -> Self {
        Self {
            sequences: sequences.len(),
            tokens: sequences.iter().map(LossSequence::tokens).sum(),
        }
    }

    /// Checks the sequences, and that they can be part of a step of these counts.
    fn check(self, sequences: &[LossSequence]) -> Result<()> {
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

/// Which optional inputs a loss reads; the training step need not compute the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LossNeeds {
    /// [`LossSequence::advantage`].
    pub advantage: bool,
    /// [`LossSequence::old_log_probs`].
    pub old_log_probs: bool,
    /// [`LossSequence::reference_log_probs`].
    pub reference_log_probs: bool,
    /// [`LossSequence::sampling_log_probs`].
    pub sampling_log_probs: bool,
    /// [`LossSequence::entropies`], and a derivative with respect to them.
    pub entropies: bool,
}

/// A loss with its derivatives.
///
/// Everything here is a share of the step: the outputs of its micro-batches add up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LossOutput {
    /// The loss.
    pub value: f64,
    /// For each sequence and token `∂value/∂log_prob`; 0 where the mask is false.
    pub d_log_probs: Vec<Vec<f64>>,
    /// For each sequence and token `∂value/∂entropy`; `None` where the loss reads no entropy.
    pub d_entropies: Option<Vec<Vec<f64>>>,
    /// What is worth logging; means over the step, as shares.
    pub metrics: Vec<NamedValue>,
}

impl LossOutput {
    /// Takes up the output of the step's next micro-batch: values and metrics are added, derivatives
    /// appended.
    pub fn append(&mut self, next: Self) {
        self.value += next.value;
        self.d_log_probs.extend(next.d_log_probs);
        match (&mut self.d_entropies, next.d_entropies) {
            (Some(mine), Some(more)) => mine.extend(more),
            (mine @ None, more @ Some(_)) => *mine = more,
            (_, None) => {}
        }
        for metric in next.metrics {
            match self.metrics.iter_mut().find(|m| m.name == metric.name) {
                Some(mine) => mine.value += metric.value,
                None => self.metrics.push(metric),
            }
        }
    }

    /// The metric called `name`.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics
            .iter()
            .find(|m| m.name == name)
            .map(|m| m.value)
    }
}

/// Turns what the models said into a value and its derivatives.
pub trait Loss: Send + Sync {
    /// The name in configurations and metrics.
    fn name(&self) -> &'static str;

    /// Which optional inputs it reads.
    fn needs(&self) -> LossNeeds;

    /// The share of the step's loss that these sequences make up.
    ///
    /// `sequences` is the whole step or one of its micro-batches; `normalisers` always counts the step.
    ///
    /// # Errors
    /// An input that is needed and missing; lists of different lengths; an entry or a result that is not
    /// finite, with sequence and token; more sequences or tokens than the step has.
    fn evaluate(&self, sequences: &[LossSequence], normalisers: Normalisers) -> Result<LossOutput>;
}
