//! Which samples and tokens a teacher's training learns from.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use didact_core::{Curriculum, GroupScores, Outcome, ProblemResult, Reward, ScoreSpec};

use super::teacher::{Samples, config, trainer};
use super::{hash, task};
use crate::advantage::{CreditConfig, DynamicSampling};
use crate::algorithm::Algorithm;
use crate::loss::{Correction, CorrectionLevel};
use crate::{RolloutRecord, TeacherConfig, TeacherTask};

fn records(config: &TeacherConfig, task: TeacherTask) -> (Vec<RolloutRecord>, String) {
    let mut samples = Samples::default();
    let mut trainer = trainer(task, config);
    trainer.step(&mut samples).unwrap();
    let records = samples.0.swap_remove(0).2;
    (records, hash(&trainer.into_policy().unwrap()))
}

fn to_go(gamma: f64) -> TeacherConfig {
    TeacherConfig {
        credit: CreditConfig::ToGo {
            gamma,
            terms: Vec::new(),
        },
        ..config()
    }
}

#[test]
fn tokens_are_credited_with_their_own_share_of_the_kl() {
    let token = TeacherConfig {
        credit: CreditConfig::Token { terms: Vec::new() },
        ..config()
    };
    let (plain, plain_weights) = records(&config(), task());
    let (found, weights) = records(&token, task());
    assert_ne!(weights, plain_weights);
    assert_eq!(records(&to_go(0.0), task()).1, weights, "both say the same");
    for group in 0..2 {
        let rows = group * 3..group * 3 + 3;
        let rewards: Vec<f64> = found[rows.clone()]
            .iter()
            .map(|r| r.outcome.as_ref().unwrap().reward().unwrap())
            .collect();
        let mean = rewards.iter().sum::<f64>() / 3.0;
        let deviation = (rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
        for row in rows {
            let record = &found[row];
            let advantage = record.advantage.unwrap();
            assert_eq!(
                Some(advantage),
                plain[row].advantage,
                "the samples' own are as before"
            );
            assert!(plain[row].token_advantages.is_none());
            let of_tokens = record.token_advantages.as_ref().unwrap();
            assert_eq!(of_tokens.len(), record.ids.len());
            // From the scores: teacher's less student's log-prob of each token of the explanation.
            let log_probs = |i: usize| record.scores[i].log_probs.as_ref().unwrap().values();
            let thought = record.teacher_thought.unwrap();
            let [teacher, student] = [1, 2].map(log_probs);
            let x: Vec<f64> = teacher
                .iter()
                .zip(student)
                .map(|(p, q)| f64::from(*p) - f64::from(*q))
                .collect();
            assert_eq!(
                (x.len(), thought.start),
                (thought.len(), record.prompt_ids.len())
            );
            let mean_x = x.iter().sum::<f64>() / x.len() as f64;
            for (t, x) in x.iter().enumerate() {
                let expected = advantage - 3.0 * (x - mean_x) / (deviation + 1e-4);
                assert!((of_tokens[t] - expected).abs() < 1e-9 * expected.abs().max(1.0));
            }
        }
    }
}

#[test]
fn what_is_to_go_begins_with_the_whole_and_ends_with_the_rest() {
    let (found, _) = records(&to_go(1.0), task());
    for record in &found {
        let (advantage, of_tokens) = (
            record.advantage.unwrap(),
            record.token_advantages.as_ref().unwrap(),
        );
        assert!((of_tokens[0] - advantage).abs() < 1e-9);
        let text = serde_json::to_string(record).unwrap();
        assert_eq!(
            &serde_json::from_str::<RolloutRecord>(&text).unwrap(),
            record
        );
    }
}

#[test]
fn a_term_that_the_reward_cannot_say_by_token_is_refused_before_the_first_step() {
    let unknown = TeacherConfig {
        credit: CreditConfig::Token {
            terms: vec!["solution_log_prob".to_owned()],
        },
        ..config()
    };
    let models = crate::TeacherModels {
        policy: super::decoder(1),
        student: super::decoder(2).into(),
    };
    let problems = super::problems(2, 0);
    let error = crate::TeacherTrainer::new(models, task(), &problems, &[], &unknown).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("credit.terms") && error.contains("kl"),
        "{error}"
    );
    let named = trainer(task(), &to_go(0.5));
    assert_eq!(named.config().credit.terms(), ["kl"]);
}

/// Rewards all samples alike for its first groups, then by their number.
struct FlatAtFirst {
    flat: usize,
    seen: AtomicUsize,
}

impl Reward for FlatAtFirst {
    fn requests(&self) -> Vec<ScoreSpec> {
        Vec::new()
    }

    fn evaluate(&self, group: &GroupScores<'_>) -> didact_core::Result<Vec<Outcome>> {
        let flat = self.seen.fetch_add(1, Ordering::Relaxed) < self.flat;
        let outcome = |index: usize| Outcome::Scored {
            reward: if flat { 1.0 } else { index as f64 },
            terms: Vec::new(),
        };
        Ok((0..group.samples.len()).map(outcome).collect())
    }
}

