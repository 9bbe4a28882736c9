//! The tokens and numbers that both sides read, from one fixed generator.

use serde_json::{Value, json};

/// Explanations of a step: two problems, eight samples each.
pub(crate) const PROBLEMS: usize = 2;
/// Samples of a problem.
pub(crate) const SAMPLES: usize = 8;
/// All of them.
pub(crate) const SEQUENCES: usize = PROBLEMS * SAMPLES;
/// Tokens that the samples of a problem share.
pub(crate) const PROMPT: usize = 300;
/// Tokens of their own, where they are scored or trained on.
pub(crate) const COMPLETION: usize = 140;
/// Tokens of the explanation among them; the rest is the solution.
const THOUGHT: usize = 100;
/// Tokens that are sampled.
pub(crate) const NEW_TOKENS: usize = 64;
/// Length of an unrelated sequence.
pub(crate) const UNRELATED: usize = 256;
/// Its prompt.
pub(crate) const UNRELATED_PROMPT: usize = 128;
/// Divides all logits, as in the published run.
pub(crate) const TEMPERATURE: f64 = 0.7;

/// Ids that are words in any vocabulary of some size, none of them special.
const IDS: std::ops::Range<u64> = 1000..40_000;
/// How far old log-probs lie from the policy's at most: within the clip range, where no rounding can change sides.
const OLD_SPREAD: f64 = 0.15;
/// The same of the reference.
const REFERENCE_SPREAD: f64 = 0.3;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn ids(&mut self, count: usize) -> Vec<u32> {
        let width = IDS.end - IDS.start;
        (0..count)
            .map(|_| (IDS.start + self.next() % width) as u32)
            .collect()
    }

    /// A number in -1..1.
    fn signed(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// `samples` sequences for each of `prompts`.
    fn groups(&mut self, prompts: &[Vec<u32>], samples: usize, completion: usize) -> Vec<Vec<u32>> {
        let mut sequences = Vec::new();
        for prompt in prompts {
            for _ in 0..samples {
                sequences.push([&prompt[..], &self.ids(completion)].concat());
            }
        }
        sequences
    }
}

/// The ids of all works.
pub(crate) struct Tokens {
    prompts: Vec<Vec<u32>>,
    student_prompts: Vec<Vec<u32>>,
    /// What the teacher reads; updates train on it too.
    pub(crate) teacher: Vec<Vec<u32>>,
    student: Vec<Vec<u32>>,
    /// Sequences that share nothing.
    pub(crate) unrelated: Vec<Vec<u32>>,
    solutions: Vec<Vec<u32>>,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        let mut draws = Draws(0x5eed);
        let mut some = |count, length| (0..count).map(|_| draws.ids(length)).collect::<Vec<_>>();
        let (prompts, student_prompts) = (some(PROBLEMS, PROMPT), some(PROBLEMS, PROMPT));
        let unrelated = some(SEQUENCES, UNRELATED);
        let solutions = some(PROBLEMS, COMPLETION - THOUGHT);
        Self {
            teacher: draws.groups(&prompts, SAMPLES, COMPLETION),
            student: draws.groups(&student_prompts, SAMPLES, COMPLETION),
            prompts,
            student_prompts,
            unrelated,
            solutions,
        }
    }

    /// Everything a worker reads, given the policy's log-probs of the groups' and the unrelated completions.
    pub(crate) fn inputs(&self, group: &[f64], unrelated: &[f64]) -> Value {
        json!({
            "temperature": TEMPERATURE,
            "beta": 0.04,
            "epsilon": 0.2,
            "learning_rate": 1e-12,
            "max_grad_norm": 1.0,
            "score": {
                "prompt": PROMPT,
                "thought": [PROMPT, PROMPT + THOUGHT],
                "solution": [PROMPT + THOUGHT, PROMPT + COMPLETION],
                "teacher": self.teacher,
                "student": self.student,
            },
            "generate": {
                "prompts": self.prompts,
                "samples": SAMPLES,
                "new_tokens": NEW_TOKENS,
            },
            "step": {
                "student_prompts": self.student_prompts,
                "solutions": self.solutions,
            },
            "updates": {
                "update_group": update(&self.teacher, PROMPT, group),
                "update_unrelated": update(&self.unrelated, UNRELATED_PROMPT, unrelated),
            },
        })
    }
}

/// An update near the policy that sampled it: old and reference log-probs lie close to the policy's.
fn update(sequences: &[Vec<u32>], prompt: usize, log_probs: &[f64]) -> Value {
    let mut draws = Draws(0xad7a);
    let completion = log_probs.len() / sequences.len().max(1);
    let mut near = |spread: f64| {
        log_probs
            .chunks(completion.max(1))
            .map(|own| own.iter().map(|lp| lp + spread * draws.signed()).collect())
            .collect::<Vec<Vec<f64>>>()
    };
    let (old, reference) = (near(OLD_SPREAD), near(REFERENCE_SPREAD));
    // They do not add up to 0, so that the loss is not what rounding leaves of it.
    let advantages: Vec<f64> = (0..sequences.len())
        .map(|index| 1.5 - 0.25 * (index % SAMPLES) as f64)
        .collect();
    json!({
        "prompt": prompt,
        "sequences": sequences,
        "advantages": advantages,
        "old": old,
        "reference": reference,
    })
}
