//! A process that is killed again and again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use didact_core::StreamKey;

use super::{AnyTrainer, Kind, records, stage, take_up, uninterrupted};
use crate::RunDirectory;

const FOLDER: &str = "DIDACT_TEST_RESUME_FOLDER";
const KIND: &str = "DIDACT_TEST_RESUME_KIND";
const KILLS: usize = 20;

const KINDS: [Kind; 3] = [Kind::Sft, Kind::Grpo, Kind::Rlt];

/// What the killed process does; nothing where it is run as a test among others.
#[test]
fn resume_child() {
    let (Ok(folder), Ok(kind)) = (std::env::var(FOLDER), std::env::var(KIND)) else {
        return;
    };
    let kind = KINDS[kind.parse::<usize>().unwrap()];
    let folder = PathBuf::from(folder);
    let (mut run, mut trainer) = if folder.join("metrics.jsonl").exists() {
        take_up(kind, &folder)
    } else {
        // Killed between making the folder and the file in it.
        let _ = std::fs::remove_dir_all(&folder);
        let run = RunDirectory::create(&folder).unwrap();
        let store = run.checkpoints(stage(kind)).unwrap();
        (run, AnyTrainer::new(kind).with_checkpoints(store))
    };
    trainer.run(&mut run).unwrap();
}

fn spawn(kind: usize, folder: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["tests::resume::kill::resume_child", "--exact"])
        .env(FOLDER, folder)
        .env(KIND, kind.to_string())
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A run that is killed at random moments until it was killed so often or is done; kills that met a living process.
fn killed(kind: usize, folder: &Path, at_most: usize, longest: Duration) -> usize {
    let moments = StreamKey {
        run_seed: 11,
        step: kind as u64,
        problem: at_most as u64,
        sample: 0,
    };
    let mut kills = 0;
    while kills < at_most {
        let mut child = spawn(kind, folder);
        std::thread::sleep(longest.mul_f64(moments.stream().uniform(kills as u64)));
        if child.try_wait().unwrap().is_some() {
            return kills;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    kills
}

#[test]
fn resume_after_kills_at_random_moments_equals_uninterrupted() {
    for (index, kind) in KINDS.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        let expected = uninterrupted(kind, &whole).outcome();
        let timed = std::time::Instant::now();
        assert!(
            spawn(index, &folder.path().join("timed"))
                .wait()
                .unwrap()
                .success()
        );
        // Within the length of a whole run there is a moment for each part of it, unless the machine is busy.
        let longest = timed.elapsed().min(Duration::from_secs(1));
        let (mut kills, mut runs) = (0, 0);
        while kills < KILLS {
            let path = folder.path().join(format!("run-{runs}"));
            runs += 1;
            kills += killed(index, &path, KILLS - kills, longest);
            assert!(spawn(index, &path).wait().unwrap().success());
            assert_eq!(records(&path), records(&whole), "{kind:?}, run {runs}");
            let (_run, trainer) = take_up(kind, &path);
            assert_eq!(trainer.outcome(), expected, "{kind:?}, run {runs}");
        }
    }
}
