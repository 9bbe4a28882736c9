//! Times AdamW, Muon and a fine-tuning step on a decoder of SmolLM2-135M's sizes.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use didact_core::Span;
use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family};
use didact_rl::loss::SftLoss;
use didact_rl::{MuonConfig, Optimizer, OptimizerConfig, StepOptions, Trainer, TrainingSequence};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = DecoderOptions::new(Family::Llama, 49_152, 576, 1536, 30, 9);
    options.num_key_value_heads = 3;
    options.tie_word_embeddings = true;
    let config = DecoderConfig::new(options)?;
    let decoder = Decoder::init(&config, 1, &Device::flex().autodiff());
    println!("{:?} parameters", config.parameter_count());
    let options = StepOptions {
        temperature: 1.0,
        max_grad_norm: 1.0,
        micro_batch_tokens: 4096,
        recompute_layers: false,
    };
    let trainer = Trainer::new(decoder, OptimizerConfig::default(), options)?;
    let ids: Vec<u32> = (0..257).map(|i| (i * 7919) % 49_152).collect();
    let sequence = TrainingSequence {
        id: "one".to_owned(),
        prefix: Arc::from([]),
        trained: Span::new(129, 257),
        continuation: ids,
        advantage: 0.0.into(),
        old_log_probs: None,
        reference_log_probs: None,
        sampling_log_probs: None,
    };
    let begin = Instant::now();
    let (mut gradients, report) = trainer.gradients(&[&sequence], &SftLoss)?;
    println!(
        "forward and backward of 256 tokens: {:.2} s, loss {:.3}",
        begin.elapsed().as_secs_f64(),
        report.loss
    );
    let begin = Instant::now();
    gradients.clip(1.0)?;
    println!(
        "global norm and clip: {:.3} s",
        begin.elapsed().as_secs_f64()
    );
    let mut policy = trainer.into_policy()?;
    let mut optimizer = Optimizer::new(OptimizerConfig::default());
    let mut muon = Optimizer::new(MuonConfig::default());
    for what in ["first", "second"] {
        let same = gradients.clone();
        let begin = Instant::now();
        policy = muon.update(policy, same, 1e-6)?;
        println!("Muon, {what}: {:.3} s", begin.elapsed().as_secs_f64());
    }
    drop(muon);
    for (what, kept) in [
        ("first", false),
        ("second", false),
        ("while a snapshot lives", true),
    ] {
        let snapshot = kept.then(|| policy.clone());
        let same = gradients.clone();
        let begin = Instant::now();
        policy = optimizer.update(policy, same, 1e-6)?;
        println!("AdamW, {what}: {:.3} s", begin.elapsed().as_secs_f64());
        drop(snapshot);
    }
    Ok(())
}
