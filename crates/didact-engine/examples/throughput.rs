//! Measures how many tokens a second an engine scores and generates, on a model of one's own.
//!
//! ```text
//! cargo run --release -p didact-engine --example throughput -- MODEL.gguf
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use didact_core::{
    Generate, GenerateRequest, RandomStream, Sampling, Score, ScoreRequest, Span, StreamKey,
    TokenId,
};
use didact_engine::{EngineConfig, LocalEngine};
use didact_gguf::Gguf;
use didact_models::{Decoder, WeightPrecision};

/// Tensors come and go at every operation; the system's allocator hands their pages back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("give the path of a GGUF file")?;
    let start = Instant::now();
    let decoder = Decoder::load_gguf(&Gguf::open(&path)?, &Device::flex())?;
    println!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    let vocabulary = decoder.config().vocab_size;
    let mut engine = LocalEngine::new(decoder.clone(), EngineConfig::default());
    let mut rounded = LocalEngine::new(
        decoder,
        EngineConfig {
            decoding_weights: WeightPrecision::Bf16,
            ..EngineConfig::default()
        },
    );

    let prefix: Arc<[TokenId]> = ids(0, 300, vocabulary).into();
    let score: Vec<ScoreRequest> = (0..8)
        .map(|sample| ScoreRequest {
            prefix: prefix.clone(),
            continuation: ids(sample + 1, 140, vocabulary),
            spans: vec![Span::new(300, 440)],
            temperature: 0.7,
        })
        .collect();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        engine.score(&score)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "score: 8 sequences of 440 tokens, 300 shared: {seconds:.2} s, {:.0} tokens/s, \
             {:.0} without counting shared ones again",
            3520.0 / seconds,
            1420.0 / seconds,
        );
    }

    let groups = requests(16, 4, 150, vocabulary);
    let one = requests(1, 1, 300, vocabulary);
    for _ in 0..ROUNDS {
        generate(
            &mut engine,
            "16 completions of 64 tokens after 4 prompts of 150",
            &groups,
        )?;
    }
    for _ in 0..ROUNDS {
        let what = "1 completion of 64 tokens after a prompt of 300";
        generate(&mut engine, what, &one)?;
        generate(&mut rounded, &format!("{what}, bf16 weights"), &one)?;
    }
    Ok(())
}

fn ids(seed: u64, count: usize, vocabulary: usize) -> Vec<TokenId> {
    let stream = RandomStream::new(seed);
    (0..count as u64)
        .map(|i| stream.below(i, vocabulary) as TokenId)
        .collect()
}

/// `count` completions of 64 tokens, groups of them after each of `prompts` prompts.
fn requests(count: u64, prompts: u64, length: usize, vocabulary: usize) -> Vec<GenerateRequest> {
    let request = |sample| {
        let problem = sample * prompts / count;
        let key = StreamKey {
            run_seed: 0,
            step: 0,
            problem,
            sample,
        };
        GenerateRequest {
            prompt: ids(100 + problem, length, vocabulary).into(),
            sampling: Sampling::new(0.7, 64),
            stream: key.stream(),
        }
    };
    (0..count).map(request).collect()
}

fn generate(
    engine: &mut LocalEngine,
    what: &str,
    requests: &[GenerateRequest],
) -> didact_core::Result<()> {
    let start = Instant::now();
    engine.generate(requests)?;
    let seconds = start.elapsed().as_secs_f64();
    let report = engine.last_generation();
    println!(
        "generate: {what}: {seconds:.2} s, {:.0} tokens/s; {} tokens read, {} decoding steps, {:.0} MiB of \
         keys and values",
        report.sampled_tokens as f64 / seconds,
        report.read_tokens,
        report.decoding_steps,
        (report.peak_pages as u64 * report.page_bytes) as f64 / f64::from(1 << 20),
    );
    Ok(())
}
