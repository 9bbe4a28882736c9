//! Attention on CubeCL devices: blocks of queries and of keys, and the launches over them.
use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape};
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};

use super::kernels::attention as kernel;
use super::launch::{AttentionTile, Tile, cubes, element, empty, numbers};
use crate::{AttentionOps, CacheLayout, PackedLayout};

/// Blocks of rows and the ranges that each of them sees, as the kernels read them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    blocks: Vec<i32>,
    ranges: Vec<i32>,
    count: usize,
}

impl Blocks {
    /// Consecutive rows from `first`, of which the last sees all of `ranges` but the last `hidden` keys; at most `rows` a
    /// block.
    fn add_queries(&mut self, first: usize, length: usize, ranges: &[Range<usize>], rows: usize) {
        let seen: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        for begin in (0..length).step_by(rows) {
            let here = rows.min(length - begin);
            let seen = seen - (length - begin - here);
            let ranges = self.add_ranges(ranges, seen);
            self.blocks
                .extend([first + begin, here, ranges.start, ranges.len(), seen].map(|n| n as i32));
            self.count += 1;
        }
    }

    /// The first `most` places of `ranges`; their place in the list.
    fn add_ranges(&mut self, ranges: &[Range<usize>], most: usize) -> Range<usize> {
        let begin = self.ranges.len() / 2;
        let mut left = most;
        for range in ranges {
            let length = range.len().min(left);
            if length > 0 {
                self.ranges.extend([range.start as i32, length as i32]);
            }
            left -= length;
        }
        begin..self.ranges.len() / 2
    }

    pub(super) fn of_packed(layout: &PackedLayout, rows: usize) -> Self {
        let mut blocks = Self::default();
        for (index, segment) in layout.segments().iter().enumerate() {
            let ranges = layout.key_ranges(index);
            blocks.add_queries(layout.start(index), segment.length, ranges, rows);
        }
        blocks
    }

    pub(super) fn of_cached(layout: &CacheLayout, rows: usize) -> Self {
        let mut blocks = Self::default();
        let mut first = 0;
        for run in layout.runs() {
            blocks.add_queries(first, run.rows, &run.slots, rows);
            first += run.rows;
        }
        blocks
    }

    /// Blocks of at most `keys` keys of one segment, with the queries that see them: those of the segment from the
    /// block's first key on, and all of its descendants.
    fn of_keys(layout: &PackedLayout, keys: usize) -> Self {
        let segments = layout.segments();
        let range = |index: usize| {
            let start = layout.start(index);
            start..start + segments[index].length
        };
        let mut descendants: Vec<Vec<usize>> = vec![Vec::new(); segments.len()];
        for index in 0..segments.len() {
            let mut ancestor = segments[index].parent;
            while let Some(above) = ancestor {
                descendants[above].push(index);
                ancestor = segments[above].parent;
            }
        }
        let mut blocks = Self::default();
        for (index, below) in descendants.iter().enumerate() {
            let own = range(index);
            for first in own.clone().step_by(keys) {
                let mut queries = vec![first..own.end];
                queries.extend(below.iter().map(|&index| range(index)));
                let ranges = blocks.add_ranges(&queries, usize::MAX);
                let here = keys.min(own.end - first);
                blocks
                    .blocks
                    .extend([first, here, ranges.start, ranges.len()].map(|n| n as i32));
                blocks.count += 1;
            }
        }
        blocks
    }

    /// Both lists on the device.
    fn upload(&self, like: &CubeTensor) -> [CubeTensor; 2] {
        [numbers(like, &self.blocks), numbers(like, &self.ranges)]
    }
}

