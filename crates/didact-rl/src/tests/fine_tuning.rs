//! Supervised fine-tuning.

use didact_data::SupervisedExample;

use super::{Recorder, decoder, format, hash, problems, tokenizer};
use crate::{FineTuneConfig, MetricsKind, fine_tune};

pub(super) fn examples(count: usize) -> Vec<SupervisedExample> {
    let tokenizer = tokenizer();
    let example = |problem: &didact_core::Problem| {
        format()
            .student_example(&tokenizer, problem, "add both")
            .unwrap()
    };
    problems(count, 0).iter().map(example).collect()
}

fn config() -> FineTuneConfig {
    FineTuneConfig {
        epochs: 4,
        batch_size: 3,
        learning_rate: 1e-2,
        ..FineTuneConfig::published_warmup()
    }
}

#[test]
fn the_loss_falls_and_every_step_is_reported() {
    let mut seen = Recorder::default();
    let tuned = fine_tune(decoder(1), &examples(5), &config(), &mut seen).unwrap();
    assert_eq!(
        tuned.losses.len(),
        8,
        "four epochs of a batch of three and one of two"
    );
    assert!(
        tuned.losses[7] < 0.85 * tuned.losses[0],
        "{:?}",
        tuned.losses
    );
    assert_eq!(seen.records.len(), 8);
    let last = &seen.records[7];
    assert_eq!(
        (last.step, last.kind, last.stage.as_str()),
        (8, MetricsKind::Train, "warmup")
    );
    for name in ["loss", "grad_norm", "entropy", "lr", "epoch", "time/update"] {
        assert!(last.metrics.get(name).is_some(), "{name}");
    }
    for (name, _) in last.metrics.iter() {
        assert!(crate::metrics::describe(name).is_some(), "{name}");
    }
    assert_eq!(last.metrics.get("epoch"), Some(4.0));
    assert!((tuned.losses[7] - last.metrics.get("loss").unwrap()).abs() < 1e-12);
}

#[test]
fn two_runs_with_one_seed_are_one() {
    let run = |micro_batch_tokens| {
        let mut seen = Recorder::default();
        let config = FineTuneConfig {
            micro_batch_tokens,
            ..config()
        };
        let tuned = fine_tune(decoder(1), &examples(5), &config, &mut seen).unwrap();
        (hash(&tuned.decoder), seen.reproducible(), tuned.losses)
    };
    let (first, second, cut) = (run(4096), run(4096), run(64));
    assert_eq!(first, second);
    for (a, b) in first.2.iter().zip(&cut.2) {
        assert!(
            (a - b).abs() < 1e-4,
            "micro-batches change only rounding: {a} and {b}"
        );
    }
}

#[test]
fn long_examples_are_left_out_or_named() {
    let mut all = examples(3);
    let longest = all.iter().map(|e| e.ids.len()).max().unwrap();
    let long: Vec<u32> = std::iter::repeat_n(65, 200).collect();
    all[1].ids.extend(long);
    let error = fine_tune(decoder(1), &all, &config(), &mut ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("example 1") && error.contains("max_tokens"),
        "{error}"
    );
    let config = FineTuneConfig {
        max_tokens: Some(longest),
        max_steps: Some(1),
        ..config()
    };
    assert_eq!(
        fine_tune(decoder(1), &all, &config, &mut ())
            .unwrap()
            .left_out,
        1
    );
    let config = FineTuneConfig {
        max_tokens: Some(2),
        ..config
    };
    let error = fine_tune(decoder(1), &all, &config, &mut ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("no example is left"), "{error}");
}

#[test]
fn bad_settings_are_refused_by_key() {
    let bad: [(&str, fn(&mut FineTuneConfig)); 4] = [
        ("epochs", |c| c.epochs = 0),
        ("batch_size", |c| c.batch_size = 0),
        ("warmup_ratio", |c| c.warmup_ratio = 1.0),
        ("max_tokens", |c| c.max_tokens = Some(100_000)),
    ];
    for (key, spoil) in bad {
        let mut config = config();
        spoil(&mut config);
        let error = fine_tune(decoder(1), &examples(2), &config, &mut ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("key {key}:")), "{error}");
    }
}
