//! The keys and values of every slot, on the model's device.
//!
//! It owns the tensors; which slot is whose is the schedule's matter.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use didact_core::Result;
use didact_kernels::{CacheLayout, CachedRun, cached_attention, is_cpu, write_slots};
use didact_models::Decoder;

use crate::engine::other;

/// One pool of keys and one of values a layer, each `[slots, Hkv, D]`.
#[derive(Debug)]
pub(crate) struct Cache {
    /// None before there are slots.
    layers: Vec<Pools>,
    slots: usize,
    most_slots: usize,
    shape: Shape,
    device: Device,
}

#[derive(Debug)]
struct Pools {
    keys: Tensor<3>,
    values: Tensor<3>,
}

/// What a cache must know of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    layers: usize,
    heads: usize,
    width: usize,
    scale: f64,
    dtype: DType,
}

impl Shape {
    /// Keys and values are of the weights' precision on a GPU, f32 on the CPU, whose attention reads nothing else.
    pub(crate) fn of(decoder: &Decoder) -> Self {
        let config = decoder.config();
        let dtype = if is_cpu(&decoder.device()) {
            DType::F32
        } else {
            decoder.output_embedding().dtype()
        };
        Self {
            dtype,
            layers: config.num_hidden_layers,
            heads: config.num_key_value_heads,
            width: config.head_dim,
            scale: config.attention_scale(),
        }
    }

    /// Bytes of one slot in all layers.
    pub(crate) const fn slot_bytes(self) -> u64 {
        (2 * self.layers * self.heads * self.width * self.dtype.size()) as u64
    }
}

impl Cache {
    /// A cache that has no slots yet and may have up to `most_slots`.
    pub(crate) const fn new(shape: Shape, most_slots: usize, device: Device) -> Self {
        Self {
            layers: Vec::new(),
            slots: 0,
            most_slots,
            shape,
            device,
        }
    }

    /// Gives the cache at least `slots` slots; what the old ones hold stays.
    pub(crate) fn reserve(&mut self, slots: usize) {
        if slots <= self.slots {
            return;
        }
        // As many again, so that what is held is copied a few times at most.
        let grown = (2 * slots).min(self.most_slots).max(slots);
        let Shape {
            layers,
            heads,
            width,
            dtype,
            ..
        } = self.shape;
        let pool = || zeros([grown, heads, width], dtype, &self.device);
        if self.layers.is_empty() {
            let pools = || Pools {
                keys: pool(),
                values: pool(),
            };
            self.layers = (0..layers).map(|_| pools()).collect();
        } else {
            for pools in &mut self.layers {
                for held in [&mut pools.keys, &mut pools.values] {
                    *held = pool().slice_assign([0..self.slots, 0..heads, 0..width], held.clone());
                }
            }
        }
        self.slots = grown;
    }

    /// What attention multiplies the products of queries and keys by.
    pub(crate) const fn scale(&self) -> f64 {
        self.shape.scale
    }

    /// Puts new rows' keys and values, `[R, Hkv, D]`, into their slots.
    pub(crate) fn write(&mut self, layer: usize, k: Tensor<3>, v: Tensor<3>, slots: &Arc<[usize]>) {
        let dtype = self.shape.dtype;
        let put = |pool: &mut Tensor<3>, rows: Tensor<3>| {
            let rows = of(dtype, rows);
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
        let precision = q.dtype();
        let q = of(self.shape.dtype, q);
        let attended = cached_attention(q, keys.clone(), values.clone(), layout, self.shape.scale);
        of(precision, attended)
    }
}

/// The tensor in this precision.
fn of(dtype: DType, tensor: Tensor<3>) -> Tensor<3> {
    if tensor.dtype() == dtype {
        tensor
    } else {
        tensor.cast(dtype)
    }
}

/// What each row of a pass sees.
pub(crate) fn layout(runs: Vec<CachedRun>) -> Result<CacheLayout> {
    CacheLayout::new(runs).map_err(other)
}

fn zeros(shape: [usize; 3], dtype: DType, device: &Device) -> Tensor<3> {
    if is_cpu(device) {
        // Memory fresh from the system costs nothing before it is written; burn's own zeros are copied into
        // an aligned place, and so written at once.
        let values = vec![0.0_f32; shape.iter().product()];
        Tensor::from_data(TensorData::new(values, shape), device)
    } else {
        Tensor::zeros(shape, (device, dtype))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_when_the_cache_grows() {
        let device = Device::flex();
        let shape = Shape {
            layers: 2,
            heads: 1,
            width: 2,
            scale: 1.0,
            dtype: DType::F32,
        };
        assert_eq!(shape.slot_bytes(), 32);
        let mut cache = Cache::new(shape, 9, device.clone());
        let rows = |values: [[f32; 2]; 2]| Tensor::<2>::from_data(values, &device).unsqueeze_dim(1);
        cache.reserve(2);
        assert_eq!((cache.slots, cache.layers.len()), (4, 2));
        for layer in 0..2 {
            let slots = Arc::from([3, 0]);
            let keys = rows([[0.0, 0.0], [1e3, 1e3]]);
            cache.write(layer, keys, rows([[5.0, 6.0], [7.0, 8.0]]), &slots);
        }
        cache.reserve(3);
        assert_eq!(cache.slots, 4);
        cache.reserve(7);
        assert_eq!(cache.slots, 9, "no more than there may be");
        // The first row sees slot 3 alone; the second slot 0 too, whose key is by far the nearer.
        let run = |slots| CachedRun { rows: 1, slots };
        let layout = layout(vec![
            run(std::iter::once(3..4).collect()),
            run(vec![3..4, 0..1]),
        ])
        .unwrap();
        for layer in 0..2 {
            let seen = cache.attend(layer, rows([[1.0, 1.0], [1.0, 1.0]]), &layout);
            let seen = seen.try_into_vec_as::<f32>().unwrap();
            assert_eq!(seen, [5.0, 6.0, 7.0, 8.0]);
        }
    }
}
