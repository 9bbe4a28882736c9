//! Figures made of a student's answers.
//!
//! Knows records only: whoever has the file has the figures.

use std::path::Path;

use didact_core::StopReason;

use super::{AnswerRecord, pass_at_k};
use crate::{Error, Interval, Result};

/// All answers of a student, problem by problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    records: Vec<AnswerRecord>,
    per_problem: usize,
}

impl Answers {
    pub(super) const fn new(records: Vec<AnswerRecord>, per_problem: usize) -> Self {
        Self {
            records,
            per_problem,
        }
    }

    /// Reads a finished file of answers.
    ///
    /// # Errors
    /// A file that cannot be read; a line that is no answer, by number; problems with different numbers of answers,
    /// as in a file that is not finished.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let records: Vec<AnswerRecord> = crate::json_lines::read(path)?;
        let first = records.first().map(|r| r.problem.as_str());
        let per_problem = records
            .iter()
            .take_while(|r| Some(r.problem.as_str()) == first)
            .count();
        let same = |group: &[AnswerRecord]| group.iter().all(|r| r.problem == group[0].problem);
        for (index, group) in records.chunks(per_problem.max(1)).enumerate() {
            if group.len() != per_problem || !same(group) {
                return Err(Error::Line {
                    path: path.to_owned(),
                    line: index * per_problem + 1,
                    problem: format!(
                        "here should be {per_problem} answers to one problem, as to the first; is the file finished?"
                    ),
                });
            }
        }
        Ok(Self::new(records, per_problem))
    }

    /// All answers, in the order of the problems; of each problem the greedy one first.
    #[must_use]
    pub fn records(&self) -> &[AnswerRecord] {
        &self.records
    }

    /// The answers to each problem.
    pub fn by_problem(&self) -> impl Iterator<Item = &[AnswerRecord]> {
        self.records.chunks(self.per_problem.max(1))
    }

    /// The mean over problems of [`pass_at_k`] of the sampled answers. The interval is that of the problems'
    /// estimates ([`Interval::of_cluster_means`]).
    ///
    /// `None` for more than the sampled answers, for `k` of 0, and for fewer than two problems.
    #[must_use]
    pub fn pass_at_k(&self, k: usize) -> Option<Interval> {
        let estimates: Vec<f64> = self
            .sampled()
            .map(|(n, c)| pass_at_k(n, c, k))
            .collect::<Option<_>>()?;
        Interval::of_cluster_means(&estimates)
    }

    /// The fraction of right ones among the sampled answers, k of them to each problem, clustered by problem
    /// ([`Interval::of_cluster_means`]).
    ///
    /// `None` without sampled answers and for fewer than two problems.
    #[must_use]
    pub fn avg_at_k(&self) -> Option<Interval> {
        let means: Vec<f64> = self
            .sampled()
            .map(|(n, c)| (n > 0).then(|| c as f64 / n as f64))
            .collect::<Option<_>>()?;
        Interval::of_cluster_means(&means)
    }

    /// The fraction of problems whose greedy answer is right, with Wilson's interval: problems are independent.
    ///
    /// `None` without greedy answers.
    #[must_use]
    pub fn greedy_accuracy(&self) -> Option<Interval> {
        let greedy: Vec<bool> = self
            .records
            .iter()
            .filter(|r| r.sample.is_none())
            .map(|r| r.correct)
            .collect();
        let right = greedy.iter().filter(|&&correct| correct).count();
        Interval::of_proportion(right as f64, greedy.len())
    }

    /// The mean log-prob of the known solution after the student's own thoughts, in nats a token: the mean of each
    /// problem's answers first, greedy and sampled alike, so that an answer too long to score takes no weight from
    /// other problems.
    #[must_use]
    pub fn solution_log_prob(&self) -> Option<Interval> {
        let means: Vec<f64> = self.solution_log_probs().into_iter().flatten().collect();
        Interval::of(&means)
    }

    /// The same problem by problem, to be compared in pairs ([`Interval::of_differences`]).
    #[must_use]
    pub fn solution_log_probs(&self) -> Vec<Option<f64>> {
        self.by_problem()
            .map(|answers| mean(answers.iter().filter_map(|a| a.solution_log_prob)))
            .collect()
    }

    /// The fraction of right answers to each problem, greedy and sampled alike, to be compared in pairs.
    #[must_use]
    pub fn accuracies(&self) -> Vec<Option<f64>> {
        self.by_problem()
            .map(|answers| mean(answers.iter().map(|a| f64::from(u8::from(a.correct)))))
            .collect()
    }

    /// The fraction of thoughts that were closed.
    #[must_use]
    pub fn closed(&self) -> f64 {
        self.fraction(|r| r.closed)
    }

    /// The fraction of answers that were cut off by a limit.
    #[must_use]
    pub fn truncated(&self) -> f64 {
        self.fraction(|r| matches!(r.stop, StopReason::MaxTokens | StopReason::ContextFull))
    }

    /// The number of tokens of an answer, on average.
    #[must_use]
    pub fn mean_tokens(&self) -> f64 {
        mean(self.records.iter().map(|r| r.tokens as f64)).unwrap_or(0.0)
    }

    /// The fraction of answers of which `holds` is true; 0 without answers.
    fn fraction(&self, holds: impl Fn(&AnswerRecord) -> bool) -> f64 {
        mean(self.records.iter().map(|r| f64::from(u8::from(holds(r))))).unwrap_or(0.0)
    }

    /// Sampled answers and right ones among them, by problem.
    fn sampled(&self) -> impl Iterator<Item = (usize, usize)> {
        self.by_problem().map(|answers| {
            let sampled = answers.iter().filter(|a| a.sample.is_some());
            let right = sampled.clone().filter(|a| a.correct).count();
            (sampled.count(), right)
        })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0_usize);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(problem: usize, sample: Option<usize>, correct: bool) -> AnswerRecord {
        AnswerRecord {
            problem: format!("p{problem}"),
            sample,
            text: String::new(),
            tokens: 2,
            stop: StopReason::StopToken,
            closed: correct,
            answer: None,
            extracted: None,
            expected: None,
            correct,
            reason: String::new(),
            solution_log_prob: (problem != 1).then_some(-1.0 - problem as f64),
        }
    }

    /// Two problems, a greedy and four sampled answers each; 1 and 3 of the sampled ones are right.
    fn answers() -> Answers {
        let mut records = Vec::new();
        for (problem, right) in [(0, 1), (1, 3)] {
            records.push(record(problem, None, problem == 1));
            records.extend((0..4).map(|i| record(problem, Some(i), i < right)));
        }
        Answers::new(records, 5)
    }

    #[test]
    fn figures_are_those_counted_by_hand() {
        let answers = answers();
        assert_eq!(
            answers.avg_at_k().map(|i| (i.mean, i.count)),
            Some((0.5, 2))
        );
        assert_eq!(answers.pass_at_k(1), answers.avg_at_k());
        // 1 − C(3, 2)/C(4, 2) = 1/2, and 1.
        let pass = answers.pass_at_k(2).expect("two of four");
        assert!((pass.mean - 0.75).abs() < 1e-15, "{pass:?}");
        assert_eq!(answers.pass_at_k(5), None);
        // Greedy answers are not among the sampled ones.
        assert_eq!(
            answers.greedy_accuracy().map(|i| (i.mean, i.count)),
            Some((0.5, 2))
        );
        assert_eq!(answers.solution_log_probs(), [Some(-1.0), None]);
        assert_eq!(answers.accuracies(), [Some(0.2), Some(0.8)]);
        assert_eq!((answers.closed(), answers.truncated()), (0.5, 0.0));
    }

    #[test]
    fn a_file_gives_the_same_figures_and_an_unfinished_one_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let answers = answers();
        crate::json_lines::write(&path, answers.records()).unwrap();
        assert_eq!(Answers::read(&path).unwrap(), answers);
        crate::json_lines::write(&path, &answers.records()[..8]).unwrap();
        let error = Answers::read(&path).unwrap_err().to_string();
        assert!(error.contains(":6: here should be 5 answers"), "{error}");
    }
}
