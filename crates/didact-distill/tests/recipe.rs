//! A recipe with a stage of every kind, on a tiny decoder: planned, made once, gone on with, and refused by name.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use didact_distill::recipe::{Machine, Run, StageOutcome};
use didact_distill::{Error, Recipe, json_lines};
use didact_models::Decoder;
use didact_rl::{MetricsRecord, Observer, StopFlag};

mod common;

const STAGES: &str = r#"
description = "Everything at its smallest."
format = "think"
models.base.path = "base"
problems.train.path = "train.jsonl"
problems.test = { path = "test.jsonl", question_prefix = "Say only the number. " }

[[stages]]
kind = "warm_up"
name = "warmed"
model = "base"
problems = "train"
training = { epochs = 1, batch_size = 2, learning_rate = 1e-3 }

[[stages]]
kind = "teach"
name = "teacher"
model = "warmed"
student = "base"
problems = "train"
held_out = "test"
training = { steps = 2, problems_per_step = 2, group_size = 2, max_completion_tokens = 6, learning_rate = 1e-3 }

[[stages]]
kind = "collect"
name = "explanations"
model = "teacher"
student = "base"
problems = "train"
sampling = { max_completion_tokens = 6 }
collect = { samples = 2, selection = { keep_unclosed = true } }

[[stages]]
kind = "distill"
name = "student"
model = "base"
explanations = "explanations"
training = { batch_size = 2, learning_rate = 1e-3 }

[[stages]]
kind = "student_rl"
name = "solver"
model = "student"
problems = "train"
adapter = { rank = 2, alpha = 4.0 }
training = { steps = 1, problems_per_step = 2, group_size = 2, max_completion_tokens = 6, reference_mixing = false }

[[stages]]
kind = "evaluate"
name = "accuracy"
model = "solver"
problems = "test"
pass_at = [1, 2]
answers = { samples = 2, max_completion_tokens = 6, solution_log_prob = true }
"#;

/// A folder with a base and problems.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    common::decoder(7, &Device::flex())
        .save_folder(&base)
        .unwrap();
    common::task().tokenizer.save_folder(&base).unwrap();
    let problems = common::problems(7);
    json_lines::write(folder.path().join("train.jsonl"), &problems[..4]).unwrap();
    json_lines::write(folder.path().join("test.jsonl"), &problems[4..]).unwrap();
    folder
}

fn read(folder: &Path, text: &str) -> Result<Recipe, Error> {
    let path = folder.join("recipe.toml");
    fs::write(&path, text).unwrap();
    Recipe::read(path)
}

fn recipe(folder: &Path, text: &str) -> Recipe {
    read(folder, text).unwrap()
}

fn run(recipe: &Recipe, out: &Path) -> Vec<StageOutcome> {
    let run = Run::new(recipe, out, Device::flex().autodiff()).unwrap();
    run.run(&mut (), &mut |_| {}).unwrap()
}

fn machine() -> Machine {
    Machine {
        name: "a machine".into(),
        operations_per_second: 1e9,
        bytes_per_second: 1e9,
        memory: None,
    }
}

fn weights(outcomes: &[StageOutcome], name: &str) -> Vec<u8> {
    let stage = outcomes.iter().find(|stage| stage.name == name).unwrap();
    fs::read(stage.folder.join("model/model.safetensors")).unwrap()
}

/// Everything that a stage came to but for the time it took.
fn figures(outcome: &StageOutcome) -> Vec<(String, f64)> {
    let figures = outcome.figures.clone().into_iter();
    figures.filter(|(name, _)| name != "seconds").collect()
}

#[test]
fn every_stage_is_made_once() {
    let folder = folder();
    let out = folder.path().join("out");
    let recipe = recipe(folder.path(), STAGES);
    let plan = recipe.plan(&out, &machine()).unwrap();
    assert!(!out.exists(), "a plan makes nothing");
    assert!(
        plan.stages
            .iter()
            .all(|stage| !stage.done && stage.folder.is_some())
    );

    let made = run(&recipe, &out);
    assert!(made.iter().all(|stage| !stage.skipped));
    for (planned, made) in plan.stages.iter().zip(&made) {
        let name = made.folder.file_name().unwrap().to_str();
        assert_eq!(planned.folder.as_deref(), name);
    }
    let explanations = &made[2];
    for name in ["collected", "explanations", "chat", "completions"] {
        assert!(explanations.folder.join(format!("{name}.jsonl")).is_file());
    }
    assert_eq!(explanations.figures["explanations"], 4.0);
    let accuracy = &made[5].figures;
    for name in [
        "greedy_accuracy/mean",
        "avg@2/low",
        "pass@2/high",
        "solution_log_prob/mean",
    ] {
        assert!(accuracy.contains_key(name), "{name}: {accuracy:?}");
    }
    assert!(weights(&made, "warmed") != weights(&made, "teacher"));

    let again = run(&recipe, &out);
    assert!(again.iter().all(|stage| stage.skipped));
    assert_eq!(
        again.iter().map(figures).collect::<Vec<_>>(),
        made.iter().map(figures).collect::<Vec<_>>()
    );
    let plan = recipe.plan(&out, &machine()).unwrap();
    assert!(plan.stages.iter().all(|stage| stage.done) && plan.seconds() == 0.0);
}

