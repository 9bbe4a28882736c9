//! The training step: micro-batches, packing, refusals.

use std::sync::Arc;

use didact_core::Span;

use super::{decoder, hash, weights};
use crate::gradients::values;
use crate::loss::{Loss, PolicyGradientConfig, PolicyGradientLoss, SftLoss, SurrogateConfig};
use crate::{AdamWConfig, Gradients, StepOptions, Trainer, TrainingSequence};

pub(super) const OPTIONS: StepOptions = StepOptions {
    temperature: 0.7,
    max_grad_norm: 1.0,
    micro_batch_tokens: 1 << 20,
    recompute_layers: false,
};

/// Three groups of three completions of unequal length, with advantages and reference log-probs.
pub(super) fn sequences() -> Vec<TrainingSequence> {
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
                advantage: (f64::from(sample) - 1.0).into(),
                old_log_probs: None,
                reference_log_probs: Some((0..length).map(|i| -5.0 - i as f32 / 10.0).collect()),
                sampling_log_probs: None,
                continuation,
            });
        }
    }
    all
}

/// Strictly on-policy, on the tokens of highest entropy, which is rewarded.
pub(super) fn entropic(entropy_bonus: f64) -> PolicyGradientLoss {
    let config = PolicyGradientConfig {
        surrogate: SurrogateConfig::OnPolicy,
        top_entropy: 0.5,
        entropy_bonus,
        ..PolicyGradientConfig::default()
    };
    config.resolve().unwrap()
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
pub(super) fn worst(a: &Gradients, b: &Gradients) -> f64 {
    assert_eq!(a.paths().collect::<Vec<_>>(), b.paths().collect::<Vec<_>>());
    let mut worst = 0.0_f64;
    for path in a.paths() {
        let (x, y) = (a.read(path).unwrap(), b.read(path).unwrap());
        let (x, y) = (values(path, &x).unwrap(), values(path, &y).unwrap());
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
fn layers_computed_again_give_the_same_gradients() {
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    for loss in [&SftLoss as &dyn Loss, &PolicyGradientLoss::published()] {
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
fn a_sequence_without_trained_tokens_counts_and_costs_nothing() {
    let mut all = sequences();
    let whole = gradients(&all, &PolicyGradientLoss::published(), 1 << 20).0;
    let norm = whole.global_norm().unwrap();
    // One of ten: the mean over sequences shrinks by a tenth, and nothing else changes.
    let mut masked = all[0].clone();
    masked.trained = Span::new(masked.prefix.len(), masked.prefix.len());
    masked.continuation.clear();
    masked.reference_log_probs = None;
    all.insert(1, masked);
    for tokens in [1 << 20, 25] {
        let (found, _) = gradients(&all, &PolicyGradientLoss::published(), tokens);
        let ratio = found.global_norm().unwrap() / norm;
        assert!((ratio - 0.9).abs() < 1e-5, "{ratio}");
        assert_eq!(found.len(), whole.len());
    }
    let nothing = [all[1].clone()];
    let refs: Vec<&TrainingSequence> = nothing.iter().collect();
    let trainer = Trainer::new(decoder(1), AdamWConfig::default(), OPTIONS).unwrap();
    let error = trainer.gradients(&refs, &SftLoss).unwrap_err().to_string();
    assert!(error.contains("max_completion_tokens"), "{error}");
}

#[test]
fn an_entropy_bonus_raises_the_entropy() {
    let mut all = sequences();
    for sequence in &mut all {
        sequence.advantage = 0.0.into();
    }
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let mut trainer = Trainer::new(decoder(1), AdamWConfig::default(), OPTIONS).unwrap();
    let config = PolicyGradientConfig {
        beta: 0.0,
        entropy_bonus: 1.0,
        ..PolicyGradientConfig::default()
    };
    let loss = config.resolve().unwrap();
    let mut entropies = Vec::new();
    for _ in 0..4 {
        let report = trainer.step(&refs, &loss, 1e-3).unwrap();
        assert!(
            (report.loss + report.entropy).abs() < 1e-6,
            "the bonus is all there is"
        );
        entropies.push(report.entropy);
    }
    assert!(
        entropies.windows(2).all(|pair| pair[1] > pair[0]),
        "{entropies:?}"
    );
}

#[test]
fn what_cannot_be_trained_is_refused_by_name_and_changes_nothing() {
    let spoil: [(&str, fn(&mut TrainingSequence)); 6] = [
        ("cannot be trained", |s| s.trained = Span::new(0, 3)),
        ("3 advantages for 7", |s| s.advantage = vec![0.0; 3].into()),
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
            .step(&refs, &PolicyGradientLoss::published(), 1e-3)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("group 0 sample 2") && error.contains(expected),
            "{error}"
        );
    }
    let mut all = sequences();
    all[3].advantage = f64::NAN.into();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let error = trainer
        .step(&refs, &PolicyGradientLoss::published(), 1e-3)
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
