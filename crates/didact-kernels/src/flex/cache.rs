//! Attention over a key/value cache on the CPU.
//!
//! Runs of many rows go the way of packed attention. Where every run is a single row, as in decoding,
//! gathering its keys would cost as much as reading them: the pool is read where it lies. A task is one key
//! head and a few rows; what these see in common, such as their prompt, it reads once for all of them. Every
//! row's arithmetic is the same as if it were alone.
use std::ops::Range;
use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use super::attention::{Attention, cached_runs, softmax};
use super::streamed::columns::{self, Strides};
use super::streamed::rows;
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
            return tensor::<3>(attention.output().0, shape);
        }
        let [_, query_heads, size] = shape;
        let key_heads = keys.layout().shape()[1];
        let pool = Pool {
            keys: floats(&keys),
            values: floats(&values),
            key_heads,
            size,
            scale: scale as f32,
        };
        let groups = groups(layout.runs());
        let tasks: Vec<(&Group<'_>, usize)> = groups
            .iter()
            .flat_map(|group| (0..key_heads).map(move |key_head| (group, key_head)))
            .collect();
        let q = floats(&q);
        let width = query_heads / key_heads * size;
        let parts: Vec<Vec<f32>> = tasks
            .par_iter()
            .map(|(group, key_head)| pool.attend(q, width, group, *key_head))
            .collect();
        let mut output = vec![0.0; q.len()];
        for ((group, key_head), part) in tasks.iter().zip(&parts) {
            for (row, values) in part.chunks_exact(width).enumerate() {
                let start = ((group.first + row) * key_heads + key_head) * width;
                output[start..start + width].copy_from_slice(values);
            }
        }
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

/// Most rows of one group: enough to read a prompt seldom, few enough to keep every thread at work.
const MOST_ROWS: usize = 8;
/// Fewest slots in common that are worth a group.
const LEAST_COMMON: usize = 32;

/// Consecutive rows whose first slots are the same.
struct Group<'a> {
    first: usize,
    /// The runs of the rows.
    runs: &'a [CachedRun],
    /// Slots in common.
    common: usize,
}

fn groups(runs: &[CachedRun]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (row, run) in runs.iter().enumerate() {
        if let Some(group) = groups.last_mut() {
            let common = common(&group.runs[0].slots, &run.slots).min(group.common);
            if common >= LEAST_COMMON && group.runs.len() < MOST_ROWS {
                group.runs = &runs[group.first..=row];
                group.common = common;
                continue;
            }
        }
        groups.push(Group {
            first: row,
            runs: &runs[row..=row],
            common: run.slots.iter().map(ExactSizeIterator::len).sum(),
        });
    }
    groups
}

/// Slots with which both lists begin.
fn common(a: &[Range<usize>], b: &[Range<usize>]) -> usize {
    let mut common = 0;
    for (a, b) in a.iter().zip(b) {
        if a.start != b.start {
            break;
        }
        common += a.len().min(b.len());
        if a.end != b.end {
            break;
        }
    }
    common
}

/// The slots `part` of a list.
fn cut(slots: &[Range<usize>], part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut before = 0;
    slots.iter().filter_map(move |range| {
        let offset = before;
        before += range.len();
        let start = range.start + part.start.saturating_sub(offset);
        let end = range.end.min(range.start + part.end.saturating_sub(offset));
        (start < end).then_some(start..end)
    })
}

/// Keys and values, `[S, Hkv, D]` each.
struct Pool<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    key_heads: usize,
    size: usize,
    scale: f32,
}

impl Pool<'_> {
    /// Attention of the query heads of a group's rows that share one key head; each row has `width` numbers.
    fn attend(&self, q: &[f32], width: usize, group: &Group<'_>, key_head: usize) -> Vec<f32> {
        let (size, stride) = (self.size, self.key_heads * self.size);
        let heads = width / size;
        let count = group.runs.len();
        let q: Vec<f32> = (group.first..group.first + count)
            .flat_map(|row| &q[(row * self.key_heads + key_head) * width..][..width])
            .map(|q| q * self.scale)
            .collect();
        let seen: Vec<usize> = group
            .runs
            .iter()
            .map(|run| run.slots.iter().map(ExactSizeIterator::len).sum())
            .collect();
        let most = seen.iter().copied().max().unwrap_or(0);
        let mut scores = vec![0.0; count * heads * most];
        // What all rows see is one part for all of them, the rest a part for each.
        let parts = |row: Option<usize>| {
            let (run, part) = match row {
                None => (&group.runs[0], 0..group.common),
                Some(row) => (&group.runs[row], group.common..seen[row]),
            };
            let mut first = part.start;
            cut(&run.slots, part).map(move |slots| {
                first += slots.len();
                (slots.clone(), first - slots.len())
            })
        };
        let of_head =
            |slots: &Range<usize>| slots.start * stride + key_head * size..slots.end * stride;
        for row in std::iter::once(None).chain((0..count).map(Some)) {
            let here = row.map_or(0..count, |row| row..row + 1);
            for (slots, first) in parts(row) {
                let strides = Strides {
                    rows: here.len() * heads,
                    columns: slots.len(),
                    depth: size,
                    out: most,
                    weight: stride,
                };
                columns::multiply(
                    &mut scores[here.start * heads * most + first..here.end * heads * most],
                    &q[here.start * width..here.end * width],
                    &self.keys[of_head(&slots)],
                    strides,
                );
            }
        }
        for (row, scores) in scores.chunks_exact_mut(heads * most).enumerate() {
            for scores in scores.chunks_exact_mut(most) {
                softmax(&mut scores[..seen[row]], &mut 0.0);
            }
        }
        let mut output = vec![0.0; count * width];
        for row in std::iter::once(None).chain((0..count).map(Some)) {
            let here = row.map_or(0..count, |row| row..row + 1);
            for (slots, first) in parts(row) {
                rows::add(
                    &mut output[here.start * width..here.end * width],
                    &scores[here.start * heads * most + first..here.end * heads * most],
                    &self.values[of_head(&slots)],
                    [here.len() * heads, size, slots.len()],
                    [most, stride],
                );
            }
        }
        output
    }
}
