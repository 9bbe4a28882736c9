//! Few rows times a large matrix on the CPU.
//!
//! A matrix product that packs its operands reads the matrix, writes the packed copy and reads that again;
//! for the few rows of a decoding step, reading the matrix once is all the time there is. A task takes some
//! of the output's columns, for all rows. Every output is a sum along the width in one fixed order.
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, bf16};
use rayon::prelude::*;

use super::vectorised::vectorised;
use super::{contiguous, floats, tensor};
use crate::StreamedOps;

pub(super) mod columns;
pub(super) mod rows;

/// Most columns of one task of a matrix kept `[K, N]`: the sums of few rows fit a first-level cache.
const MOST_COLUMNS: usize = 12 * rows::PANEL;
/// Most multiplications that the calling thread does alone: handing them to others takes longer.
const ALONE: usize = 1 << 18;
/// Columns of one task of a matrix kept `[N, K]`.
const TRANSPOSED_COLUMNS: usize = 128;

impl StreamedOps for Flex {
    fn streamed_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = contiguous(x);
        let [rows, depth] = x.layout().shape().dims();
        let columns = weight.layout().shape()[1];
        let turned = weight.transpose(0, 1);
        let (weight, transposed) = if turned.is_contiguous() && !weight.is_contiguous() {
            (turned, true)
        } else {
            (contiguous(weight), false)
        };
        let product = Product {
            x: floats(&x),
            rows,
            depth,
            columns,
        };
        let output = if weight.dtype() == DType::BF16 {
            let weight = weight.as_slice::<bf16>().expect("bf16, made contiguous");
            if transposed {
                product.of_columns(weight)
            } else {
                product.of_rows(weight)
            }
        } else if transposed {
            product.of_columns(floats(&weight))
        } else {
            product.of_rows(floats(&weight))
        };
        tensor(output, [rows, columns])
    }
}

/// The rows `[R, K]` and the sizes.
pub(super) struct Product<'a> {
    pub(super) x: &'a [f32],
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
}

impl Product<'_> {
    /// For a weight `[K, N]`.
    fn of_rows<E: Stored>(&self, weight: &[E]) -> Vec<f32> {
        // Work for every thread, in whole panels.
        let share = self.columns.div_ceil(rayon::current_num_threads());
        let width = share.next_multiple_of(rows::PANEL).min(MOST_COLUMNS);
        self.in_parts(width, |out, first| {
            E::rows(out, self.x, weight, [self.depth, self.columns, first]);
        })
    }

    /// For a weight `[N, K]`.
    fn of_columns<E: Stored>(&self, weight: &[E]) -> Vec<f32> {
        self.in_parts(TRANSPOSED_COLUMNS, |out, first| {
            let part = &weight[first * self.depth..][..out.len() / self.rows * self.depth];
            let strides = columns::Strides {
                rows: self.rows,
                columns: out.len() / self.rows,
                depth: self.depth,
                out: out.len() / self.rows,
                weight: self.depth,
            };
            columns::multiply(out, self.x, part, strides);
        })
    }

    /// For columns from anywhere: `source` gives those from one on.
    pub(super) fn of_source<W: columns::Source>(
        &self,
        source: impl Fn(usize) -> W + Sync,
    ) -> Vec<f32> {
        self.in_parts(TRANSPOSED_COLUMNS, |out, first| {
            let columns = out.len() / self.rows;
            let strides = columns::Strides {
                rows: self.rows,
                columns,
                depth: self.depth,
                out: columns,
                weight: 0,
            };
            columns::multiply_source(out, self.x, &source(first), strides);
        })
    }

    /// Computes the output in parts of `width` columns, each `[R, ≤ width]`, given its first column.
    fn in_parts(&self, width: usize, part: impl Fn(&mut [f32], usize) + Sync) -> Vec<f32> {
        let mut output = vec![0.0; self.rows * self.columns];
        let alone = self.rows * self.depth * self.columns <= ALONE;
        if self.rows == 1 {
            let each = |(index, out): (usize, &mut [f32])| part(out, index * width);
            if alone {
                output.chunks_mut(width).enumerate().for_each(each);
            } else {
                output.par_chunks_mut(width).enumerate().for_each(each);
            }
            return output;
        }
        if output.is_empty() {
            return output;
        }
        let each = |index: usize| {
            let first = index * width;
            let mut out = vec![0.0; self.rows * width.min(self.columns - first)];
            part(&mut out, first);
            out
        };
        let count = self.columns.div_ceil(width);
        let parts: Vec<Vec<f32>> = if alone {
            (0..count).map(each).collect()
        } else {
            (0..count).into_par_iter().map(each).collect()
        };
        for (index, values) in parts.iter().enumerate() {
            let first = index * width;
            let here = values.len() / self.rows;
            for (row, values) in values.chunks_exact(here).enumerate() {
                output[row * self.columns + first..][..here].copy_from_slice(values);
            }
        }
        output
    }
}

/// The precisions that weights are stored in, all of which become f32 exactly.
pub(super) trait Stored: Copy + Sync {
    fn widen(self) -> f32;

    /// The numbers in f32: themselves, or what `scratch` then holds.
    fn read<'a>(values: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];

    /// `out += x·W` for `out` `[R, columns]`, `x` `[R, K]` and some columns of `W`, given K, the columns
    /// of all of `W`, and the first column.
    fn rows(out: &mut [f32], x: &[f32], weight: &[Self], sizes: [usize; 3]);
}

impl Stored for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn read<'a>(values: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        values
    }

    fn rows(out: &mut [f32], x: &[f32], weight: &[Self], sizes: [usize; 3]) {
        rows::multiply(out, x, weight, sizes, rows::few_of_f32);
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn read<'a>(values: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        let scratch = &mut scratch[..values.len()];
        widen_all(scratch, values);
        scratch
    }

    fn rows(out: &mut [f32], x: &[f32], weight: &[Self], sizes: [usize; 3]) {
        rows::multiply(out, x, weight, sizes, rows::few_of_bf16);
    }
}

vectorised! {
    fn widen_all(to: &mut [f32], from: &[bf16]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.widen();
        }
    }
}
