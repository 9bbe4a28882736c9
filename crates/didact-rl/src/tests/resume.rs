//! Runs that were stopped or killed, and go on as if they had not been.

use std::path::Path;
use std::sync::Arc;

use didact_core::{GroupScores, NamedValue, Outcome, Reward, ScoreSpec};
use didact_models::LoraConfig;

use super::fine_tuning::examples;
use super::{decoder, hash, problems, task};
use crate::algorithm::grpo;
use crate::config::ReferenceMixing;
use crate::{
    Checkpoint, CheckpointConfig, CheckpointStore, EvaluationConfig, FineTuneConfig, FineTuner,
    KeepBest, MetricsKind, MetricsRecord, MuonConfig, Observer, OptimizerState, Result,
    RunDirectory, StopFlag, TeacherConfig, TeacherModels, TeacherTask, TeacherTrainer,
};

mod damage;
mod kill;
mod non_finite;

const STEPS: u64 = 6;

/// What is trained and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sft,
    Grpo,
    Rlt,
    RltLora,
    RltMuon,
}

/// Rewards letters: a rule on the text alone.
#[derive(Debug)]
struct Letters;

impl Reward for Letters {
    fn requests(&self) -> Vec<ScoreSpec> {
        Vec::new()
    }

    fn evaluate(&self, group: &GroupScores<'_>) -> didact_core::Result<Vec<Outcome>> {
        let outcome = |text: &str| {
            let letters = text.chars().filter(char::is_ascii_alphabetic).count();
            Outcome::Scored {
                reward: letters as f64,
                terms: vec![NamedValue::new("reward/letters", letters as f64)],
            }
        };
        let samples = group.samples.iter();
        Ok(samples.map(|s| outcome(&s.explanation)).collect())
    }
}

fn checkpoints() -> CheckpointConfig {
    CheckpointConfig {
        every: 1,
        ..CheckpointConfig::default()
    }
}

fn teacher_config(kind: Kind) -> TeacherConfig {
    let base = TeacherConfig {
        seed: 7,
        steps: STEPS,
        problems_per_step: 2,
        group_size: 3,
        max_completion_tokens: 10,
        learning_rate: 1e-3,
        warmup_steps: 2,
        reference_mixing: None,
        evaluation: Some(EvaluationConfig {
            every: 2,
            ..EvaluationConfig::default()
        }),
        checkpoint: checkpoints(),
        ..TeacherConfig::published()
    };
    match kind {
        Kind::Grpo => base.with_algorithm(grpo()),
        Kind::RltLora => base,
        Kind::RltMuon => TeacherConfig {
            optimizer: MuonConfig::default().into(),
            ..base
        },
        Kind::Rlt | Kind::Sft => TeacherConfig {
            reference_mixing: Some(ReferenceMixing {
                every: 2,
                alpha: 0.9,
            }),
            ..base
        },
    }
}

fn teacher(kind: Kind, config: &TeacherConfig) -> TeacherTrainer {
    let policy = decoder(1);
    let models = TeacherModels {
        policy: match kind {
            Kind::RltLora => policy.with_adapter(&LoraConfig::new(2, 4.0), 4).unwrap(),
            _ => policy,
        },
        student: decoder(2).into(),
    };
    let task = match kind {
        Kind::Grpo => TeacherTask {
            reward: Arc::new(Letters),
            ..task()
        },
        _ => task(),
    };
    TeacherTrainer::new(models, task, &problems(5, 0), &problems(2, 50), config).unwrap()
}

fn tuner() -> FineTuner {
    let config = FineTuneConfig {
        epochs: 3,
        batch_size: 2,
        learning_rate: 1e-2,
        max_steps: Some(STEPS),
        checkpoint: checkpoints(),
        ..FineTuneConfig::published_warmup()
    };
    FineTuner::new(decoder(1), &examples(4), &config).unwrap()
}

/// Either trainer.
#[expect(clippy::large_enum_variant, reason = "a test has one")]
enum AnyTrainer {
    Tuner(FineTuner),
    Teacher(TeacherTrainer),
}