#[test]
fn what_changes_is_made_anew_and_what_builds_on_it() {
    let folder = folder();
    let out = folder.path().join("out");
    run(&recipe(folder.path(), STAGES), &out);
    let skipped = |text: &str| -> Vec<bool> {
        let recipe = recipe(folder.path(), text);
        run(&recipe, &out)
            .iter()
            .map(|stage| stage.skipped)
            .collect()
    };
    let other = STAGES.replace("collect = { samples = 2", "collect = { samples = 3");
    assert_eq!(skipped(&other), [true, true, false, false, false, false]);
    // An estimate's setting decides nothing, and neither does a description.
    let other = STAGES
        .replace(
            "pass_at = [1, 2]",
            "pass_at = [1, 2]\nexpected_completion_tokens = 3",
        )
        // Nor what is kept on the way.
        .replace(
            "training = { steps = 1,",
            "training = { checkpoint = { every = 3 }, steps = 1,",
        )
        .replace("Everything", "All");
    assert_eq!(skipped(&other), [true; 6]);
    let mut problems = common::problems(7);
    problems[4].answer = Some("12".into());
    json_lines::write(folder.path().join("test.jsonl"), &problems[4..]).unwrap();
    assert_eq!(skipped(STAGES), [true, false, false, false, false, false]);
}

/// Asks to stop after a number of training steps.
struct StopAfter(usize, StopFlag);

impl Observer for StopAfter {
    fn on_metrics(&mut self, _: &MetricsRecord) -> didact_rl::Result<()> {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.set();
        }
        Ok(())
    }
}

