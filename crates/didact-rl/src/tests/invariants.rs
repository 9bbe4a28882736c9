//! What holds for every family, loss and way of cutting a step.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use didact_core::{RandomStream, Score, ScoreRequest};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::{Decoder, Family, LoraConfig, ParameterMapper};
use proptest::prelude::*;

use super::steps::{OPTIONS, entropic, sequences, worst};
use super::teacher::{Samples, config};
use super::{Recorder, decoder_of, hash, problems, task, weights};
use crate::gradients::values;
use crate::loss::{Loss, PolicyGradientConfig, PolicyGradientLoss, SftLoss, SurrogateConfig};
use crate::{
    AdamWConfig, Gradients, Metrics, StepOptions, TeacherConfig, TeacherModels, TeacherTrainer,
    Trainer, TrainingSequence, algorithm,
};

/// A decoder of each family, of Llama with tied embeddings too.
fn decoders() -> Vec<Decoder> {
    let own = Family::ALL.map(|family| decoder_of(family, family == Family::Gemma, 1));
    own.into_iter()
        .chain([decoder_of(Family::Llama, true, 1)])
        .collect()
}

/// With an adapter of random numbers beside frozen weights.
fn adapted(decoder: &Decoder) -> Decoder {
    struct Random;
    impl ParameterMapper for Random {
        fn map<const D: usize>(&mut self, path: &str, p: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !path.contains("lora_B") {
                return p;
            }
            p.map(|tensor| {
                let shape = tensor.dims();
                let stream = RandomStream::new(shape.iter().product::<usize>() as u64);
                let count: usize = shape.iter().product();
                let numbers: Vec<f32> = (0..count as u64)
                    .map(|i| stream.uniform(i) as f32 - 0.5)
                    .collect();
                let data = TensorData::new(numbers, shape);
                Tensor::from_data(data, &tensor.device()).require_grad()
            })
        }
    }
    decoder
        .with_adapter(&LoraConfig::new(3, 6.0), 4)
        .unwrap()
        .map_parameters(&mut Random)
}

fn trainer(policy: Decoder, micro_batch_tokens: usize, recompute_layers: bool) -> Trainer {
    let options = StepOptions {
        micro_batch_tokens,
        recompute_layers,
        ..OPTIONS
    };
    Trainer::new(policy, AdamWConfig::default(), options).unwrap()
}

/// Every way from log-probs to a loss that does not depend on micro-batches by definition: token and sequence ratios,
/// means, sums, masks of entropy.
fn losses() -> Vec<Box<dyn Loss>> {
    let of = |algorithm: algorithm::Algorithm| -> Box<dyn Loss> {
        let loss = algorithm.loss.with_completion_limit(40);
        Box::new(loss.resolve().unwrap())
    };
    vec![
        Box::new(SftLoss),
        Box::new(PolicyGradientLoss::published()),
        Box::new(entropic(0.3)),
        of(algorithm::dapo()),
        of(algorithm::dr_grpo()),
        of(algorithm::gspo()),
        of(algorithm::cispo()),
        of(algorithm::sapo()),
        of(algorithm::vespo()),
        of(algorithm::luspo()),
    ]
}

/// Sequences whose old log-probs are near the policy's own, so that ratios are neither 1 nor all clipped.
fn off_policy(policy: &Decoder) -> Vec<TrainingSequence> {
    let mut all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let report = trainer(policy.clone(), 1 << 20, false)
        .gradients(&refs, &SftLoss)
        .unwrap()
        .1;
    for (index, (sequence, values)) in all.iter_mut().zip(report.values).enumerate() {
        let stream = RandomStream::new(index as u64);
        let moved = |shift: u64, width: f64| {
            let numbers = values.log_probs.iter().enumerate();
            let noise = numbers
                .map(|(t, &lp)| lp + (width * (stream.uniform(shift + t as u64) - 0.5)) as f32);
            Some(noise.collect::<Vec<f32>>())
        };
        sequence.old_log_probs = moved(0, 0.3);
        sequence.reference_log_probs = moved(100, 1.0);
        sequence.sampling_log_probs = moved(200, 0.1);
    }
    all
}

fn gradients(trainer: &Trainer, all: &[TrainingSequence], loss: &dyn Loss) -> Gradients {
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    trainer.gradients(&refs, loss).unwrap().0
}

