//! Rewards of recorded samples, with other coefficients or by another formula, without a model.
//!
//! Owns the way from rollout files to outcomes and advantages, and what they have in common with the recorded
//! ones. A reward can be evaluated if a run recorded every score that it asks for; which model read which tokens
//! stands in the files. Knows no tokenizer and no model.
//!
//! ```no_run
//! use didact_reward::rlt;
//! use didact_rl::rescore::{Agreement, Rescorer};
//!
//! let mut config = rlt();
//! config.terms[1].coefficients = vec![-1.0, 0.0];
//! let reward = config.resolve()?;
//! let samples = Rescorer::new(&reward).run("runs/first")?;
//! println!("{:?}", Agreement::of(&samples).rank_correlation);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use didact_core::{Outcome, Problem, Reward, SampleScores, ScoreSpec};
use serde::{Deserialize, Serialize};

use crate::advantage::{AdvantageConfig, advantages};
use crate::rollout::{RolloutRecord, outcomes};
use crate::{Error, MetricsKind, Result};

mod agreement;
mod file;

pub use agreement::{Agreement, rank_correlation};
pub use file::{RolloutFile, rollout_files};

/// A recorded sample with its new reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rescored {
    /// The stage of the run.
    pub stage: String,
    /// What it was sampled for.
    pub kind: MetricsKind,
    /// The step as recorded.
    pub step: u64,
    /// The problem's id.
    pub problem: String,
    /// The place of its group in the step.
    pub group: usize,
    /// Its number among the samples of its problem in the step.
    pub sample: usize,
    /// The reward that the run gave it, if any.
    pub recorded: Option<f64>,
    /// What the new reward makes of it.
    pub outcome: Outcome,
    /// Its advantage among all samples of the step by the new reward.
    pub advantage: f64,
}

/// Evaluates a reward on recorded samples.
#[derive(Clone)]
pub struct Rescorer<'a> {
    reward: &'a dyn Reward,
    requests: Vec<ScoreSpec>,
    advantage: AdvantageConfig,
    problems: HashMap<&'a str, &'a Problem>,
}

impl std::fmt::Debug for Rescorer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rescorer")
            .field("requests", &self.requests)
            .field("advantage", &self.advantage)
            .finish_non_exhaustive()
    }
}

impl<'a> Rescorer<'a> {
    /// Evaluates `reward`, with advantages as the default configuration makes them.
    #[must_use]
    pub fn new(reward: &'a dyn Reward) -> Self {
        Self {
            reward,
            requests: reward.requests(),
            advantage: AdvantageConfig::default(),
            problems: HashMap::new(),
        }
    }

    /// The same with advantages made another way.
    #[must_use]
    pub const fn with_advantage(mut self, advantage: AdvantageConfig) -> Self {
        self.advantage = advantage;
        self
    }

    /// The same with these problems in place of the recorded ones of the same id, which lack their reasoning
    /// traces.
    #[must_use]
    pub fn with_problems(mut self, problems: &'a [Problem]) -> Self {
        self.problems
            .extend(problems.iter().map(|p| (p.id.as_str(), p)));
        self
    }

    /// Rewards the samples of all rollout files of a run directory, in the order of [`rollout_files`].
    ///
    /// # Errors
    /// As [`file`](Self::file); a directory without rollout files.
    pub fn run(&self, directory: impl AsRef<Path>) -> Result<Vec<Rescored>> {
        let mut samples = Vec::new();
        for path in rollout_files(directory)? {
            samples.extend(self.file(path)?);
        }
        Ok(samples)
    }

    /// Rewards the samples of one rollout file, which is one step; one group is in memory at a time.
    ///
    /// Groups that dynamic sampling left out have advantages like all others.
    ///
    /// # Errors
    /// [`Error::Rollout`] for a line that is no sample; [`Error::MissingScore`] where the reward asks for what was
    /// not recorded; what the reward refuses; a reward that is not finite, by sample.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Vec<Rescored>> {
        let path = path.as_ref();
        let mut found = Vec::new();
        let mut group: Vec<RolloutRecord> = Vec::new();
        let mut sizes = Vec::new();
        for record in RolloutFile::open(path)? {
            let (line, record) = record?;
            self.check(path, line, &record)?;
            if group.last().is_some_and(|last| last.group != record.group) {
                sizes.push(group.len());
                self.group(std::mem::take(&mut group), &mut found)?;
            }
            group.push(record);
        }
        sizes.push(group.len());
        self.group(group, &mut found)?;