#[test]
fn one_that_was_stopped_comes_to_the_same() {
    let folder = folder();
    let recipe = recipe(folder.path(), STAGES);
    let whole = run(&recipe, &folder.path().join("whole"));
    let out = folder.path().join("stopped");
    let mut stops = 0;
    let stopped = loop {
        let stop = StopFlag::new();
        let run = Run::new(&recipe, &out, Device::flex().autodiff()).unwrap();
        let run = run.with_stop(stop.clone());
        match run.run(&mut StopAfter(2, stop), &mut |_| {}) {
            Ok(outcomes) => break outcomes,
            Err(Error::Interrupted { .. }) => stops += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(stops < 20, "it never ends");
    };
    assert!(stops > 1, "it was never stopped in a stage");
    for (whole, stopped) in whole.iter().zip(&stopped) {
        assert_eq!(figures(whole), figures(stopped), "{}", whole.name);
    }
    assert_eq!(weights(&whole, "solver"), weights(&stopped, "solver"));
}

#[test]
fn what_is_not_there_can_be_planned_but_not_made() {
    let folder = folder();
    let out = folder.path().join("out");
    let text = STAGES
        .replace("models.base.path = \"base\"", "models.base = { path = \"gone\", sizes = \"base/config.json\" }")
        .replace(
            "problems.train.path = \"train.jsonl\"",
            "problems.train = { path = \"gone.jsonl\", expected = { count = 1000, prompt_tokens = 40, example_tokens = 60 } }",
        )
        .replace("question_prefix", "expected = { count = 3, prompt_tokens = 40, example_tokens = 60 }, question_prefix");
    let recipe = recipe(folder.path(), &text);
    let plan = recipe.plan(&out, &machine()).unwrap();
    assert!(
        plan.stages
            .iter()
            .all(|stage| stage.folder.is_none() && stage.memory.peak() > 0)
    );
    let warm_up = &plan.stages[0];
    assert_eq!(warm_up.work.trained_tokens, 1000.0 * 60.0);
    let shown = plan.to_string();
    assert!(
        shown.contains("not there yet") && shown.contains("a machine"),
        "{shown}"
    );
    let run = Run::new(&recipe, &out, Device::flex().autodiff()).unwrap();
    let error = run.run(&mut (), &mut |_| {}).unwrap_err().to_string();
    assert!(
        error.contains("models.base") && error.contains("gone"),
        "{error}"
    );
}

#[test]
fn what_means_nothing_is_refused_by_name() {
    let folder = folder();
    for (from, to, expected) in [
        (
            "model = \"warmed\"",
            "model = \"warm\"",
            ["stage teacher", "warm is no model"],
        ),
        (
            "model = \"warmed\"",
            "model = \"student\"",
            ["stage teacher", "student is no model"],
        ),
        (
            "model = \"warmed\"",
            "model = \"accuracy\"",
            ["stage teacher", "accuracy is no model"],
        ),
        (
            "problems = \"test\"",
            "problems = \"tests\"",
            ["stage accuracy", "[problems.tests]"],
        ),
        (
            "explanations = \"explanations\"",
            "explanations = \"teacher\"",
            ["stage student", "collects none"],
        ),
        (
            "name = \"solver\"",
            "name = \"student\"",
            ["stage student", "taken"],
        ),
        (
            "name = \"warmed\"",
            "name = \"../warmed\"",
            ["stage ../warmed", "folder"],
        ),
        (
            "pass_at = [1, 2]",
            "pass_at = [3]",
            ["stage accuracy", "3 is not"],
        ),
        (
            "kind = \"collect\"",
            "kind = \"gather\"",
            ["stage explanations", "gather"],
        ),
        ("rank = 2", "ranks = 2", ["stage solver", "ranks"]),
        ("steps = 2", "stepps = 2", ["stage teacher", "stepps"]),
        (
            "name = \"accuracy\"",
            "name = \"accuracy\"\ncolour = 1",
            ["stage accuracy", "colour"],
        ),
        (
            "training = { epochs = 1",
            "training = { stage = \"first\", epochs = 1",
            ["stage warmed", "training.stage"],
        ),
        (
            "keep_unclosed = true",
            "keep_unclosed = true, min_reward = nan",
            ["stages.3.collect.selection.min_reward", "finite"],
        ),
        (
            "sampling = { max_completion_tokens = 6 }",
            "sampling = { seed = 1 }",
            ["stage explanations", "seed"],
        ),
        (
            "problems.train.path = \"train.jsonl\"",
            "problems.train = { path = \"train.jsonl\", first = 0 }",
            ["problems.train.first", "at least 1"],
        ),
        (
            "models.base.path = \"base\"",
            "models.base = { path = \"base\", weights = \"four_bit\" }",
            ["stage warmed", "adapter"],
        ),
    ] {
        assert!(STAGES.contains(from), "{from}");
        let error = read(folder.path(), &STAGES.replacen(from, to, 1))
            .unwrap_err()
            .to_string();
        assert!(
            expected.iter().all(|part| error.contains(part)),
            "{to}: {error}"
        );
    }
}

#[test]
fn what_a_later_stage_would_refuse_is_refused_before_the_first_is_made() {
    let folder = folder();
    let mut problems = common::problems(4);
    problems[2].answer = None;
    json_lines::write(folder.path().join("unanswered.jsonl"), &problems).unwrap();
    let out = folder.path().join("out");
    let unanswered = "question_prefix = \"Say only the number. \" }\nproblems.unanswered.path = \"unanswered.jsonl\"";
    for (from, to, expected) in [
        ("steps = 2", "steps = 0", ["stage teacher", "steps"]),
        (
            "pass_at = [1, 2]\nanswers = { samples = 2, max",
            "answers = { samples = 0, greedy = false, max",
            ["stage accuracy", "answers.samples"],
        ),
        (
            "samples = 2, max",
            "samples = 2, top_p = 7.5, max",
            ["stage accuracy", "answers.top_p"],
        ),
        (
            "collect = { samples = 2",
            "collect = { samples = 0",
            ["stage explanations", "collect.samples"],
        ),
        (
            "collect = { samples = 2",
            "collect = { problems = 0, samples = 2",
            ["stage explanations", "collect.problems"],
        ),
        (
            "keep_unclosed = true",
            "per_problem = 0",
            ["stage explanations", "selection.per_problem"],
        ),
        (
            ", reference_mixing = false",
            "",
            ["stage solver", "reference_mixing"],
        ),
        (
            "steps = 2",
            "curriculum = { kind = \"domain_mixture\" }, steps = 2",
            ["stage teacher", "domain"],
        ),
        (
            "steps = 2",
            "max_prompt_tokens = 3, steps = 2",
            ["stage teacher", "max_prompt_tokens"],
        ),
        (
            "model = \"student\"\nproblems = \"train\"",
            "model = \"student\"\nproblems = \"unanswered\"",
            ["stage solver", &problems[2].id],
        ),
        (
            "problems = \"test\"\npass_at",
            "problems = \"unanswered\"\njudge = \"exact\"\npass_at",
            ["stage accuracy", &problems[2].id],
        ),
    ] {
        assert!(STAGES.contains(from), "{from}");
        let text = STAGES
            .replacen(
                "question_prefix = \"Say only the number. \" }",
                unanswered,
                1,
            )
            .replacen(from, to, 1);
        let recipe = recipe(folder.path(), &text);
        let planned = recipe.plan(&out, &machine()).unwrap_err().to_string();
        let run = Run::new(&recipe, &out, Device::flex().autodiff()).unwrap();
        let made = run
            .run(&mut (), &mut |stage| panic!("{} was made", stage.name))
            .unwrap_err()
            .to_string();
        for error in [planned, made] {
            assert!(
                expected.iter().all(|part| error.contains(part)),
                "{to}: {error}"
            );
        }
    }
}

#[test]
fn explanations_of_which_none_can_be_learnt_from_end_the_recipe() {
    let folder = folder();
    let text = STAGES.replace(", selection = { keep_unclosed = true }", "");
    let recipe = recipe(folder.path(), &text);
    let run = Run::new(
        &recipe,
        folder.path().join("out"),
        Device::flex().autodiff(),
    )
    .unwrap();
    let error = run.run(&mut (), &mut |_| {}).unwrap_err().to_string();
    for part in [
        "stage explanations",
        "none of 8",
        "8 unclosed",
        "collected.jsonl",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_plan_says_what_fits_into_a_gpus_memory() {
    let folder = folder();
    let text = STAGES.replace("steps = 2", "park_weights = true, steps = 2");
    let recipe = recipe(folder.path(), &text);
    let error = recipe.plan(folder.path(), &machine()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("stage teacher") && error.contains("park_weights"),
        "{error}"
    );
    let plan = |memory| {
        let memory = Some(memory);
        let machine = Machine {
            memory,
            ..machine()
        };
        recipe.plan(folder.path(), &machine).unwrap()
    };
    let peaks = plan(1).stages.into_iter().map(|s| s.memory.peak());
    let mut peaks: Vec<u64> = peaks.collect();
    peaks.sort_unstable();
    // As much as one of the stages needs.
    let plan = plan(peaks[2]);
    let fitting = |fits| plan.stages.iter().filter(|s| s.fits == Some(fits)).count();
    let few = peaks.iter().filter(|&&peak| peak <= peaks[2]).count();
    assert_eq!((fitting(true), fitting(false)), (few, 6 - few));
    assert!(few < 6, "{peaks:?}");
    assert!(plan.stages[1].memory.host() > 0);
    let shown = plan.to_string();
    assert!(
        shown.contains("on host") && shown.contains("  no ") && shown.contains("  yes "),
        "{shown}"
    );
}

#[test]
fn weights_are_trained_as_the_recipe_says() {
    let folder = folder();
    // Whether a saved model's embedding, in f32, has bf16's numbers.
    let is_half = |folder: &Path| {
        let decoder = Decoder::load_folder(folder, &Device::flex()).unwrap();
        let numbers = decoder.output_embedding().try_into_vec_as::<f32>().unwrap();
        numbers.iter().all(|number| number.to_bits() & 0xffff == 0)
    };
    assert!(!is_half(&folder.path().join("base")));
    let adapter = "problems = \"train\"\nadapter = { rank = 2, alpha = 4.0 }";
    let mut found = Vec::new();
    for (weights, adapted) in [
        ("f32", false),
        ("half", false),
        ("half", true),
        ("four_bit_half", true),
        ("eight_bit_half", true),
    ] {
        let stored = format!("models.base = {{ path = \"base\", weights = \"{weights}\" }}");
        // Warm-up and teacher: the second begins with what the first saved.
        let text = STAGES
            .split("[[stages]]\nkind = \"collect\"")
            .next()
            .unwrap();
        let text = text.replace("models.base.path = \"base\"", &stored);
        let text = if adapted {
            text.replace("problems = \"train\"", adapter)
                .replace("steps = 2", "reference_mixing = false, steps = 2")
        } else {
            text
        };
        let recipe = recipe(folder.path(), &text);
        let made = run(&recipe, &folder.path().join(weights));
        for stage in &made {
            let half = is_half(&stage.folder.join("model"));
            assert_eq!(half, weights != "f32", "{weights} {}", stage.name);
        }
        found.push(crate::weights(&made, "teacher"));
    }
    for (index, weights) in found.iter().enumerate() {
        assert!(!found[..index].contains(weights), "{index}");
    }
}