impl AnyTrainer {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sft => Self::Tuner(tuner()),
            _ => Self::Teacher(teacher(kind, &teacher_config(kind))),
        }
    }

    fn with_checkpoints(self, store: CheckpointStore) -> Self {
        match self {
            Self::Tuner(tuner) => Self::Tuner(tuner.with_checkpoints(store).unwrap()),
            Self::Teacher(teacher) => Self::Teacher(teacher.with_checkpoints(store).unwrap()),
        }
    }

    fn with_stop(self, stop: StopFlag) -> Self {
        match self {
            Self::Tuner(tuner) => Self::Tuner(tuner.with_stop(stop)),
            Self::Teacher(teacher) => Self::Teacher(teacher.with_stop(stop)),
        }
    }

    fn resume_latest(&mut self) -> Result<Option<u64>> {
        match self {
            Self::Tuner(tuner) => tuner.resume_latest(),
            Self::Teacher(teacher) => teacher.resume_latest(),
        }
    }

    fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        match self {
            Self::Tuner(tuner) => tuner.resume(checkpoint),
            Self::Teacher(teacher) => teacher.resume(checkpoint),
        }
    }

    /// Whether it was interrupted.
    fn run(&mut self, observer: &mut dyn Observer) -> Result<bool> {
        match self {
            Self::Tuner(tuner) => tuner.run(observer),
            Self::Teacher(teacher) => Ok(teacher.run(observer)?.interrupted),
        }
    }

    fn steps(&self) -> u64 {
        match self {
            Self::Tuner(tuner) => tuner.steps(),
            Self::Teacher(teacher) => teacher.steps(),
        }
    }

    /// Weights, optimizer and, of a teacher, the reference.
    fn outcome(&self) -> (String, OptimizerState, Option<String>) {
        match self {
            Self::Tuner(tuner) => (
                hash(tuner.decoder().unwrap()),
                tuner.optimizer_state().unwrap(),
                None,
            ),
            Self::Teacher(teacher) => (
                hash(teacher.policy().unwrap()),
                teacher.optimizer_state().unwrap(),
                Some(hash(teacher.reference().decoder())),
            ),
        }
    }
}

/// Sets a flag when a step's metrics come in.
struct StopAt(u64, StopFlag);

impl Observer for StopAt {
    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        if record.kind == MetricsKind::Train && record.step == self.0 {
            self.1.set();
        }
        Ok(())
    }
}

fn begin(kind: Kind, path: &Path) -> (RunDirectory, AnyTrainer) {
    let run = RunDirectory::create(path).unwrap();
    let store = run.checkpoints("stage").unwrap();
    (run, AnyTrainer::new(kind).with_checkpoints(store))
}

fn take_up(kind: Kind, path: &Path) -> (RunDirectory, AnyTrainer) {
    let run = RunDirectory::resume(path).unwrap();
    // Metrics are cut by the names of stages, so the folder is named as the stage is.
    let store = run.checkpoints(stage(kind)).unwrap();
    let mut trainer = AnyTrainer::new(kind).with_checkpoints(store);
    trainer.resume_latest().unwrap();
    (run, trainer)
}

const fn stage(kind: Kind) -> &'static str {
    match kind {
        Kind::Sft => "warmup",
        _ => "teacher",
    }
}

/// A whole run that nothing interrupted.
fn uninterrupted(kind: Kind, path: &Path) -> AnyTrainer {
    let mut run = RunDirectory::create(path).unwrap();
    let mut trainer = AnyTrainer::new(kind);
    assert!(!trainer.run(&mut run).unwrap());
    assert_eq!(trainer.steps(), STEPS);
    trainer
}

/// Everything in the records of a run that does not depend on the machine.
fn records(path: &Path) -> (Vec<MetricsRecord>, Vec<(String, String)>) {
    let text = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    let metrics = text
        .lines()
        .map(|line| {
            let mut record: MetricsRecord = serde_json::from_str(line).unwrap();
            record.metrics = record.metrics.reproducible();
            record
        })
        .collect();
    let mut rollouts = Vec::new();
    if let Ok(stages) = std::fs::read_dir(path.join("rollouts")) {
        for stage in stages {
            for file in std::fs::read_dir(stage.unwrap().path()).unwrap() {
                let file = file.unwrap().path();
                let name = file.display().to_string();
                let name = name.rsplit('/').next().unwrap().to_owned();
                rollouts.push((name, std::fs::read_to_string(file).unwrap()));
            }
        }
    }
    // What warnings there are depends on the metrics alone.
    let warnings = std::fs::read_to_string(path.join("warnings.jsonl")).unwrap_or_default();
    rollouts.push(("warnings".to_owned(), warnings));
    rollouts.sort();
    (metrics, rollouts)
}

/// Stopped after three steps, dropped, built anew and resumed.
fn resume_equals_uninterrupted(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let expected = uninterrupted(kind, &whole);
    {
        let mut run = RunDirectory::create(&parts).unwrap();
        let stop = StopFlag::new();
        let store = run.checkpoints(stage(kind)).unwrap();
        let mut trainer = AnyTrainer::new(kind)
            .with_checkpoints(store)
            .with_stop(stop.clone());
        let mut observers = (&mut run, StopAt(3, stop));
        assert!(trainer.run(&mut observers).unwrap(), "it was interrupted");
        assert_eq!(trainer.steps(), 3);
    }
    let (mut run, mut trainer) = take_up(kind, &parts);
    assert_eq!(trainer.steps(), 3);
    assert!(!trainer.run(&mut run).unwrap());
    assert_eq!(trainer.outcome(), expected.outcome(), "{kind:?}");
    assert_eq!(records(&parts), records(&whole), "{kind:?}");
    if let (AnyTrainer::Teacher(a), AnyTrainer::Teacher(b)) = (&trainer, &expected) {
        assert_eq!(a.updates(), b.updates());
        assert!(records(&whole).1.len() > 1);
    }
}

