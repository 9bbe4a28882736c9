//! Generation with the cache agrees with running everything again, alone or in company.

mod common;

use std::sync::Arc;

use burn::tensor::FloatDType;
use common::{
    CONTEXT, TOLERANCE, VOCABULARY, decoder, plain_greedy, plain_log_softmax, positive, prompt,
    stream,
};
use didact_core::{
    Completion, Error, Generate, GenerateRequest, Sampling, Score, ScoreRequest, Span, StopReason,
    TokenBytes, TokenId,
};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::Family;

fn engine(family: Family, max_batch: usize) -> LocalEngine {
    let config = EngineConfig {
        max_batch: positive(max_batch),
        ..EngineConfig::default()
    };
    LocalEngine::new(decoder(family, 5), config)
}

/// Groups over three prompts, with different settings and lengths.
fn requests() -> Vec<GenerateRequest> {
    let prompts = [
        prompt(&[5, 6, 7, 8, 9, 10]),
        prompt(&[11]),
        prompt(&[12, 13, 14]),
    ];
    (0..11)
        .map(|sample| GenerateRequest {
            prompt: prompts[sample % 3].clone(),
            sampling: Sampling {
                top_p: if sample % 2 == 0 { 1.0 } else { 0.9 },
                top_k: if sample % 4 == 1 { 20 } else { 0 },
                ..Sampling::new(0.5 + 0.1 * sample as f64, 3 + sample)
            }
            .with_stop_tokens([1, 2, 3]),
            stream: stream(sample as u64),
        })
        .collect()
}

#[test]
fn greedy_with_the_cache_is_greedy_without() {
    for family in Family::ALL {
        let mut engine = engine(family, 2);
        let prompts: [&[TokenId]; 4] = [&[5, 6, 7], &[8], &[5, 6, 7], &[9, 10, 11, 12, 13]];
        let requests: Vec<GenerateRequest> = prompts
            .iter()
            .map(|ids| GenerateRequest {
                prompt: prompt(ids),
                sampling: Sampling::greedy(12),
                stream: stream(0),
            })
            .collect();
        for (completion, ids) in engine.generate(&requests).unwrap().iter().zip(prompts) {
            assert_eq!(
                completion.ids,
                plain_greedy(engine.decoder(), ids, 12),
                "{family:?}"
            );
            assert_eq!(completion.stop, StopReason::MaxTokens);
        }
    }
}

/// Samples and compares every log-prob with what scoring gives.
fn assert_scored_as_sampled(name: &str, engine: &mut LocalEngine, tolerance: f32) {
    let requests = requests();
    let completions = engine.generate(&requests).unwrap();
    let scored: Vec<ScoreRequest> = requests
        .iter()
        .zip(&completions)
        .map(|(request, completion)| {
            let start = request.prompt.len();
            ScoreRequest {
                prefix: request.prompt.clone(),
                continuation: completion.ids.clone(),
                spans: vec![Span::new(start, start + completion.ids.len())],
                temperature: request.sampling.temperature,
            }
        })
        .collect();
    for (score, completion) in engine.score(&scored).unwrap().iter().zip(&completions) {
        assert_eq!(score[0].len(), completion.sampling_log_probs.len());
        for (score, sampled) in score[0].values().iter().zip(&completion.sampling_log_probs) {
            assert!(
                (score - sampled).abs() <= tolerance,
                "{name} {score} {sampled}"
            );
        }
    }
}

#[test]
fn sampling_log_probs_are_the_scores_of_the_sampled_ids() {
    for family in Family::ALL {
        let mut engine = engine(family, 4);
        assert_scored_as_sampled(&format!("{family:?}"), &mut engine, TOLERANCE);
    }
}

/// Prompts are read and scored in the weights' precision, and decoded with rows of f32.
#[test]
fn weights_of_half_precision_sample_too() {
    for family in Family::ALL {
        let half = decoder(family, 5).cast(FloatDType::BF16);
        let mut engine = LocalEngine::new(half, EngineConfig::default());
        assert_scored_as_sampled(&format!("{family:?}"), &mut engine, 0.1);
    }
}

#[test]
fn greedy_log_probs_are_taken_at_temperature_one() {
    let mut engine = engine(Family::Qwen3, 4);
    let request = GenerateRequest {
        prompt: prompt(&[5, 6]),
        sampling: Sampling::greedy(4),
        stream: stream(0),
    };
    let completion = engine.generate(&[request]).unwrap().remove(0);
    let ids: Vec<TokenId> = [5, 6]
        .into_iter()
        .chain(completion.ids.iter().copied())
        .collect();
    let rows = plain_log_softmax(engine.decoder(), &ids, 1.0);
    for (index, (&id, &found)) in completion
        .ids
        .iter()
        .zip(&completion.sampling_log_probs)
        .enumerate()
    {
        assert!((rows[index + 1][id as usize] - found).abs() <= TOLERANCE);
    }
}

