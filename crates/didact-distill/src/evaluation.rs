//! How well a student answers: its answers, verified and kept, and the figures made of them.
//!
//! Owns what is sampled of each problem, the file that the answers are kept in, and pass@k, avg@k and greedy
//! accuracy. Knows no tensor, and leaves it to a [`Judge`] what a right answer is.
//!
//! | figure | what it is | interval |
//! |---|---|---|
//! | [`pass_at_k`](Answers::pass_at_k) | chance that one of k sampled answers is right, unbiased | by problem, Student's t |
//! | [`avg_at_k`](Answers::avg_at_k) | fraction of right ones among the sampled answers | by problem, Student's t |
//! | [`greedy_accuracy`](Answers::greedy_accuracy) | fraction of problems whose likeliest answer is right | Wilson |
//! | [`solution_log_prob`](Answers::solution_log_prob) | known solution after the student's own thoughts | by problem, Student's t |
//!
//! Answers to one problem are not independent, so intervals are clustered by problem: see
//! [`Interval::of_cluster_means`](crate::Interval::of_cluster_means).

use didact_core::{Completion, GenerateRequest, Sampling, SpannedSequence, StopReason, StreamKey};
pub use didact_data::AnswerPlace;
use didact_data::{StudentAnswer, student_answer};
use didact_rl::rollout::{PolicyEngine, PreparedProblem, TeacherTask};
use didact_rl::{Observer, Phase, Progress, StopFlag};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::resumable::{ResumableFile, Shape, resume};
use crate::student::solution_log_probs;
use crate::{Error, Result};

mod answers;
mod judge;
mod pass_at_k;

pub use answers::Answers;
pub use judge::{Exactly, Judge, Judgement, Mathematics, SameText};
pub use pass_at_k::pass_at_k;

/// Which answers are sampled of each problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswersConfig {
    /// Whether the likeliest answer is taken. Default true.
    pub greedy: bool,
    /// Answers sampled beside it, the n of pass@k and the k of avg@k. Default 0.
    pub samples: usize,
    /// Divides the logits of sampled answers; above 0. Default 0.6.
    pub temperature: f64,
    /// Sampled answers keep the likeliest tokens that sum to this. Default 0.95.
    pub top_p: f64,
    /// At most this many tokens of thought and answer. Default 512.
    pub max_completion_tokens: usize,
    /// The part of the text that is judged. Default `solution`.
    pub answer_place: AnswerPlace,
    /// Whether the known solution is scored after each thought. Default false.
    pub solution_log_prob: bool,
    /// Only the first so many problems; without it, all.
    pub problems: Option<usize>,
    /// Seeds the draws, the same for every student. Default 42.
    pub seed: u64,
}

impl Default for AnswersConfig {
    fn default() -> Self {
        Self {
            greedy: true,
            samples: 0,
            temperature: 0.6,
            top_p: 0.95,
            max_completion_tokens: 512,
            answer_place: AnswerPlace::Solution,
            solution_log_prob: false,
            problems: None,
            seed: 42,
        }
    }
}

impl AnswersConfig {
    const fn per_problem(&self) -> usize {
        self.samples + if self.greedy { 1 } else { 0 }
    }

    /// The sample's number in the line of that index among a problem's; none for the greedy answer.
    const fn sample(&self, place: usize) -> Option<usize> {
        place.checked_sub(if self.greedy { 1 } else { 0 })
    }

    /// Refuses what means nothing.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn validate(&self) -> Result<()> {
        let refuse = |key: &str, problem: String| {
            Err(Error::Configuration {
                key: format!("answers.{key}"),
                problem,
            })
        };
        if self.per_problem() == 0 {
            return refuse(
                "samples",
                "0 without a greedy answer leaves nothing to evaluate".to_owned(),
            );
        }
        if self.samples > 0 && !(self.temperature.is_finite() && self.temperature > 0.0) {
            return refuse(
                "temperature",
                format!(
                    "{} is not above 0; the likeliest answer is asked for with `greedy`",
                    self.temperature
                ),
            );
        }
        if self.samples > 0 && !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top_p", format!("{} is not in (0, 1]", self.top_p));
        }
        for (key, count) in [
            ("max_completion_tokens", Some(self.max_completion_tokens)),
            ("problems", self.problems),
        ] {
            if count == Some(0) {
                return refuse(key, "0 is too few; at least 1".to_owned());
            }
        }
        Ok(())
    }
}

