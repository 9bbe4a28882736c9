//! Generation agrees with one plain forward pass a completion, whatever the batch, the pages, the parts in
//! which prompts are read, the order of the requests and the room for keys and values.

mod common;

use std::sync::Arc;

use common::{
    TOLERANCE, VOCABULARY, assert_plain, decoder, decoder_of_width, plain_log_softmax, positive,
    prompt, stream,
};
use didact_core::{
    Completion, Error, Generate, GenerateRequest, RandomStream, Sampling, StopReason, TokenId,
};
use didact_engine::{EngineConfig, GenerationReport, LocalEngine};
use didact_models::{Family, WeightPrecision};

/// Bytes of one token's keys and values: two layers, two heads of ten.
const SLOT_BYTES: u64 = 2 * 2 * 2 * 10 * 4;

fn ids(seed: u64, count: usize) -> Arc<[TokenId]> {
    let random = RandomStream::new(seed);
    let ids: Vec<TokenId> = (0..count as u64)
        .map(|i| random.below(i, VOCABULARY) as TokenId)
        .collect();
    prompt(&ids)
}

/// Groups after prompts of one token, of a few and of many, at several temperatures; of 18 tokens at most.
fn requests() -> Vec<GenerateRequest> {
    let prompts = [ids(1, 19), ids(2, 1), ids(3, 7), ids(4, 16)];
    let temperatures = [0.0, 0.6, 1.0, 1.4, 0.9];
    (0..12)
        .map(|sample| GenerateRequest {
            prompt: prompts[sample % 4].clone(),
            sampling: Sampling::new(temperatures[sample % 5], [18, 3, 11, 1, 17][sample % 5])
                .with_stop_tokens([1, 2]),
            stream: stream(sample as u64),
        })
        .collect()
}

fn generate(
    family: Family,
    config: EngineConfig,
    requests: &[GenerateRequest],
) -> (Vec<Completion>, GenerationReport) {
    let mut engine = LocalEngine::new(decoder(family, 5), config);
    let completions = engine.generate(requests).unwrap();
    (completions, engine.last_generation())
}

#[test]
fn completions_are_plain_whatever_the_engine_computes_at_once() {
    for family in Family::ALL {
        let decoder = decoder(family, 5);
        for (max_batch, page_tokens, prefill_chunk, max_batch_tokens) in [
            (64, 16, 2048, 4096),
            (1, 16, 2048, 4096),
            (3, 1, 1, 4096),
            (64, 3, 7, 20),
            (5, 3, 1, 1),
            (2, 1, 2048, 20),
            (12, 16, 7, 4096),
        ] {
            let config = EngineConfig {
                max_batch: positive(max_batch),
                page_tokens: positive(page_tokens),
                prefill_chunk: positive(prefill_chunk),
                max_batch_tokens: positive(max_batch_tokens),
                ..EngineConfig::default()
            };
            let requests = requests();
            let (completions, report) = generate(family, config, &requests);
            assert_eq!(completions.len(), requests.len());
            for (request, completion) in requests.iter().zip(&completions) {
                assert_plain(&decoder, request, completion);
            }
            assert_eq!(report.pre_emptions, 0);
            // Each prompt once.
            assert_eq!(report.read_tokens, 19 + 1 + 7 + 16);
            let sampled: usize = completions.iter().map(|c| c.ids.len()).sum();
            assert_eq!(report.sampled_tokens, sampled);
        }
    }
}

#[test]
fn completions_are_plain_when_sequences_make_room_for_others() {
    for family in Family::ALL {
        let decoder = decoder(family, 5);
        let requests = requests();
        let (roomy, _) = generate(family, EngineConfig::default(), &requests);
        for (page_tokens, prefill_chunk) in [(1, 7), (3, 2048), (4, 1)] {
            // The longest request alone: a prompt of 19 tokens and 17 more that are read again.
            let pages = 19_usize.div_ceil(page_tokens) + 17_usize.div_ceil(page_tokens);
            let config = EngineConfig {
                page_tokens: positive(page_tokens),
                prefill_chunk: positive(prefill_chunk),
                cache_bytes: (pages * page_tokens) as u64 * SLOT_BYTES,
                ..EngineConfig::default()
            };
            let (completions, report) = generate(family, config, &requests);
            assert!(report.pre_emptions > 0, "{report:?}");
            assert!(report.peak_pages <= pages, "{report:?}");
            assert_eq!(report.page_bytes, page_tokens as u64 * SLOT_BYTES);
            for (request, completion) in requests.iter().zip(&completions) {
                assert_plain(&decoder, request, completion);
            }
            // None of these draws is near a boundary.
            for (completion, expected) in completions.iter().zip(&roomy) {
                assert_eq!(completion.ids, expected.ids);
            }
        }
    }
}