#[test]
fn gradients_are_the_same_for_any_micro_batches_and_any_order() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let mut policies = decoders();
    policies.push(adapted(&policies[0]));
    for policy in policies {
        let all = off_policy(&policy);
        let name = policy.config().family;
        for loss in losses() {
            let whole = gradients(&trainer(policy.clone(), 1 << 20, false), &all, &*loss);
            let cut = (
                1_usize..150,
                Just(all.clone()).prop_shuffle(),
                any::<bool>(),
            );
            let law = |(tokens, shuffled, again): (usize, Vec<TrainingSequence>, bool)| {
                let found = gradients(&trainer(policy.clone(), tokens, again), &shuffled, &*loss);
                let worst = worst(&whole, &found);
                prop_assert!(worst <= 1e-5, "{:?} {}: {:e}", name, loss.name(), worst);
                Ok(())
            };
            runner.run(&cut, law).unwrap();
        }
    }
}

#[test]
fn prefixes_that_are_shared_or_not_give_the_same_gradients() {
    let loss = PolicyGradientLoss::published();
    for policy in decoders() {
        let shared = off_policy(&policy);
        let mut alone = shared.clone();
        for sequence in &mut alone {
            let ids = sequence.prefix.iter().chain(&sequence.continuation);
            sequence.continuation = ids.copied().collect();
            sequence.prefix = [].into();
        }
        let trainer = trainer(policy, 1 << 20, false);
        let (shared, alone) = (
            gradients(&trainer, &shared, &loss),
            gradients(&trainer, &alone, &loss),
        );
        assert!(worst(&shared, &alone) <= 1e-5);
    }
}

fn teacher_trainer(policy: Decoder, config: &TeacherConfig) -> TeacherTrainer {
    let models = TeacherModels {
        policy,
        student: decoder_of(Family::Llama, true, 2).into(),
    };
    TeacherTrainer::new(models, task(), &problems(4, 0), &problems(2, 50), config).unwrap()
}

/// A run of whole steps, with sampling, scoring, updates, a reference that follows and held-out problems.
fn run(policy: &Decoder, config: &TeacherConfig) -> (Vec<(u64, Metrics)>, Samples, String) {
    let mut trainer = teacher_trainer(policy.clone(), config);
    let mut observers = (Recorder::default(), Samples::default());
    let report = trainer.run(&mut observers).unwrap();
    assert_eq!(report.steps.len(), 3);
    let looks: Vec<u64> = report.evaluations.iter().map(|e| e.step).collect();
    assert_eq!(looks, [0, 2, 3]);
    let hash = hash(&trainer.into_policy().unwrap());
    (observers.0.reproducible(), observers.1, hash)
}

#[test]
fn a_run_is_the_same_bit_for_bit_for_any_number_of_threads() {
    for policy in decoders() {
        let of_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| run(&policy, &config()))
        };
        let (metrics, samples, weights) = of_threads(1);
        assert_ne!(weights, hash(&policy));
        for threads in [2, 3, 5] {
            let found = of_threads(threads);
            assert_eq!(found.0, metrics, "{threads} threads");
            assert_eq!(found.1.0, samples.0, "{threads} threads");
            assert_eq!(found.2, weights, "{threads} threads");
        }
        let other_seed = TeacherConfig {
            seed: 8,
            ..config()
        };
        assert_ne!(run(&policy, &other_seed).0, metrics, "the seed matters");
    }
}

/// The log-probs of the trained tokens as the scoring engine computes them.
fn scored(policy: &Decoder, all: &[TrainingSequence], max_batch_tokens: usize) -> Vec<Vec<f32>> {
    let engine = EngineConfig {
        max_batch_tokens: max_batch_tokens.try_into().unwrap(),
        ..EngineConfig::default()
    };
    let requests: Vec<ScoreRequest> = all
        .iter()
        .map(|s| ScoreRequest {
            prefix: s.prefix.clone(),
            continuation: s.continuation.clone(),
            spans: vec![s.trained],
            temperature: OPTIONS.temperature,
        })
        .collect();
    let scores = LocalEngine::new(policy.clone(), engine)
        .score(&requests)
        .unwrap();
    scores
        .into_iter()
        .map(|mut spans| spans.remove(0).into_values())
        .collect()
}

