//! Whole pages.

use std::fs;
use std::path::Path;

use didact_core::{
    NamedValue, Outcome, ScoreContext, ScoreSpec, Scorer, Span, SpanName, StopReason, TokenLogProbs,
};

use super::{Reporter, write};
use crate::rollout::{RolloutRecord, ScoreRecord};
use crate::{Metrics, MetricsKind, MetricsRecord, Observer, Warning, WarningKind};

const HOSTILE: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;";

fn line(stage: &str, kind: MetricsKind, step: u64, values: &[(&str, f64)]) -> MetricsRecord {
    let mut metrics = Metrics::new();
    for (name, value) in values {
        metrics.set(*name, *value);
    }
    MetricsRecord {
        stage: stage.to_owned(),
        kind,
        step,
        metrics,
    }
}

fn put<T: serde::Serialize>(path: &Path, values: &[T]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let lines = values
        .iter()
        .map(|v| serde_json::to_string(v).unwrap() + "\n");
    fs::write(path, lines.collect::<String>()).unwrap();
}

fn scored(
    scorer: Scorer,
    context: ScoreContext,
    span: SpanName,
    log_probs: TokenLogProbs,
) -> ScoreRecord {
    ScoreRecord {
        spec: ScoreSpec {
            scorer,
            context,
            span,
            temperature: 0.7,
        },
        log_probs: Some(log_probs),
    }
}

/// A sample whose every text is hostile.
fn sample(step: u64, sample: usize, reward: f64) -> RolloutRecord {
    RolloutRecord {
        stage: "teacher".to_owned(),
        kind: MetricsKind::Train,
        step,
        problem: format!("p{HOSTILE}"),
        group: 0,
        sample,
        policy_version: step,
        question: format!("question {HOSTILE}"),
        solution: format!("solution {HOSTILE}"),
        answer: None,
        domain: None,
        text: HOSTILE.to_owned(),
        answered: None,
        stop: StopReason::MaxTokens,
        closed: false,
        straddling: 0,
        outcome: Some(Outcome::Scored {
            reward,
            terms: vec![NamedValue::new(HOSTILE.to_owned(), reward)],
        }),
        advantage: Some(reward),
        token_advantages: None,
        prompt_ids: vec![1, 2],
        ids: vec![3, 4, 5],
        tokens: vec!["first\n".to_owned(), HOSTILE.to_owned(), String::new()],
        student_ids: vec![1, 3, 4, 6],
        solution_tokens: vec![format!("solved {HOSTILE}")],
        teacher_thought: Some(Span::new(2, 4)),
        student_thought: Some(Span::new(1, 3)),
        student_solution: Some(Span::new(3, 4)),
        sampling_log_probs: vec![-1.0; 3],
        old_log_probs: None,
        reference_log_probs: None,
        scores: vec![
            scored(
                Scorer::Student,
                ScoreContext::Student,
                SpanName::Solution,
                TokenLogProbs::new(3, vec![-5.0]),
            ),
            scored(
                Scorer::Policy,
                ScoreContext::Teacher,
                SpanName::Thought,
                TokenLogProbs::new(2, vec![-0.5, -2.0]),
            ),
            scored(
                Scorer::Student,
                ScoreContext::Student,
                SpanName::Thought,
                TokenLogProbs::new(1, vec![-3.0, -1.0]),
            ),
        ],
    }
}

/// A short run with two stages and everything in it hostile.
fn run(folder: &Path) {
    let values = [
        ("reward", -1.0),
        ("reward_std", 0.5),
        ("reward/a", -0.75),
        ("reward/b", -0.25),
        ("reward/unused", -7.0),
        (HOSTILE, 1.0),
    ];
    let held_out = [("eval/reward", -2.0), ("eval/reward/a", -2.0)];
    let interval = [("x/mean", 1.0), ("x/low", 0.5), ("x/high", 1.5)];
    put(
        &folder.join("metrics.jsonl"),
        &[
            line("warmup", MetricsKind::Train, 1, &[("loss", 2.0)]),
            line("teacher", MetricsKind::Evaluation, 0, &held_out),
            line("teacher", MetricsKind::Train, 1, &values),
            line("teacher", MetricsKind::Train, 2, &values),
            line("teacher", MetricsKind::Evaluation, 2, &held_out),
            line("pipeline", MetricsKind::Summary, 0, &interval),
        ],
    );
    put(
        &folder.join("warnings.jsonl"),
        &[Warning {
            stage: "teacher".to_owned(),
            step: 2,
            kind: WarningKind::FlatGroups,
            text: HOSTILE.to_owned(),
            advice: "advice that helps".to_owned(),
        }],
    );
    fs::write(
        folder.join("config.json"),
        serde_json::json!({"a": HOSTILE}).to_string(),
    )
    .unwrap();
    let rollouts = folder.join("rollouts/teacher");
    put(
        &rollouts.join("step_000001.jsonl"),
        &[sample(1, 0, -3.0), sample(1, 1, -1.0), sample(1, 2, -2.0)],
    );
    put(&rollouts.join("step_000002.jsonl"), &[sample(2, 0, -1.0)]);
    put(
        &rollouts.join("evaluation_000000.jsonl"),
        &[sample(0, 0, -4.0)],
    );
    put(
        &rollouts.join("evaluation_000002.jsonl"),
        &[sample(2, 0, -1.0)],
    );
}

