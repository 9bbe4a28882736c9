//! The groups of one step: sampled, scored, and chosen.
//!
//! Owns the rounds of dynamic sampling, and the way from a group's outcomes to sequences with advantages. Knows
//! no update.

use std::time::Instant;

use didact_core::{Outcome, Span};

use super::TeacherTrainer;
use crate::advantage::{CreditedSample, advantages, flat_groups, token_advantages};
use crate::loss::{Advantage, Loss as _};
use crate::metrics::Metrics;
use crate::non_finite::Skipped;
use crate::observer::{MetricsKind, Observer, Phase};
use crate::rollout::{
    Group, RolloutOrigin, RolloutRecord, Sample, SampleOptions, TrainingScores, sample,
    sample_scores, score,
};
use crate::step::TrainingSequence;
use crate::{Error, Result};

/// The groups of one step.
pub(super) struct Collected {
    /// Those that are trained on.
    pub(super) kept: Vec<Group>,
    /// Those that dynamic sampling found flat.
    pub(super) dropped: Vec<Group>,
}

impl Collected {
    /// All groups: the kept ones first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Group> {
        self.kept.iter().chain(&self.dropped)
    }
}

/// The advantages of the kept groups.
pub(super) struct Advantages {
    /// Of whole samples.
    pub(super) of_samples: Vec<Vec<f64>>,
    /// What is trained with.
    pub(super) credited: Vec<Vec<Advantage>>,
}

impl TeacherTrainer {
    /// Samples and scores groups until there are enough that teach something, or rounds run out.
    pub(super) fn collect(
        &mut self,
        step: u64,
        observer: &mut dyn Observer,
        metrics: &mut Metrics,
        skipped: &mut Skipped,
    ) -> Result<Collected> {
        let wanted = self.config.problems_per_step;
        let dynamic = self.config.dynamic_sampling;
        let (mut kept, mut dropped, mut earlier) = (Vec::new(), Vec::new(), Vec::new());
        let (mut generating, mut scoring, mut rounds) = (0.0, 0.0, 0_u64);
        let mut drawn = 0;
        while rounds < dynamic.map_or(1, |d| d.max_rounds) && (rounds == 0 || kept.len() < wanted) {
            rounds += 1;
            let chosen = self.choose(step, wanted - kept.len())?;
            self.announce(observer, Phase::Generate)?;
            let begin = Instant::now();
            let options = SampleOptions {
                seed: self.config.seed,
                stream: step,
                group_size: self.config.group_size,
                sampling: &self.config.sampling,
                earlier: &earlier,
            };
            let policy = &mut self.engines.policy;
            let mut groups = sample(policy, &self.task, &self.problems, &chosen, options)?;
            generating += begin.elapsed().as_secs_f64();

            self.announce(observer, Phase::Score)?;
            let begin = Instant::now();
            drawn += groups.iter().map(|g| g.samples.len()).sum::<usize>();
            skipped.at_least(drawn);
            self.score(step, &mut groups, skipped)?;
            scoring += begin.elapsed().as_secs_f64();

            earlier.extend(chosen);
            let rewards: Vec<Vec<Option<f64>>> =
                groups.iter().map(|g| g.rewards().collect()).collect();
            let flat = match dynamic {
                Some(dynamic) => flat_groups(&rewards, dynamic.tolerance),
                None => vec![false; groups.len()],
            };
            for (group, flat) in groups.into_iter().zip(flat) {
                let place = if flat { &mut dropped } else { &mut kept };
                place.push(group);
            }
        }
        metrics.set("time/generate", generating);
        metrics.set("time/score", scoring);
        if dynamic.is_some() {
            metrics.set("dynamic_sampling/rounds", rounds as f64);
            metrics.set("dynamic_sampling/dropped", dropped.len() as f64);
        }
        if kept.is_empty() {
            kept.extend(dropped.drain(..dropped.len().min(wanted)));
        }
        Ok(Collected { kept, dropped })
    }

    fn choose(&mut self, step: u64, count: usize) -> Result<Vec<usize>> {
        let chosen = self.curriculum.next(step, count);
        let known = self.problems.len();
        match chosen.iter().find(|&&problem| problem >= known) {
            Some(problem) => Err(Error::TrainingData {
                what: format!("curriculum at step {step}"),
                problem: format!("it chose problem {problem} of {known}"),
            }),
            None => Ok(chosen),
        }
    }

    /// Samples whose numbers are not finite are taken out of their groups, as far as `skipped` lets them.
    fn score(&mut self, step: u64, groups: &mut Vec<Group>, skipped: &mut Skipped) -> Result<()> {
        let needs = self.config.loss.needs();
        let training = TrainingScores {
            old: needs.old_log_probs,
            reference: needs.reference_log_probs,
            temperature: self.config.sampling.temperature,
        };
        loop {
            let (task, problems) = (&self.task, &self.problems);
            let mut models = self.engines.models();
            let outcome = score(&mut models, task, problems, groups, step, Some(training));
            let Err(error) = outcome else { return Ok(()) };
            let left_out = skipped.leave_out(error)?;
            for group in &mut *groups {
                group.samples.retain(|sample| sample.id != left_out);
                // What one pass found out before another failed is found out again.
                group.samples.iter_mut().for_each(Sample::forget_scores);
            }
            groups.retain(|group| !group.samples.is_empty());
        }
    }

