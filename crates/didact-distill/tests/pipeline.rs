//! The whole pipeline on a tiny decoder: every file is there, and the same seed gives the same run.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use didact_core::Problem;
use didact_data::{PromptFormat, Tokenizer};
use didact_distill::pipeline::{Models, NamedStudent, STUDENTS, Task, run_until};
use didact_distill::student::StudentEvaluationConfig;
use didact_distill::{
    CollectConfig, Error, PipelineConfig, PipelineResults, SelectionConfig, plan,
};
use didact_models::{Decoder, DecoderConfig};
use didact_reward::rlt;
use didact_rl::{
    FineTuneConfig, MetricsKind, MetricsRecord, Observer, RunDirectory, StopFlag, TeacherConfig,
    TeacherTask,
};

const CONFIG: &str = r#"{
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 2048, "hidden_size": 32,
    "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2
}"#;

fn problem(id: usize) -> Problem {
    Problem {
        id: format!("p{id}"),
        question: format!("What is {id} + {id}?"),
        solution: format!("{id} + {id} = {}", 2 * id),
        answer: Some((2 * id).to_string()),
        reasoning_trace: None,
        domain: None,
    }
}

fn prepared(seed: u64) -> (Task, DecoderConfig, PipelineConfig) {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../didact-data/tests/tokenizers/small");
    let tokenizer = Tokenizer::from_folder(folder).expect("the test tokenizer");
    let task = Task {
        teacher: TeacherTask::new(
            Arc::new(tokenizer),
            PromptFormat::think(),
            Arc::new(rlt().resolve().expect("the published reward")),
        ),
        train: (1..5).map(problem).collect(),
        held_out: (5..8).map(problem).collect(),
    };
    let config = DecoderConfig::from_json("test", CONFIG).expect("a small configuration");
    let fine_tune = FineTuneConfig {
        seed,
        epochs: 1,
        batch_size: 2,
        learning_rate: 1e-3,
        ..FineTuneConfig::published_distillation()
    };
    let pipeline = PipelineConfig {
        warm_up: Some(fine_tune.clone()),
        teacher: TeacherConfig {
            seed,
            steps: 2,
            problems_per_step: 2,
            group_size: 2,
            max_completion_tokens: 6,
            learning_rate: 1e-3,
            ..TeacherConfig::published()
        },
        collect: CollectConfig {
            selection: SelectionConfig {
                keep_unclosed: true,
                ..SelectionConfig::default()
            },
            seed,
            ..CollectConfig::default()
        },
        distillation: fine_tune,
        student: StudentEvaluationConfig {
            max_completion_tokens: 6,
            answers: true,
            seed,
            ..StudentEvaluationConfig::default()
        },
        checkpoints: true,
    };
    (task, config, pipeline)
}

fn run_once(out: &Path, seed: u64) -> PipelineResults {
    let mut directory = RunDirectory::create(out).expect("a new run directory");
    run_in(&mut directory, seed, &StopFlag::new(), &mut ()).expect("a whole run")
}

fn run_in(
    directory: &mut RunDirectory,
    seed: u64,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<PipelineResults, Error> {
    let (task, config, pipeline) = prepared(seed);
    let decoder = Decoder::init(&config, 7, &Device::flex().autodiff());
    let models = Models {
        teacher: decoder.clone(),
        student: decoder,
        others: vec![NamedStudent {
            name: "other".into(),
            decoder: Decoder::init(&config, 8, &Device::flex().autodiff()),
        }],
    };
    let verify = |problem: &Problem, answer: &str| problem.answer.as_deref() == Some(answer);
    run_until(
        stop,
        &task,
        models,
        &pipeline,
        directory,
        observer,
        Some(&verify),
    )
}

/// Asks to stop at the first step of a stage.
struct StopAt<'a> {
    stage: &'a str,
    stop: StopFlag,
}

impl Observer for StopAt<'_> {
    fn on_metrics(&mut self, record: &MetricsRecord) -> didact_rl::Result<()> {
        if record.stage == self.stage && record.kind == MetricsKind::Train && record.step == 1 {
            self.stop.set();
        }
        Ok(())
    }
}

#[test]
fn a_resumed_pipeline_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let expected = run_once(&whole, 1);
    let mut directory = RunDirectory::create(&parts).expect("a new run directory");
    for stage in [
        "distillation",
        "teacher",
        "distill_of_teacher_before_rl",
        "distill_of_trained_teacher",
    ] {
        let stop = StopFlag::new();
        let mut observer = StopAt {
            stage,
            stop: stop.clone(),
        };
        let error = run_in(&mut directory, 1, &stop, &mut observer).expect_err("it is stopped");
        assert!(
            matches!(&error, Error::Interrupted { stage: of, step: 1, .. } if of == stage),
            "{error}"
        );
        drop(directory);
        directory = RunDirectory::resume(&parts).expect("the same run");
    }
    let found = run_in(&mut directory, 1, &StopFlag::new(), &mut ()).expect("the rest");
    assert_eq!(found.teacher_weights, expected.teacher_weights);
    assert_eq!(found.students, expected.students);
    assert_eq!(found.teacher, expected.teacher);
    assert_eq!(metrics(&parts), metrics(&whole));
    assert_eq!(rollouts(&parts), rollouts(&whole));

    // Once it is over, resuming it does nothing but say it again.
    drop(directory);
    let mut directory = RunDirectory::resume(&parts).expect("the same run");
    let again = run_in(&mut directory, 1, &StopFlag::new(), &mut ()).expect("nothing is left");
    assert_eq!(again.students, expected.students);
    assert_eq!(metrics(&parts), metrics(&whole));
}

