//! Collection and evaluation that were killed end as if they had not been: the same bytes, the same records.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use didact_core::{Problem, Sampling};
use didact_distill::evaluation::{AnswerPlace, Exactly};
use didact_distill::{
    AnswerRecord, Answers, AnswersConfig, CollectConfig, Collection, Examination,
    ExplanationRecord, ResumableFile, answers, collect,
};
use didact_reward::RltConfig;
use didact_rl::rollout::RolloutModels;
use didact_rl::{Observer, PreparedProblem, Progress, StopFlag, TeacherTask};
use serde_json::json;

const CONTEXT: usize = 512;

/// Lets so many batches begin, then refuses.
struct KillAfter(usize);

impl Observer for KillAfter {
    fn on_progress(&mut self, _progress: &Progress<'_>) -> didact_rl::Result<()> {
        if self.0 == 0 {
            return Err(didact_rl::Error::TrainingData {
                what: "the test".to_owned(),
                problem: "killed".to_owned(),
            });
        }
        self.0 -= 1;
        Ok(())
    }
}

struct World {
    task: TeacherTask,
    problems: Vec<PreparedProblem>,
    device: Device,
}

fn world(count: usize) -> World {
    let task = common::task();
    let problems = task
        .prepare(&common::problems(count), CONTEXT)
        .expect("short problems");
    World {
        task,
        problems,
        device: Device::flex(),
    }
}

impl World {
    fn collect(
        &self,
        path: &Path,
        config: &CollectConfig,
        observer: &mut dyn Observer,
    ) -> didact_distill::Result<Vec<ExplanationRecord>> {
        let decoder = common::decoder(7, &self.device);
        let (mut policy, mut reference) = (
            common::engine(&self.task, &decoder),
            common::engine(&self.task, &decoder),
        );
        let mut student = common::engine(&self.task, &decoder);
        let mut models = RolloutModels {
            policy: &mut policy,
            reference: &mut reference,
            student: &mut student,
            teacher_context: CONTEXT,
            student_context: CONTEXT,
        };
        let sampling = Sampling::new(1.0, 5);
        let mut collection = Collection {
            models: &mut models,
            task: &self.task,
            sampling: &sampling,
            stage: "collect",
            stop: StopFlag::new(),
        };
        let file = ResumableFile::new(path, json!({"weights": "seed 7"}));
        collect(
            &mut collection,
            &self.problems,
            config,
            Some(&file),
            observer,
        )
    }

    fn answers(
        &self,
        path: Option<&Path>,
        problems: &[PreparedProblem],
        config: &AnswersConfig,
        observer: &mut dyn Observer,
    ) -> didact_distill::Result<Answers> {
        let mut student = common::engine(&self.task, &common::decoder(7, &self.device));
        // Random weights are never right; the judge reads something that differs from answer to answer.
        let judge = Exactly(|_: &Problem, answer: &str| answer.len().is_multiple_of(2));
        let mut examination = Examination {
            student: &mut student,
            context: CONTEXT,
            task: &self.task,
            judge: &judge,
            stage: "evaluate",
            stop: StopFlag::new(),
        };
        let file = path.map(|path| ResumableFile::new(path, json!({"weights": "seed 7"})));
        answers(&mut examination, problems, config, file.as_ref(), observer)
    }
}

/// Byte positions to cut a file at: none, the first, within and at the ends of lines, the last.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let ends: Vec<usize> = (0..bytes.len())
        .filter(|&i| bytes[i] == b'\n')
        .map(|i| i + 1)
        .collect();
    let middle = ends[ends.len() / 2];
    vec![
        0,
        1,
        ends[0] - 1,
        ends[0],
        middle - 7,
        middle,
        bytes.len() - 1,
    ]
}