#[test]
fn a_completion_does_not_depend_on_its_company() {
    let requests = requests();
    let together = engine(Family::Qwen2, 64).generate(&requests).unwrap();
    let again = engine(Family::Qwen2, 64).generate(&requests).unwrap();
    assert_eq!(together, again);
    for max_batch in [1, 2, 3] {
        let few = engine(Family::Qwen2, max_batch)
            .generate(&requests)
            .unwrap();
        assert_eq!(together, few, "max_batch {max_batch}");
    }
    let mut alone = engine(Family::Qwen2, 64);
    for (request, expected) in requests.into_iter().zip(together) {
        assert_eq!(alone.generate(&[request]).unwrap(), [expected]);
    }
}

#[test]
fn nothing_is_asked_nothing_is_answered() {
    assert_eq!(engine(Family::Llama, 4).generate(&[]).unwrap(), []);
    assert_eq!(
        engine(Family::Llama, 4).score(&[]).unwrap(),
        Vec::<Vec<_>>::new()
    );
}

/// Token `i` stands for the two letters of `i` in base 26.
struct Letters(Vec<Vec<u8>>);

impl Letters {
    fn new() -> Arc<Self> {
        let letter = |digit: usize| b'a' + digit as u8;
        Arc::new(Self(
            (0..VOCABULARY)
                .map(|i| vec![letter(i / 26), letter(i % 26)])
                .collect(),
        ))
    }
}

impl TokenBytes for Letters {
    fn token_bytes(&self, id: TokenId) -> &[u8] {
        &self.0[id as usize]
    }

    fn is_special(&self, _id: TokenId) -> bool {
        false
    }
}

#[test]
fn completions_end_where_they_should() {
    let mut engine = engine(Family::Llama, 4).with_token_bytes(Letters::new());
    engine.update_weights(decoder(Family::Llama, 5), 17);
    let mut run = |sampling: Sampling| -> Completion {
        let prompt = prompt(&[5, 6, 7]);
        engine
            .generate(&[GenerateRequest {
                prompt,
                sampling,
                stream: stream(4),
            }])
            .unwrap()
            .remove(0)
    };
    let free = run(Sampling::new(1.0, 10));
    assert_eq!(
        (free.ids.len(), free.stop, free.policy_version),
        (10, StopReason::MaxTokens, 17)
    );

    // The context holds 48 tokens, of which the prompt takes three.
    let full = run(Sampling::new(1.0, 100));
    assert_eq!(
        (full.ids.len(), full.stop),
        (CONTEXT - 3, StopReason::ContextFull)
    );
    assert_eq!(full.ids[..10], free.ids);

    let end = free.ids[4];
    let first = free.ids.iter().position(|&id| id == end).unwrap();
    let stopped = run(Sampling::new(1.0, 10).with_stop_tokens([end]));
    assert_eq!(stopped.stop, StopReason::StopToken);
    assert_eq!(stopped.ids, free.ids[..=first], "the stop token is kept");

    // A string across the border of the sixth and seventh token.
    let letters = Letters::new();
    let across = [
        letters.token_bytes(free.ids[5])[1],
        letters.token_bytes(free.ids[6])[0],
    ];
    let across = String::from_utf8(across.to_vec()).unwrap();
    let stopped = run(Sampling::new(1.0, 10).with_stop_strings([across.clone()]));
    assert_eq!(stopped.stop, StopReason::StopString);
    let text = String::from_utf8(letters.bytes_of(&stopped.ids)).unwrap();
    let before =
        String::from_utf8(letters.bytes_of(&stopped.ids[..stopped.ids.len() - 1])).unwrap();
    assert!(text.contains(&across) && !before.contains(&across));
}

#[test]
fn what_cannot_be_sampled_is_named() {
    let mut engine = engine(Family::Llama, 4);
    let fine = requests().swap_remove(0);
    let mut error = |bad: GenerateRequest| {
        let found = engine.generate(&[fine.clone(), bad]).unwrap_err();
        assert!(found.to_string().contains("generate request 1"), "{found}");
        found
    };
    let with = |sampling: Sampling| GenerateRequest {
        sampling,
        ..fine.clone()
    };
    let asks = |ids: &[TokenId]| GenerateRequest {
        prompt: prompt(ids),
        ..fine.clone()
    };

    assert!(matches!(error(asks(&[])), Error::InvalidRequest { .. }));
    assert!(matches!(
        error(asks(&[4, 99])),
        Error::UnknownToken { id: 99, .. }
    ));
    assert!(matches!(
        error(asks(&[4; CONTEXT])),
        Error::ContextOverflow { .. }
    ));
    assert!(matches!(
        error(with(Sampling::new(-1.0, 3))),
        Error::InvalidRequest { .. }
    ));
    assert!(matches!(
        error(with(Sampling::new(1.0, 0))),
        Error::InvalidRequest { .. }
    ));
    let strings = Sampling::new(1.0, 3).with_stop_strings(["a".to_owned()]);
    assert!(matches!(error(with(strings)), Error::InvalidRequest { .. }));
}
