//! A model and a step in numbers, from which the parts of the memory are counted.
//!
//! Owns what a model's sizes come to. Knows no phase.

use didact_models::{Bits, DecoderConfig};

use super::{MemoryPlace, PlannedModel, WeightStorage};
use crate::{Error, Result};

/// One step's tokens.
pub(super) struct Update {
    pub(super) tokens: u64,
    pub(super) longest: u64,
    pub(super) micro_batch_tokens: u64,
    pub(super) recompute_layers: bool,
}

impl Update {
    /// Tokens of the largest micro-batch: a longer sequence goes alone.
    pub(super) fn micro_batch(&self) -> u64 {
        self.micro_batch_tokens.max(self.longest).min(self.tokens)
    }
}

/// Rows and columns of the CPU's tile of logits.
const HOST_ROWS: u64 = 2048;
const HOST_TILE: u64 = 2048;
/// Products of a GPU's tile of logits, or so many columns where there are more rows.
const DEVICE_PRODUCTS: u64 = 1 << 24;
const DEVICE_TILE: u64 = 1024;
/// Numbers of quantised weights that a GPU decodes at a time.
const DECODED: u64 = 1 << 24;

/// A model in numbers.
pub(super) struct Sizes {
    pub(super) place: MemoryPlace,
    pub(super) parameters: u64,
    /// Those of `parameters` that are quantised.
    quantised: u64,
    weights: WeightStorage,
    pub(super) adapter: u64,
    pub(super) trained: u64,
    pub(super) trained_matrices: u64,
    pub(super) trains_embedding: bool,
    /// What one token leaves in one layer for the backward pass.
    pub(super) activation_numbers: u64,
    pub(super) layers: u64,
    pub(super) hidden: u64,
    pub(super) intermediate: u64,
    queries: u64,
    keys: u64,
    pub(super) vocabulary: u64,
}

impl Sizes {
    pub(super) fn new(model: &PlannedModel<'_>) -> Result<Self> {
        let config: &DecoderConfig = model.config;
        let parameters = config
            .parameter_count()
            .ok_or_else(|| Error::Configuration {
                key: "model".to_owned(),
                problem: "its parameters cannot be counted in 64 bits".to_owned(),
            })?;
        let hidden = config.hidden_size as u64;
        let intermediate = config.intermediate_size as u64;
        let layers = config.num_hidden_layers as u64;
        let queries = (config.num_attention_heads * config.head_dim) as u64;
        let keys = (config.num_key_value_heads * config.head_dim) as u64;
        let projections = layers * hidden * (2 * queries + 2 * keys + 3 * intermediate);
        let adapter = match model.adapter {
            Some(adapter) => adapter.parameter_count(config)?,
            None => 0,
        };
        let (trained, trained_matrices) = match model.adapter {
            Some(_) => (adapter, adapter),
            None => (parameters, projections),
        };
        let heads = if config.family.has_query_key_norm() {
            queries + keys
        } else {
            0
        };
        Ok(Self {
            place: model.place,
            parameters,
            quantised: model.weights.bits().map_or(0, |_| projections),
            weights: model.weights,
            adapter,
            trained,
            trained_matrices,
            trains_embedding: model.adapter.is_none(),
            activation_numbers: 4 * hidden + 2 * queries + 2 * keys + 3 * intermediate + heads,
            layers,
            hidden,
            intermediate,
            queries,
            keys,
            vocabulary: config.vocab_size as u64,
        })
    }

    /// Bytes of a number that is not quantised: a weight, an activation, a key.
    pub(super) const fn number(&self) -> u64 {
        self.weights.number_bytes()
    }

    /// Whether what is trained has a master copy in f32.
    pub(super) const fn has_master(&self) -> bool {
        self.number() < 4
    }

    /// Bytes of the weights in a place, without an adapter.
    pub(super) fn weight_bytes(&self, place: MemoryPlace) -> u64 {
        let rest = self.number() * (self.parameters - self.quantised);
        let sixteen = self.weights.bits().map_or(0, |bits| {
            // Sixteenths of a byte: codes, and for each 32 a scale and a minimum, in f16 or on a GPU in f32.
            let codes = match bits {
                Bits::Eight => 16,
                Bits::Four => 8,
            };
            codes
                + match place {
                    MemoryPlace::Host => 2,
                    MemoryPlace::Device => 4,
                }
        });
        rest + self.quantised * sixteen / 16
    }

    /// Bytes that a model on a GPU keeps on the host: what quantised weights are uploaded from.
    pub(super) fn kept_on_host(&self) -> u64 {
        match self.place {
            MemoryPlace::Host => 0,
            MemoryPlace::Device => {
                let rest = self.number() * (self.parameters - self.quantised);
                self.weight_bytes(MemoryPlace::Host) - rest
            }
        }
    }

    /// Bytes of the weights and the adapter in a place.
    pub(super) fn bytes(&self, place: MemoryPlace) -> u64 {
        self.weight_bytes(place) + self.number() * self.adapter
    }

    /// Bytes of a copy in bf16 of the weights that are neither quantised nor of half precision.
    pub(super) const fn half_copy(&self) -> u64 {
        if self.has_master() {
            0
        } else {
            2 * (self.parameters - self.quantised)
        }
    }

    /// What one token takes in a pass without gradients.
    pub(super) const fn scoring_numbers(&self) -> u64 {
        4 * self.hidden + 2 * self.queries + 3 * self.intermediate
    }

    /// Bytes of a pass without gradients over so many tokens.
    pub(super) fn pass_bytes(&self, tokens: u64) -> u64 {
        self.number() * tokens * self.scoring_numbers() + self.decoded()
    }

    /// Bytes of quantised weights that are decoded at a time: on the CPU, next to none.
    pub(super) fn decoded(&self) -> u64 {
        match self.place {
            MemoryPlace::Device if self.quantised > 0 => self.number() * DECODED,
            MemoryPlace::Device | MemoryPlace::Host => 0,
        }
    }

    /// Bytes of a token's keys and values.
    pub(super) const fn slot(&self) -> u64 {
        let number = match self.place {
            MemoryPlace::Host => 4,
            MemoryPlace::Device => self.number(),
        };
        2 * number * self.layers * self.keys
    }

    /// Bytes of the tile of logits that log-probs of so many rows are computed in.
    pub(super) fn tile(&self, rows: u64) -> u64 {
        match self.place {
            MemoryPlace::Host => 4 * rows.min(HOST_ROWS) * self.vocabulary.min(HOST_TILE),
            MemoryPlace::Device => {
                let products = DEVICE_PRODUCTS.max(DEVICE_TILE * rows);
                4 * products.min(self.vocabulary * rows)
            }
        }
    }

    /// Bytes that the backward pass over `tokens` tokens works with, beside activations and gradients.
    pub(super) fn backward_bytes(&self, tokens: u64) -> u64 {
        let number = self.number();
        let working = number * tokens * (3 * self.intermediate + 4 * self.hidden);
        let tile = self.tile(tokens);
        let embedding = self.vocabulary * self.hidden * u64::from(self.trains_embedding);
        match self.place {
            MemoryPlace::Host => working + tile + 4 * embedding,
            MemoryPlace::Device => {
                // Products' derivatives in the weights' format, and the embedding's gradient in parts and whole.
                let log_prob = tile + tile / 4 * number + 2 * number * embedding;
                // A product with decoded weights is added up in f32.
                let sums = if self.quantised > 0 {
                    8 * tokens * self.intermediate
                } else {
                    0
                };
                working + self.decoded() + log_prob.max(sums)
            }
        }
    }
}