#[test]
fn sft_resume_equals_uninterrupted() {
    resume_equals_uninterrupted(Kind::Sft);
}

#[test]
fn grpo_resume_equals_uninterrupted() {
    resume_equals_uninterrupted(Kind::Grpo);
}

#[test]
fn rlt_resume_equals_uninterrupted() {
    resume_equals_uninterrupted(Kind::Rlt);
}

#[test]
fn lora_resume_equals_uninterrupted() {
    resume_equals_uninterrupted(Kind::RltLora);
}

#[test]
fn muon_resume_equals_uninterrupted() {
    resume_equals_uninterrupted(Kind::RltMuon);
}

#[test]
fn resume_from_any_checkpoint_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let parts = folder.path().join("parts");
    let expected = uninterrupted(Kind::Rlt, &whole);
    let config = TeacherConfig {
        checkpoint: CheckpointConfig {
            keep_every: 1,
            ..checkpoints()
        },
        ..teacher_config(Kind::Rlt)
    };
    let mut run = RunDirectory::create(&parts).unwrap();
    let store = run.checkpoints("teacher").unwrap();
    let mut trainer = teacher(Kind::Rlt, &config).with_checkpoints(store).unwrap();
    trainer.run(&mut run).unwrap();
    drop((run, trainer));
    for step in [5, 4, 1] {
        let mut run = RunDirectory::resume(&parts).unwrap();
        let store = run.checkpoints("teacher").unwrap();
        run.rewind(&[("teacher".to_owned(), step)].into()).unwrap();
        let checkpoint = store.load(step).unwrap();
        assert_eq!(
            checkpoint.reference.is_some(),
            step >= 2,
            "the reference is kept once it was mixed"
        );
        let mut trainer = teacher(Kind::Rlt, &config).with_checkpoints(store).unwrap();
        trainer.resume(checkpoint).unwrap();
        let report = trainer.run(&mut run).unwrap();
        assert_eq!(report.steps.len() as u64, STEPS - step);
        let looks: Vec<u64> = report.evaluations.iter().map(|e| e.step).collect();
        assert_eq!(looks, [0, 2, 4, 6], "earlier looks are remembered");
        let trainer = AnyTrainer::Teacher(trainer);
        assert_eq!(trainer.outcome(), expected.outcome(), "from step {step}");
        assert_eq!(records(&parts), records(&whole), "from step {step}");
    }
}

#[test]
fn an_adapters_checkpoint_holds_the_adapter_alone_and_resume_needs_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let (_run, mut trainer) = begin(Kind::RltLora, &path);
    trainer.run(&mut ()).unwrap();
    let store = CheckpointStore::open(folder.path().join("other")).unwrap();
    assert!(store.latest().unwrap().is_none());
    drop(trainer);
    let store = CheckpointStore::open(path.join("checkpoints/stage")).unwrap();
    assert_eq!(store.steps().unwrap(), [5, 6], "the last two are kept");
    let checkpoint = store.latest().unwrap().unwrap();
    assert!(
        checkpoint
            .trainable
            .keys()
            .all(|path| path.contains("lora"))
    );
    assert!(checkpoint.reference.is_none());
}

#[test]
fn the_best_checkpoint_is_kept_and_resume_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = TeacherConfig {
        checkpoint: CheckpointConfig {
            every: 0,
            keep_last: 1,
            keep_best: Some(KeepBest {
                metric: "eval/reward".to_owned(),
                largest: true,
            }),
            ..CheckpointConfig::default()
        },
        ..teacher_config(Kind::Grpo)
    };
    let store = CheckpointStore::open(folder.path()).unwrap();
    let mut trainer = teacher(Kind::Grpo, &config)
        .with_checkpoints(store)
        .unwrap();
    let report = trainer.run(&mut ()).unwrap();
    let looks = report.evaluations.iter().filter(|e| e.step > 0);
    let best = looks.fold(None::<(u64, f64)>, |best, e| {
        let value = e.metrics.get("eval/reward").unwrap();
        match best {
            Some((_, other)) if other >= value => best,
            _ => Some((e.step, value)),
        }
    });
    let (step, value) = best.unwrap();
    drop(trainer);
    let store = CheckpointStore::open(folder.path()).unwrap();
    let mut expected = vec![step, STEPS];
    expected.dedup();
    assert_eq!(store.steps().unwrap(), expected);
    let state = store.latest().unwrap().unwrap().state;
    let found = state.best.unwrap();
    assert_eq!((found.step, found.value), (step, value));
}