/// The lines of `metrics.jsonl` without what depends on the machine.
fn metrics(run: &Path) -> Vec<(String, u64, Vec<(String, f64)>)> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let line = |line: &str| {
        let record: MetricsRecord = serde_json::from_str(line).expect("a line of metrics");
        let numbers = record.metrics.reproducible();
        let numbers = numbers
            .iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        (record.stage, record.step, numbers)
    };
    text.lines().map(line).collect()
}

/// The rollout files, in the order of their stages and names.
fn rollouts(run: &Path) -> Vec<String> {
    let entries = |folder: &Path| -> Vec<_> {
        let mut paths: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        paths
    };
    let stages = entries(&run.join("rollouts"));
    let files: Vec<_> = stages.iter().flat_map(|stage| entries(stage)).collect();
    assert!(!files.is_empty(), "a run without rollouts");
    files
        .iter()
        .map(|path| fs::read_to_string(path).expect("a rollout file"))
        .collect()
}

#[test]
fn one_seed_gives_one_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let (a, b) = (run_once(&first, 1), run_once(&second, 1));
    assert_eq!(metrics(&first), metrics(&second));
    assert_eq!(rollouts(&first), rollouts(&second));
    assert_eq!(a.teacher_weights, b.teacher_weights);
    let hashes = |r: &PipelineResults| {
        r.students
            .iter()
            .map(|s| s.weights.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(hashes(&a), hashes(&b));
    let other = run_once(&folder.path().join("other"), 2);
    assert_ne!(a.teacher_weights, other.teacher_weights);
}

#[test]
fn the_plan_is_what_a_run_keeps_as_its_configuration() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    run_once(&out, 3);
    let kept = fs::read_to_string(out.join("config.json")).expect("config.json");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("a configuration");
    let (task, model, config) = prepared(3);
    let stages = plan(&task, &(&model).into(), &(&model).into(), &[], &config).expect("a plan");
    let names: Vec<&str> = stages.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(names, ["distillation", "teacher", "distillation"]);
    // The first is the warm-up, by the name that this configuration has for it.
    for stage in &stages[..2] {
        assert_eq!(kept[&stage.stage], stage.configuration, "{}", stage.stage);
        let shown = stage.to_string();
        assert!(
            shown.contains("learning") || shown.contains("peak"),
            "{shown}"
        );
        assert!(shown.contains("at most"), "{shown}");
    }
    let bytes = 4 * model.parameter_count().expect("a small model");
    for stage in &stages {
        assert!(stage.memory.peak() > 5 * bytes, "{stage}");
    }
}

#[test]
fn everything_is_in_the_run_directory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    let results = run_once(&out, 3);
    for file in [
        "config.json",
        "pipeline.json",
        "metrics.jsonl",
        "results.json",
        "rollouts/teacher/step_000001.jsonl",
        "rollouts/teacher/evaluation_000000.jsonl",
        "collected_before.jsonl",
        "collected_after.jsonl.identity.json",
        "explanations_before.jsonl",
        "explanations_after.jsonl",
        "student_of_trained_teacher.jsonl",
        "teacher/model.safetensors",
        "teacher/config.json",
        "teacher/tokenizer.json",
        "student/model.safetensors",
    ] {
        assert!(out.join(file).is_file(), "{file} is missing");
    }
    let text = fs::read_to_string(out.join("results.json")).expect("results");
    assert_eq!(
        serde_json::from_str::<PipelineResults>(&text).expect("results"),
        results
    );
    let names: Vec<&str> = results.students.iter().map(|s| s.name.as_str()).collect();
    let others = STUDENTS.map(|name| format!("other_{name}"));
    assert_eq!(names[..3], STUDENTS);
    assert_eq!(names[3..], others);
    assert!(out.join("other_student/model.safetensors").is_file());
    assert_ne!(results.students[3].weights, results.students[5].weights);
    assert_eq!(results.students[0].difference.map(|d| d.mean), Some(0.0));
    assert!(results.students.iter().all(|s| s.accuracy.is_some()));
    assert_ne!(results.students[0].weights, results.students[2].weights);

    let device = Device::flex();
    let saved = Decoder::load_folder(out.join("teacher"), &device).expect("the saved teacher");
    assert_eq!(
        didact_distill::weights_hash(&saved),
        results.teacher_weights
    );
}
