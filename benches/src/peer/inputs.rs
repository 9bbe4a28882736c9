//! What both sides are given: token ids and numbers, made once by whoever asks.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Everything that the work reads.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Inputs {
    /// Divides all logits.
    pub(crate) temperature: f64,
    /// Weight of the KL to the reference.
    pub(crate) beta: f64,
    /// How far ratios may stray from 1.
    pub(crate) epsilon: f64,
    /// So small that no update moves a weight: every run starts from the same model.
    pub(crate) learning_rate: f64,
    pub(crate) max_grad_norm: f64,
    pub(crate) score: Score,
    pub(crate) generate: Generate,
    pub(crate) updates: BTreeMap<String, Update>,
    pub(crate) step: Step,
}

/// Explanations as the teacher and as the student read them.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Score {
    /// Tokens that the samples of a problem share.
    pub(crate) prompt: usize,
    /// First and last + 1 token of the explanation.
    pub(crate) thought: [usize; 2],
    /// First and last + 1 token of the solution in the student's sequence.
    pub(crate) solution: [usize; 2],
    pub(crate) teacher: Vec<Vec<u32>>,
    pub(crate) student: Vec<Vec<u32>>,
}

/// Prompts to continue.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Generate {
    pub(crate) prompts: Vec<Vec<u32>>,
    pub(crate) samples: usize,
    pub(crate) new_tokens: usize,
}

/// Completions to train on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Update {
    /// Tokens before the completion.
    pub(crate) prompt: usize,
    pub(crate) sequences: Vec<Vec<u32>>,
    pub(crate) advantages: Vec<f64>,
    pub(crate) old: Vec<Vec<f32>>,
    pub(crate) reference: Vec<Vec<f32>>,
}

/// What a whole step reads beside the prompts of [`Generate`].
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Step {
    /// What the student reads before the explanation, one a problem.
    pub(crate) student_prompts: Vec<Vec<u32>>,
    /// What the student reads after it, one a problem.
    pub(crate) solutions: Vec<Vec<u32>>,
}
