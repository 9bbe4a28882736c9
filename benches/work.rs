//! Scoring, generation, the update and its optimizer, whole, on a decoder of SmolLM2-135M's sizes.
//!
//! The weights are random: nothing is downloaded, and time does not depend on what they are.
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use didact_core::{
    Generate, GenerateRequest, RandomStream, Sampling, Score, ScoreRequest, Span, StreamKey,
    TokenId,
};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family};
use didact_rl::loss::SftLoss;
use didact_rl::optimizer::reference_update;
use didact_rl::{AdamWConfig, Optimizer, StepOptions, Trainer, TrainingSequence};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROMPT: usize = 300;
const COMPLETION: usize = 140;
const VOCABULARY: usize = 49_152;

fn decoder(device: &Device) -> Decoder {
    let mut options = DecoderOptions::new(Family::Llama, VOCABULARY, 576, 1536, 30, 9);
    options.num_key_value_heads = 3;
    options.tie_word_embeddings = true;
    let config = DecoderConfig::new(options).expect("SmolLM2's sizes belong together");
    Decoder::init(&config, 1, device)
}

fn ids(seed: u64, count: usize) -> Vec<TokenId> {
    let stream = RandomStream::new(seed);
    (0..count as u64)
        .map(|index| stream.below(index, VOCABULARY) as TokenId)
        .collect()
}

fn score(criterion: &mut Criterion) {
    let mut engine = LocalEngine::new(decoder(&Device::flex()), EngineConfig::default());
    let prefix: Arc<[TokenId]> = ids(0, PROMPT).into();
    let requests: Vec<ScoreRequest> = (1..=8)
        .map(|sample| ScoreRequest {
            prefix: prefix.clone(),
            continuation: ids(sample, COMPLETION),
            spans: vec![Span::new(PROMPT, PROMPT + COMPLETION)],
            temperature: 0.7,
        })
        .collect();
    let mut group = criterion.benchmark_group("scoring");
    group.sample_size(10);
    group.throughput(Throughput::Elements(8 * (PROMPT + COMPLETION) as u64));
    group.bench_function("8 sequences of 440 tokens, 300 shared", |bencher| {
        bencher.iter(|| engine.score(&requests).expect("well-formed requests"));
    });
    group.finish();
}

fn generate(criterion: &mut Criterion) {
    const TOKENS: usize = 16;
    let mut engine = LocalEngine::new(decoder(&Device::flex()), EngineConfig::default());
    let prompt: Arc<[TokenId]> = ids(0, PROMPT).into();
    let mut group = criterion.benchmark_group("generation");
    group.sample_size(10);
    for samples in [1, 16] {
        let requests: Vec<GenerateRequest> = (0..samples)
            .map(|sample| GenerateRequest {
                prompt: prompt.clone(),
                sampling: Sampling::new(0.7, TOKENS),
                stream: StreamKey {
                    run_seed: 0,
                    step: 0,
                    problem: 0,
                    sample,
                }
                .stream(),
            })
            .collect();
        group.throughput(Throughput::Elements(samples * TOKENS as u64));
        let name = format!("{samples} of {TOKENS} tokens after a prompt of {PROMPT}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| engine.generate(&requests).expect("well-formed requests"));
        });
    }
    group.finish();
}

fn update(criterion: &mut Criterion) {
    let prefix: Arc<[TokenId]> = ids(0, PROMPT).into();
    let sequences: Vec<TrainingSequence> = (1..=4)
        .map(|sample| TrainingSequence {
            id: format!("sequence {sample}"),
            prefix: prefix.clone(),
            continuation: ids(sample, COMPLETION),
            trained: Span::new(PROMPT, PROMPT + COMPLETION),
            advantage: 0.0.into(),
            old_log_probs: None,
            reference_log_probs: None,
            sampling_log_probs: None,
        })
        .collect();
    let sequences: Vec<&TrainingSequence> = sequences.iter().collect();
    let mut group = criterion.benchmark_group("update");
    group.sample_size(10);
    group.throughput(Throughput::Elements(4 * (PROMPT + COMPLETION) as u64));
    for (name, recompute_layers) in [("activations kept", false), ("layers computed again", true)] {
        let options = StepOptions {
            temperature: 1.0,
            max_grad_norm: 1.0,
            micro_batch_tokens: 4096,
            recompute_layers,
        };
        let policy = decoder(&Device::flex().autodiff());
        let mut trainer = Trainer::new(policy, AdamWConfig::default(), options)
            .expect("options that belong together");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                trainer
                    .step(&sequences, &SftLoss, 1e-9)
                    .expect("a finite step")
            });
        });
    }
    group.finish();
}

/// The gradients of one small backward pass, over and over; beside it, one matrix in plain tensor operations.
fn optimise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("AdamW");
    group.sample_size(10);
    let options = StepOptions {
        temperature: 1.0,
        max_grad_norm: 1.0,
        micro_batch_tokens: 4096,
        recompute_layers: false,
    };
    let config = AdamWConfig::default();
    let trainer = Trainer::new(decoder(&Device::flex().autodiff()), config, options)
        .expect("options that belong together");
    let sequence = TrainingSequence {
        id: "one".to_owned(),
        prefix: Arc::from([]),
        continuation: ids(1, 8),
        trained: Span::new(4, 8),
        advantage: 0.0.into(),
        old_log_probs: None,
        reference_log_probs: None,
        sampling_log_probs: None,
    };
    let (gradients, _) = trainer
        .gradients(&[&sequence], &SftLoss)
        .expect("a finite step");
    let parameters = trainer
        .policy()
        .expect("no update failed")
        .config()
        .parameter_count()
        .expect("a count that fits");
    let mut policy = trainer.into_policy().ok();
    let mut optimizer = Optimizer::new(config);
    group.throughput(Throughput::Elements(parameters));
    group.bench_function("fast, all 135M parameters", |bencher| {
        bencher.iter_batched(
            || gradients.clone(),
            |gradients| {
                let before = policy.take().expect("put back after every update");
                policy = optimizer.update(before, gradients, 1e-9).ok();
            },
            criterion::BatchSize::PerIteration,
        );
    });
    let matrix = || {
        let shape = [VOCABULARY, 576];
        Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    };
    let mut state = [matrix(), matrix().abs(), matrix().abs()];
    let gradient = matrix();
    group.throughput(Throughput::Elements(VOCABULARY as u64 * 576));
    group.bench_function("reference, the embedding's 28M parameters", |bencher| {
        bencher.iter(|| {
            let [parameter, first, second] = state.clone();
            state = reference_update(
                &config,
                10,
                1e-9,
                [parameter, gradient.clone(), first, second],
            );
        });
    });
    group.finish();
}

criterion_group!(benches, score, generate, update, optimise);
criterion_main!(benches);