#[test]
fn a_collection_killed_and_resumed_yields_the_same_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("collected.jsonl");
    let world = world(35);
    let config = CollectConfig {
        samples: 2,
        ..CollectConfig::default()
    };
    let all = world
        .collect(&path, &config, &mut ())
        .expect("a whole collection");
    let bytes = fs::read(&path).expect("the file");
    assert_eq!(all.len(), 70);
    assert_eq!(
        didact_distill::json_lines::read::<ExplanationRecord>(&path).expect("lines"),
        all
    );
    assert!(all.windows(2).any(|w| w[0].explanation != w[1].explanation));

    for at in cuts(&bytes) {
        fs::write(&path, &bytes[..at]).expect("a cut file");
        assert_eq!(
            world
                .collect(&path, &config, &mut ())
                .expect("a resumed collection"),
            all
        );
        assert!(fs::read(&path).expect("the file") == bytes, "cut at {at}");
    }

    let path = folder.path().join("killed.jsonl");
    assert!(world.collect(&path, &config, &mut KillAfter(1)).is_err());
    let begun = fs::read(&path).expect("the file");
    assert!(!begun.is_empty() && bytes.starts_with(&begun));
    assert!(
        world.collect(&path, &config, &mut KillAfter(2)).is_ok(),
        "two batches were left"
    );
    assert!(fs::read(&path).expect("the file") == bytes);

    let other = CollectConfig { seed: 1, ..config };
    let error = world
        .collect(&path, &other, &mut ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("stage.seed differ"), "{error}");
}

#[test]
fn a_collection_of_another_reward_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collected.jsonl");
    let mut world = world(2);
    let config = CollectConfig::default();
    world.collect(&path, &config, &mut ()).unwrap();
    // It asks for the same scores and makes something else of them.
    let other = RltConfig {
        missing_tag_penalty: -2.0,
        ..RltConfig::default()
    };
    world.task.reward = Arc::new(other.resolve().unwrap());
    let error = world
        .collect(&path, &config, &mut ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("(stage.reward differ)"), "{error}");
}

fn config() -> AnswersConfig {
    AnswersConfig {
        samples: 99,
        max_completion_tokens: 4,
        answer_place: AnswerPlace::Anywhere,
        solution_log_prob: true,
        temperature: 1.0,
        ..AnswersConfig::default()
    }
}

#[test]
fn an_evaluation_killed_and_resumed_yields_the_same_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("answers.jsonl");
    let world = world(5);
    let all = world
        .answers(Some(&path), &world.problems, &config(), &mut ())
        .expect("a whole evaluation");
    let bytes = fs::read(&path).expect("the file");
    assert_eq!(all.records().len(), 500);
    assert_eq!(Answers::read(&path).expect("the file"), all);
    assert!(all.solution_log_prob().is_some());
    let right = all.avg_at_k().expect("sampled answers");
    assert!(right.mean > 0.0 && right.mean < 1.0, "{right:?}");

    for at in cuts(&bytes) {
        fs::write(&path, &bytes[..at]).expect("a cut file");
        let resumed = world.answers(Some(&path), &world.problems, &config(), &mut ());
        assert_eq!(resumed.expect("a resumed evaluation"), all);
        assert!(fs::read(&path).expect("the file") == bytes, "cut at {at}");
    }

    let path = folder.path().join("killed.jsonl");
    let killed = world.answers(Some(&path), &world.problems, &config(), &mut KillAfter(2));
    assert!(killed.is_err());
    let left = world.answers(Some(&path), &world.problems, &config(), &mut KillAfter(1));
    assert!(left.is_ok(), "one batch was left");
    assert!(fs::read(&path).expect("the file") == bytes);
}

#[test]
fn answers_depend_on_the_problem_and_not_on_its_place() {
    let world = world(4);
    let reversed: Vec<PreparedProblem> = world.problems.iter().rev().cloned().collect();
    let config = AnswersConfig {
        samples: 3,
        ..config()
    };
    let sorted = |problems: &[PreparedProblem]| {
        let answers = world
            .answers(None, problems, &config, &mut ())
            .expect("an evaluation");
        let mut records: Vec<AnswerRecord> = answers.records().to_vec();
        records.sort_by(|a, b| (&a.problem, a.sample).cmp(&(&b.problem, b.sample)));
        records
    };
    assert_eq!(sorted(&world.problems), sorted(&reversed));
}

#[test]
fn an_evaluation_of_nothing_is_refused() {
    let world = world(1);
    for (config, key) in [
        (
            AnswersConfig {
                greedy: false,
                ..AnswersConfig::default()
            },
            "answers.samples",
        ),
        (
            AnswersConfig {
                samples: 2,
                temperature: 0.0,
                ..AnswersConfig::default()
            },
            "answers.temperature",
        ),
    ] {
        let error = world
            .answers(None, &world.problems, &config, &mut ())
            .unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}
