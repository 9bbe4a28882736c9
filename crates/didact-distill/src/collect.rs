//! Explanations of a teacher, one kept for each problem.
//!
//! Owns sampling, scoring and choosing them, and the file they are kept in. Knows no tensor: models are the
//! engines that it is given.

use didact_core::{NamedValue, Outcome, Problem, Sampling};
use didact_data::PromptFormat;
use didact_rl::rollout::{
    Group, PreparedProblem, RolloutModels, Sample, SampleOptions, TeacherTask, sample, score,
};
use didact_rl::{Observer, Phase, Progress};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How explanations are collected. They are sampled as in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectConfig {
    /// Explanations sampled of each problem, of which the one with the best reward is kept. Default 1.
    pub samples: usize,
    /// Only the first so many problems; without it, all.
    pub problems: Option<usize>,
    /// Whether an explanation without its end tag may be kept: a student that learns from it learns a thought
    /// that breaks off. Default false.
    pub keep_unclosed: bool,
    /// Seeds the draws. Default 42.
    pub seed: u64,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self {
            samples: 1,
            problems: None,
            keep_unclosed: false,
            seed: 42,
        }
    }
}

/// An explanation that a student learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectedExplanation {
    /// The problem explained.
    #[serde(flatten)]
    pub problem: Problem,
    /// The explanation, without tags.
    pub explanation: String,
    /// Its tokens as sampled.
    pub tokens: usize,
    /// Its reward.
    pub reward: f64,
    /// The terms of the reward.
    pub terms: Vec<NamedValue>,
}

/// What was collected and what was not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collected {
    /// One explanation a problem, in the order of the problems.
    pub explanations: Vec<CollectedExplanation>,
    /// Problems of which no explanation was closed and scored.
    pub left_out: Vec<String>,
}

/// Problems whose explanations are sampled at once: enough to fill a batch, few enough to show progress.
const PROBLEMS_PER_BATCH: usize = 16;

/// The stream number of collection draws, apart from every training step.
const STREAM: u64 = u64::MAX - 1;

/// Samples explanations of `problems`, and keeps the closed one with the best reward of each.
///
/// A problem without a closed explanation is left out, unless `keep_unclosed`; so is one whose every explanation
/// holds the end tag of a student's thought, which no student could learn from.
///
/// # Errors
/// What an engine, the reward or the observer refuses; `samples` of 0.
pub fn collect(
    models: &mut RolloutModels<'_>,
    task: &TeacherTask,
    problems: &[PreparedProblem],
    sampling: &Sampling,
    config: &CollectConfig,
    stage: &str,
    observer: &mut dyn Observer,
) -> Result<Collected> {
    if config.samples == 0 {
        return Err(Error::Configuration {
            key: "collect.samples".to_owned(),
            problem: "0 is too few; at least 1".to_owned(),
        });
    }
    let problems = &problems[..config.problems.unwrap_or(usize::MAX).min(problems.len())];
    let mut collected = Collected::default();
    let order: Vec<usize> = (0..problems.len()).collect();
    for chosen in order.chunks(PROBLEMS_PER_BATCH) {
        observer.on_progress(&Progress {
            stage,
            phase: Phase::Generate,
            step: chosen[0] as u64,
            steps: problems.len() as u64,
        })?;
        let options = SampleOptions {
            seed: config.seed,
            stream: STREAM,
            group_size: config.samples,
            sampling,
            earlier: &[],
        };
        let mut groups = sample(models.policy, task, problems, chosen, options)?;
        score(models, task, problems, &mut groups, 0, None)?;
        for group in &groups {
            let problem = &problems[group.problem].problem;
            match best(group, config.keep_unclosed, &task.format) {
                Some((sample, reward, terms)) => {
                    collected.explanations.push(CollectedExplanation {
                        problem: problem.clone(),
                        explanation: sample.explained.text.clone(),
                        tokens: sample.completion.ids.len(),
                        reward,
                        terms: terms.to_vec(),
                    })
                }
                None => collected.left_out.push(problem.id.clone()),
            }
        }
    }
    Ok(collected)
}

/// The usable sample with the best reward; the first of several.
fn best<'a>(
    group: &'a Group,
    keep_unclosed: bool,
    format: &PromptFormat,
) -> Option<(&'a Sample, f64, &'a [NamedValue])> {
    let mut best: Option<(&Sample, f64, &[NamedValue])> = None;
    for sample in &group.samples {
        let Some(Outcome::Scored { reward, terms }) = &sample.outcome else {
            continue;
        };
        let closed = sample.explained.closed || keep_unclosed;
        let text = &sample.explained.text;
        let usable = closed && !text.trim().is_empty() && !holds_tag(format, text);
        if usable && best.is_none_or(|(_, other, _)| *reward > other) {
            best = Some((sample, *reward, terms));
        }
    }
    best
}

/// Whether a text holds a tag of the format: between a student's own tags it would end the thought, open another
/// or pass for a solution.
fn holds_tag(format: &PromptFormat, text: &str) -> bool {
    [
        &format.teacher.explanation,
        &format.student.thought,
        &format.solution,
    ]
    .iter()
    .any(|tags| text.contains(&tags.start) || text.contains(&tags.end))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use didact_core::{Completion, SpannedSequence, StopReason};
    use didact_data::Explained;

    use super::*;

    fn explained(text: &str, closed: bool, reward: f64) -> Sample {
        let sequence = SpannedSequence {
            prefix: Arc::from([1]),
            continuation: vec![2],
            thought: None,
            solution: None,
        };
        Sample {
            id: String::new(),
            index: 0,
            completion: Completion {
                ids: vec![2],
                sampling_log_probs: vec![0.0],
                stop: StopReason::StopToken,
                policy_version: 0,
            },
            explained: Explained {
                teacher: sequence.clone(),
                student: sequence,
                closed,
                straddling: 0,
                text: text.to_owned(),
            },
            scores: Vec::new(),
            old_log_probs: None,
            reference_log_probs: None,
            outcome: Some(Outcome::Scored {
                reward,
                terms: Vec::new(),
            }),
        }
    }

    #[test]
    fn the_best_explanation_that_a_student_can_learn_from_is_kept() {
        let group = Group {
            problem: 0,
            samples: vec![
                explained("good", true, -2.0),
                explained("better, but open", false, -1.0),
                explained("best, but </think> ends the thought", true, 0.0),
                explained(" ", true, 1.0),
                explained("<explanation>opened once more", true, 2.0),
            ],
        };
        let text = |keep_unclosed| {
            let (sample, ..) = best(&group, keep_unclosed, &PromptFormat::think()).unwrap();
            sample.explained.text.as_str()
        };
        assert_eq!(text(false), "good");
        assert_eq!(text(true), "better, but open");
    }
}
