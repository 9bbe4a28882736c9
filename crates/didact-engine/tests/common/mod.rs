//! Small random decoders, and the plain way to their log-probs.
#![allow(dead_code)]

use std::num::NonZeroUsize;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use didact_core::{Completion, GenerateRequest, RandomStream, Sampling, StreamKey, TokenId};
use didact_kernels::PackedLayout;
use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family};

pub(crate) const VOCABULARY: usize = 61;
pub(crate) const CONTEXT: usize = 48;

/// Scales the fresh weights up, so that what a token sees matters to its log-probs.
struct Louder;

impl ModuleMapper for Louder {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D == 2 {
            parameter.map(|tensor| tensor.mul_scalar(8.0))
        } else {
            parameter
        }
    }
}

pub(crate) fn decoder(family: Family, seed: u64) -> Decoder {
    decoder_of_width(family, seed, 24)
}

/// Of a hidden width other than the usual 24.
pub(crate) fn decoder_of_width(family: Family, seed: u64, width: usize) -> Decoder {
    let options = DecoderOptions {
        num_key_value_heads: 2,
        head_dim: 10,
        max_position_embeddings: CONTEXT,
        tie_word_embeddings: family != Family::Qwen2,
        ..DecoderOptions::new(family, VOCABULARY, width, 40, 2, 4)
    };
    let config = DecoderConfig::new(options).unwrap();
    Decoder::init(&config, seed, &Device::flex()).map(&mut Louder)
}

pub(crate) fn positive(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap()
}

pub(crate) fn stream(sample: u64) -> RandomStream {
    StreamKey {
        run_seed: 3,
        step: 0,
        problem: 0,
        sample,
    }
    .stream()
}

pub(crate) fn prompt(ids: &[TokenId]) -> Arc<[TokenId]> {
    Arc::from(ids)
}

/// Log-softmax of the logits after each token of one sequence, with no packing and no cache.
pub(crate) fn plain_log_softmax(
    decoder: &Decoder,
    ids: &[TokenId],
    temperature: f64,
) -> Vec<Vec<f32>> {
    let device = Device::flex();
    let indices: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let ids_tensor = Tensor::<1, Int>::from_data(TensorData::new(indices, [ids.len()]), &device);
    let hidden = decoder.forward(ids_tensor, &PackedLayout::single(ids.len()).unwrap());
    let logits = hidden.matmul(decoder.output_embedding().transpose());
    let log_probs = log_softmax(logits.div_scalar(temperature), 1);
    let values = log_probs.try_into_vec_as::<f32>().unwrap();
    values.chunks(VOCABULARY).map(<[f32]>::to_vec).collect()
}

/// Greedy continuation by running the whole sequence again for every token.
pub(crate) fn plain_greedy(decoder: &Decoder, prompt: &[TokenId], count: usize) -> Vec<TokenId> {
    let mut ids = prompt.to_vec();
    for _ in 0..count {
        let rows = plain_log_softmax(decoder, &ids, 1.0);
        let last = &rows[ids.len() - 1];
        let best = (0..VOCABULARY)
            .rev()
            .max_by(|&a, &b| last[a].total_cmp(&last[b]))
            .unwrap();
        ids.push(best as TokenId);
    }
    ids.split_off(prompt.len())
}

/// How far a number of a cached, batched or rounded computation may lie from the plain one.
pub(crate) const TOLERANCE: f32 = 1e-4;

/// Checks a completion against one plain forward pass over its prompt and its own ids: every sampling
/// log-prob, and that every token is the one that the draw picks, but for draws within [`TOLERANCE`] of
/// a boundary, and greedy choices within it of the best. The sampling must keep all tokens.
pub(crate) fn assert_plain(decoder: &Decoder, request: &GenerateRequest, completion: &Completion) {
    let Sampling { temperature, .. } = request.sampling;
    let greedy = temperature == 0.0;
    let ids: Vec<TokenId> = request
        .prompt
        .iter()
        .chain(&completion.ids)
        .copied()
        .collect();
    let rows = plain_log_softmax(decoder, &ids, if greedy { 1.0 } else { temperature });
    assert_eq!(completion.sampling_log_probs.len(), completion.ids.len());
    let sampled = completion.ids.iter().zip(&completion.sampling_log_probs);
    for (token, (&id, &log_prob)) in sampled.enumerate() {
        let row = &rows[request.prompt.len() - 1 + token];
        let id = id as usize;
        let context = format!("token {token} of {request:?}");
        assert!(
            (row[id] - log_prob).abs() <= TOLERANCE,
            "{} {log_prob} {context}",
            row[id]
        );
        if greedy {
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert!(best - row[id] <= TOLERANCE, "{best} {} {context}", row[id]);
        } else {
            let below: f64 = row[..id].iter().map(|&p| f64::from(p).exp()).sum();
            let upto = below + f64::from(row[id]).exp();
            let draw = request.stream.uniform(token as u64);
            let slack = f64::from(TOLERANCE);
            let hit = below - slack <= draw && draw <= upto + slack;
            assert!(hit, "{draw} is not in {below}..{upto}: {context}");
        }
    }
}
