//! What students learn from: problems with an explanation each.
//!
//! Owns the choice among explanations and among a solver's tries. Knows no model.

use std::collections::HashMap;

use didact::core::Problem;
use didact::data::{PromptFormat, SupervisedExample, Tokenizer};
use didact::distill::{AnswerRecord, ExplanationRecord};

use crate::Result;

/// A problem with what a student reads about it.
#[derive(Debug, Clone)]
pub struct Explained {
    /// What is explained.
    pub problem: Problem,
    /// The explanation, without tags.
    pub explanation: String,
    /// Where a reward was asked for.
    pub reward: Option<f64>,
}

/// Explanations, at most one a problem.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// In the order of the problems.
    pub explained: Vec<Explained>,
}

fn explained(record: &ExplanationRecord) -> Explained {
    Explained {
        problem: record.problem.clone(),
        explanation: record.explanation.clone(),
        reward: record.outcome.reward(),
    }
}

impl Dataset {
    /// The first explanation of each problem that students can learn from.
    pub fn first(records: &[ExplanationRecord], unclosed: bool) -> Self {
        Self::chosen(records, unclosed, |_| 0.0)
    }

    /// The explanation of each problem with the best reward.
    pub fn best(records: &[ExplanationRecord], unclosed: bool) -> Self {
        Self::chosen(records, unclosed, |record| {
            record.outcome.reward().unwrap_or(f64::NEG_INFINITY)
        })
    }

    /// The usable explanation of each problem that is worth most; of equal worth the first.
    fn chosen(
        records: &[ExplanationRecord],
        unclosed: bool,
        worth: impl Fn(&ExplanationRecord) -> f64,
    ) -> Self {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut chosen: Vec<&ExplanationRecord> = Vec::new();
        for record in records.iter().filter(|r| is_usable(r, unclosed)) {
            let place = *places.entry(&record.problem.id).or_insert(chosen.len());
            if place == chosen.len() {
                chosen.push(record);
            } else if worth(record) > worth(chosen[place]) {
                chosen[place] = record;
            }
        }
        Self {
            explained: chosen.into_iter().map(explained).collect(),
        }
    }

    /// `buckets` data sets of the same problems: the worst explanation of each, the second worst, … Problems without
    /// so many usable explanations are left out.
    pub fn by_rank(records: &[ExplanationRecord], buckets: usize, unclosed: bool) -> Vec<Self> {
        let mut sets = vec![
            Self {
                explained: Vec::new()
            };
            buckets
        ];
        for problem in records.chunks(buckets) {
            let usable = by_reward(problem, unclosed);
            if usable.len() < buckets {
                continue;
            }
            for (set, record) in sets.iter_mut().zip(usable) {
                set.explained.push(explained(record));
            }
        }
        sets
    }

    /// `buckets` data sets by the rank of an explanation among the usable ones of its problem, of which there may be any
    /// number: that of rank `r` of `n`, from 0, is in bucket `⌊(r + ½) / n · buckets⌋`, the best ones in the last. All are
    /// cut to the size of the smallest.
    #[must_use]
    pub fn by_quantile(
        records: &[ExplanationRecord],
        samples: usize,
        buckets: usize,
        unclosed: bool,
    ) -> Vec<Self> {
        let mut sets: Vec<Vec<Explained>> = vec![Vec::new(); buckets];
        for problem in records.chunks(samples) {
            let usable = by_reward(problem, unclosed);
            for (rank, record) in usable.iter().enumerate() {
                let bucket = (2 * rank + 1) * buckets / (2 * usable.len());
                sets[bucket].push(explained(record));
            }
        }
        let fewest = sets.iter().map(Vec::len).min().unwrap_or(0);
        let cut = |mut explained: Vec<Explained>| {
            explained.truncate(fewest);
            Self { explained }
        };
        sets.into_iter().map(cut).collect()
    }

    /// The first right try at each problem.
    pub fn right(problems: &[Problem], tries: &[AnswerRecord], format: &PromptFormat) -> Self {
        let end = &format.student.thought.end;
        let mut first: HashMap<&str, &AnswerRecord> = HashMap::new();
        for record in tries.iter().filter(|r| r.correct) {
            first.entry(&record.problem).or_insert(record);
        }
        let explained = problems.iter().filter_map(|problem| {
            let record = first.get(problem.id.as_str())?;
            let (thought, _) = record.text.split_once(end.as_str())?;
            Some(Explained {
                problem: problem.clone(),
                explanation: thought.to_owned(),
                reward: None,
            })
        });
        Self {
            explained: explained.collect(),
        }
    }

    /// The traces that the problems came with.
    pub fn traces(problems: &[Problem]) -> Self {
        let explained = problems.iter().map(|problem| Explained {
            problem: problem.clone(),
            explanation: problem.reasoning_trace.clone().unwrap_or_default(),
            reward: None,
        });
        Self {
            explained: explained.collect(),
        }
    }

    /// How many explanations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.explained.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.explained.is_empty()
    }

    /// The examples that a student learns.
    ///
    /// # Errors
    /// What the prompt format refuses.
    pub fn examples(
        &self,
        tokenizer: &Tokenizer,
        format: &PromptFormat,
    ) -> Result<Vec<SupervisedExample>> {
        let example =
            |e: &Explained| Ok(format.student_example(tokenizer, &e.problem, &e.explanation)?);
        self.explained.iter().map(example).collect()
    }

    /// As many of the first explanations as fit into so many tokens.
    ///
    /// # Errors
    /// What the prompt format refuses.
    pub fn within(
        &self,
        tokens: usize,
        tokenizer: &Tokenizer,
        format: &PromptFormat,
    ) -> Result<Self> {
        let mut left = tokens;
        let examples = self.examples(tokenizer, format)?;
        let fits = examples.iter().take_while(|example| {
            let length = example.ids.len();
            let fits = length <= left;
            left = left.saturating_sub(length);
            fits
        });
        Ok(Self {
            explained: self.explained[..fits.count()].to_vec(),
        })
    }

    /// The mean reward, where all have one.
    pub fn mean_reward(&self) -> Option<f64> {
        let rewards: Option<Vec<f64>> = self.explained.iter().map(|e| e.reward).collect();
        let rewards = rewards.filter(|rewards| !rewards.is_empty())?;
        Some(rewards.iter().sum::<f64>() / rewards.len() as f64)
    }

    /// A hash of everything that a student learns from.
    pub fn hash(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for Explained {
            problem,
            explanation,
            ..
        } in &self.explained
        {
            for text in [&problem.question, &problem.solution, explanation] {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        hash.finalize().to_hex().to_string()
    }
}

/// The usable explanations that have a reward, the worst first.
fn by_reward(records: &[ExplanationRecord], unclosed: bool) -> Vec<&ExplanationRecord> {
    let mut usable: Vec<(f64, &ExplanationRecord)> = records
        .iter()
        .filter(|record| is_usable(record, unclosed))
        .filter_map(|record| Some((record.outcome.reward()?, record)))
        .collect();
    usable.sort_by(|a, b| a.0.total_cmp(&b.0));
    usable.into_iter().map(|(_, record)| record).collect()
}

/// Whether a student can learn from it: closed, not empty, and with no sign that a tag begins with.
fn is_usable(record: &ExplanationRecord, unclosed: bool) -> bool {
    (record.closed || unclosed)
        && !record.explanation.trim().is_empty()
        && !record.explanation.contains('<')
}
