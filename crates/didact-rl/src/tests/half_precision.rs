//! Weights of half precision over a master copy in f32.

use std::sync::Arc;

use burn::module::Param;
use burn::tensor::{FloatDType, Tensor, TensorData};
use didact_core::Span;
use didact_models::{Decoder, ParameterVisitor};

use super::{decoder, hash, weights};
use crate::loss::SftLoss;
use crate::reference_policy::mix;
use crate::{
    AdamWConfig, Gradients, MuonConfig, Optimizer, OptimizerConfig, StepOptions, Trainer,
    TrainingSequence,
};

/// One gradient for every entry of every parameter.
fn constant_gradients(decoder: &Decoder, entry: f32) -> Gradients {
    struct Fill(Gradients, f32);
    impl ParameterVisitor for Fill {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let shape = parameter.val().shape();
            let entries = vec![self.1; shape.num_elements()];
            self.0
                .insert(path, TensorData::new(entries, shape))
                .unwrap();
        }
    }
    let mut fill = Fill(Gradients::new(), entry);
    decoder.visit_parameters(&mut fill);
    fill.0
}

fn sequence() -> TrainingSequence {
    TrainingSequence {
        id: "one".to_owned(),
        prefix: Arc::from([]),
        continuation: (0..24).map(|i| i * 31 % 250).collect(),
        trained: Span::new(4, 24),
        advantage: 0.0.into(),
        old_log_probs: None,
        reference_log_probs: None,
        sampling_log_probs: None,
    }
}

const OPTIONS: StepOptions = StepOptions {
    temperature: 1.0,
    max_grad_norm: 1.0,
    micro_batch_tokens: 1 << 20,
    recompute_layers: false,
};

#[test]
fn updates_too_small_for_the_weights_add_up() {
    for dtype in [FloatDType::BF16, FloatDType::F16] {
        let mut model = decoder(1).cast(dtype);
        let (before, before_hash) = (weights(&model), hash(&model));
        let mut optimizer = Optimizer::new(OptimizerConfig::default());
        // AdamW moves each weight by the learning rate: far below half a unit in the last place of a norm's 1.
        let (steps, rate) = (400, 1e-4);
        for step in 1..=steps {
            let all = constant_gradients(&model, 1.0);
            model = optimizer.update(model, all, rate).unwrap();
            if step == 1 {
                let norm = |weights: &[(String, Vec<f32>)]| {
                    let (_, norm) = weights
                        .iter()
                        .find(|(p, _)| p == "model.norm.weight")
                        .unwrap();
                    norm[0]
                };
                assert_eq!(norm(&before), norm(&weights(&model)), "{dtype:?}");
            }
        }
        assert_ne!(before_hash, hash(&model));
        for ((path, before), (_, after)) in before.iter().zip(&weights(&model)) {
            for (before, after) in before.iter().zip(after) {
                let moved = before - after;
                let coarse = 0.01 * before.abs().max(after.abs());
                assert!((moved - 0.04).abs() < 1e-3 + coarse, "{path}: {moved}");
            }
        }
        let parameters: usize = before.iter().map(|(_, values)| values.len()).sum();
        assert_eq!(optimizer.state_bytes(), 12 * parameters);
    }
}

#[test]
fn the_master_is_the_f32_run_and_the_weights_its_rounding() {
    for config in [
        OptimizerConfig::default(),
        OptimizerConfig::Muon(MuonConfig::default()),
    ] {
        let mut half = decoder(1).cast(FloatDType::BF16);
        // The same start, in f32.
        let mut whole = half.clone().cast(FloatDType::F32);
        let (mut of_half, mut of_whole) = (Optimizer::new(config), Optimizer::new(config));
        for step in 1..=5 {
            let all = super::optimizer::gradients(&whole, step);
            half = of_half.update(half, all.clone(), 0.003).unwrap();
            whole = of_whole.update(whole, all, 0.003).unwrap();
        }
        let state = of_half.state().unwrap();
        for (path, expected) in weights(&whole) {
            let master = &state.tensors[&format!("{path}.master")];
            assert_eq!(master.try_to_vec::<f32>().unwrap(), expected, "{path}");
        }
        assert_eq!(hash(&whole.cast(FloatDType::BF16)), hash(&half));

        // And a restored run goes on alike, but not over other weights.
        let mut restored = Optimizer::new(config);
        restored.restore(state.clone(), &half).unwrap();
        let all = super::optimizer::gradients(&half, 6);
        let other = of_half.update(half.clone(), all.clone(), 0.003).unwrap();
        let again = restored.update(half, all, 0.003).unwrap();
        assert_eq!(hash(&again), hash(&other));
        let error = restored.restore(state, &again).unwrap_err().to_string();
        assert!(error.contains("model.norm.weight"), "{error}");
    }
}

#[test]
fn a_model_of_half_precision_trains() {
    let sequence = sequence();
    let mut runs = Vec::new();
    for dtype in [FloatDType::F32, FloatDType::BF16] {
        let model = decoder(1).cast(dtype);
        let mut trainer = Trainer::new(model, AdamWConfig::default(), OPTIONS).unwrap();
        let losses: Vec<f64> = (0..8)
            .map(|_| trainer.step(&[&sequence], &SftLoss, 3e-3).unwrap().loss)
            .collect();
        assert!(losses[7] < losses[0], "{losses:?}");
        assert_eq!(
            trainer.policy().unwrap().output_embedding().dtype(),
            dtype.into()
        );
        runs.push(losses);
    }
    for (whole, half) in runs[0].iter().zip(&runs[1]) {
        assert!((whole - half).abs() < 0.02 * whole, "{runs:?}");
    }
}

#[test]
fn layers_computed_again_and_a_mixed_reference_work_in_half_precision() {
    let sequence = sequence();
    let model = decoder(1).cast(FloatDType::BF16);
    let of = |recompute_layers| {
        let options = StepOptions {
            recompute_layers,
            ..OPTIONS
        };
        let trainer = Trainer::new(model.clone(), AdamWConfig::default(), options).unwrap();
        trainer.gradients(&[&sequence], &SftLoss).unwrap().0
    };
    let (kept, again) = (of(false), of(true));
    for path in kept.paths() {
        let [kept, again] = [&kept, &again].map(|all| all.read(path).unwrap());
        let [kept, again] = [&kept, &again].map(TensorData::iter::<f32>);
        let (kept, again): (Vec<f32>, Vec<f32>) = (kept.collect(), again.collect());
        let largest = kept.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
        assert!(largest > 0.0, "{path}");
        for (a, b) in kept.iter().zip(&again) {
            // The gradient of a layer's input is rounded to bf16 between layers.
            assert!((a - b).abs() <= 0.02 * largest, "{path}: {a} and {b}");
        }
    }
    let other = decoder(2).cast(FloatDType::BF16);
    let mixed = mix(&model, other.clone(), 0.25).unwrap();
    for ((path, mixed), ((_, new), (_, old))) in weights(&mixed)
        .iter()
        .zip(weights(&model).iter().zip(&weights(&other)))
    {
        for ((mixed, new), old) in mixed.iter().zip(new).zip(old) {
            let exact = 0.25 * new + 0.75 * old;
            assert!((mixed - exact).abs() <= exact.abs() / 256.0, "{path}");
        }
    }
}