    /// The advantages of `groups`, credited to tokens where the configuration says so.
    pub(super) fn advantages(&self, groups: &[Group]) -> Result<Advantages> {
        let rewards: Vec<Vec<Option<f64>>> = groups.iter().map(|g| g.rewards().collect()).collect();
        let of_samples = advantages(&rewards, &self.config.advantage)?;
        let credited = match self.config.credit.gamma() {
            None => {
                let plain = |group: &Vec<f64>| group.iter().map(|&a| a.into()).collect();
                of_samples.iter().map(plain).collect()
            }
            Some(gamma) => {
                let samples = groups
                    .iter()
                    .map(|group| {
                        let samples = group.samples.iter();
                        samples.map(|s| self.credited(group.problem, s)).collect()
                    })
                    .collect::<Result<Vec<Vec<_>>>>()?;
                token_advantages(&rewards, &samples, gamma, &self.config.advantage)?
            }
        };
        Ok(Advantages {
            of_samples,
            credited,
        })
    }

    /// What the reward says of the sample's single tokens; nothing where it has no reward.
    fn credited(&self, problem: usize, sample: &Sample) -> Result<Option<CreditedSample>> {
        let prompt = self.problems[problem].prompt.ids.len();
        let (Some(Outcome::Scored { .. }), Some(thought)) =
            (&sample.outcome, sample.explained.teacher.thought)
        else {
            return Ok(None);
        };
        let scores = sample_scores(sample);
        let mut terms = Vec::new();
        for name in self.config.credit.terms() {
            let Some(term) = self.task.reward.token_term(name, &scores)? else {
                return Ok(None);
            };
            if term.values.len() != thought.len() || thought.start < prompt {
                return Err(Error::TrainingData {
                    what: format!("credit of sample {}", sample.id),
                    problem: format!(
                        "the reward's term {name} has {} values for the explanation's tokens {}..{} behind a prompt \
                         of {prompt}",
                        term.values.len(),
                        thought.start,
                        thought.end
                    ),
                });
            }
            terms.push(term);
        }
        Ok(Some(CreditedSample {
            tokens: sample.completion.ids.len(),
            first: thought.start - prompt,
            terms,
        }))
    }

    fn masks(&self, sample: &Sample) -> bool {
        self.config.mask_truncated && sample.completion.stop.is_truncated()
    }

    /// Every sampled token is trained, end tag and end of sequence included; of a masked completion, none.
    pub(super) fn training_sequences(
        &self,
        groups: &[Group],
        advantages: &Advantages,
    ) -> Vec<TrainingSequence> {
        let mut sequences = Vec::new();
        for (group, advantages) in groups.iter().zip(&advantages.credited) {
            let prompt = &self.problems[group.problem].prompt.ids;
            for (sample, advantage) in group.samples.iter().zip(advantages) {
                let ids = &sample.completion.ids;
                if ids.is_empty() {
                    continue;
                }
                let mut sequence = TrainingSequence {
                    id: sample.id.clone(),
                    prefix: prompt.clone(),
                    continuation: Vec::new(),
                    trained: Span::new(prompt.len(), prompt.len()),
                    advantage: 0.0.into(),
                    old_log_probs: None,
                    reference_log_probs: None,
                    sampling_log_probs: None,
                };
                if !self.masks(sample) {
                    sequence.continuation.clone_from(ids);
                    sequence.trained.end += ids.len();
                    sequence.advantage = advantage.clone();
                    sequence.old_log_probs.clone_from(&sample.old_log_probs);
                    sequence
                        .reference_log_probs
                        .clone_from(&sample.reference_log_probs);
                    sequence.sampling_log_probs =
                        Some(sample.completion.sampling_log_probs.clone());
                }
                sequences.push(sequence);
            }
        }
        sequences
    }

    /// What is kept of all samples of a step; those that were not trained on have no advantage.
    pub(super) fn records(
        &self,
        collected: &Collected,
        advantages: &Advantages,
        skipped: &Skipped,
    ) -> Vec<RolloutRecord> {
        // The step that is being made: its metrics and rollouts are numbered from 1.
        let origin = RolloutOrigin {
            step: self.steps() + 1,
            ..self.origin(MetricsKind::Train)
        };
        let mut records = Vec::new();
        for (index, group) in collected.all().enumerate() {
            let problem = &self.problems[group.problem];
            for (place, sample) in group.samples.iter().enumerate() {
                let trained = index < collected.kept.len()
                    && !self.masks(sample)
                    && !skipped.holds(&sample.id);
                let advantage = trained.then(|| advantages.of_samples[index][place]);
                let mut record = RolloutRecord::new(origin, &self.task, problem, index, sample);
                record.advantage = advantage;
                if trained && let Advantage::Token(of_tokens) = &advantages.credited[index][place] {
                    record.token_advantages = Some(of_tokens.clone());
                }
                records.push(record);
            }
        }
        records
    }
}
