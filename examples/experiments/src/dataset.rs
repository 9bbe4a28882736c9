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

#[cfg(test)]
mod tests {
    use didact::core::{Outcome, StopReason};

    use super::*;

    /// An explanation with the reward as its text; an unclosed one where there is no reward.
    fn record(problem: &str, sample: usize, reward: Option<f64>) -> ExplanationRecord {
        ExplanationRecord {
            problem: Problem {
                id: problem.to_owned(),
                question: problem.to_owned(),
                solution: "s".to_owned(),
                answer: None,
                reasoning_trace: None,
                domain: None,
            },
            sample,
            explanation: reward.unwrap_or(9.0).to_string(),
            tokens: 1,
            stop: StopReason::StopString,
            closed: reward.is_some(),
            student_tokens: 3,
            outcome: Outcome::Scored {
                reward: reward.unwrap_or(9.0),
                terms: Vec::new(),
            },
        }
    }

    fn records(rewards: [[Option<f64>; 4]; 2]) -> Vec<ExplanationRecord> {
        let of = |(place, rewards): (usize, [Option<f64>; 4])| {
            let name = ["p", "q"][place];
            let each = rewards.into_iter().enumerate();
            each.map(move |(sample, reward)| record(name, sample, reward))
        };
        rewards.into_iter().enumerate().flat_map(of).collect()
    }

    fn texts(set: &Dataset) -> Vec<(&str, &str)> {
        let texts = set.explained.iter();
        texts
            .map(|e| (e.problem.id.as_str(), e.explanation.as_str()))
            .collect()
    }

    #[test]
    fn the_best_and_the_first_usable_are_chosen_by_problem() {
        let all = records([
            [None, Some(2.0), Some(3.0), Some(1.0)],
            [Some(5.0), Some(4.0), None, None],
        ]);
        assert_eq!(
            texts(&Dataset::first(&all, false)),
            [("p", "2"), ("q", "5")]
        );
        assert_eq!(texts(&Dataset::best(&all, false)), [("p", "3"), ("q", "5")]);
        assert_eq!(texts(&Dataset::best(&all, true)), [("p", "9"), ("q", "9")]);
    }

    #[test]
    fn buckets_by_rank_hold_the_same_problems() {
        let all = records([
            [Some(2.0), Some(4.0), Some(3.0), Some(1.0)],
            [Some(5.0), Some(4.0), None, Some(1.0)],
        ]);
        let sets = Dataset::by_rank(&all, 4, false);
        let found: Vec<_> = sets.iter().map(texts).collect();
        let of_p = |text| vec![("p", text)];
        assert_eq!(found, [of_p("1"), of_p("2"), of_p("3"), of_p("4")]);
    }

    #[test]
    fn buckets_by_quantile_take_any_number_and_are_of_one_size() {
        let all = records([
            [Some(2.0), Some(4.0), Some(3.0), Some(1.0)],
            [Some(6.0), None, None, None],
        ]);
        let sets = Dataset::by_quantile(&all, 4, 2, false);
        // q's only one is at its median, which is in the upper half; the upper set is cut to two.
        assert_eq!(texts(&sets[0]), [("p", "1"), ("p", "2")]);
        assert_eq!(texts(&sets[1]), [("p", "3"), ("p", "4")]);
    }
}
