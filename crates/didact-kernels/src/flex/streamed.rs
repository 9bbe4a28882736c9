//! Few rows times a large matrix on the CPU.
//!
//! A matrix product that packs its operands reads the matrix, writes the packed copy and reads that again;
//! for the few rows of a decoding step, reading the matrix once is all the time there is. A task takes some
//! of the output's columns, for all rows. Every output is a sum along the width in one fixed order.
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, bf16};
use rayon::prelude::*;

use super::vectorised::{LANES, sum_lanes, vectorised};
use super::{contiguous, floats, tensor};
use crate::StreamedOps;

/// Most columns of one task of a matrix kept `[K, N]`: the sums of 16 rows fit a first-level cache.
const MOST_COLUMNS: usize = 256;
/// Rows of the matrix that are read together where it is kept `[K, N]`.
const DEPTH: usize = 8;
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
                product.of_columns(weight, columns_of_bf16)
            } else {
                product.of_rows(weight, rows_of_bf16)
            }
        } else if transposed {
            product.of_columns(floats(&weight), columns_of_f32)
        } else {
            product.of_rows(floats(&weight), rows_of_f32)
        };
        tensor(output, [rows, columns])
    }
}

/// The rows `[R, K]` and the sizes.
struct Product<'a> {
    x: &'a [f32],
    rows: usize,
    depth: usize,
    columns: usize,
}

/// `(out [R, columns], x [R, K], weight, K, its row stride, first column)`.
type Rows<E> = fn(&mut [f32], &[f32], &[E], usize, usize, usize);
/// `(out [R, columns], x [R, K], weight [columns, K], K)`.
type Columns<E> = fn(&mut [f32], &[f32], &[E], usize);

