//! Other devices give the CPU's gradients, updates and completions.

use std::panic::catch_unwind;

use burn::tensor::{Device, DeviceKind, FloatDType, Tensor};
use didact_core::{Completion, Generate, GenerateRequest, RandomStream, Sampling, Score};
use didact_core::{ScoreRequest, Span};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::Decoder;

use super::steps::{OPTIONS, sequences, worst};
use super::weights;
use crate::loss::{Loss, PolicyGradientConfig, SftLoss};
use crate::{AdamWConfig, Gradients, Optimizer, StepOptions, Trainer, TrainingSequence};

fn gradients(device: &Device, all: &[TrainingSequence], loss: &dyn Loss) -> Gradients {
    let decoder = super::decoder_on(&device.clone().autodiff(), 1);
    let trainer = Trainer::new(decoder, AdamWConfig::default(), OPTIONS).unwrap();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    trainer.gradients(&refs, loss).unwrap().0
}

/// The software device, if this machine has one: opening it is the only way to ask. `DIDACT_SOFTWARE_DEVICE` has its
/// absence fail.
pub(super) fn software() -> Option<Device> {
    let device = Device::wgpu(DeviceKind::Cpu);
    let opened = catch_unwind(|| Tensor::<1>::ones([1], &device).into_data()).is_ok();
    let wanted = std::env::var_os("DIDACT_SOFTWARE_DEVICE").is_some();
    assert!(opened || !wanted, "there is no software Vulkan adapter");
    opened.then_some(device)
}

#[test]
fn a_gpus_gradients_are_the_cpus() {
    let Some(device) = software() else {
        println!("skipped: no software Vulkan adapter on this machine");
        return;
    };
    let mut without_reference = sequences();
    for sequence in &mut without_reference {
        sequence.reference_log_probs = None;
        sequence.advantage = 1.0.into();
    }
    let rlt = PolicyGradientConfig::default().resolve().unwrap();
    let cases: [(&str, Vec<TrainingSequence>, &dyn Loss); 2] = [
        ("RLT", sequences(), &rlt),
        ("SFT", without_reference, &SftLoss),
    ];
    for (name, sequences, loss) in cases {
        let expected = gradients(&Device::flex(), &sequences, loss);
        let found = gradients(&device, &sequences, loss);
        let worst = worst(&found, &expected);
        println!(
            "{name}: {} tensors, worst difference {worst:.1e}",
            expected.paths().count()
        );
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}

/// A model's largest difference to another, as a share of the other's largest entry of the tensor.
fn difference(found: &Decoder, expected: &Decoder) -> f64 {
    let mut worst = 0.0_f64;
    for ((path, found), (_, expected)) in weights(found).iter().zip(weights(expected)) {
        let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.is_finite(), "{path}");
            worst = worst.max(f64::from((found - expected).abs() / largest));
        }
    }
    worst
}

const ADAMW: AdamWConfig = AdamWConfig {
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-6,
    weight_decay: 0.1,
    decayed: crate::DecayedParameters::Matrices,
};

/// Several micro-batches, so that gradients add up, and a norm that is clipped.
const SMALL_BATCHES: StepOptions = StepOptions {
    max_grad_norm: 0.5,
    micro_batch_tokens: 30,
    ..OPTIONS
};

fn trained(decoder: Decoder, steps: usize) -> Trainer {
    let mut trainer = Trainer::new(decoder, ADAMW, SMALL_BATCHES).unwrap();
    take_steps(&mut trainer, steps);
    trainer
}

fn take_steps(trainer: &mut Trainer, steps: usize) {
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let loss = PolicyGradientConfig::default().resolve().unwrap();
    for _ in 0..steps {
        trainer.step(&refs, &loss, 1e-3).unwrap();
    }
}

