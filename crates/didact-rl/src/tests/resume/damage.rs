//! Disks that fail or are full, files that change, checkpoints of other runs.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    AnyTrainer, Kind, STEPS, StopAt, begin, stage, take_up, teacher, teacher_config, uninterrupted,
};
use crate::checkpoint::files::{FileWriter, Files, SystemFiles};
use crate::tests::{decoder, problems, task};
use crate::warnings::{Warning, WarningKind};
use crate::{
    CheckpointConfig, CheckpointStore, Error, Observer, OnFailure, Result, RunDirectory, StopFlag,
    TeacherConfig, TeacherModels, TeacherTrainer,
};

/// Counts operations and fails at one of them, once or from then on.
#[derive(Debug, Clone)]
struct FailingFiles {
    count: Arc<AtomicU64>,
    fails_at: u64,
    goes_on: bool,
}

impl FailingFiles {
    fn new(fails_at: u64, goes_on: bool) -> Self {
        Self {
            count: Arc::default(),
            fails_at,
            goes_on,
        }
    }

    fn next(&self) -> io::Result<()> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        if number == self.fails_at || (self.goes_on && number > self.fails_at) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

struct FailingFile(FailingFiles, Box<dyn FileWriter>);

impl Write for FailingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.0.next() {
            // A full disk takes a part first.
            let _ = self.1.write(&buffer[..buffer.len() / 2]);
            return Err(error);
        }
        self.1.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

impl FileWriter for FailingFile {
    fn sync(&mut self) -> io::Result<()> {
        // Only counted: what a test leaves need not survive the machine.
        self.0.next()
    }
}

impl Files for FailingFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.next()?;
        SystemFiles.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        self.next()?;
        let file = SystemFiles.create(path)?;
        Ok(Box::new(FailingFile(self.clone(), file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        self.next()?;
        SystemFiles.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.next()?;
        SystemFiles.rename(from, to)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.next()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.next()?;
        SystemFiles.list(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.next()?;
        SystemFiles.remove_folder(path)
    }
}

#[derive(Default)]
struct Warnings(Vec<Warning>);

impl Observer for Warnings {
    fn on_warning(&mut self, warning: &Warning) -> Result<()> {
        // What the metrics give rise to is not of interest here.
        if warning.kind == WarningKind::Run {
            self.0.push(warning.clone());
        }
        Ok(())
    }
}

/// Four steps with a checkpoint after the second and the fourth.
fn config(on_failure: OnFailure) -> TeacherConfig {
    TeacherConfig {
        steps: 4,
        max_completion_tokens: 4,
        evaluation: None,
        checkpoint: CheckpointConfig {
            every: 2,
            on_failure,
            ..CheckpointConfig::default()
        },
        ..teacher_config(Kind::Rlt)
    }
}

fn short(on_failure: OnFailure) -> TeacherTrainer {
    let models = TeacherModels {
        policy: decoder(1),
        student: decoder(2).into(),
    };
    TeacherTrainer::new(models, task(), &problems(5, 0), &[], &config(on_failure)).unwrap()
}

/// A run on a disk that fails.
fn run_with(folder: &Path, files: FailingFiles, stop: Option<u64>) -> (AnyTrainer, Warnings) {
    let store = CheckpointStore::open_with(folder, Arc::new(files)).unwrap();
    let trainer = short(OnFailure::Continue).with_checkpoints(store).unwrap();
    let flag = StopFlag::new();
    let mut trainer = trainer.with_stop(flag.clone());
    let mut observers = (Warnings::default(), StopAt(stop.unwrap_or(u64::MAX), flag));
    trainer.run(&mut observers).unwrap();
    (AnyTrainer::Teacher(trainer), observers.0)
}

#[test]
fn resume_after_a_failure_at_every_file_operation() {
    let folder = tempfile::tempdir().unwrap();
    let counted = |name: &str, stop: Option<u64>| {
        let files = FailingFiles::new(u64::MAX, false);
        let run = run_with(&folder.path().join(name), files.clone(), stop);
        (files.count.load(Ordering::SeqCst), run)
    };
    let (first, _) = counted("first", Some(2));
    let (both, (whole, warnings)) = counted("both", None);
    assert!(warnings.0.is_empty());
    assert!(both - first > 20, "{first} and {both} operations");
    let expected = whole.outcome();

    // Every operation of the second checkpoint, once and from then on.
    for fails_at in first..both {
        for goes_on in [false, true] {
            let what = format!("operation {fails_at} fails, and those after it: {goes_on}");
            let path = folder.path().join(format!("{fails_at}-{goes_on}"));
            let files = FailingFiles::new(fails_at, goes_on);
            let (trainer, warnings) = run_with(&path, files, None);
            assert_eq!(trainer.outcome(), expected, "the run goes on; {what}");
            drop(trainer);
            assert!(warnings.0.len() <= 1, "{what}");
            assert!(warnings.0.len() == 1 || !goes_on, "{what}");

            let store = CheckpointStore::open(&path).unwrap();
            let names = SystemFiles.list(&path).unwrap();
            assert!(
                names
                    .iter()
                    .all(|name| name == "lock" || crate::checkpoint::step_of(name).is_some()),
                "the next start leaves nothing half: {names:?}; {what}"
            );
            let checkpoint = store.latest().unwrap().expect("the first checkpoint");
            let step = checkpoint.state.step;
            assert!(step == 2 || step == 4, "{what}");
            let mut trainer = short(OnFailure::Continue);
            trainer.resume(checkpoint).unwrap();
            trainer.run(&mut ()).unwrap();
            let trainer = AnyTrainer::Teacher(trainer);
            assert_eq!(trainer.outcome(), expected, "{what}");
        }
    }
}

#[test]
fn resume_is_possible_after_a_failure_that_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        CheckpointStore::open_with(folder.path(), Arc::new(FailingFiles::new(10, true))).unwrap();
    let mut trainer = short(OnFailure::Abort).with_checkpoints(store).unwrap();
    let error = trainer.run(&mut ()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

/// One checkpoint of each kind of file: with a reference.
fn one_checkpoint(folder: &Path) -> CheckpointStore {
    let (_run, mut trainer) = begin(Kind::Rlt, folder);
    trainer.run(&mut ()).unwrap();
    drop(trainer);
    CheckpointStore::open(folder.join("checkpoints/stage")).unwrap()
}

#[test]
fn resume_refuses_a_flipped_bit_in_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = one_checkpoint(folder.path());
    let place = store.folder().join("step_000006");
    for name in [
        "manifest.json",
        "optimizer.safetensors",
        "reference.safetensors",
        "state.json",
        "trainable.safetensors",
    ] {
        let file = place.join(name);
        let whole = std::fs::read(&file).unwrap();
        // More of the manifest, which nothing but itself vouches for.
        let stride = if name == "manifest.json" {
            3
        } else {
            whole.len() / 13
        };
        for position in (0..whole.len()).step_by(stride.max(1)) {
            let mut bytes = whole.clone();
            bytes[position] ^= 1 << (position % 8);
            std::fs::write(&file, &bytes).unwrap();
            match store.latest() {
                Err(error @ (Error::DamagedCheckpoint { .. } | Error::CheckpointFormat { .. })) => {
                    // A manifest whose list is spoilt is told by its own hash.
                    assert!(error.to_string().contains(name), "{error}");
                }
                other => panic!("{name}, byte {position}: {other:?}"),
            }
        }
        // The manifest ends with a line feed, which says nothing.
        for shorter in [0, whole.len() - 2] {
            std::fs::write(&file, &whole[..shorter]).unwrap();
            assert!(store.latest().is_err(), "{name} cut to {shorter}");
        }
        std::fs::remove_file(&file).unwrap();
        let error = store.latest().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("missing"), "{error}");
        let (intact, passed_over) = store.latest_intact().unwrap();
        assert_eq!(
            intact.unwrap().state.step,
            5,
            "the one before can be asked for"
        );
        assert_eq!(passed_over.len(), 1);
        std::fs::write(&file, &whole).unwrap();
        store.latest().unwrap();
    }
}

#[test]
fn resume_refuses_another_format() {
    let folder = tempfile::tempdir().unwrap();
    let store = one_checkpoint(folder.path());
    let file = store.folder().join("step_000006/manifest.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let newer = text.replacen("\"format\": 1", "\"format\": 2", 1);
    assert_ne!(text, newer);
    std::fs::write(&file, newer).unwrap();
    let error = store.latest().unwrap_err();
    assert!(matches!(error, Error::CheckpointFormat { .. }), "{error}");
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn resume_refuses_another_run_and_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let store = one_checkpoint(folder.path());
    let checkpoint = store.latest().unwrap().unwrap();
    let right = teacher_config(Kind::Rlt);
    let refusal = |policy: u64, student: u64, count: usize, config: &TeacherConfig| {
        let models = TeacherModels {
            policy: decoder(policy),
            student: decoder(student).into(),
        };
        let held_out = problems(2, 50);
        let mut trainer =
            TeacherTrainer::new(models, task(), &problems(count, 0), &held_out, config).unwrap();
        match trainer.resume(checkpoint.clone()) {
            Ok(()) => None,
            Err(error) => {
                assert!(matches!(error, Error::OtherRun { .. }), "{error}");
                assert_eq!(trainer.steps(), 0, "nothing was taken up");
                Some(error.to_string())
            }
        }
    };
    assert_eq!(refusal(1, 2, 5, &right), None);
    let found = refusal(3, 2, 5, &right).unwrap();
    let ours = &checkpoint.identity.model;
    assert!(
        found.contains("model") && found.contains(ours.as_str()),
        "{found}"
    );
    assert!(!found.contains("student"), "{found}");
    assert!(refusal(1, 3, 5, &right).unwrap().contains("student"));
    assert!(refusal(1, 2, 4, &right).unwrap().contains("data"));
    let other = TeacherConfig {
        learning_rate: 5e-4,
        ..right.clone()
    };
    let found = refusal(1, 2, 5, &other).unwrap();
    assert!(
        found.contains("schedule.peak") && found.contains("0.001") && found.contains("0.0005"),
        "{found}"
    );
    let saves_elsewhere = TeacherConfig {
        checkpoint: CheckpointConfig::default(),
        ..right
    };
    assert_eq!(refusal(1, 2, 5, &saves_elsewhere), None);

    let mut format = task();
    format.format.solution.start.push('!');
    let models = TeacherModels {
        policy: decoder(1),
        student: decoder(2).into(),
    };
    let config = teacher_config(Kind::Rlt);
    let mut trainer =
        TeacherTrainer::new(models, format, &problems(5, 0), &problems(2, 50), &config).unwrap();
    let found = trainer.resume(checkpoint.clone()).unwrap_err().to_string();
    assert!(found.contains("tokenizer and prompt format"), "{found}");

    let mut tuner = AnyTrainer::new(Kind::Sft);
    assert!(
        tuner.resume(checkpoint).is_err(),
        "of another kind of training"
    );
}

#[test]
fn resume_is_refused_while_the_run_is_alive_or_where_none_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let error = RunDirectory::resume(&path).unwrap_err();
    assert!(matches!(error, Error::NoRun { .. }), "{error}");
    let run = RunDirectory::create(&path).unwrap();
    let error = RunDirectory::resume(&path).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    let store = run.checkpoints("teacher").unwrap();
    assert!(matches!(
        run.checkpoints("teacher"),
        Err(Error::Locked { .. })
    ));
    assert!(run.checkpoints("../teacher").is_err());
    drop((run, store));
    assert!(RunDirectory::create(&path).is_err(), "never written over");
    RunDirectory::resume(&path).unwrap();
}

#[test]
fn resume_without_a_checkpoint_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let expected = uninterrupted(Kind::Rlt, &whole);
    {
        let mut run = RunDirectory::create(&parts).unwrap();
        let mut trainer = teacher(Kind::Rlt, &teacher_config(Kind::Rlt));
        trainer.step(&mut run).unwrap();
        trainer.step(&mut run).unwrap();
        // A line that was cut off.
        let file = parts.join("metrics.jsonl");
        let mut text = std::fs::read_to_string(&file).unwrap();
        text.push_str("{\"stage\":\"tea");
        std::fs::write(&file, text).unwrap();
    }
    let (mut run, mut trainer) = take_up(Kind::Rlt, &parts);
    assert_eq!(trainer.steps(), 0);
    trainer.run(&mut run).unwrap();
    assert_eq!(trainer.steps(), STEPS);
    assert_eq!(trainer.outcome(), expected.outcome());
    assert_eq!(super::records(&parts), super::records(&whole));
    assert_eq!(stage(Kind::Rlt), "teacher");
}

#[test]
fn resume_comes_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = one_checkpoint(folder.path()).latest().unwrap().unwrap();
    let mut trainer = teacher(Kind::Rlt, &teacher_config(Kind::Rlt));
    trainer.step(&mut ()).unwrap();
    let error = trainer.resume(checkpoint).unwrap_err();
    assert!(matches!(error, Error::TooLate { steps: 1, .. }), "{error}");
}