fn flat_at_first(flat: usize) -> TeacherTask {
    TeacherTask {
        reward: Arc::new(FlatAtFirst {
            flat,
            seen: AtomicUsize::new(0),
        }),
        ..task()
    }
}

/// Always the same problem; counts what it hears.
struct Same(Arc<AtomicUsize>);

impl Curriculum for Same {
    fn next(&mut self, _step: u64, count: usize) -> Vec<usize> {
        vec![1; count]
    }

    fn observe(&mut self, _step: u64, results: &[ProblemResult]) {
        self.0.fetch_add(results.len(), Ordering::Relaxed);
    }

    fn state(&self) -> String {
        String::new()
    }

    fn restore(&mut self, _state: &str) -> didact_core::Result<()> {
        Ok(())
    }
}

#[test]
fn flat_groups_are_replaced_within_the_rounds() {
    let dynamic = |max_rounds| TeacherConfig {
        dynamic_sampling: Some(DynamicSampling {
            max_rounds,
            tolerance: 0.0,
        }),
        ..config()
    };
    let heard = Arc::new(AtomicUsize::new(0));
    let mut samples = Samples::default();
    let mut trainer =
        trainer(flat_at_first(3), &dynamic(5)).with_curriculum(Box::new(Same(heard.clone())));
    let metrics = trainer.step(&mut samples).unwrap();
    // Two flat groups, then one flat and one that differs, then one more.
    assert_eq!(metrics.get("dynamic_sampling/rounds"), Some(3.0));
    assert_eq!(metrics.get("dynamic_sampling/dropped"), Some(3.0));
    assert_eq!(metrics.get("frac_reward_zero_std"), Some(3.0 / 5.0));
    assert_eq!(
        heard.load(Ordering::Relaxed),
        5,
        "the curriculum hears of dropped groups too"
    );
    let records = &samples.0[0].2;
    assert_eq!(records.len(), 5 * 3);
    assert!(records[..6].iter().all(|r| r.advantage.is_some()));
    assert!(records[6..].iter().all(|r| r.advantage.is_none()));
    // A problem that is sampled again takes other draws.
    let mut numbers: Vec<usize> = records.iter().map(|r| r.sample).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..15).collect::<Vec<_>>());

    let all_flat = |max_rounds| {
        let mut trainer = super::teacher::trainer(flat_at_first(usize::MAX), &dynamic(max_rounds));
        let metrics = trainer.step(&mut ()).unwrap();
        (
            metrics.get("dynamic_sampling/rounds"),
            metrics.get("dynamic_sampling/dropped"),
        )
    };
    assert_eq!(all_flat(1), (Some(1.0), Some(2.0)));
    assert_eq!(all_flat(4), (Some(4.0), Some(8.0)));
}

#[test]
fn truncated_completions_are_left_out_of_the_loss() {
    // Random bytes hardly ever end a turn within 12 tokens.
    let masked = TeacherConfig {
        mask_truncated: true,
        ..config()
    };
    let mut trainer = trainer(task(), &masked);
    let outcome = trainer.step(&mut ());
    if let Err(error) = outcome {
        assert!(
            error.to_string().contains("max_completion_tokens"),
            "{error}"
        );
    }
    let ends = TeacherConfig {
        max_completion_tokens: 40,
        temperature: 3.0,
        group_size: 16,
        ..masked
    };
    let mut samples = Samples::default();
    let mut trainer = super::teacher::trainer(task(), &ends);
    let metrics = trainer.step(&mut samples).unwrap();
    let truncated = |r: &&RolloutRecord| r.stop.is_truncated();
    let records = &samples.0[0].2;
    let count = records.iter().filter(truncated).count();
    assert!(
        count > 0 && count < records.len(),
        "{count} of {}",
        records.len()
    );
    assert!(
        records
            .iter()
            .all(|r| r.advantage.is_some() != r.stop.is_truncated())
    );
    let tokens: usize = records
        .iter()
        .filter(|r| !truncated(r))
        .map(|r| r.ids.len())
        .sum();
    assert_eq!(metrics.get("tokens"), Some(tokens as f64));
}

#[test]
fn every_algorithm_makes_a_step() {
    for (name, preset) in Algorithm::ALL {
        let mut config = config().with_algorithm(preset());
        // Random bytes are all cut off.
        config.mask_truncated = false;
        config.loss.correction = Some(Correction {
            level: CorrectionLevel::Token,
            ..Correction::default()
        });
        config.loss.off_policy_threshold = Some(0.5);
        config.loss.top_entropy = 0.5;
        let mut trainer = trainer(task(), &config);
        let before = hash(trainer.policy().unwrap());
        let metrics = trainer.step(&mut ()).unwrap();
        metrics.validate().unwrap();
        assert_ne!(hash(trainer.policy().unwrap()), before, "{name}");
        // The engine of one's own weights differs from training by rounding alone.
        if let Some(correction) = metrics.get("loss/correction") {
            assert!((correction - 1.0).abs() < 1e-3, "{name}: {correction}");
        }
        assert_eq!(metrics.get("loss/off_policy_dropped"), Some(0.0), "{name}");
    }
}