#[test]
fn a_completion_does_not_depend_on_the_order_or_the_pages() {
    let requests = requests();
    let (expected, _) = generate(Family::Qwen3, EngineConfig::default(), &requests);
    let mut orders: Vec<Vec<usize>> = vec![(0..12).rev().collect()];
    orders.extend((0..3).map(|seed| RandomStream::new(seed).permutation(12)));
    for order in orders {
        for (max_batch, page_tokens) in [(64, 1), (4, 3), (1, 5)] {
            let config = EngineConfig {
                max_batch: positive(max_batch),
                page_tokens: positive(page_tokens),
                ..EngineConfig::default()
            };
            let shuffled: Vec<_> = order.iter().map(|&r| requests[r].clone()).collect();
            let (completions, _) = generate(Family::Qwen3, config, &shuffled);
            for (&request, completion) in order.iter().zip(&completions) {
                assert_eq!(completion, &expected[request], "bit for bit");
            }
        }
    }
}

#[test]
fn a_completion_does_not_depend_on_what_is_read_beside_it() {
    let requests = requests();
    for prefill_chunk in [1, 2, 3] {
        let config = EngineConfig {
            prefill_chunk: positive(prefill_chunk),
            ..EngineConfig::default()
        };
        let (together, _) = generate(Family::Llama, config.clone(), &requests);
        for (request, expected) in requests.iter().zip(together) {
            let (alone, _) = generate(Family::Llama, config.clone(), std::slice::from_ref(request));
            assert_eq!(alone, [expected]);
        }
    }
}

/// A lone row is where matrix products may take another path; here at a width that fills their kernels.
#[test]
fn a_prompt_of_one_token_does_not_depend_on_its_company() {
    let mut engine = LocalEngine::new(
        decoder_of_width(Family::Llama, 5, 300),
        EngineConfig::default(),
    );
    let requests = requests();
    let together = engine.generate(&requests).unwrap();
    let lone = requests.iter().position(|r| r.prompt.len() == 1).unwrap();
    let alone = engine.generate(&requests[lone..=lone]).unwrap();
    assert_eq!(alone[0], together[lone]);
}

#[test]
fn a_completion_does_not_depend_on_the_number_of_threads() {
    let run = |threads: usize, precision: WeightPrecision| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let config = EngineConfig {
            prefill_chunk: positive(7),
            decoding_weights: precision,
            ..EngineConfig::default()
        };
        pool.install(|| generate(Family::Llama, config, &requests()))
    };
    for precision in [WeightPrecision::Exact, WeightPrecision::Bf16] {
        let one = run(1, precision);
        for threads in [2, 3, 5] {
            assert_eq!(run(threads, precision), one);
        }
    }
}

#[test]
fn a_group_holds_its_prompt_once_and_gives_everything_back() {
    let group: Vec<GenerateRequest> = (0..6)
        .map(|sample| GenerateRequest {
            prompt: ids(7, 18),
            sampling: Sampling::new(1.0, 9),
            stream: stream(sample),
        })
        .collect();
    let config = EngineConfig {
        page_tokens: positive(4),
        max_batch: positive(4),
        ..EngineConfig::default()
    };
    let (_, report) = generate(Family::Llama, config.clone(), &group);
    // Five pages of the prompt; of each of four sequences two, for all tokens but the last.
    assert_eq!(report.peak_pages, 5 + 4 * 2);
    assert_eq!(report.read_tokens, 18);
    assert_eq!((report.sampled_tokens, report.decoding_steps), (54, 16));

    // Exactly as much as that is a budget in which nobody has to make room.
    let config = EngineConfig {
        cache_bytes: 13 * 4 * SLOT_BYTES,
        ..config
    };
    let (_, enough) = generate(Family::Llama, config, &group);
    assert_eq!(enough, report);
}

#[test]
fn one_token_needs_no_room_of_its_own() {
    let request = GenerateRequest {
        prompt: ids(7, 18),
        sampling: Sampling::new(1.0, 1),
        stream: stream(0),
    };
    let config = EngineConfig {
        page_tokens: positive(3),
        cache_bytes: 18 * SLOT_BYTES,
        ..EngineConfig::default()
    };
    let (completions, report) = generate(Family::Llama, config, &[request.clone(), request]);
    assert!(completions.iter().all(|c| c.ids.len() == 1));
    assert_eq!((report.peak_pages, report.decoding_steps), (6, 0));
}