        let mut rest = found.iter();
        let rewards: Vec<Vec<Option<f64>>> = sizes
            .iter()
            .map(|&size| {
                let group = rest.by_ref().take(size);
                group.map(|s| s.outcome.reward()).collect()
            })
            .collect();
        let of_samples = advantages(&rewards, &self.advantage)?;
        for (sample, advantage) in found.iter_mut().zip(of_samples.into_iter().flatten()) {
            sample.advantage = advantage;
        }
        Ok(found)
    }

    fn check(&self, path: &Path, line: usize, record: &RolloutRecord) -> Result<()> {
        let recorded = |wanted: &&ScoreSpec| !record.scores.iter().any(|s| s.spec == **wanted);
        match self.requests.iter().find(recorded) {
            None => Ok(()),
            Some(wanted) => {
                let recorded: Vec<String> =
                    record.scores.iter().map(|s| described(&s.spec)).collect();
                Err(Error::MissingScore {
                    path: path.to_owned(),
                    line,
                    sample: record.id(),
                    wanted: described(wanted),
                    recorded: recorded.join("; "),
                })
            }
        }
    }

    /// The outcomes of one group.
    fn group(&self, records: Vec<RolloutRecord>, found: &mut Vec<Rescored>) -> Result<()> {
        let Some(first) = records.first() else {
            return Ok(());
        };
        let problem = match self.problems.get(first.problem.as_str()) {
            Some(&problem) => problem.clone(),
            None => Problem {
                id: first.problem.clone(),
                question: first.question.clone(),
                solution: first.solution.clone(),
                answer: first.answer.clone(),
                reasoning_trace: None,
                domain: first.domain.clone(),
            },
        };
        // A reward counts steps from 0, a file those that were made.
        let step = match first.kind {
            MetricsKind::Train => first.step.saturating_sub(1),
            MetricsKind::Evaluation | MetricsKind::Summary => first.step,
        };
        let samples = records.iter().map(|r| self.sample_scores(r)).collect();
        let outcomes = outcomes(self.reward, &problem, step, samples)?;
        for (record, outcome) in records.into_iter().zip(outcomes) {
            found.push(Rescored {
                recorded: record.outcome.as_ref().and_then(Outcome::reward),
                stage: record.stage,
                kind: record.kind,
                step: record.step,
                problem: record.problem,
                group: record.group,
                sample: record.sample,
                outcome,
                advantage: 0.0,
            });
        }
        Ok(())
    }

    /// What the reward reads of a sample; `None` where it did not fit into a scorer's context.
    fn sample_scores(&self, record: &RolloutRecord) -> Option<SampleScores> {
        let mut scores = Vec::with_capacity(self.requests.len());
        for wanted in &self.requests {
            let score = record.scores.iter().find(|s| s.spec == *wanted)?;
            if score.log_probs.is_none() && record.span(wanted).is_some() {
                return None;
            }
            scores.push(score.log_probs.clone());
        }
        Some(SampleScores {
            id: record.id(),
            scores,
            closed: record.closed,
            truncated: record.stop.is_truncated(),
            explanation: record.text.clone(),
            answered: record.answered.clone(),
            completion_tokens: record.ids.len(),
        })
    }
}

fn described(spec: &ScoreSpec) -> String {
    format!(
        "the {:?} reading the {:?} in the {:?} context at temperature {}",
        spec.scorer, spec.span, spec.context, spec.temperature
    )
    .to_lowercase()
}

/// Where a file's lines come from, for errors.
pub(crate) fn refuse<T>(path: &Path, line: usize, problem: impl Into<String>) -> Result<T> {
    Err(Error::Rollout {
        path: PathBuf::from(path),
        line,
        problem: problem.into(),
    })
}