impl Product<'_> {
    /// For a weight `[K, N]`.
    fn of_rows<E: Sync>(&self, weight: &[E], kernel: Rows<E>) -> Vec<f32> {
        // Whole vectors, and work for every thread.
        let share = self.columns.div_ceil(2 * rayon::current_num_threads());
        let width = share.next_multiple_of(LANES).clamp(LANES, MOST_COLUMNS);
        self.in_parts(width, |out, first| {
            kernel(out, self.x, weight, self.depth, self.columns, first);
        })
    }

    /// For a weight `[N, K]`.
    fn of_columns<E: Sync>(&self, weight: &[E], kernel: Columns<E>) -> Vec<f32> {
        self.in_parts(TRANSPOSED_COLUMNS, |out, first| {
            let part = &weight[first * self.depth..][..out.len() / self.rows * self.depth];
            kernel(out, self.x, part, self.depth);
        })
    }

    /// Computes the output in parts of `width` columns, each `[R, ≤ width]`, given its first column.
    fn in_parts(&self, width: usize, part: impl Fn(&mut [f32], usize) + Sync) -> Vec<f32> {
        let mut output = vec![0.0; self.rows * self.columns];
        if self.rows == 1 {
            let parts = output.par_chunks_mut(width).enumerate();
            parts.for_each(|(index, out)| part(out, index * width));
            return output;
        }
        if output.is_empty() {
            return output;
        }
        let parts: Vec<Vec<f32>> = (0..self.columns.div_ceil(width))
            .into_par_iter()
            .map(|index| {
                let first = index * width;
                let mut out = vec![0.0; self.rows * width.min(self.columns - first)];
                part(&mut out, first);
                out
            })
            .collect();
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

/// A stored number that becomes an f32 exactly.
trait Widen: Copy {
    fn widen(self) -> f32;
}

impl Widen for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Widen for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

#[inline(always)]
fn widened<E: Widen>(values: &[E; LANES]) -> [f32; LANES] {
    let mut wide = [0.0; LANES];
    for lane in 0..LANES {
        wide[lane] = values[lane].widen();
    }
    wide
}

/// Adds `DEPTH` rows of the matrix at a time to all sums: the matrix is read once, in its own order.
#[inline(always)]
fn rows_kernel<E: Widen>(
    out: &mut [f32],
    x: &[f32],
    weight: &[E],
    depth: usize,
    stride: usize,
    first: usize,
) {
    let rows = x.len() / depth.max(1);
    let columns = out.len() / rows.max(1);
    let whole = columns / LANES * LANES;
    let mut at = 0;
    while at + DEPTH <= depth {
        for column in (0..whole).step_by(LANES) {
            let mut tile = [[0.0; LANES]; DEPTH];
            for (step, tile) in tile.iter_mut().enumerate() {
                let from = (at + step) * stride + first + column;
                let values: &[E; LANES] = weight[from..from + LANES]
                    .try_into()
                    .expect("a slice of this length");
                *tile = widened(values);
            }
            for row in 0..rows {
                let x: &[f32; DEPTH] = x[row * depth + at..][..DEPTH]
                    .try_into()
                    .expect("a slice of this length");
                let out: &mut [f32; LANES] = (&mut out[row * columns + column..][..LANES])
                    .try_into()
                    .expect("a slice of this length");
                let mut sums = *out;
                for step in 0..DEPTH {
                    for lane in 0..LANES {
                        sums[lane] = tile[step][lane].mul_add(x[step], sums[lane]);
                    }
                }
                *out = sums;
            }
        }
        for row in 0..rows {
            for column in whole..columns {
                for step in at..at + DEPTH {
                    let value = weight[step * stride + first + column].widen();
                    let sum = &mut out[row * columns + column];
                    *sum = value.mul_add(x[row * depth + step], *sum);
                }
            }
        }
        at += DEPTH;
    }
    for step in at..depth {
        let weight = &weight[step * stride + first..][..columns];
        for (row, out) in out.chunks_exact_mut(columns.max(1)).enumerate() {
            let x = x[row * depth + step];
            for (sum, value) in out.iter_mut().zip(weight) {
                *sum = value.widen().mul_add(x, *sum);
            }
        }
    }
}

/// Dot products of `R` rows with `C` columns, whose vectors are each read once for all.
#[inline(always)]
fn dot_products<const R: usize, const C: usize, E: Widen>(
    x: [&[f32]; R],
    weight: [&[E]; C],
) -> [[f32; C]; R] {
    let depth = x[0].len();
    let whole = depth / LANES * LANES;
    let mut sums = [[[0.0; LANES]; C]; R];
    for at in (0..whole).step_by(LANES) {
        let mut wide = [[0.0; LANES]; C];
        for column in 0..C {
            let values: &[E; LANES] = weight[column][at..at + LANES]
                .try_into()
                .expect("a slice of this length");
            wide[column] = widened(values);
        }
        for row in 0..R {
            let x: &[f32; LANES] = x[row][at..at + LANES]
                .try_into()
                .expect("a slice of this length");
            for column in 0..C {
                for lane in 0..LANES {
                    sums[row][column][lane] =
                        wide[column][lane].mul_add(x[lane], sums[row][column][lane]);
                }
            }
        }
    }
    let mut out = [[0.0; C]; R];
    for row in 0..R {
        for column in 0..C {
            let mut lanes = sums[row][column];
            for at in whole..depth {
                let value = weight[column][at].widen();
                lanes[at - whole] = value.mul_add(x[row][at], lanes[at - whole]);
            }
            out[row][column] = sum_lanes(lanes);
        }
    }
    out
}

#[inline(always)]
fn columns_kernel<E: Widen>(out: &mut [f32], x: &[f32], weight: &[E], depth: usize) {
    const ROWS: usize = 4;
    const COLUMNS: usize = 4;
    let rows = x.len() / depth.max(1);
    let columns = out.len() / rows.max(1);
    let of_x = |row: usize| &x[row * depth..(row + 1) * depth];
    let of_weight = |column: usize| &weight[column * depth..(column + 1) * depth];
    let mut column = 0;
    while column < columns {
        let full = column + COLUMNS <= columns;
        let mut row = 0;
        while row < rows {
            if full && row + ROWS <= rows {
                let found = dot_products::<ROWS, COLUMNS, E>(
                    std::array::from_fn(|r| of_x(row + r)),
                    std::array::from_fn(|c| of_weight(column + c)),
                );
                for (r, found) in found.iter().enumerate() {
                    out[(row + r) * columns + column..][..COLUMNS].copy_from_slice(found);
                }
                row += ROWS;
            } else if full {
                let [found] = dot_products::<1, COLUMNS, E>(
                    [of_x(row)],
                    std::array::from_fn(|c| of_weight(column + c)),
                );
                out[row * columns + column..][..COLUMNS].copy_from_slice(&found);
                row += 1;
            } else {
                for column in column..columns {
                    let [[found]] = dot_products::<1, 1, E>([of_x(row)], [of_weight(column)]);
                    out[row * columns + column] = found;
                }
                row += 1;
            }
        }
        column += COLUMNS;
    }
}

vectorised! {
    fn rows_of_f32(out: &mut [f32], x: &[f32], weight: &[f32], depth: usize, stride: usize, first: usize) {
        rows_kernel(out, x, weight, depth, stride, first);
    }
}

vectorised! {
    fn rows_of_bf16(out: &mut [f32], x: &[f32], weight: &[bf16], depth: usize, stride: usize, first: usize) {
        rows_kernel(out, x, weight, depth, stride, first);
    }
}

vectorised! {
    fn columns_of_f32(out: &mut [f32], x: &[f32], weight: &[f32], depth: usize) {
        columns_kernel(out, x, weight, depth);
    }
}

vectorised! {
    fn columns_of_bf16(out: &mut [f32], x: &[f32], weight: &[bf16], depth: usize) {
        columns_kernel(out, x, weight, depth);
    }
}