/// The values, and the log-sum-exp `[R, Hq]` of the scores.
pub(super) fn forward(
    [q, k, v]: [&CubeTensor; 3],
    scale: f64,
    blocks: impl Fn(usize) -> Blocks,
    tile: AttentionTile,
) -> [CubeTensor; 2] {
    let (heads, key_heads) = (q.meta.shape()[1], k.meta.shape()[1]);
    let blocks = blocks(tile.slots / (heads / key_heads));
    let output = empty(q, q.meta.shape().clone(), q.dtype);
    let log_sum_exp = empty(q, Shape::from([q.meta.shape()[0], heads]), DType::F32);
    let [list, ranges] = blocks.upload(q);
    // SAFETY: the blocks' rows and ranges lie in the tensors, whose shapes were compared with the layout.
    unsafe {
        kernel::forward::launch_unchecked(
            &q.client,
            cubes(blocks.count * key_heads),
            tile.dim(tile.slots),
            q.clone().into_tensor_arg(),
            k.clone().into_tensor_arg(),
            v.clone().into_tensor_arg(),
            list.into_tensor_arg(),
            ranges.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            log_sum_exp.clone().into_tensor_arg(),
            scale as f32,
            tile.slots,
            tile.keys,
            tile.size,
            tile.lanes,
            element(q),
        )
    };
    [output, log_sum_exp]
}

impl AttentionOps for CubeBackend {
    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v] = [q, k, v].map(into_contiguous);
        let tile = AttentionTile::on_device(AttentionTile::forward, &q, &k);
        let blocks = |rows| Blocks::of_packed(&layout, rows);
        let [output, log_sum_exp] = forward([&q, &k, &v], scale, blocks, tile);
        (output, log_sum_exp)
    }

    fn packed_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        output: FloatTensor<Self>,
        log_sum_exp: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v, output, log_sum_exp, gradient] =
            [q, k, v, output, log_sum_exp, gradient].map(into_contiguous);
        let (heads, key_heads) = (q.meta.shape()[1], k.meta.shape()[1]);
        let plain = Tile::of(&q);
        let products = empty(&q, log_sum_exp.meta.shape().clone(), DType::F32);
        // SAFETY: the blocks' rows and ranges lie in the tensors, whose shapes were compared with the layout.
        unsafe {
            kernel::products::launch_unchecked(
                &q.client,
                plain.count(products.meta.num_elements()),
                plain.dim(),
                output.into_tensor_arg(),
                gradient.clone().into_tensor_arg(),
                products.clone().into_tensor_arg(),
                q.meta.shape()[2],
                element(&q),
            )
        };
        let tile = AttentionTile::on_device(AttentionTile::of_queries, &q, &k);
        let blocks = Blocks::of_packed(&layout, tile.slots / (heads / key_heads));
        let [list, ranges] = blocks.upload(&q);
        let of_q = empty(&q, q.meta.shape().clone(), q.dtype);
        // SAFETY: the blocks' rows and ranges lie in the tensors, whose shapes were compared with the layout.
        unsafe {
            kernel::of_queries::launch_unchecked(
                &q.client,
                cubes(blocks.count * key_heads),
                tile.dim(tile.slots),
                q.clone().into_tensor_arg(),
                k.clone().into_tensor_arg(),
                v.clone().into_tensor_arg(),
                gradient.clone().into_tensor_arg(),
                log_sum_exp.clone().into_tensor_arg(),
                products.clone().into_tensor_arg(),
                list.into_tensor_arg(),
                ranges.into_tensor_arg(),
                of_q.clone().into_tensor_arg(),
                scale as f32,
                tile.slots,
                tile.keys,
                tile.size,
                tile.lanes,
                element(&q),
            )
        };
        let tile = AttentionTile::on_device(AttentionTile::of_keys, &q, &k);
        let blocks = Blocks::of_keys(&layout, tile.keys);
        let [list, ranges] = blocks.upload(&q);
        let of_k = empty(&k, k.meta.shape().clone(), k.dtype);
        let of_v = empty(&k, k.meta.shape().clone(), k.dtype);
        // SAFETY: the blocks' rows and ranges lie in the tensors, whose shapes were compared with the layout.
        unsafe {
            kernel::of_keys::launch_unchecked(
                &q.client,
                cubes(blocks.count * key_heads),
                tile.dim(tile.keys),
                q.clone().into_tensor_arg(),
                k.into_tensor_arg(),
                v.into_tensor_arg(),
                gradient.into_tensor_arg(),
                log_sum_exp.into_tensor_arg(),
                products.into_tensor_arg(),
                list.into_tensor_arg(),
                ranges.into_tensor_arg(),
                of_k.clone().into_tensor_arg(),
                of_v.clone().into_tensor_arg(),
                scale as f32,
                tile.slots,
                tile.keys,
                tile.size,
                tile.lanes,
                element(&q),
            )
        };
        (of_q, of_k, of_v)
    }
}
