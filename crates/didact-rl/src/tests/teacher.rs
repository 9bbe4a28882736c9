//! Whole runs of a teacher's training.

use std::sync::Arc;

use didact_core::{GroupScores, NamedValue, Outcome, Refusal, Reward, ScoreSpec};

use super::{Recorder, decoder, problems, task};
use crate::config::ReferenceMixing;
use crate::{
    EvaluationConfig, MetricsKind, Observer, Result, RolloutOrigin, RolloutRecord, RunDirectory,
    TeacherConfig, TeacherModels, TeacherTask, TeacherTrainer, Warning, WarningKind, WatchConfig,
};

pub(super) fn config() -> TeacherConfig {
    TeacherConfig {
        seed: 7,
        steps: 3,
        problems_per_step: 2,
        group_size: 3,
        max_completion_tokens: 12,
        learning_rate: 1e-3,
        reference_mixing: Some(ReferenceMixing {
            every: 2,
            alpha: 0.9,
        }),
        micro_batch_tokens: 120,
        evaluation: Some(EvaluationConfig {
            every: 2,
            ..EvaluationConfig::default()
        }),
        ..TeacherConfig::published()
    }
}

pub(super) fn trainer(task: TeacherTask, config: &TeacherConfig) -> TeacherTrainer {
    let models = TeacherModels {
        policy: decoder(1),
        student: decoder(2).into(),
    };
    TeacherTrainer::new(models, task, &problems(4, 0), &problems(2, 50), config).unwrap()
}

/// Keeps the samples of each step.
#[derive(Default)]
pub(super) struct Samples(pub(super) Vec<(MetricsKind, u64, Vec<RolloutRecord>)>);

impl Observer for Samples {
    fn on_rollouts(&mut self, origin: RolloutOrigin<'_>, samples: &[RolloutRecord]) -> Result<()> {
        let RolloutOrigin { kind, step, .. } = origin;
        self.0.push((kind, step, samples.to_vec()));
        Ok(())
    }
}

#[test]
fn the_metrics_that_people_look_for_are_there() {
    let mut trainer = trainer(task(), &config());
    let metrics = trainer.step(&mut ()).unwrap();
    for name in [
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "completions/mean_length",
        "completions/clipped_ratio",
        "kl",
        "entropy",
        "grad_norm",
        "lr",
        "loss",
        "sampling/logp_diff_mean",
        "sampling/logp_diff_max",
        "time/generate",
        "time/score",
        "time/update",
        "reward/solution_log_prob",
        "reward/kl",
        "missing_tag_ratio",
        "refused/ratio",
    ] {
        assert!(
            metrics.get(name).is_some_and(f64::is_finite),
            "{name}: {metrics:?}"
        );
    }
    let evaluation = trainer.evaluate(&mut ()).unwrap().unwrap();
    for name in [
        "eval/reward",
        "eval/reward_without_penalty",
        "eval/penalty/missing_tag",
    ] {
        assert!(
            evaluation.metrics.get(name).is_some(),
            "{name}: {:?}",
            evaluation.metrics
        );
    }
    let first = &evaluation.problems[0];
    let penalty = first.reward.unwrap() - first.reward_without_penalty.unwrap();
    assert!(
        (penalty + first.missing_tag_ratio).abs() < 1e-12,
        "the penalty is −1 a missing tag"
    );
}

/// Rewards early samples, refuses the last of each group.
struct RefusesTheLast;

impl Reward for RefusesTheLast {
    fn requests(&self) -> Vec<ScoreSpec> {
        Vec::new()
    }

    fn evaluate(&self, group: &GroupScores<'_>) -> didact_core::Result<Vec<Outcome>> {
        let last = group.samples.len() - 1;
        let outcome = |index: usize| {
            if index == last {
                return Outcome::Refused(Refusal::EmptyThought);
            }
            let terms = vec![NamedValue::new("reward/index", index as f64)];
            Outcome::Scored {
                reward: -(index as f64),
                terms,
            }
        };
        Ok((0..=last).map(outcome).collect())
    }
}

