//! The training step: micro-batches, packing, refusals.

use std::sync::Arc;

use didact_core::Span;

use super::{decoder, hash, weights};
use crate::gradients::values;
use crate::loss::{GrpoLoss, Loss, SftLoss};
use crate::{AdamWConfig, Gradients, StepOptions, Trainer, TrainingSequence};

const OPTIONS: StepOptions = StepOptions {
    temperature: 0.7,
    max_grad_norm: 1.0,
    micro_batch_tokens: 1 << 20,
    recompute_layers: false,
};

/// Three groups of three completions of unequal length, with advantages and reference log-probs.
fn sequences() -> Vec<TrainingSequence> {
    let mut all = Vec::new();
    for group in 0..3_u32 {
        let prefix: Arc<[u32]> = (0..5 + group).map(|i| (7 * i + group) % 250).collect();
        for sample in 0..3_u32 {
            let length = 3 + 2 * sample as usize + group as usize;
            let continuation: Vec<u32> = (0..length as u32)
                .map(|i| (31 * i + 17 * sample + group) % 250)
                .collect();
            all.push(TrainingSequence {
                id: format!("group {group} sample {sample}"),
                trained: Span::new(prefix.len(), prefix.len() + length),
                prefix: prefix.clone(),
                advantage: f64::from(sample) - 1.0,
                old_log_probs: None,
                reference_log_probs: Some((0..length).map(|i| -5.0 - i as f32 / 10.0).collect()),
                sampling_log_probs: None,
                continuation,
            });
        }
    }
    all
}

fn gradients(
    all: &[TrainingSequence],
    loss: &dyn Loss,
    micro_batch_tokens: usize,
) -> (Gradients, usize) {
    let options = StepOptions {
        micro_batch_tokens,
        ..OPTIONS
    };
    let trainer = Trainer::new(decoder(1), AdamWConfig::default(), options).unwrap();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let (gradients, report) = trainer.gradients(&refs, loss).unwrap();
    (gradients, report.micro_batches)
}

/// The worst difference of two models' gradients, each relative to its tensor's largest entry.
fn worst(a: &Gradients, b: &Gradients) -> f64 {
    assert_eq!(a.paths().collect::<Vec<_>>(), b.paths().collect::<Vec<_>>());
    let mut worst = 0.0_f64;
    for path in a.paths() {
        let (x, y) = (
            values(path, a.get(path).unwrap()),
            values(path, b.get(path).unwrap()),
        );
        let (x, y) = (x.unwrap(), y.unwrap());
        let largest = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        assert!(largest > 0.0, "{path} has no gradient");
        let difference = x
            .iter()
            .zip(y)
            .fold(0.0_f32, |m, (x, y)| m.max((x - y).abs()));
        worst = worst.max(f64::from(difference / largest));
    }
    worst
}

#[test]
fn micro_batches_add_up_to_the_whole_batch() {
    let all = sequences();
    for loss in [&SftLoss as &dyn Loss, &GrpoLoss::published()] {
        let (whole, one) = gradients(&all, loss, 1 << 20);
        assert_eq!(one, 1);
        assert_eq!(whole.len(), 2 * 9 + 2, "every tensor has a gradient");
        for tokens in [1, 25, 60] {
            let (cut, many) = gradients(&all, loss, tokens);
            assert!(many > 1);
            let worst = worst(&whole, &cut);
            assert!(
                worst <= 1e-5,
                "{} in {many} micro-batches: {worst:e}",
                loss.name()
            );
        }
    }
}

#[test]
fn sharing_prefixes_and_order_change_only_rounding() {
    let all = sequences();
    let loss = GrpoLoss::published();
    let (shared, _) = gradients(&all, &loss, 1 << 20);
    let mut alone = all.clone();
    for sequence in &mut alone {
        let ids = sequence
            .prefix
            .iter()
            .chain(&sequence.continuation)
            .copied()
            .collect();
        (sequence.prefix, sequence.continuation) = (Arc::from([]), ids);
    }
    let (unshared, _) = gradients(&alone, &loss, 1 << 20);
    assert!(worst(&shared, &unshared) <= 1e-5);
    let mut turned = all;
    turned.reverse();
    let (reversed, _) = gradients(&turned, &loss, 1 << 20);
    assert!(worst(&shared, &reversed) <= 1e-5);
}