#[test]
fn a_request_that_could_not_run_alone_is_refused_before_anything_runs() {
    let request = |tokens: usize| GenerateRequest {
        prompt: ids(7, 18),
        sampling: Sampling::new(1.0, tokens),
        stream: stream(0),
    };
    let engine = |cache_bytes: u64| {
        let config = EngineConfig {
            cache_bytes,
            page_tokens: positive(4),
            ..EngineConfig::default()
        };
        LocalEngine::new(decoder(Family::Llama, 5), config)
    };
    // Five pages of the prompt and three for the eleven tokens that are read.
    let budget = 8 * 4 * SLOT_BYTES;
    assert!(engine(budget).generate(&[request(12), request(12)]).is_ok());

    let mut small = engine(budget - 1);
    let refused = small.generate(&[request(2), request(12)]).unwrap_err();
    let Error::Other(inner) = &refused else {
        panic!("{refused}");
    };
    assert_eq!(
        inner.downcast_ref::<didact_engine::Error>(),
        Some(&didact_engine::Error::CacheTooSmall {
            what: "generate request 1".to_owned(),
            tokens: 32,
            needed: budget,
            budget: budget - 1,
            holds: 28,
        })
    );
    assert_eq!(small.last_generation(), GenerationReport::default());

    // The context of 48 tokens bounds what may be asked: eight pages for 29 tokens.
    let unbounded = request(usize::MAX);
    assert!(
        engine(13 * 4 * SLOT_BYTES)
            .generate(std::slice::from_ref(&unbounded))
            .is_ok()
    );
    assert!(
        engine(13 * 4 * SLOT_BYTES - 1)
            .generate(&[unbounded])
            .is_err()
    );
    assert!(engine(0).generate(&[]).is_ok());
    assert!(engine(0).generate(&[request(1)]).is_err());
}

#[test]
fn decoding_in_bf16_is_close_and_never_the_default() {
    assert_eq!(
        EngineConfig::default().decoding_weights,
        WeightPrecision::Exact
    );
    let requests = requests();
    let config = EngineConfig {
        decoding_weights: WeightPrecision::Bf16,
        ..EngineConfig::default()
    };
    for family in Family::ALL {
        let decoder = decoder(family, 5);
        let (completions, _) = generate(family, config.clone(), &requests);
        let mut largest: f32 = 0.0;
        for (request, completion) in requests.iter().zip(&completions) {
            let ids = [&request.prompt[..], &completion.ids].concat();
            let temperature = request.sampling.temperature;
            let temperature = if temperature > 0.0 { temperature } else { 1.0 };
            let rows = plain_log_softmax(&decoder, &ids, temperature);
            for (token, found) in completion.sampling_log_probs.iter().enumerate() {
                let row = &rows[request.prompt.len() - 1 + token];
                largest = largest.max((row[completion.ids[token] as usize] - found).abs());
            }
        }
        assert!(
            largest < 0.05 && largest > TOLERANCE,
            "{family:?} {largest}"
        );
    }
}

#[test]
fn new_weights_are_decoded_with() {
    let requests = requests();
    for precision in [WeightPrecision::Exact, WeightPrecision::Bf16] {
        let config = EngineConfig {
            decoding_weights: precision,
            ..EngineConfig::default()
        };
        let mut engine = LocalEngine::new(decoder(Family::Qwen2, 5), config.clone());
        let before = engine.generate(&requests).unwrap();
        engine.update_weights(decoder(Family::Qwen2, 6), 1);
        let after = engine.generate(&requests).unwrap();
        let ids = |all: &[Completion]| all.iter().map(|c| c.ids.clone()).collect::<Vec<_>>();
        assert_ne!(ids(&before), ids(&after));
        let mut fresh = LocalEngine::new(decoder(Family::Qwen2, 6), config);
        for (after, fresh) in after.iter().zip(fresh.generate(&requests).unwrap()) {
            assert_eq!((&after.ids, after.policy_version), (&fresh.ids, 1));
        }
    }
}

#[test]
fn a_configuration_that_means_nothing_cannot_be_written() {
    let read = |text: &str| serde_json::from_str::<EngineConfig>(text);
    let config = read(r#"{"max_batch": 3, "decoding_weights": "bf16"}"#).unwrap();
    assert_eq!(config.max_batch, positive(3));
    assert_eq!(config.decoding_weights, WeightPrecision::Bf16);
    for zero in [
        "max_batch",
        "max_batch_tokens",
        "prefill_chunk",
        "page_tokens",
    ] {
        let error = read(&format!("{{\"{zero}\": 0}}")).unwrap_err().to_string();
        assert!(error.contains("nonzero"), "{error}");
    }
    assert!(read(r#"{"cache": "host"}"#).is_err());
}

#[test]
fn every_way_to_end_gives_pages_back() {
    let endless = Sampling::new(1.0, 100);
    let requests: Vec<GenerateRequest> = (0..6)
        .map(|sample| GenerateRequest {
            prompt: ids(sample / 2, 5),
            sampling: endless.clone(),
            stream: stream(sample),
        })
        .collect();
    let config = EngineConfig {
        max_batch: positive(2),
        ..EngineConfig::default()
    };
    let (completions, report) = generate(Family::Llama, config, &requests);
    assert!(
        completions
            .iter()
            .all(|c| c.stop == StopReason::ContextFull)
    );
    // One page of the prompt and three of each of two sequences: 43 tokens, the last not read.
    assert_eq!(report.peak_pages, 1 + 2 * 3);
}