/// One answer of a student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// The problem's id.
    pub problem: String,
    /// The number of the sample, from 0; none for the greedy answer.
    pub sample: Option<usize>,
    /// Everything that the student wrote, without the token that it stopped with.
    pub text: String,
    /// Tokens that it wrote.
    pub tokens: usize,
    /// Why it ended.
    pub stop: StopReason,
    /// Whether the thought was closed.
    pub closed: bool,
    /// The part of the text that was judged, if it is there.
    pub answer: Option<String>,
    /// The bare answer that the judge found in it.
    pub extracted: Option<String>,
    /// The bare answer that was expected.
    pub expected: Option<String>,
    /// Whether the answer is right.
    pub correct: bool,
    /// Why, in the judge's words.
    pub reason: String,
    /// The mean log-prob of the known solution's tokens after this thought, in nats at temperature 1, where asked
    /// for and not longer than the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution_log_prob: Option<f64>,
}

/// Who answers, and how the answers are judged.
pub struct Examination<'a> {
    /// Samples, and scores the known solutions where asked for.
    pub student: &'a mut dyn PolicyEngine,
    /// The longest sequence that it reads, in tokens.
    pub context: usize,
    /// Tokenizer and prompt format.
    pub task: &'a TeacherTask,
    /// Says which answers are right.
    pub judge: &'a dyn Judge,
    /// Names the stage in progress.
    pub stage: &'a str,
    /// Ends it between batches of problems when set.
    pub stop: StopFlag,
}

impl std::fmt::Debug for Examination<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Examination")
            .field("stage", &self.stage)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// Answers that are sampled at once, so that batches are full and little is lost when a run is killed.
const ANSWERS_PER_BATCH: usize = 256;

/// The stream number of answers, apart from every training step and from collection.
const STREAM: u64 = u64::MAX - 2;

/// Has a student answer `problems`, and judges its answers.
///
/// With a file, every answer is a line of it, and a run that was killed goes on where the file ends; the finished
/// file has the same bytes as if it had not been killed. Draws depend on the seed, the problem's id and the number of the
/// sample alone, so students can be compared problem by problem, in whatever order the problems come.
///
/// # Errors
/// A setting that means nothing; a problem that the judge refuses, by id; what the engine, the prompt format or the
/// observer refuses; a file that belongs to other settings, problems or models; [`Error::Interrupted`].
pub fn answers(
    examination: &mut Examination<'_>,
    problems: &[PreparedProblem],
    config: &AnswersConfig,
    file: Option<&ResumableFile>,
    observer: &mut dyn Observer,
) -> Result<Answers> {
    config.validate()?;
    let problems = &problems[..config.problems.unwrap_or(usize::MAX).min(problems.len())];
    for PreparedProblem { problem, .. } in problems {
        let judge = examination.judge;
        judge.accepts(problem).map_err(|why| Error::Stage {
            stage: examination.stage.to_owned(),
            problem: format!("problem {}: {why}", problem.id),
        })?;
    }
    let per_problem = config.per_problem();
    let shape = Shape {
        units: problems.len(),
        lines_per_unit: per_problem,
        units_per_batch: (ANSWERS_PER_BATCH / per_problem).max(1),
    };
    let settings = json!({
        "stage": "answers",
        "config": config,
        "format": examination.task.format,
        "tokenizer": examination.task.tokenizer.fingerprint(),
        "judge": examination.judge.name(),
        "problems": problems_hash(problems),
    });
    let belongs = |index: usize, line: &AnswerRecord| {
        line.problem == problems[index / per_problem].problem.id
            && line.sample == config.sample(index % per_problem)
    };
    let (stage, stop) = (examination.stage, examination.stop.clone());
    let records = resume(file, settings, shape, (stage, &stop), belongs, |units| {
        observer.on_progress(&Progress {
            stage: examination.stage,
            phase: Phase::Evaluate,
            step: units.start as u64,
            steps: problems.len() as u64,
        })?;
        batch(examination, &problems[units], config)
    })?;
    Ok(Answers::new(records, per_problem))
}

