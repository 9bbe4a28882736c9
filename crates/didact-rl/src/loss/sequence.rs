//! What the models said of one sequence.
//!
//! Owns the lists that a loss reads and their checks. Knows no loss.

use didact_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How much better than expected a sequence was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Advantage {
    /// The same for every token.
    Sequence(f64),
    /// One a token.
    Token(Vec<f64>),
}

impl From<Vec<f64>> for Advantage {
    fn from(advantages: Vec<f64>) -> Self {
        Self::Token(advantages)
    }
}

impl From<f64> for Advantage {
    fn from(advantage: f64) -> Self {
        Self::Sequence(advantage)
    }
}

impl Advantage {
    pub(super) fn of_token(&self, token: usize) -> f64 {
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
/// engine's at the time of sampling. Entries where `mask` is false are never read. A sequence without a
/// token that counts, such as a masked truncated completion, adds nothing but counts in means over
/// sequences.
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

    /// The same with an advantage: a number for all tokens, or a list of one a token.
    #[must_use]
    pub fn with_advantage(mut self, advantage: impl Into<Advantage>) -> Self {
        self.advantage = Some(advantage.into());
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

    /// The same with the engine's log-probs at the time of sampling.
    #[must_use]
    pub fn with_sampling(mut self, log_probs: Vec<f64>) -> Self {
        self.sampling_log_probs = Some(log_probs);
        self
    }

    /// The same with the policy's entropies.
    #[must_use]
    pub fn with_entropies(mut self, entropies: Vec<f64>) -> Self {
        self.entropies = Some(entropies);
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
    pub(super) fn check(&self) -> Result<()> {
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
            return Err(Error::NonFiniteSample {
                sample: self.id.clone(),
                what: "the advantage".to_owned(),
                value,
            });
        }
        Ok(())
    }

    pub(super) fn non_finite(&self, what: &str, token: usize, value: f64) -> Error {
        Error::NonFiniteSample {
            sample: self.id.clone(),
            what: format!("the {what} of token {token}"),
            value,
        }
    }

    pub(super) fn invalid(&self, problem: String) -> Error {
        Error::InvalidRequest {
            what: format!("loss of {}", self.id),
            problem,
        }
    }

    pub(super) fn require<'a>(&self, what: &str, list: Option<&'a Vec<f64>>) -> Result<&'a [f64]> {
        list.map(Vec::as_slice)
            .ok_or_else(|| self.invalid(format!("this loss needs {what}, which are not given")))
    }
}
