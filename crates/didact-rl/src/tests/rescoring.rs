//! Rewards of recorded samples.

use std::fs;
use std::path::Path;

use didact_core::{Reward, ScoreContext, ScoreSpec, Scorer, SpanName};
use didact_reward::rlt;
use serde_json::Value;

use super::task;
use super::teacher::{config, trainer};
use crate::rescore::{Agreement, Rescorer, RolloutFile, rollout_files};
use crate::{RolloutRecord, RunDirectory};

/// The rollout files of a run, and its samples.
fn recorded(folder: &Path) -> Vec<RolloutRecord> {
    let mut run = RunDirectory::create(folder.join("run")).unwrap();
    trainer(task(), &config()).run(&mut run).unwrap();
    let files = rollout_files(run.path()).unwrap();
    let read = files
        .into_iter()
        .flat_map(|f| RolloutFile::open(f).unwrap());
    read.map(|record| record.unwrap().1).collect()
}

#[test]
fn the_runs_own_reward_gives_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let records = recorded(folder.path());
    let samples = Rescorer::new(&*task().reward)
        .with_advantage(config().advantage)
        .run(folder.path().join("run"))
        .unwrap();
    assert_eq!(samples.len(), records.len());
    assert_eq!(samples.len(), 3 * 6 + 3 * 2);
    for (sample, record) in samples.iter().zip(&records) {
        assert_eq!(Some(&sample.outcome), record.outcome.as_ref());
        assert_eq!(sample.recorded, sample.outcome.reward());
        if let Some(advantage) = record.advantage {
            assert_eq!(sample.advantage, advantage);
        }
    }
    assert!(
        records
            .iter()
            .any(|r| r.advantage.is_some_and(|a| a != 0.0))
    );
    let agreement = Agreement::of(&samples);
    assert_eq!(agreement.rank_correlation, Some(1.0));
    assert_eq!(
        (agreement.largest_difference, agreement.other_best),
        (0.0, 0.0)
    );
}

#[test]
fn other_coefficients_give_what_the_terms_say() {
    let folder = tempfile::tempdir().unwrap();
    let records = recorded(folder.path());
    let mut other = rlt();
    other.terms[1].coefficients = vec![-0.5, 0.0];
    other.missing_tag_penalty = 0.0;
    let reward = other.resolve().unwrap();
    let samples = Rescorer::new(&reward)
        .run(folder.path().join("run"))
        .unwrap();
    for (sample, record) in samples.iter().zip(&records) {
        let old = record.outcome.as_ref().unwrap();
        let Some(found) = sample.outcome.reward() else {
            continue;
        };
        let term = |name: &str| old.term(name).unwrap();
        let expected = term("reward/solution_log_prob") - 0.5 * term("reward/kl/mean");
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
    let agreement = Agreement::of(&samples);
    assert!(agreement.rank_correlation.unwrap() < 1.0);
    assert!(agreement.largest_difference > 0.0);
}

#[test]
fn every_id_that_a_score_belongs_to_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = super::tokenizer();
    for record in recorded(folder.path()) {
        assert_eq!(
            record.tokens.concat(),
            tokenizer.decode(&record.ids, false).unwrap()
        );
        for score in &record.scores {
            let ids = record.scored_ids(score).unwrap();
            let text = tokenizer.decode(&ids, false).unwrap();
            match score.spec.span {
                SpanName::Solution => {
                    assert_eq!(text.trim(), record.solution);
                    assert_eq!(record.solution_tokens.concat(), text);
                }
                SpanName::Thought => assert_eq!(text, record.text),
            }
        }
    }
}

#[test]
fn a_missing_score_is_named_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    recorded(folder.path());
    let mut other = rlt();
    other.terms.truncate(1);
    other.totals.clear();
    if let didact_reward::Signal::LogProb { score } = &mut other.terms[0].signal {
        *score = ScoreSpec {
            scorer: Scorer::Reference,
            context: ScoreContext::Student,
            span: SpanName::Solution,
            temperature: 1.0,
        };
    }
    let reward = other.resolve().unwrap();
    let error = Rescorer::new(&reward)
        .run(folder.path().join("run"))
        .unwrap_err()
        .to_string();
    for part in [
        "evaluation_000000.jsonl",
        "line 1",
        "problem-50#0",
        "reference",
        "temperature 1;",
    ] {
        assert!(
            error.contains(part.trim_end_matches(';')),
            "{part}: {error}"
        );
    }
    assert!(reward.requests().len() == 1);
}

#[test]
fn lines_that_cannot_be_true_are_refused_by_place() {
    let folder = tempfile::tempdir().unwrap();
    recorded(folder.path());
    let path = folder.path().join("run/rollouts/teacher/step_000001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let own = task().reward;
    let refused = |change: &dyn Fn(&mut Vec<Value>), part: &str| {
        let mut changed = lines.clone();
        change(&mut changed);
        let text: String = changed.iter().map(|l| format!("{l}\n")).collect();
        let path = folder.path().join("changed.jsonl");
        fs::write(&path, text).unwrap();
        let error = Rescorer::new(&*own).file(&path).unwrap_err().to_string();
        assert!(
            error.contains("changed.jsonl, line 2") && error.contains(part),
            "{error}"
        );
    };
    refused(&|l| l[1] = Value::from("x"), "no sample");
    refused(
        &|l| l[1]["ids"].as_array_mut().unwrap().truncate(1),
        "sampled ids",
    );
    refused(
        &|l| l[1]["sampling_log_probs"][0] = Value::from(1e300),
        "out of range",
    );
    refused(
        &|l| l[1]["teacher_thought"]["end"] = Value::from(10_000),
        "teacher_thought",
    );
    refused(
        &|l| l[1]["student_solution"]["end"] = Value::from(0),
        "student_solution",
    );
    refused(
        &|l| l[1]["scores"][0]["log_probs"]["first"] = Value::from(1),
        "log-probs of tokens",
    );
    refused(&|l| l[1] = l[0].clone(), "second time");
    refused(&|l| l[1]["problem"] = Value::from("another"), "of problem");

    fs::write(&path, &text[..text.len() - 40]).unwrap();
    let error = Rescorer::new(&*own).file(&path).unwrap_err().to_string();
    assert!(error.contains("line 6"), "{error}");
    let empty = folder.path().join("nothing");
    fs::create_dir_all(empty.join("rollouts")).unwrap();
    assert!(Rescorer::new(&*own).run(&empty).is_err());
}
