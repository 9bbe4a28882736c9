//! How well a student does by itself.
//!
//! Owns the held-out evaluation of students: each question is answered with a thought of the student's own,
//! and the known solution is scored after that thought. Knows no tensor.

use didact_core::{GenerateRequest, Problem, Sampling, ScoreRequest, SpannedSequence, StreamKey};
use didact_data::{StudentAnswer, student_answer};
use didact_rl::rollout::{PolicyEngine, PreparedProblem, TeacherTask};
use serde::{Deserialize, Serialize};

use crate::{Error, Interval, Result};

/// How students are evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StudentEvaluationConfig {
    /// Divides the logits while the student thinks; 0 takes the likeliest token. Default 0.
    pub temperature: f64,
    /// At most this many tokens of thought, and of the answer where answers are wanted. Default 512.
    pub max_completion_tokens: usize,
    /// Whether the student goes on after its thought and its answer is checked. Default false.
    pub answers: bool,
    /// Seeds the draws, the same for every student. Default 42.
    pub seed: u64,
}

impl Default for StudentEvaluationConfig {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            max_completion_tokens: 512,
            answers: false,
            seed: 42,
        }
    }
}

/// Says whether an answer solves a problem.
pub trait Verify {
    /// Whether `answer`, the text between the student's solution tags, solves `problem`.
    fn verify(&self, problem: &Problem, answer: &str) -> bool;
}

impl<F: Fn(&Problem, &str) -> bool> Verify for F {
    fn verify(&self, problem: &Problem, answer: &str) -> bool {
        self(problem, answer)
    }
}

/// A student's try at one problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentRecord {
    /// The problem's id.
    pub problem: String,
    /// The student's thought.
    pub thought: String,
    /// Whether it closed its thought with the end tag.
    pub closed: bool,
    /// The mean log-prob of the known solution's tokens after this thought, in nats at temperature 1;
    /// `None` where the sequence is longer than the student's context.
    pub solution_log_prob: Option<f64>,
    /// What the student put between its solution tags, where answers were wanted and it did.
    pub answer: Option<String>,
    /// What was expected.
    pub expected: Option<String>,
    /// Whether the answer is right; `None` where answers were not wanted.
    pub correct: Option<bool>,
}

/// A student's tries at all problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentEvaluation {
    /// One record a problem.
    pub records: Vec<StudentRecord>,
}

impl StudentEvaluation {
    /// The mean log-prob of the solution, problem by problem.
    #[must_use]
    pub fn solution_log_probs(&self) -> Vec<Option<f64>> {
        self.records.iter().map(|r| r.solution_log_prob).collect()
    }

    /// The mean of [`solution_log_probs`](Self::solution_log_probs) over the problems that have one.
    #[must_use]
    pub fn solution_log_prob(&self) -> Option<Interval> {
        let values: Vec<f64> = self
            .records
            .iter()
            .filter_map(|r| r.solution_log_prob)
            .collect();
        Interval::of(&values)
    }

    /// The fraction of right answers, where answers were wanted, with Wilson's interval.
    #[must_use]
    pub fn accuracy(&self) -> Option<Interval> {
        let judged: Vec<bool> = self.records.iter().filter_map(|r| r.correct).collect();
        let right = judged.iter().filter(|&&correct| correct).count();
        Interval::of_proportion(right as f64, judged.len())
    }

    /// The fraction of thoughts that were closed.
    #[must_use]
    pub fn closed(&self) -> f64 {
        let closed = self.records.iter().filter(|r| r.closed).count();
        closed as f64 / self.records.len().max(1) as f64
    }
}

/// Has a student think about each problem, and scores the known solution after its thought.
///
/// An unclosed thought is closed for it before the solution is scored. The draws depend on the seed and the
/// problem's place alone, so students can be compared problem by problem.
///
/// # Errors
/// What the engine or the prompt format refuses; answers wanted without `verify`.
pub fn evaluate_student(
    student: &mut dyn PolicyEngine,
    context: usize,
    task: &TeacherTask,
    problems: &[PreparedProblem],
    config: &StudentEvaluationConfig,
    verify: Option<&dyn Verify>,
) -> Result<StudentEvaluation> {
    let verify = if config.answers {
        Some(verify.ok_or_else(|| Error::Configuration {
            key: "student.answers".to_owned(),
            problem: "answers are wanted, but nothing is given to verify them with".to_owned(),
        })?)
    } else {
        None
    };
    let answers = think(student, task, problems, config)?;
    let sequences: Vec<&SpannedSequence> = answers.iter().map(|a| &a.sequence).collect();
    let solution_log_probs = solution_log_probs(student, context, &sequences)?;
    let records = problems.iter().zip(answers).zip(solution_log_probs);
    Ok(StudentEvaluation {
        records: records
            .map(
                |((PreparedProblem { problem, .. }, answer), solution_log_prob)| StudentRecord {
                    problem: problem.id.clone(),
                    closed: answer.closed,
                    solution_log_prob,
                    expected: problem.answer.clone(),
                    correct: verify.map(|v| {
                        answer
                            .solution
                            .as_deref()
                            .is_some_and(|found| v.verify(problem, found))
                    }),
                    answer: answer.solution,
                    thought: answer.thought,
                },
            )
            .collect(),
    })
}

/// The mean log-prob of each sequence's solution in nats at temperature 1; `None` where no token lies wholly inside
/// the solution or the sequence is longer than `context`.
pub(crate) fn solution_log_probs(
    student: &mut dyn PolicyEngine,
    context: usize,
    sequences: &[&SpannedSequence],
) -> Result<Vec<Option<f64>>> {
    let mut requests = Vec::new();
    let mut owners = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        let spans: Vec<_> = sequence.solution.into_iter().collect();
        if !spans.is_empty() && sequence.len() <= context {
            requests.push(ScoreRequest::new(sequence, spans, 1.0));
            owners.push(index);
        }
    }
    let mut found = vec![None; sequences.len()];
    for (owner, spans) in owners.into_iter().zip(student.score(&requests)?) {
        let values: Vec<f64> = spans
            .iter()
            .flat_map(|s| s.values())
            .map(|&v| f64::from(v))
            .collect();
        found[owner] = Some(values.iter().sum::<f64>() / values.len() as f64);
    }
    Ok(found)
}

fn think(
    student: &mut dyn PolicyEngine,
    task: &TeacherTask,
    problems: &[PreparedProblem],
    config: &StudentEvaluationConfig,
) -> Result<Vec<StudentAnswer>> {
    let mut sampling = Sampling::new(config.temperature, config.max_completion_tokens)
        .with_stop_tokens(task.tokenizer.eos().into_iter().collect::<Vec<_>>());
    let format = &task.format;
    let last = if config.answers {
        &format.solution.end
    } else {
        &format.student.thought.end
    };
    sampling.stop_strings.push(last.clone());
    let request = |(index, problem): (usize, &PreparedProblem)| GenerateRequest {
        prompt: problem.prompt.student_prefix.clone(),
        sampling: sampling.clone(),
        stream: StreamKey {
            run_seed: config.seed,
            step: 0,
            problem: index as u64,
            sample: 0,
        }
        .stream(),
    };
    let requests: Vec<GenerateRequest> = problems.iter().enumerate().map(request).collect();
    let completions = student.generate(&requests)?;
    problems
        .iter()
        .zip(&completions)
        .map(|(p, c)| Ok(student_answer(format, &task.tokenizer, &p.prompt, &c.ids)?))
        .collect()
}
