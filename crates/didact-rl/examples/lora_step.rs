//! Times the step of a teacher's training on a decoder of SmolLM2-135M's sizes, whole or with an adapter, and
//! prints the process's peak memory: `lora_step full`, `lora_step 16`, `lora_step 16 recompute`. With `own` as
//! the last argument the student is a model of its own, else the policy as it began.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use didact_core::{Generate, GenerateRequest, Sampling, Score, ScoreRequest, Span, StreamKey};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family, LoraConfig};
use didact_rl::config::ReferenceRule;
use didact_rl::loss::PolicyGradientLoss;
use didact_rl::{AdamWConfig, ReferencePolicy, StepOptions, Trainer, TrainingSequence};

const SAMPLES: u64 = 8;
const PROMPT: u32 = 64;
const COMPLETION: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let rank = arguments.next().and_then(|rank| rank.parse::<usize>().ok());
    let options: Vec<String> = arguments.collect();
    let is_set = |word: &str| options.iter().any(|option| option == word);
    let (recompute_layers, own) = (is_set("recompute"), is_set("own"));
    let mut sizes = DecoderOptions::new(Family::Llama, 49_152, 576, 1536, 30, 9);
    sizes.num_key_value_heads = 3;
    sizes.tie_word_embeddings = true;
    let config = DecoderConfig::new(sizes)?;
    let mut policy = Decoder::init(&config, 1, &Device::flex().autodiff());
    if let Some(rank) = rank {
        policy = policy.with_adapter(&LoraConfig::new(rank, 2.0 * rank as f64), 1)?;
    }
    let student = if own {
        Decoder::init(&config, 2, &Device::flex())
    } else {
        policy.without_adapter()
    };
    let mut student = LocalEngine::new(student, EngineConfig::default());
    let options = StepOptions {
        temperature: 1.0,
        max_grad_norm: 1.0,
        micro_batch_tokens: 1024,
        recompute_layers,
    };
    let mut trainer = Trainer::new(policy, AdamWConfig::default(), options)?;
    let mut engine = LocalEngine::new(trainer.policy()?.clone(), EngineConfig::default());
    let mut reference = ReferencePolicy::new(
        trainer.policy()?,
        ReferenceRule::Fixed,
        EngineConfig::default(),
    )?;
    let prompt: Arc<[u32]> = (0..PROMPT).map(|i| (i * 7919) % 49_152).collect();
    for step in 0..3 {
        let begin = Instant::now();
        let requests: Vec<GenerateRequest> = (0..SAMPLES)
            .map(|sample| GenerateRequest {
                prompt: prompt.clone(),
                sampling: Sampling::new(1.0, COMPLETION),
                stream: StreamKey {
                    run_seed: 1,
                    step,
                    problem: 0,
                    sample,
                }
                .stream(),
            })
            .collect();
        let completions = engine.generate(&requests)?;
        let generated = begin.elapsed().as_secs_f64();
        let scored: Vec<ScoreRequest> = completions
            .iter()
            .map(|completion| ScoreRequest {
                prefix: prompt.clone(),
                continuation: completion.ids.clone(),
                spans: vec![Span::new(prompt.len(), prompt.len() + completion.ids.len())],
                temperature: 1.0,
            })
            .collect();
        engine.score(&scored)?;
        student.score(&scored)?;
        let by_reference = reference.score(&scored)?;
        let scores = begin.elapsed().as_secs_f64();
        let sequences: Vec<TrainingSequence> = scored
            .into_iter()
            .zip(by_reference)
            .enumerate()
            .map(|(index, (request, mut reference))| TrainingSequence {
                id: format!("sample {index}"),
                trained: request.spans[0],
                prefix: request.prefix,
                continuation: request.continuation,
                advantage: (index as f64 - 3.5).into(),
                old_log_probs: None,
                reference_log_probs: Some(reference.remove(0).into_values()),
                sampling_log_probs: None,
            })
            .collect();
        let chosen: Vec<&TrainingSequence> = sequences.iter().collect();
        engine.update_weights(reference.decoder().clone(), 0);
        let report = trainer.step(&chosen, &PolicyGradientLoss::published(), 1e-5)?;
        engine.update_weights(trainer.policy()?.clone(), trainer.updates());
        let whole = begin.elapsed().as_secs_f64();
        println!(
            "step {step}: {whole:.2} s, of which generation {generated:.2}, scores {:.2}, update {:.2}; loss {:.6}",
            scores - generated,
            whole - scores,
            report.loss
        );
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    if let Some(line) = status.lines().find(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
    Ok(())
}