#[test]
fn refused_samples_are_placed_below_their_groups_worst() {
    let task = TeacherTask {
        reward: Arc::new(RefusesTheLast),
        ..task()
    };
    let mut trainer = trainer(task, &config());
    let mut samples = Samples::default();
    let metrics = trainer.step(&mut samples).unwrap();
    assert!((metrics.get("refused/ratio").unwrap() - 1.0 / 3.0).abs() < 1e-12);
    assert!((metrics.get("refused/empty_thought").unwrap() - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(
        metrics.get("reward"),
        Some(-0.5),
        "the mean of those that have a reward"
    );
    for group in samples.0[0].2.chunks(3) {
        let advantages: Vec<f64> = group.iter().map(|s| s.advantage.unwrap()).collect();
        assert!(
            advantages[0] > advantages[1] && advantages[1] > advantages[2],
            "{advantages:?}"
        );
        assert!(advantages.iter().sum::<f64>().abs() < 1e-9);
        assert_eq!(
            group[2].outcome,
            Some(Outcome::Refused(Refusal::EmptyThought))
        );
        assert_eq!(
            group[0].reference_log_probs.as_ref().unwrap().len(),
            group[0].ids.len()
        );
    }
}

#[test]
fn a_sequence_too_long_for_the_student_is_refused_not_fatal() {
    let mut trainer = trainer(task(), &config());
    trainer.student_context_for_tests(20);
    let metrics = trainer.step(&mut ()).unwrap();
    assert_eq!(metrics.get("refused/too_long"), Some(1.0));
    assert_eq!(metrics.get("reward"), None);
}

#[test]
fn a_prompt_longer_than_allowed_is_named() {
    let config = TeacherConfig {
        max_prompt_tokens: Some(30),
        ..config()
    };
    let models = TeacherModels {
        policy: decoder(1),
        student: decoder(2).into(),
    };
    let mut all = problems(3, 0);
    all[1].question = "a long question ".repeat(5);
    let error = TeacherTrainer::new(models, task(), &all, &[], &config)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("problem-1") && error.contains("30"),
        "{error}"
    );
}

#[test]
fn a_run_directory_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut run = RunDirectory::create(&path).unwrap();
    trainer(task(), &config()).run(&mut run).unwrap();
    let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    let lines = read("metrics.jsonl").lines().count();
    assert_eq!(lines, 3 + 3, "three steps and three looks");
    let samples = read("rollouts/teacher/step_000001.jsonl");
    assert_eq!(samples.lines().count(), 6);
    let sample: RolloutRecord = serde_json::from_str(samples.lines().next().unwrap()).unwrap();
    assert_eq!(sample.policy_version, 0);
    assert_eq!(sample.ids.len(), sample.sampling_log_probs.len());
    assert!(!sample.scores.is_empty());
    let second: RolloutRecord = serde_json::from_str(
        read("rollouts/teacher/step_000002.jsonl")
            .lines()
            .next()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(second.policy_version, 1, "the engine got the new weights");
    assert_eq!(
        read("rollouts/teacher/evaluation_000000.jsonl")
            .lines()
            .count(),
        2
    );
    assert!(read("config.json").contains("\"max_prompt_tokens\": 148"));
    assert!(RunDirectory::create(&path).is_err());
}

#[test]
fn every_metric_that_a_run_writes_is_described() {
    let mut recorder = Recorder::default();
    trainer(task(), &config()).run(&mut recorder).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for record in &recorder.records {
        names.extend(record.metrics.iter().map(|(name, _)| name.to_owned()));
    }
    for name in &names {
        assert!(crate::metrics::describe(name).is_some(), "{name}");
    }
    for name in [
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "completions/mean_length",
        "completions/min_length",
        "completions/max_length",
        "completions/clipped_ratio",
        "entropy",
        "kl",
        "clip_ratio/low_mean",
        "clip_ratio/high_mean",
        "clip_ratio/region_mean",
        "sampling/importance_ratio_mean",
        "sampling/importance_ratio_max",
        "sampling/logp_diff_mean",
        "sampling/logp_diff_max",
        "sampling/logp_diff_by_position/000032",
        "kl_sample_train_v1",
        "kl_sample_train_v2",
        "grad_norm",
        "lr",
        "time/tokens_per_second",
        "time/generate",
        "time/score",
        "time/update",
        "eval/reward",
    ] {
        assert!(names.contains(name), "{name} is missing among {names:?}");
    }
}

#[test]
fn a_run_of_flat_groups_warns_once() {
    /// Rewards everything alike.
    struct Same;
    impl Reward for Same {
        fn requests(&self) -> Vec<ScoreSpec> {
            Vec::new()
        }

        fn evaluate(&self, group: &GroupScores<'_>) -> didact_core::Result<Vec<Outcome>> {
            let same = Outcome::Scored {
                reward: 1.0,
                terms: Vec::new(),
            };
            Ok(vec![same; group.samples.len()])
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunDirectory::create(folder.path().join("run")).unwrap();
    let task = TeacherTask {
        reward: Arc::new(Same),
        ..task()
    };
    let config = TeacherConfig {
        warnings: WatchConfig {
            flat_steps: 2,
            truncated: 1.0,
            ..WatchConfig::default()
        },
        ..config()
    };
    trainer(task, &config).run(&mut run).unwrap();
    let text = std::fs::read_to_string(run.path().join("warnings.jsonl")).unwrap();
    let warnings: Vec<Warning> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        (warnings[0].kind, warnings[0].step),
        (WarningKind::FlatGroups, 2)
    );
    assert!(warnings[0].advice.contains("dynamic_sampling"));
}
