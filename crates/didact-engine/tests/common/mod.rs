//! Small random decoders, and the plain way to their log-probs.
#![allow(dead_code)]

use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use didact_core::TokenId;
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
    let options = DecoderOptions {
        num_key_value_heads: 2,
        head_dim: 10,
        max_position_embeddings: CONTEXT,
        tie_word_embeddings: family != Family::Qwen2,
        ..DecoderOptions::new(family, VOCABULARY, 24, 40, 2, 4)
    };
    let config = DecoderConfig::new(options).unwrap();
    Decoder::init(&config, seed, &Device::flex()).map(&mut Louder)
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
