//! Scores agree with one plain forward pass a sequence, however they are packed.

mod common;

use common::{CONTEXT, VOCABULARY, decoder, plain_log_softmax, positive, prompt};
use didact_core::{Error, RandomStream, Score, ScoreRequest, Span, TokenId, TokenLogProbs};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::Family;

fn ids(seed: u64, count: usize) -> Vec<TokenId> {
    let stream = RandomStream::new(seed);
    (0..count)
        .map(|i| stream.below(i as u64, VOCABULARY) as TokenId)
        .collect()
}

/// Groups that share prefixes, prefixes and continuations that are empty, spans that overlap.
fn requests() -> Vec<ScoreRequest> {
    let shared = prompt(&ids(1, 9));
    let other = prompt(&ids(2, 5));
    let request = |prefix, continuation, spans: &[(usize, usize)], temperature| ScoreRequest {
        prefix,
        continuation,
        spans: spans
            .iter()
            .map(|&(start, end)| Span::new(start, end))
            .collect(),
        temperature,
    };
    vec![
        request(shared.clone(), ids(3, 6), &[(9, 12), (12, 15)], 0.7),
        request(other.clone(), ids(4, 1), &[(5, 6)], 0.7),
        request(prompt(&ids(1, 9)), ids(5, 4), &[(7, 11), (1, 13)], 1.0),
        request(shared, vec![], &[(3, 9), (4, 4)], 0.7),
        request(prompt(&[]), ids(6, 7), &[(1, 7)], 1.3),
        request(other, ids(7, 3), &[], 0.7),
    ]
}

fn plain(engine: &LocalEngine, request: &ScoreRequest) -> Vec<TokenLogProbs> {
    let ids: Vec<TokenId> = request
        .prefix
        .iter()
        .chain(&request.continuation)
        .copied()
        .collect();
    let rows = plain_log_softmax(engine.decoder(), &ids, request.temperature);
    let of = |span: &Span| span.range().map(|t| rows[t - 1][ids[t] as usize]).collect();
    request
        .spans
        .iter()
        .map(|span| TokenLogProbs::new(span.start, of(span)))
        .collect()
}

fn engine(family: Family, max_batch_tokens: usize) -> LocalEngine {
    let config = EngineConfig {
        max_batch_tokens: positive(max_batch_tokens),
        ..EngineConfig::default()
    };
    LocalEngine::new(decoder(family, 5), config)
}

#[test]
fn scores_are_those_of_a_plain_forward_pass() {
    for family in Family::ALL {
        for max_batch_tokens in [1, 20, 4096] {
            let mut engine = engine(family, max_batch_tokens);
            let requests = requests();
            let scores = engine.score(&requests).unwrap();
            assert_eq!(scores.len(), requests.len());
            for (scores, request) in scores.iter().zip(&requests) {
                let expected = plain(&engine, request);
                assert_eq!(scores.len(), expected.len());
                for (scores, expected) in scores.iter().zip(&expected) {
                    assert_eq!(scores.span(), expected.span());
                    for (score, expected) in scores.values().iter().zip(expected.values()) {
                        assert!(
                            (score - expected).abs() < 1e-4,
                            "{family:?} {score} {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_score_does_not_depend_on_its_company() {
    let requests = requests();
    let together = engine(Family::Llama, 4096).score(&requests).unwrap();
    let cut = engine(Family::Llama, 15).score(&requests).unwrap();
    assert_eq!(together, cut);
    for (request, expected) in requests.into_iter().zip(together) {
        let alone = engine(Family::Llama, 4096).score(&[request]).unwrap();
        assert_eq!(alone, [expected]);
    }
}

#[test]
fn an_autodiff_decoder_is_scored_by_its_snapshot() {
    let device = burn::tensor::Device::flex().autodiff();
    let tracked = burn::module::Module::to_device(decoder(Family::Llama, 5), &device);
    let mut engine = LocalEngine::new(tracked, EngineConfig::default());
    assert!(!engine.decoder().device().is_autodiff());
    let expected = self::engine(Family::Llama, 4096)
        .score(&requests())
        .unwrap();
    assert_eq!(engine.score(&requests()).unwrap(), expected);
}

#[test]
fn what_cannot_be_scored_is_named() {
    let mut engine = engine(Family::Llama, 4096);
    let fine = requests().swap_remove(0);
    let mut error = |bad: ScoreRequest| engine.score(&[fine.clone(), bad]).unwrap_err();

    let long = ScoreRequest {
        continuation: ids(8, CONTEXT - 8),
        ..fine.clone()
    };
    let found = error(long);
    assert!(
        matches!(found, Error::ContextOverflow { needed, limit: CONTEXT, .. } if needed == CONTEXT + 1)
    );
    assert!(found.to_string().contains("score request 1"), "{found}");

    let unknown = ScoreRequest {
        continuation: vec![3, 61],
        ..fine.clone()
    };
    assert!(matches!(error(unknown), Error::UnknownToken { id: 61, .. }));

    for bad in [
        ScoreRequest {
            temperature: 0.0,
            ..fine.clone()
        },
        ScoreRequest {
            temperature: f64::NAN,
            ..fine.clone()
        },
        ScoreRequest {
            spans: vec![Span::new(0, 3)],
            ..fine.clone()
        },
        ScoreRequest {
            spans: vec![Span::new(3, 16)],
            ..fine.clone()
        },
    ] {
        let found = error(bad);
        assert!(matches!(found, Error::InvalidRequest { .. }), "{found}");
        assert!(found.to_string().contains("score request 1"), "{found}");
    }
}

#[test]
fn a_log_prob_that_is_not_finite_is_named() {
    let mut engine = engine(Family::Llama, 4096);
    let broken = burn::module::Module::map(decoder(Family::Llama, 5), &mut Broken);
    engine.update_weights(broken, 3);
    let found = engine.score(&requests()[..1]).unwrap_err();
    assert!(matches!(found, Error::NonFiniteRequest { .. }), "{found}");
    assert!(found.to_string().contains("request 0"), "{found}");
}

/// Makes every weight NaN.
struct Broken;

impl burn::module::ModuleMapper for Broken {
    fn map_float<const D: usize>(
        &mut self,
        parameter: burn::module::Param<burn::tensor::Tensor<D>>,
    ) -> burn::module::Param<burn::tensor::Tensor<D>> {
        parameter.map(|tensor| tensor.add_scalar(f32::NAN))
    }
}
