//! Rewards in two phases: which scores are needed, and what outcome they give.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Problem, Result, TokenLogProbs};

/// The model that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scorer {
    /// The teacher as it is now.
    Policy,
    /// The model that the policy is kept close to.
    Reference,
    /// The frozen student that the explanation is for.
    Student,
}

/// What the scorer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreContext {
    /// The teacher's prompt (question and solution) and its completion.
    Teacher,
    /// The student's prompt (question alone), the explanation as its thought, and the solution.
    Student,
}

/// The span whose log-probs are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanName {
    /// The explanation.
    Thought,
    /// The solution; only in the student's context.
    Solution,
}

/// One score that a reward needs of every sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScoreSpec {
    /// Which model reads.
    pub scorer: Scorer,
    /// What it reads.
    pub context: ScoreContext,
    /// Which tokens are scored.
    pub span: SpanName,
    /// Divides the logits before the softmax.
    pub temperature: f64,
}

/// One sample of a group with the scores that a reward asked for.
#[derive(Debug, Clone)]
pub struct SampleScores {
    /// Names the sample in errors.
    pub id: String,
    /// For each entry of [`Reward::requests`] the log-probs of its span; `None` where the span is empty.
    pub scores: Vec<Option<TokenLogProbs>>,
    /// Whether the explanation was closed by its end tag.
    pub closed: bool,
    /// Whether sampling was cut off by a limit.
    pub truncated: bool,
    /// The explanation's text.
    pub explanation: String,
    /// What the sample answers the question with: what a solver wrote where its answer belongs, none where it wrote
    /// nothing there; an explanation is its own answer.
    pub answered: Option<String>,
    /// Sampled tokens in the completion.
    pub completion_tokens: usize,
}

/// The samples of one problem, scored.
#[derive(Debug, Clone)]
pub struct GroupScores<'a> {
    /// The problem that the samples explain.
    pub problem: &'a Problem,
    /// The training step, counted from 0.
    pub step: u64,
    /// The samples in the order they were drawn.
    pub samples: Vec<SampleScores>,
}

/// A value with the name that metrics and rollouts carry it under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedValue {
    /// The name, such as `reward/solution_log_prob`.
    pub name: Cow<'static, str>,
    /// The value.
    pub value: f64,
}

impl NamedValue {
    /// A named value.
    pub fn new(name: impl Into<Cow<'static, str>>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
        }
    }
}

/// Why a sample has no reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// No token of the completion belongs to the explanation.
    #[error("the explanation holds no token")]
    EmptyThought,
    /// No token lies wholly inside the solution.
    #[error("the solution holds no token")]
    EmptySolution,
    /// The sequence to score is longer than the scorer's context.
    #[error("the sequence does not fit into the scorer's context")]
    TooLong,
}

/// What a reward makes of one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A reward with the terms it was made of.
    Scored {
        /// The reward: larger is better.
        reward: f64,
        /// Every term, for metrics and for scoring again with other coefficients.
        terms: Vec<NamedValue>,
    },
    /// No reward can be given; the trainer places the sample below its group's worst.
    Refused(Refusal),
}

impl Outcome {
    /// The reward, if there is one.
    #[must_use]
    pub const fn reward(&self) -> Option<f64> {
        match self {
            Self::Scored { reward, .. } => Some(*reward),
            Self::Refused(_) => None,
        }
    }

    /// The value of the term called `name`.
    #[must_use]
    pub fn term(&self, name: &str) -> Option<f64> {
        match self {
            Self::Scored { terms, .. } => terms.iter().find(|t| t.name == name).map(|t| t.value),
            Self::Refused(_) => None,
        }
    }
}

/// What the single tokens of an explanation added to a sample's reward through one term.
///
/// The term's share of the reward is `mean · Σ values / n + sum · Σ values`, for `n` values. What else the term adds,
/// such as a multiple of its largest value, belongs to no single token and is not part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenTerm {
    /// What the mean of the values is multiplied with.
    pub mean: f64,
    /// What the sum of the values is multiplied with.
    pub sum: f64,
    /// One value for each token of the explanation, in order.
    pub values: Vec<f64>,
}

/// Turns scores into outcomes.
///
/// The trainer asks once for [`requests`](Self::requests), has every sample scored accordingly, and
/// hands each group to [`evaluate`](Self::evaluate). A reward therefore never sees a model.
pub trait Reward: Send + Sync {
    /// The scores it needs of every sample.
    fn requests(&self) -> Vec<ScoreSpec>;

    /// Says what a problem lacks to be rewarded, before anything is sampled. Default: every problem will do.
    ///
    /// # Errors
    /// What it lacks, with the problem's id.
    fn accepts(&self, _problem: &Problem) -> Result<()> {
        Ok(())
    }

    /// Everything that decides the outcomes, as text: a run that goes on where another ended refuses another text.
    /// Default: empty, which says nothing, so that the caller has to see to it.
    fn identity(&self) -> String {
        String::new()
    }

    /// One outcome a sample, in order.
    ///
    /// # Errors
    /// A score that is not finite, with the sample's id; scores that do not match
    /// [`requests`](Self::requests).
    fn evaluate(&self, group: &GroupScores<'_>) -> Result<Vec<Outcome>>;

    /// The names of the terms whose credit can be given to single tokens of the explanation. Default: none.
    fn token_terms(&self) -> Vec<String> {
        Vec::new()
    }

    /// The tokens' values of the term called `name`, one of [`token_terms`](Self::token_terms); `None` for a
    /// sample that has no reward. Default: none.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); a name that is not one of them.
    fn token_term(&self, _name: &str, _sample: &SampleScores) -> Result<Option<TokenTerm>> {
        Ok(None)
    }
}
