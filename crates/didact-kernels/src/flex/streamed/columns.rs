//! Products with a matrix kept `[N, K]`: each output is a dot product.
use pulp::{Arch, Simd, WithSimd};

use super::Stored;

/// Rows and columns whose sums stay in registers.
const ROWS: usize = 4;
const COLUMNS: usize = 4;

/// Where the operands of `out = x·Wᵀ` lie: rows `out` `[R, columns]`, `x` `[R, depth]` and `W`
/// `[columns, depth]` are so many numbers apart.
#[derive(Clone, Copy)]
pub(in crate::flex) struct Strides {
    pub(in crate::flex) rows: usize,
    pub(in crate::flex) columns: usize,
    pub(in crate::flex) depth: usize,
    pub(in crate::flex) out: usize,
    pub(in crate::flex) weight: usize,
}

/// Where the columns of a matrix `[depth, columns]` come from.
pub(in crate::flex) trait Source {
    /// Numbers that [`read`](Self::read) may write.
    fn scratch(&self) -> usize;

    /// A column's numbers in f32: as they lie, or in `scratch`.
    fn read<'a>(&'a self, column: usize, scratch: &'a mut [f32]) -> &'a [f32];
}

/// Columns that lie so many numbers apart.
struct Lying<'a, E> {
    weight: &'a [E],
    depth: usize,
    stride: usize,
}

impl<E: Stored> Source for Lying<'_, E> {
    fn scratch(&self) -> usize {
        self.depth
    }

    #[inline(always)]
    fn read<'a>(&'a self, column: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let weight = &self.weight[column * self.stride..][..self.depth];
        E::read(weight, scratch)
    }
}

/// `out = x·Wᵀ`, the rows of `x` one after the other.
pub(in crate::flex) fn multiply<E: Stored>(
    out: &mut [f32],
    x: &[f32],
    weight: &[E],
    strides: Strides,
) {
    let source = Lying {
        weight,
        depth: strides.depth,
        stride: strides.weight,
    };
    multiply_source(out, x, &source, strides);
}

/// [`multiply`] with columns from anywhere; `strides.weight` means nothing.
pub(in crate::flex) fn multiply_source(
    out: &mut [f32],
    x: &[f32],
    source: &impl Source,
    strides: Strides,
) {
    Arch::new().dispatch(Columns {
        out,
        x,
        source,
        strides,
    });
}

struct Columns<'a, W> {
    out: &'a mut [f32],
    x: &'a [f32],
    source: &'a W,
    strides: Strides,
}

impl<W: Source> WithSimd for Columns<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            out,
            x,
            source,
            strides,
        } = self;
        let Strides {
            rows,
            columns,
            depth,
            ..
        } = strides;
        let most = source.scratch().max(1);
        let mut scratch = vec![0.0; COLUMNS * most];
        for column in (0..columns).step_by(COLUMNS) {
            let here = COLUMNS.min(columns - column);
            let mut of = [&x[..depth]; COLUMNS];
            let scratch = scratch.chunks_exact_mut(most).take(here);
            for (index, scratch) in scratch.enumerate() {
                of[index] = source.read(column + index, scratch);
            }
            let mut row = 0;
            while row < rows {
                let to = row * strides.out + column;
                if here == COLUMNS && row + ROWS <= rows {
                    let mut x_of = [&x[..depth]; ROWS];
                    for (r, x) in x[row * depth..].chunks_exact(depth).take(ROWS).enumerate() {
                        x_of[r] = x;
                    }
                    let found = dot_products::<S, ROWS, COLUMNS>(simd, x_of, of);
                    for (r, found) in found.iter().enumerate() {
                        out[to + r * strides.out..][..COLUMNS].copy_from_slice(found);
                    }
                    row += ROWS;
                } else if here == COLUMNS {
                    let x = [&x[row * depth..(row + 1) * depth]];
                    let [found] = dot_products::<S, 1, COLUMNS>(simd, x, of);
                    out[to..][..COLUMNS].copy_from_slice(&found);
                    row += 1;
                } else {
                    for (column, weight) in of.into_iter().take(here).enumerate() {
                        let x = [&x[row * depth..(row + 1) * depth]];
                        let [[found]] = dot_products::<S, 1, 1>(simd, x, [weight]);
                        out[to + column] = found;
                    }
                    row += 1;
                }
            }
        }
    }
}

/// Dot products of `R` rows with `C` columns, each vector of which is read once for all.
///
/// Lanes are summed apart and then together, the numbers after the last whole vector one by one: in an order
/// that depends on the vectors' length only.
#[inline(always)]
fn dot_products<S: Simd, const R: usize, const C: usize>(
    simd: S,
    x: [&[f32]; R],
    weight: [&[f32]; C],
) -> [[f32; C]; R] {
    // Loops, not closures: a closure is compiled without the vector instructions of its caller.
    let empty: (&[S::f32s], &[f32]) = (&[], &[]);
    let (mut x_parts, mut weight_parts) = ([empty; R], [empty; C]);
    for row in 0..R {
        x_parts[row] = S::as_simd_f32s(x[row]);
    }
    for column in 0..C {
        weight_parts[column] = S::as_simd_f32s(weight[column]);
    }
    let whole = x_parts[0].0.len();
    for (vectors, _) in x_parts.iter().chain(&weight_parts) {
        assert!(vectors.len() == whole, "vectors of one length");
    }
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for at in 0..whole {
        let mut values = [simd.splat_f32s(0.0); C];
        for column in 0..C {
            // SAFETY: `at` is below `whole`, which all lists have been compared with. A checked index would
            // keep the sums in memory instead of in registers.
            values[column] = unsafe { *weight_parts[column].0.get_unchecked(at) };
        }
        for row in 0..R {
            // SAFETY: as above.
            let x = unsafe { *x_parts[row].0.get_unchecked(at) };
            for column in 0..C {
                sums[row][column] = simd.mul_add_f32s(values[column], x, sums[row][column]);
            }
        }
    }
    let mut out = [[0.0; C]; R];
    for row in 0..R {
        for column in 0..C {
            let mut sum = simd.reduce_sum_f32s(sums[row][column]);
            for (x, value) in x_parts[row].1.iter().zip(weight_parts[column].1) {
                sum = x.mul_add(*value, sum);
            }
            out[row][column] = sum;
        }
    }
    out
}