fn page(folder: &Path) -> String {
    fs::read_to_string(write(folder).unwrap()).unwrap()
}

#[test]
fn hostile_text_stays_text_and_nothing_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let page = page(folder.path());
    for part in [
        "<script",
        "<img",
        "onerror=alert(1)>",
        "http://",
        "https://",
        "url(",
    ] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("NaN"));
    for tag in [
        "section", "div", "table", "svg", "article", "figure", "details", "ul", "span",
    ] {
        let open =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn what_a_run_recorded_is_there() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let page = page(folder.path());
    for part in [
        "Terms of the reward",
        "no part of the reward: unused",
        "Held-out problems",
        "The same held-out problems, before and after",
        "Training step 1",
        "Training step 2",
        "advice that helps",
        "cut off: longest completion",
        "Supervised fine-tuning",
        "1 [0.5, 1.5]",
        // The teacher's log-prob less the student's, 2.5 and -1, and their colours.
        "teacher \u{2212}0.5, student \u{2212}3, difference 2.5",
        "class=\"p6\"",
        "class=\"m4\"",
        "class=\"u7\"",
        "<s>\u{21b5}</s>",
        "\u{b7}</i>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let at = |part: &str| page.find(part).unwrap();
    assert!(at("<b>best</b>") < at("<b>median</b>") && at("<b>median</b>") < at("<b>worst</b>"));
}

#[test]
fn accuracies_come_first_and_the_best_last() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let interval = |name: &str, mean: f64| {
        [("mean", mean), ("low", mean - 0.05), ("high", mean + 0.05)]
            .map(|(part, value)| (format!("{name}/accuracy/{part}"), value))
    };
    let values: Vec<(String, f64)> =
        [interval("of_trained", 0.875), interval("undistilled", 0.25)].concat();
    let values: Vec<(&str, f64)> = values.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    let path = folder.path().join("metrics.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    let record = line("pipeline", MetricsKind::Summary, 0, &values);
    text += &(serde_json::to_string(&record).unwrap() + "\n");
    fs::write(&path, text).unwrap();
    let page = page(folder.path());
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part}"));
    assert!(at("<b>25 %</b>") < at("<b>87.5 %</b>"));
    assert!(at("<b>87.5 %</b>") < at("Terms of the reward"));
}

#[test]
fn empty_and_broken_runs_have_a_page_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(folder.path()).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl"), "{error}");
    fs::write(folder.path().join("metrics.jsonl"), "").unwrap();
    assert!(page(folder.path()).contains("No step has been recorded"));

    run(folder.path());
    let path = folder.path().join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 9]).unwrap();
    fs::write(
        folder.path().join("rollouts/teacher/step_000002.jsonl"),
        "{",
    )
    .unwrap();
    let page = page(folder.path());
    assert!(page.contains("metrics.jsonl: 1 lines could not be read"));
    assert!(page.contains("step_000002.jsonl, line 1"), "{page}");
    assert!(page.contains("Training step 1") && page.contains("before and after"));
}

#[test]
fn a_reporter_writes_while_the_run_goes_on_and_never_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut reporter = Reporter::new(folder.path()).every(2);
    let train = |step| line("teacher", MetricsKind::Train, step, &[("reward", 1.0)]);
    reporter.on_metrics(&train(2)).unwrap();
    assert!(reporter.error().is_some(), "there is nothing to read yet");
    run(folder.path());
    reporter.on_metrics(&train(3)).unwrap();
    assert!(!folder.path().join("report.html").exists());
    reporter.on_metrics(&train(4)).unwrap();
    assert!(reporter.error().is_none());
    assert!(folder.path().join("report.html").exists());
}
