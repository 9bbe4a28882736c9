//! Numbers that are none: an error that names them, or a sample or a step left out, so often and no more.

use std::sync::Arc;

use didact_core::{GroupScores, Outcome, Reward, ScoreSpec};

use super::{Kind, teacher, teacher_config};
use crate::tests::teacher::{Samples, trainer};
use crate::tests::{Recorder, hash, task};
use crate::warnings::{Warning, WarningKind};
use crate::{
    Error, MetricsKind, NonFiniteConfig, Observer, Result, TeacherConfig, TeacherTask,
    TeacherTrainer,
};

/// The second sample of each group has no number as its reward, and the others their index.
struct SecondIsNan;

impl Reward for SecondIsNan {
    fn requests(&self) -> Vec<ScoreSpec> {
        Vec::new()
    }

    fn evaluate(&self, group: &GroupScores<'_>) -> didact_core::Result<Vec<Outcome>> {
        let reward = |id: &str| match id.rsplit('#').next() {
            Some("1") => f64::NAN,
            Some(index) => index.parse().unwrap_or(0.0),
            None => 0.0,
        };
        let outcome = |id: &str| Outcome::Scored {
            reward: reward(id),
            terms: Vec::new(),
        };
        Ok(group.samples.iter().map(|s| outcome(&s.id)).collect())
    }
}

fn spoilt(non_finite: NonFiniteConfig) -> TeacherTrainer {
    let config = TeacherConfig {
        non_finite,
        ..super::super::teacher::config()
    };
    let task = TeacherTask {
        reward: Arc::new(SecondIsNan),
        ..task()
    };
    trainer(task, &config)
}

#[derive(Default)]
struct Warnings(Vec<String>);

impl Observer for Warnings {
    fn on_warning(&mut self, warning: &Warning) -> Result<()> {
        // What the metrics give rise to is not of interest here.
        if warning.kind == WarningKind::Run {
            self.0.push(warning.text.clone());
        }
        Ok(())
    }
}

#[test]
fn a_reward_that_is_no_number_ends_the_run_and_names_the_sample() {
    let error = spoilt(NonFiniteConfig::default())
        .step(&mut ())
        .unwrap_err();
    assert!(matches!(error, Error::NonFiniteSample { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("#1") && text.contains("reward"), "{text}");
}

#[test]
fn a_sample_may_be_left_out_and_counts_nowhere() {
    let mut trainer = spoilt(NonFiniteConfig {
        skip_samples: 0.4,
        skip_steps: 0,
    });
    let mut observers = (Samples::default(), Warnings::default());
    let metrics = trainer.step(&mut observers).unwrap();
    assert_eq!(metrics.get("skipped/samples"), Some(2.0), "one a group");
    assert_eq!(metrics.get("skipped/steps"), Some(0.0));
    assert_eq!(metrics.get("reward"), Some(1.0), "the mean of 0 and 2");
    let (_, _, records) = &observers.0.0[0];
    assert_eq!(records.len(), 4, "two of three samples of two problems");
    for pair in records.chunks(2) {
        let sum: f64 = pair.iter().map(|r| r.advantage.unwrap()).sum();
        assert!(sum.abs() < 1e-9, "the mean is of those that count");
    }
    assert_eq!(observers.1.0.len(), 2);
    assert!(observers.1.0[0].contains("#1"), "{:?}", observers.1.0);
}

#[test]
fn no_more_samples_than_allowed_are_left_out() {
    // Two of six are not a number; one may go.
    let mut trainer = spoilt(NonFiniteConfig {
        skip_samples: 0.2,
        skip_steps: 0,
    });
    let error = trainer.step(&mut ()).unwrap_err();
    assert!(matches!(error, Error::NonFiniteSample { .. }), "{error}");
}

#[test]
fn steps_may_be_left_out_in_a_row_and_no_more() {
    let mut trainer = spoilt(NonFiniteConfig {
        skip_samples: 0.0,
        skip_steps: 2,
    });
    let before = hash(trainer.policy().unwrap());
    let mut observers = (Recorder::default(), Warnings::default());
    for step in 1..=2 {
        let metrics = trainer.step(&mut observers).unwrap();
        assert_eq!(metrics.get("skipped/steps"), Some(1.0));
        assert_eq!((trainer.steps(), trainer.updates()), (step, 0));
    }
    assert_eq!(
        hash(trainer.policy().unwrap()),
        before,
        "nothing was updated"
    );
    assert!(trainer.step(&mut observers).is_err(), "the third in a row");
    assert_eq!(observers.1.0.len(), 2);
    let kinds: Vec<_> = observers
        .0
        .records
        .iter()
        .map(|r| (r.kind, r.step))
        .collect();
    assert_eq!(kinds, [(MetricsKind::Train, 1), (MetricsKind::Train, 2)]);
}

#[test]
fn weights_out_of_range_are_told_before_they_spread() {
    let config = TeacherConfig {
        learning_rate: 1e30,
        warmup_steps: 0,
        non_finite: NonFiniteConfig {
            skip_samples: 0.0,
            skip_steps: 1,
        },
        ..teacher_config(Kind::Grpo)
    };
    let mut trainer = teacher(Kind::Grpo, &config);
    trainer.step(&mut ()).unwrap();
    let metrics = trainer.step(&mut ()).unwrap();
    assert_eq!(metrics.get("skipped/steps"), Some(1.0));
    let error = trainer.step(&mut ()).unwrap_err();
    assert!(error.is_non_finite(), "{error}");
}