fn batch(
    examination: &mut Examination<'_>,
    problems: &[PreparedProblem],
    config: &AnswersConfig,
) -> Result<Vec<AnswerRecord>> {
    let task = examination.task;
    let wanted: Vec<(&PreparedProblem, Option<usize>)> = problems
        .iter()
        .flat_map(|problem| (0..config.per_problem()).map(move |i| (problem, config.sample(i))))
        .collect();
    let [greedy, sampled] = samplings(task, config);
    let requests: Vec<GenerateRequest> = wanted
        .iter()
        .map(|(problem, sample)| GenerateRequest {
            prompt: problem.prompt.student_prefix.clone(),
            sampling: if sample.is_some() { &sampled } else { &greedy }.clone(),
            stream: StreamKey {
                run_seed: config.seed,
                step: STREAM,
                problem: id_key(&problem.problem.id),
                sample: sample.unwrap_or(0) as u64,
            }
            .stream(),
        })
        .collect();
    let completions = examination.student.generate(&requests)?;
    let read: Vec<StudentAnswer> = wanted
        .iter()
        .zip(&completions)
        .map(|((p, _), c)| {
            Ok(student_answer(
                &task.format,
                &task.tokenizer,
                &p.prompt,
                &c.ids,
            )?)
        })
        .collect::<Result<_>>()?;
    let log_probs = if config.solution_log_prob {
        let sequences: Vec<&SpannedSequence> = read.iter().map(|a| &a.sequence).collect();
        solution_log_probs(examination.student, examination.context, &sequences)?
    } else {
        vec![None; read.len()]
    };
    let lines = wanted.iter().zip(completions).zip(read).zip(log_probs);
    Ok(lines
        .map(|((((problem, sample), completion), read), log_prob)| {
            let Completion { ids, stop, .. } = &completion;
            let answer = read
                .at(config.answer_place, &task.format)
                .map(str::to_owned);
            let judgement = examination.judge.judge(&problem.problem, answer.as_deref());
            AnswerRecord {
                problem: problem.problem.id.clone(),
                sample: *sample,
                text: read.text,
                tokens: ids.len(),
                stop: *stop,
                closed: read.closed,
                answer,
                extracted: judgement.extracted,
                expected: judgement.expected,
                correct: judgement.correct,
                reason: judgement.reason,
                solution_log_prob: log_prob,
            }
        })
        .collect())
}

/// How the greedy answer is sampled, and how the others are.
fn samplings(task: &TeacherTask, config: &AnswersConfig) -> [Sampling; 2] {
    let eos: Vec<_> = task.tokenizer.eos().into_iter().collect();
    let stop = match config.answer_place {
        AnswerPlace::Solution => vec![task.format.solution.end.clone()],
        AnswerPlace::AfterThought | AnswerPlace::Anywhere => Vec::new(),
    };
    let greedy = Sampling::greedy(config.max_completion_tokens)
        .with_stop_tokens(eos)
        .with_stop_strings(stop);
    let sampled = Sampling {
        temperature: config.temperature,
        top_p: config.top_p,
        ..greedy.clone()
    };
    [greedy, sampled]
}

/// A problem's id as the number that its draws are keyed by.
fn id_key(id: &str) -> u64 {
    let hash = blake3::hash(id.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
}

/// A hash of everything that a stage reads of its problems: texts and prompts.
pub(crate) fn problems_hash(problems: &[PreparedProblem]) -> String {
    let mut hash = blake3::Hasher::new();
    let mut part = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    for PreparedProblem { problem, prompt } in problems {
        for text in [&problem.id, &problem.question, &problem.solution] {
            part(text);
        }
        part(problem.answer.as_deref().unwrap_or_default());
        part(&prompt.text);
        part(&prompt.student_text);
    }
    hash.finalize().to_hex().to_string()
}
