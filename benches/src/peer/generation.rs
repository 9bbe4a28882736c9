//! Samples completions, prompts included in the time.

use std::sync::Arc;
use std::time::Instant;

use didact_core::{Completion, Generate as _, GenerateRequest, Sampling, StreamKey};
use didact_engine::LocalEngine;

use super::Answer;
use super::inputs::Generate;
use crate::Result;

/// All samples of all prompts side by side, or one of the first prompt. The check is the number of tokens.
pub(crate) fn generate(
    engine: &mut LocalEngine,
    inputs: &Generate,
    temperature: f64,
    batch: bool,
    seed: u64,
) -> Result<Answer> {
    let mut requests = requests(inputs, temperature, seed);
    if !batch {
        requests.truncate(1);
    }
    let begin = Instant::now();
    let completions = engine.generate(&requests)?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Answer {
        seconds,
        check: [("tokens", vec![tokens(&completions)])].into(),
        ..Answer::default()
    })
}

/// Every sample of every prompt, without truncation of the distribution and without a stop but the limit.
pub(crate) fn requests(inputs: &Generate, temperature: f64, seed: u64) -> Vec<GenerateRequest> {
    let sampling = Sampling::new(temperature, inputs.new_tokens);
    let mut requests = Vec::new();
    for (problem, prompt) in inputs.prompts.iter().enumerate() {
        let prompt: Arc<[u32]> = Arc::from(&prompt[..]);
        for sample in 0..inputs.samples {
            let key = StreamKey {
                run_seed: seed,
                step: 0,
                problem: problem as u64,
                sample: sample as u64,
            };
            requests.push(GenerateRequest {
                prompt: prompt.clone(),
                sampling: sampling.clone(),
                stream: key.stream(),
            });
        }
    }
    requests
}

pub(crate) fn tokens(completions: &[Completion]) -> f64 {
    completions
        .iter()
        .map(|completion| completion.ids.len())
        .sum::<usize>() as f64
}