#[test]
fn a_gpus_updates_are_the_cpus() {
    let Some(device) = software() else {
        println!("skipped: no software Vulkan adapter on this machine");
        return;
    };
    let cpu = Device::flex().autodiff();
    let expected = trained(super::decoder_on(&cpu, 1), 3);
    let found = trained(super::decoder_on(&device.clone().autodiff(), 1), 3);
    let worst = difference(found.policy().unwrap(), expected.policy().unwrap());
    println!("three updates: worst difference {worst:.1e}");
    assert!(worst < 1e-3, "{worst}");

    // The state that lay on the device is the CPU's, and leads another process to the same weights.
    let states = [&found, &expected].map(|trainer| trainer.optimizer_state().unwrap());
    assert_eq!(states[0].updates, 3);
    assert!(states[0].tensors.keys().eq(states[1].tensors.keys()));
    for (name, tensor) in &states[0].tensors {
        assert_eq!(tensor.shape(), states[1].tensors[name].shape(), "{name}");
    }
    let [state, _] = states;

    // It follows the model to the CPU.
    let moved = expected.policy().unwrap().clone();
    let trainer = Trainer::new(moved.clone(), ADAMW, OPTIONS).unwrap();
    let (all, loss) = (sequences(), PolicyGradientConfig::default());
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let loss = loss.resolve().unwrap();
    let mut restored = Optimizer::new(ADAMW);
    restored.restore(state.clone(), &moved).unwrap();
    let updated = [found.optimizer().clone(), restored].map(|mut optimizer| {
        let (gradients, _) = trainer.gradients(&refs, &loss).unwrap();
        let updated = optimizer.update(moved.clone(), gradients, 1e-3).unwrap();
        weights(&updated)
    });
    assert_eq!(updated[0], updated[1]);

    let decoder = found.policy().unwrap().clone();
    let mut resumed = Trainer::new(decoder, ADAMW, SMALL_BATCHES).unwrap();
    resumed.restore_optimizer(state).unwrap();
    let mut found = found;
    for trainer in [&mut resumed, &mut found] {
        take_steps(trainer, 1);
    }
    assert_eq!(
        weights(resumed.policy().unwrap()),
        weights(found.policy().unwrap())
    );
}

#[test]
fn half_weights_on_a_gpu_are_their_masters_rounded() {
    let Some(device) = software() else {
        println!("skipped: no software Vulkan adapter on this machine");
        return;
    };
    let of = |device: &Device| super::decoder_on(&device.clone().autodiff(), 1);
    let half = of(&device).cast(FloatDType::F16);
    let before = weights(&half);
    let trainer = trained(half, 3);
    let state = trainer.optimizer_state().unwrap();
    let after = weights(trainer.policy().unwrap());
    assert_ne!(before, after);
    for (path, weights) in after {
        let master = &state.tensors[&format!("{path}.master")];
        for (weight, master) in weights.iter().zip(master.iter::<f32>()) {
            assert_eq!(
                *weight,
                burn::tensor::f16::from_f32(master).to_f32(),
                "{path}"
            );
        }
    }
}

fn completions(engine: &mut LocalEngine, sampling: &Sampling) -> Vec<Completion> {
    let requests: Vec<GenerateRequest> = (0..6)
        .map(|i| GenerateRequest {
            prompt: (0..4 + i % 3).map(|t| (40 * i + 9 * t) % 250).collect(),
            sampling: sampling.clone(),
            stream: RandomStream::new(u64::from(i)),
        })
        .collect();
    let completions = engine.generate(&requests).unwrap();
    // What was sampled has the log-probs that scoring gives it.
    let scored: Vec<ScoreRequest> = requests
        .iter()
        .zip(&completions)
        .map(|(request, completion)| {
            let (prefix, ids) = (request.prompt.clone(), completion.ids.clone());
            let span = Span::new(prefix.len(), prefix.len() + ids.len());
            ScoreRequest {
                prefix,
                continuation: ids,
                spans: vec![span],
                temperature: if sampling.temperature > 0.0 {
                    sampling.temperature
                } else {
                    1.0
                },
            }
        })
        .collect();
    let scores = engine.score(&scored).unwrap();
    let tolerance = match engine.decoder().output_embedding().dtype() {
        burn::tensor::DType::F32 => 1e-3,
        _ => 3e-2,
    };
    for (scores, completion) in scores.iter().zip(&completions) {
        for (score, sampled) in scores[0]
            .values()
            .iter()
            .zip(&completion.sampling_log_probs)
        {
            assert!((score - sampled).abs() < tolerance, "{score} {sampled}");
        }
    }
    completions
}

/// The software device's sums are its own, so that a draw at the border of two tokens may go the other way; with these
/// seeds none does.
#[test]
fn a_gpu_samples_what_the_cpu_samples() {
    let Some(device) = software() else {
        println!("skipped: no software Vulkan adapter on this machine");
        return;
    };
    let engine =
        |device: &Device| LocalEngine::new(super::decoder_on(device, 1), EngineConfig::default());
    let cut = Sampling {
        top_k: 30,
        top_p: 0.8,
        min_p: 0.01,
        ..Sampling::new(0.9, 12)
    };
    for sampling in [Sampling::greedy(12), Sampling::new(1.0, 12), cut] {
        let expected = completions(&mut engine(&Device::flex()), &sampling);
        let found = completions(&mut engine(&device), &sampling);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.ids, expected.ids, "{sampling:?}");
        }
    }
    // Half weights keep half keys and values.
    let half = super::decoder_on(&device, 1).cast(FloatDType::F16);
    let mut engine = LocalEngine::new(half, EngineConfig::default());
    completions(&mut engine, &Sampling::new(1.0, 12));
}
