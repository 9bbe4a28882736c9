//! Explanations of a teacher, several of each problem, all of them kept.
//!
//! Owns sampling and scoring them, and the file they are kept in. Which of them a student learns from is
//! [`select`](crate::select)'s business. Knows no tensor: models are the engines that it is given.

use didact_core::{Outcome, Problem, Sampling, StopReason};
use didact_rl::rollout::{
    PreparedProblem, RolloutModels, Sample, SampleOptions, TeacherTask, sample, score,
};
use didact_rl::{Observer, Phase, Progress, StopFlag};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::evaluation::problems_hash;
use crate::resumable::{ResumableFile, Shape, resume};
use crate::selection::{SelectionConfig, usable_text};
use crate::{Error, Result};

/// How explanations are collected. They are sampled as in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectConfig {
    /// Explanations sampled of each problem. Default 1.
    pub samples: usize,
    /// Only the first so many problems; without it, all.
    pub problems: Option<usize>,
    /// Seeds the draws. Default 42.
    pub seed: u64,
    /// Which of them students learn from.
    pub selection: SelectionConfig,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self {
            samples: 1,
            problems: None,
            seed: 42,
            selection: SelectionConfig::default(),
        }
    }
}

impl CollectConfig {
    /// Refuses what means nothing.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn validate(&self) -> Result<()> {
        for (key, count) in [("samples", Some(self.samples)), ("problems", self.problems)] {
            if count == Some(0) {
                return Err(Error::Configuration {
                    key: format!("collect.{key}"),
                    problem: "0 is too few; at least 1".to_owned(),
                });
            }
        }
        self.selection.validate()
    }
}

/// One sampled explanation with its reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplanationRecord {
    /// The problem explained.
    #[serde(flatten)]
    pub problem: Problem,
    /// Its number among the explanations of the problem, from 0.
    pub sample: usize,
    /// The explanation, without tags.
    pub explanation: String,
    /// Its tokens as sampled.
    pub tokens: usize,
    /// Why it ended.
    pub stop: StopReason,
    /// Whether it was closed by its end tag.
    pub closed: bool,
    /// Tokens of the whole example that a student would learn from it: question, explanation, solution. Where no
    /// example can be made of it, those of the sequence that was scored.
    pub student_tokens: usize,
    /// Its reward, or why it has none.
    pub outcome: Outcome,
}

/// Who explains, and by which reward explanations are judged.
#[derive(Debug)]
pub struct Collection<'a, 'models> {
    /// Teacher, reference and student.
    pub models: &'a mut RolloutModels<'models>,
    /// Tokenizer, prompt format and reward.
    pub task: &'a TeacherTask,
    /// How explanations are sampled.
    pub sampling: &'a Sampling,
    /// Names the stage in progress.
    pub stage: &'a str,
    /// Ends it between batches of problems when set.
    pub stop: StopFlag,
}

/// Problems whose explanations are sampled at once: enough to fill a batch, few enough to show progress.
const PROBLEMS_PER_BATCH: usize = 16;

/// The stream number of collection draws, apart from every training step.
const STREAM: u64 = u64::MAX - 1;

/// Samples explanations of `problems` and scores them; all are returned, in the order of the problems.
///
/// With a file, every explanation is a line of it, and a run that was killed goes on where the file ends; the finished
/// file has the same bytes as if it had not been killed. A draw depends on the seed, the problem's place and the
/// number of the sample. The file's identity has to name the models' weights, and a reward that has no
/// [identity](didact_core::Reward::identity).
///
/// # Errors
/// What an engine, the reward or the observer refuses; a setting that means nothing; a file that belongs to other settings,
/// problems or models; [`Error::Interrupted`].
pub fn collect(
    collection: &mut Collection<'_, '_>,
    problems: &[PreparedProblem],
    config: &CollectConfig,
    file: Option<&ResumableFile>,
    observer: &mut dyn Observer,
) -> Result<Vec<ExplanationRecord>> {
    config.validate()?;
    let Collection {
        models,
        task,
        sampling,
        stage,
        stop,
    } = collection;
    let problems = &problems[..config.problems.unwrap_or(usize::MAX).min(problems.len())];
    for PreparedProblem { problem, .. } in problems {
        task.reward.accepts(problem)?;
    }
    let shape = Shape {
        units: problems.len(),
        lines_per_unit: config.samples,
        units_per_batch: PROBLEMS_PER_BATCH,
    };
    let settings = json!({
        "stage": "collect",
        "samples": config.samples,
        "seed": config.seed,
        "sampling": sampling,
        "format": task.format,
        "tokenizer": task.tokenizer.fingerprint(),
        "scores": task.reward.requests(),
        "reward": task.reward.identity(),
        "problems": problems_hash(problems),
    });
    let belongs = |index: usize, line: &ExplanationRecord| {
        line.problem.id == problems[index / config.samples].problem.id
            && line.sample == index % config.samples
    };
    resume(file, settings, shape, (stage, stop), belongs, |units| {
        observer.on_progress(&Progress {
            stage,
            phase: Phase::Generate,
            step: units.start as u64,
            steps: problems.len() as u64,
        })?;
        let chosen: Vec<usize> = units.collect();
        let options = SampleOptions {
            seed: config.seed,
            stream: STREAM,
            group_size: config.samples,
            sampling,
            earlier: &[],
        };
        let mut groups = sample(models.policy, task, problems, &chosen, options)?;
        score(models, task, problems, &mut groups, 0, None)?;
        groups
            .iter()
            .flat_map(|group| group.samples.iter().map(|sample| (group.problem, sample)))
            .map(|(problem, sample)| record(task, &problems[problem].problem, sample))
            .collect()
    })
}

fn record(task: &TeacherTask, problem: &Problem, sample: &Sample) -> Result<ExplanationRecord> {
    let Some(outcome) = sample.outcome.clone() else {
        return Err(Error::Stage {
            stage: "collect".to_owned(),
            problem: format!("sample {} was not scored", sample.id),
        });
    };
    let explained = &sample.explained;
    let student_tokens = if usable_text(&task.format, &explained.text).is_ok() {
        let format = &task.format;
        let example = format.student_example(&task.tokenizer, problem, &explained.text)?;
        example.ids.len()
    } else {
        explained.student.len()
    };
    Ok(ExplanationRecord {
        problem: problem.clone(),
        sample: sample.index,
        explanation: explained.text.clone(),
        tokens: sample.completion.ids.len(),
        stop: sample.completion.stop,
        closed: explained.closed,
        student_tokens,
        outcome,
    })
}