#[test]
fn layers_computed_again_give_the_same_gradients() {
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    for loss in [&SftLoss as &dyn Loss, &GrpoLoss::published()] {
        for micro_batch_tokens in [1 << 20, 60] {
            let [(kept, first), (again, second)] = [false, true].map(|recompute_layers| {
                let options = StepOptions {
                    micro_batch_tokens,
                    recompute_layers,
                    ..OPTIONS
                };
                let trainer = Trainer::new(decoder(1), AdamWConfig::default(), options).unwrap();
                trainer.gradients(&refs, loss).unwrap()
            });
            assert_eq!(first.values, second.values);
            assert_eq!(kept.len(), again.len(), "every tensor has a gradient");
            assert!(worst(&kept, &again) <= 1e-6, "{}", loss.name());
        }
    }
}

#[test]
fn the_step_says_what_it_did_and_goes_downhill() {
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let mut trainer = Trainer::new(decoder(1), AdamWConfig::default(), OPTIONS).unwrap();
    let before = hash(trainer.policy().unwrap());
    let mut losses = Vec::new();
    for _ in 0..5 {
        let report = trainer.step(&refs, &SftLoss, 1e-2).unwrap();
        assert_eq!(
            report.tokens,
            all.iter().map(|s| s.trained.len()).sum::<usize>()
        );
        assert_eq!(report.values[4].log_probs.len(), all[4].trained.len());
        assert!(report.entropy > 0.0 && report.grad_norm > 0.0);
        losses.push(report.loss);
    }
    assert!(
        losses.windows(2).all(|pair| pair[1] < pair[0]),
        "{losses:?}"
    );
    assert_ne!(hash(trainer.policy().unwrap()), before);
    assert_eq!(trainer.updates(), 5);
}

#[test]
fn what_cannot_be_trained_is_refused_by_name_and_changes_nothing() {
    let spoil: [(&str, fn(&mut TrainingSequence)); 6] = [
        ("cannot be trained", |s| s.trained = Span::new(0, 3)),
        ("cannot be trained", |s| s.trained = Span::new(5, 5)),
        ("cannot be trained", |s| s.trained.end += 1),
        ("vocabulary", |s| s.continuation[0] = 9999),
        ("reference log-probs", |s| {
            s.reference_log_probs = Some(vec![0.0])
        }),
        ("context", |s| s.continuation.extend([1; 400])),
    ];
    let mut trainer = Trainer::new(decoder(1), AdamWConfig::default(), OPTIONS).unwrap();
    let before = weights(trainer.policy().unwrap());
    for (expected, spoil) in spoil {
        let mut all = sequences();
        spoil(&mut all[2]);
        let refs: Vec<&TrainingSequence> = all.iter().collect();
        let error = trainer
            .step(&refs, &GrpoLoss::published(), 1e-3)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("group 0 sample 2") && error.contains(expected),
            "{error}"
        );
    }
    let mut all = sequences();
    all[3].advantage = f64::NAN;
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let error = trainer
        .step(&refs, &GrpoLoss::published(), 1e-3)
        .unwrap_err()
        .to_string();
    assert!(error.contains("group 1 sample 0"), "{error}");
    assert_eq!(weights(trainer.policy().unwrap()), before);
    assert_eq!(trainer.updates(), 0);
}

#[test]
fn frozen_models_are_refused() {
    use burn::module::Module;
    let frozen = decoder(1).no_grad();
    let error = Trainer::new(frozen, AdamWConfig::default(), OPTIONS)
        .unwrap_err()
        .to_string();
    assert!(error.contains("frozen"), "{error}");
}
