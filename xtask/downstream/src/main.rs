//! Uses the façade as a program of one's own does.

use didact::core::RandomStream;
use didact::engine::{EngineConfig, LocalEngine};
use didact::models::{Decoder, DecoderConfig, DecoderOptions, Family};
use didact::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = DecoderConfig::new(DecoderOptions::new(Family::Llama, 64, 16, 32, 2, 2))?;
    let decoder = Decoder::init(&config, 7, &Device::flex());
    let mut engine = LocalEngine::new(decoder, EngineConfig::default());
    let completions = engine.generate(&[GenerateRequest {
        prompt: [1, 2, 3].into(),
        sampling: Sampling::new(0.7, 5),
        stream: RandomStream::new(1),
    }])?;
    let reward = didact::reward::rlt().resolve()?;
    println!("{completions:?}; the reward reads {} scores", reward.requests().len());
    Ok(())
}