#[test]
fn scoring_and_training_compute_the_same_log_probs_bit_for_bit() {
    let on_policy = PolicyGradientConfig::default().resolve().unwrap();
    let clipped = PolicyGradientConfig {
        surrogate: SurrogateConfig::clipped(0.2),
        ..PolicyGradientConfig::default()
    };
    let clipped = clipped.resolve().unwrap();
    let mut policies = decoders();
    policies.push(adapted(&policies[0]));
    for policy in policies {
        let mut all = sequences();
        for tokens in [1 << 20, 60, 25] {
            let old = scored(&policy, &all, tokens);
            for (sequence, old) in all.iter_mut().zip(&old) {
                sequence.old_log_probs = Some(old.clone());
            }
            let refs: Vec<&TrainingSequence> = all.iter().collect();
            for again in [false, true] {
                let trainer = trainer(policy.clone(), tokens, again);
                let (plain, report) = trainer.gradients(&refs, &on_policy).unwrap();
                for (values, old) in report.values.iter().zip(&old) {
                    assert_eq!(&values.log_probs, old, "{:?}", policy.config().family);
                }
                // So every ratio is 1 and no token is clipped, without a gradient held back anywhere.
                let (with_ratios, report) = trainer.gradients(&refs, &clipped).unwrap();
                assert_eq!(report.loss_metrics.get("loss/clip"), Some(0.0));
                for path in plain.paths() {
                    assert_eq!(
                        plain.read(path).unwrap(),
                        with_ratios.read(path).unwrap(),
                        "{path}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_divergence_from_the_reference_is_exactly_0_before_the_first_update() {
    let config = TeacherConfig {
        reference_mixing: None,
        ..config()
    };
    for policy in decoders() {
        let mut trainer = teacher_trainer(policy, &config);
        let first = trainer.step(&mut ()).unwrap();
        assert_eq!(first.get("kl"), Some(0.0));
        let second = trainer.step(&mut ()).unwrap();
        assert!(second.get("kl").unwrap() > 0.0);
        // Sampling and training compute the same numbers in another way.
        for metrics in [first, second] {
            let gap = metrics.get("sampling/logp_diff_max").unwrap();
            assert!(gap < 1e-4, "{gap:e}");
        }
    }
}

#[test]
fn every_trained_tensor_has_a_gradient() {
    for policy in decoders() {
        let all = off_policy(&policy);
        for (policy, adapter) in [(policy.clone(), false), (adapted(&policy), true)] {
            let expected: Vec<String> = policy
                .parameter_paths()
                .into_iter()
                .filter(|path| !adapter || path.contains(".lora_"))
                .collect();
            for loss in losses() {
                let found = gradients(&trainer(policy.clone(), 60, false), &all, &*loss);
                assert_eq!(found.len(), expected.len());
                for path in &expected {
                    let gradient = found.read(path).unwrap();
                    let gradient = values(path, &gradient).unwrap();
                    let some = gradient.iter().any(|g| *g != 0.0);
                    assert!(some, "{:?} {path} {}", policy.config().family, loss.name());
                }
            }
        }
    }
}

/// Freezes all but the tensors that `trained` names.
struct Freeze(fn(&str) -> bool);

impl ParameterMapper for Freeze {
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trained = (self.0)(path);
        parameter.set_require_grad(trained)
    }
}

#[test]
fn what_is_frozen_stays_as_it_is_bit_for_bit() {
    let all = sequences();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    let decay = AdamWConfig {
        weight_decay: 0.1,
        ..AdamWConfig::default()
    };
    let parts: [fn(&str) -> bool; 3] = [
        |path| path.contains("layers.1."),
        |path| path.contains("embed_tokens") || path.contains("lm_head"),
        |path| path.contains("norm"),
    ];
    for policy in decoders() {
        for trained in parts {
            for recompute_layers in [false, true] {
                let options = StepOptions {
                    recompute_layers,
                    ..OPTIONS
                };
                let policy = policy.clone().map_parameters(&mut Freeze(trained));
                let before = weights(&policy);
                let mut trainer = Trainer::new(policy, decay, options).unwrap();
                for _ in 0..2 {
                    trainer
                        .step(&refs, &PolicyGradientLoss::published(), 1e-2)
                        .unwrap();
                }
                for ((path, old), (_, new)) in before.iter().zip(weights(trainer.policy().unwrap()))
                {
                    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(old) != bits(&new), trained(path), "{path}");
                }
            }
        }
    }
}
