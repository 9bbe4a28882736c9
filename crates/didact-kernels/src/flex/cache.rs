//! Attention over a key/value cache on the CPU.
//!
//! Runs of many rows go the way of packed attention. Where every run is a single row, as in decoding,
//! gathering its keys would cost as much as reading them: a task is one row and one key head, and reads
//! the pool where it lies.
use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use super::attention::{Attention, cached_runs, softmax};
use super::vectorised::{LANES, sum_lanes, vectorised};
use super::{contiguous, floats, tensor};
use crate::{CacheLayout, CacheOps, CachedRun};

impl CacheOps for Flex {
    fn cached_attention(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        layout: CacheLayout,
        scale: f64,
    ) -> FloatTensor<Self> {
        let (q, keys, values) = (contiguous(q), contiguous(keys), contiguous(values));
        let shape = q.layout().shape().dims();
        if layout.runs().iter().any(|run| run.rows > 1) {
            let attention = Attention::new(&q, &keys, &values, cached_runs(&layout), scale);
            return tensor::<3>(attention.output(), shape);
        }
        let [_, query_heads, size] = shape;
        let key_heads = keys.layout().shape()[1];
        let (q, keys, values) = (floats(&q), floats(&keys), floats(&values));
        let mut output = vec![0.0; q.len()];
        let group = query_heads / key_heads * size;
        output
            .par_chunks_mut(group)
            .zip(q.par_chunks(group))
            .enumerate()
            .for_each_init(Vec::new, |scores, (task, (output, q))| {
                let head = Head {
                    run: &layout.runs()[task / key_heads],
                    offset: task % key_heads * size,
                    stride: key_heads * size,
                    size,
                };
                head.attend(output, q, keys, values, scale as f32, scores);
            });
        tensor(output, shape)
    }

    fn write_slots(
        pool: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        slots: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        let (mut pool, rows) = (contiguous(pool), contiguous(rows));
        let start = pool.layout().start_offset();
        let width: usize = pool.layout().shape()[1] * pool.layout().shape()[2];
        let storage = &mut pool.storage_mut::<f32>()[start..];
        for (row, slot) in floats(&rows).chunks_exact(width).zip(slots.iter()) {
            storage[slot * width..(slot + 1) * width].copy_from_slice(row);
        }
        pool
    }
}

/// One key head of one row's cache.
struct Head<'a> {
    run: &'a CachedRun,
    /// Where the key head begins within a slot.
    offset: usize,
    /// Numbers a slot, `Hkv · D`.
    stride: usize,
    size: usize,
}

impl Head<'_> {
    /// Attention of the query heads `[heads, D]` that share this key head.
    fn attend(
        &self,
        output: &mut [f32],
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        scale: f32,
        scores: &mut Vec<f32>,
    ) {
        let seen: usize = self.run.slots.iter().map(ExactSizeIterator::len).sum();
        scores.clear();
        scores.resize(q.len() / self.size * seen, 0.0);
        let mut first = 0;
        for slots in &self.run.slots {
            let keys = &keys[slots.start * self.stride + self.offset..slots.end * self.stride];
            dot_products(
                scores,
                q,
                keys,
                self.stride,
                self.size,
                seen,
                first,
                slots.len(),
                scale,
            );
            first += slots.len();
        }
        for scores in scores.chunks_exact_mut(seen) {
            softmax(scores);
        }
        let mut first = 0;
        for slots in &self.run.slots {
            let values = &values[slots.start * self.stride + self.offset..slots.end * self.stride];
            add_weighted(
                output,
                scores,
                values,
                self.stride,
                self.size,
                seen,
                first,
                slots.len(),
            );
            first += slots.len();
        }
    }
}

vectorised! {
    /// `scores[head, first + t] = scale · q[head] · keys[t]`, keys `stride` apart.
    fn dot_products(
        scores: &mut [f32],
        q: &[f32],
        keys: &[f32],
        stride: usize,
        size: usize,
        seen: usize,
        first: usize,
        slots: usize,
        scale: f32,
    ) {
        for slot in 0..slots {
            let key = &keys[slot * stride..][..size];
            for (head, q) in q.chunks_exact(size).enumerate() {
                let mut lanes = [0.0; LANES];
                let (q, q_rest) = q.as_chunks::<LANES>();
                let (key, key_rest) = key.as_chunks::<LANES>();
                for (q, key) in q.iter().zip(key) {
                    for lane in 0..LANES {
                        lanes[lane] = q[lane].mul_add(key[lane], lanes[lane]);
                    }
                }
                for (lane, (q, key)) in q_rest.iter().zip(key_rest).enumerate() {
                    lanes[lane] = q.mul_add(*key, lanes[lane]);
                }
                scores[head * seen + first + slot] = sum_lanes(lanes) * scale;
            }
        }
    }
}

vectorised! {
    /// `output[head] += Σₜ weights[head, first + t] · values[t]`, in the order of the slots.
    fn add_weighted(
        output: &mut [f32],
        weights: &[f32],
        values: &[f32],
        stride: usize,
        size: usize,
        seen: usize,
        first: usize,
        slots: usize,
    ) {
        for (head, output) in output.chunks_exact_mut(size).enumerate() {
            let weights = &weights[head * seen + first..][..slots];
            let (whole, rest) = output.as_chunks_mut::<LANES>();
            for (part, output) in whole.iter_mut().enumerate() {
                let mut sums = *output;
                for (slot, weight) in weights.iter().enumerate() {
                    let values = &values[slot * stride + part * LANES..][..LANES];
                    for lane in 0..LANES {
                        sums[lane] = weight.mul_add(values[lane], sums[lane]);
                    }
                }
                *output = sums;
            }
            let done = size - rest.len();
            for (at, output) in rest.iter_mut().enumerate() {
                for (slot, weight) in weights.iter().enumerate() {
                    *output = weight.mul_add(values[slot * stride + done + at], *output);
                }
            }
        }
    }
}
