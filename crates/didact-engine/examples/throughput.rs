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
use didact_models::Decoder;

const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("give the path of a GGUF file")?;
    let start = Instant::now();
    let decoder = Decoder::load_gguf(&Gguf::open(&path)?, &Device::flex())?;
    println!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    let vocabulary = decoder.config().vocab_size;
    let ids = |seed: u64, count: usize| -> Vec<TokenId> {
        let stream = RandomStream::new(seed);
        (0..count)
            .map(|i| stream.below(i as u64, vocabulary) as TokenId)
            .collect()
    };
    let mut engine = LocalEngine::new(decoder, EngineConfig::default());

    let prefix: Arc<[TokenId]> = ids(0, 300).into();
    let score: Vec<ScoreRequest> = (0..8)
        .map(|sample| ScoreRequest {
            prefix: prefix.clone(),
            continuation: ids(sample + 1, 140),
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

    let generate: Vec<GenerateRequest> = (0..16)
        .map(|sample| GenerateRequest {
            prompt: ids(100 + sample / 4, 150).into(),
            sampling: Sampling::new(0.7, 64),
            stream: StreamKey {
                run_seed: 0,
                step: 0,
                problem: sample / 4,
                sample,
            }
            .stream(),
        })
        .collect();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let completions = engine.generate(&generate)?;
        let seconds = start.elapsed().as_secs_f64();
        let tokens: usize = completions
            .iter()
            .map(|completion| completion.ids.len())
            .sum();
        println!(
            "generate: 16 completions of 64 tokens after 4 prompts of 150: {seconds:.2} s, \
             {:.0} tokens/s",
            tokens as f64 / seconds
        );
    }
    Ok(())
}
