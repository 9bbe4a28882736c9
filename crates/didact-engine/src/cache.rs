//! The keys and values of every slot, on the model's device.
//!
//! It owns the tensors; which slot is whose is the schedule's matter.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use didact_core::Result;
use didact_kernels::{CacheLayout, CachedRun, cached_attention, write_slots};
use didact_models::DecoderConfig;

use crate::engine::other;

/// One pool of keys and one of values a layer, each `[slots, Hkv, D]`.
#[derive(Debug)]
pub(crate) struct Cache {
    layers: Vec<Pools>,
    scale: f64,
}

#[derive(Debug)]
struct Pools {
    keys: Tensor<3>,
    values: Tensor<3>,
}

impl Cache {
    /// Bytes of one slot in all layers; keys and values are f32.
    pub(crate) fn slot_bytes(config: &DecoderConfig) -> u64 {
        let token = config.num_key_value_heads * config.head_dim * size_of::<f32>();
        (2 * config.num_hidden_layers * token) as u64
    }

    pub(crate) fn new(config: &DecoderConfig, slots: usize, device: &Device) -> Self {
        let pool = || Tensor::zeros([slots, config.num_key_value_heads, config.head_dim], device);
        let layers = (0..config.num_hidden_layers).map(|_| Pools {
            keys: pool(),
            values: pool(),
        });
        Self {
            layers: layers.collect(),
            scale: config.attention_scale(),
        }
    }

    /// What attention multiplies the products of queries and keys by.
    pub(crate) const fn scale(&self) -> f64 {
        self.scale
    }

    /// Puts new rows' keys and values, `[R, Hkv, D]`, into their slots.
    pub(crate) fn write(&mut self, layer: usize, k: Tensor<3>, v: Tensor<3>, slots: &Arc<[usize]>) {
        let put = |pool: &mut Tensor<3>, rows: Tensor<3>| {
            // Out of its place, so that nothing shares the pool and it is changed where it lies.
            let taken = std::mem::replace(pool, rows.clone());
            *pool = write_slots(taken, rows, slots);
        };
        put(&mut self.layers[layer].keys, k);
        put(&mut self.layers[layer].values, v);
    }

    /// Attends with queries `[R, Hq, D]` over the slots that their rows see.
    pub(crate) fn attend(&self, layer: usize, q: Tensor<3>, layout: &CacheLayout) -> Tensor<3> {
        let Pools { keys, values } = &self.layers[layer];
        cached_attention(q, keys.clone(), values.clone(), layout, self.scale)
    }
}

/// What each row of a pass sees.
pub(crate) fn layout(runs: Vec<CachedRun>) -> Result<CacheLayout> {
    CacheLayout::new(runs).map_err(other)
}
