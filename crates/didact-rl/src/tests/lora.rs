//! Training an adapter alone.

use burn::module::Module;
use didact_core::{Score, ScoreRequest, Span};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::{Bits, Decoder, LoraConfig};

use super::steps::{OPTIONS, sequences, worst};
use super::{decoder, problems, task, teacher, weights};
use crate::loss::{Loss, PolicyGradientLoss, SftLoss};
use crate::{
    AdamWConfig, Gradients, Optimizer, StepOptions, TeacherConfig, TeacherModels, TeacherTrainer,
    Trainer, TrainingSequence,
};

fn adapted(layers: &[usize]) -> Decoder {
    let mut lora = LoraConfig::new(3, 6.0);
    lora.layers = layers.to_vec();
    decoder(1).with_adapter(&lora, 4).unwrap()
}

/// After three updates, when neither of an adapter's matrices is zero any more.
fn trained(layers: &[usize]) -> Decoder {
    let mut trainer = Trainer::new(adapted(layers), AdamWConfig::default(), OPTIONS).unwrap();
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    for _ in 0..3 {
        trainer.step(&refs, &SftLoss, 1e-2).unwrap();
    }
    trainer.into_policy().unwrap()
}

fn gradients(policy: &Decoder, loss: &dyn Loss, options: StepOptions) -> Gradients {
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let trainer = Trainer::new(policy.clone(), AdamWConfig::default(), options).unwrap();
    trainer.gradients(&refs, loss).unwrap().0
}

fn is_adapter(path: &str) -> bool {
    path.contains(".lora_")
}

#[test]
fn layers_computed_again_give_the_same_gradients_of_an_adapter() {
    for (layers, tensors) in [(&[][..], 28), (&[1], 14), (&[0], 14)] {
        let policy = trained(layers);
        for loss in [&SftLoss as &dyn Loss, &PolicyGradientLoss::published()] {
            for micro_batch_tokens in [1 << 20, 60] {
                let [kept, again] = [false, true].map(|recompute_layers| {
                    let options = StepOptions {
                        micro_batch_tokens,
                        recompute_layers,
                        ..OPTIONS
                    };
                    gradients(&policy, loss, options)
                });
                assert_eq!(kept.len(), tensors, "{layers:?}");
                assert!(kept.paths().all(is_adapter));
                assert!(worst(&kept, &again) <= 1e-6, "{}", loss.name());
            }
        }
    }
}

#[test]
fn an_update_leaves_frozen_tensors_and_costs_them_no_state() {
    let before = weights(&adapted(&[]));
    let policy = trained(&[]);
    for ((path, old), (_, new)) in before.iter().zip(weights(&policy)) {
        let same = old
            .iter()
            .zip(&new)
            .all(|(a, b)| a.to_bits() == b.to_bits());
        assert_eq!(same, !is_adapter(path), "{path}");
    }
    let found = gradients(&policy, &SftLoss, OPTIONS);
    let mut adapter_entries = 0;
    for (path, values) in &before {
        adapter_entries += if is_adapter(path) { values.len() } else { 0 };
    }
    let mut optimizer = Optimizer::new(AdamWConfig::default());
    let _ = optimizer.update(policy, found, 1e-3).unwrap();
    assert_eq!(optimizer.state_bytes(), 8 * adapter_entries);
}

#[test]
fn training_an_adapter_goes_downhill_and_its_merge_with_it() {
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let loss = |policy: Decoder| {
        let trainer = Trainer::new(policy, AdamWConfig::default(), OPTIONS).unwrap();
        trainer.gradients(&refs, &SftLoss).unwrap().1.loss
    };
    let (before, policy) = (loss(adapted(&[])), trained(&[]));
    let after = loss(policy.clone());
    assert!(after < before, "{after} {before}");
    assert!((loss(policy.merge_adapter()) - after).abs() < 1e-5);
    assert_eq!(loss(policy.without_adapter()), before);
}

#[test]
fn an_adapter_over_quantised_weights_is_trained_as_over_the_same_in_f32() {
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    for bits in [Bits::Eight, Bits::Four] {
        let quantised = adapted(&[]).quantise(bits).unwrap();
        let plain = quantised.dequantise();
        let [found, expected] = [quantised, plain].map(|policy| {
            let mut trainer = Trainer::new(policy, AdamWConfig::default(), OPTIONS).unwrap();
            let losses: Vec<f64> = (0..3)
                .map(|_| trainer.step(&refs, &SftLoss, 1e-2).unwrap().loss)
                .collect();
            (losses, trainer.into_policy().unwrap())
        });
        assert!(found.0[2] < found.0[0], "{:?}", found.0);
        for (found, expected) in found.0.iter().zip(&expected.0) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        assert_eq!(found.1.quantised(), Some(bits));
        // Layers computed again read the codes again.
        let [kept, again] = [false, true].map(|recompute_layers| {
            let options = StepOptions {
                recompute_layers,
                ..OPTIONS
            };
            gradients(&found.1, &SftLoss, options)
        });
        assert_eq!(kept.len(), 28);
        assert!(worst(&kept, &again) <= 1e-6);
    }
}

fn config() -> TeacherConfig {
    TeacherConfig {
        reference_mixing: None,
        ..teacher::config()
    }
}

fn models(policy: Decoder) -> TeacherModels {
    TeacherModels {
        policy,
        student: decoder(2).into(),
    }
}

#[test]
fn a_teacher_with_an_adapter_begins_as_its_reference() {
    for (policy, kept) in [(adapted(&[]), false), (trained(&[]), true)] {
        let frozen = weights(&policy.without_adapter());
        let mut trainer =
            TeacherTrainer::new(models(policy), task(), &problems(4, 0), &[], &config()).unwrap();
        // A fresh adapter is left off; one that was trained before belongs to the reference.
        assert_eq!(trainer.reference().decoder().adapter().is_some(), kept);
        let reference = weights(trainer.reference().decoder());
        let first = trainer.step(&mut ()).unwrap();
        assert_eq!(first.get("kl"), Some(0.0));
        let second = trainer.step(&mut ()).unwrap();
        assert!(second.get("kl").unwrap() > 0.0);
        for metrics in [first, second] {
            assert!(metrics.get("sampling/logp_diff_max").unwrap() < 1e-4);
        }
        assert_eq!(weights(trainer.reference().decoder()), reference);
        let policy = trainer.into_policy().unwrap();
        assert!(policy.adapter().is_some());
        assert_eq!(weights(&policy.without_adapter()), frozen);
    }
}

#[test]
fn a_fresh_adapter_scores_bit_for_bit_as_its_base() {
    let request = ScoreRequest {
        prefix: [1, 2, 3].into(),
        continuation: (0..40).map(|i| i * 5 % 250).collect(),
        spans: vec![Span::new(2, 43)],
        temperature: 1.0,
    };
    let [base, fresh] = [decoder(1), adapted(&[])].map(|decoder| {
        let mut engine = LocalEngine::new(decoder.valid(), EngineConfig::default());
        engine.score(std::slice::from_ref(&request)).unwrap()
    });
    assert_eq!(base, fresh);
}

#[test]
fn a_reference_is_not_mixed_from_adapters() {
    let with_mixing = teacher::config();
    let refused = TeacherTrainer::new(
        models(adapted(&[])),
        task(),
        &problems(4, 0),
        &[],
        &with_mixing,
    );
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("reference_mixing") && error.contains("LoRA"),
        "{error}"
    );
}
