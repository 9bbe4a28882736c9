//! Products with a matrix kept `[K, N]`: rows of the matrix are added to the sums of all outputs.
//!
//! Both ways add in the order of the width, one fused multiply-add after the other, so an output's bits do not
//! depend on which way it went.
use burn::tensor::bf16;
use pulp::{Arch, Simd, WithSimd};

use super::Stored;
use crate::flex::vectorised::{LANES, vectorised};

/// From so many rows on, arithmetic and not reading the matrix takes the time.
const MANY: usize = 12;
/// Rows of the matrix of one block of the way for many rows.
const BLOCK: usize = 64;
/// Rows, and vectors of columns, whose sums stay in registers on that way.
const GROUP: usize = 4;
const WIDE: usize = 2;
/// A multiple of the columns that stay in registers, whatever the machine's vectors.
pub(super) const PANEL: usize = WIDE * LANES;
/// Rows of the matrix that are read together on the way for few rows.
const DEPTH: usize = 16;
/// How many rows of the matrix ahead memory is asked for.
const AHEAD: usize = 16;

/// The way for few rows, by precision.
type Few<E> = fn(&mut [f32], &[f32], &[E], [usize; 3]);

/// `out += x·W` for some columns of `W`; `out` comes as zeros.
pub(super) fn multiply<E: Stored>(
    out: &mut [f32],
    x: &[f32],
    weight: &[E],
    sizes: [usize; 3],
    few: Few<E>,
) {
    let rows = x.len() / sizes[0].max(1);
    if rows < MANY {
        few(out, x, weight, sizes);
    } else {
        let [depth, stride, first] = sizes;
        let columns = out.len() / rows;
        add(
            out,
            x,
            &weight[first..],
            [rows, columns, depth],
            [depth, stride],
        );
    }
}

/// `out += x·W` for `out` `[rows, columns]`, `x` `[rows, depth]` and `W` `[depth, columns]`, given these sizes and
/// how far apart the rows of `x` and of `W` are.
pub(in crate::flex) fn add<E: Stored>(
    out: &mut [f32],
    x: &[f32],
    weight: &[E],
    sizes: [usize; 3],
    strides: [usize; 2],
) {
    Arch::new().dispatch(Many {
        out,
        x,
        weight,
        sizes,
        strides,
    });
}

vectorised! {
    pub(super) fn few_of_f32(out: &mut [f32], x: &[f32], weight: &[f32], sizes: [usize; 3]) {
        few(out, x, weight, sizes);
    }
}

vectorised! {
    pub(super) fn few_of_bf16(out: &mut [f32], x: &[f32], weight: &[bf16], sizes: [usize; 3]) {
        few(out, x, weight, sizes);
    }
}

#[inline(always)]
fn widened<E: Stored>(values: &[E; LANES]) -> [f32; LANES] {
    let mut wide = [0.0; LANES];
    for lane in 0..LANES {
        wide[lane] = values[lane].widen();
    }
    wide
}

/// Asks for the cache line of `values[index]`, which will be read soon.
#[inline(always)]
fn prefetch<E>(values: &[E], index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = values.as_ptr().wrapping_add(index).cast::<i8>();
        // SAFETY: a prefetch reads nothing that the program can see and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
}

/// Adds `DEPTH` rows of the matrix at a time to all sums: the matrix is read once, in its own order.
#[inline(always)]
fn few<E: Stored>(out: &mut [f32], x: &[f32], weight: &[E], [depth, stride, first]: [usize; 3]) {
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
                prefetch(weight, from + AHEAD * stride);
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

/// The way for many rows: a block of the matrix goes past the sums of a few rows, which stay in registers.
struct Many<'a, E> {
    out: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [E],
    /// Rows, columns and depth.
    sizes: [usize; 3],
    /// Of the rows of `x` and of the matrix.
    strides: [usize; 2],
}

impl<E: Stored> WithSimd for Many<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            out,
            x,
            weight,
            sizes: [rows, columns, depth],
            strides: [x_stride, stride],
        } = self;
        let width = WIDE * S::F32_LANES;
        let whole = columns / width * width;
        let mut panel = vec![0.0; BLOCK * width];
        // The sums of the columns that fill no panel.
        let mut sums = vec![0.0; width];
        for at in (0..depth).step_by(BLOCK) {
            let steps = BLOCK.min(depth - at);
            for column in (0..whole).step_by(width) {
                // The panel moves to the first-level cache, in f32.
                for (step, to) in panel.chunks_exact_mut(width).take(steps).enumerate() {
                    let from = (at + step) * stride + column;
                    for (to, value) in to.iter_mut().zip(&weight[from..from + width]) {
                        *to = value.widen();
                    }
                }
                // While it is multiplied, memory is asked for the next one, a part with every group of rows.
                let next = if column + 2 * width <= columns {
                    at * stride + column + width
                } else {
                    (at + BLOCK) * stride
                };
                let panel = S::as_simd_f32s(&panel[..steps * width]).0;
                let groups = rows.div_ceil(GROUP);
                let mut row = 0;
                while row < rows {
                    let ahead = Ahead {
                        weight,
                        next,
                        stride,
                        first: row / GROUP,
                        every: groups,
                    };
                    let out = &mut out[row * columns + column..];
                    if row + GROUP <= rows {
                        let mut x_of = [&x[..0]; GROUP];
                        for (r, x_of) in x_of.iter_mut().enumerate() {
                            *x_of = &x[(row + r) * x_stride + at..][..steps];
                        }
                        add_panel::<S, E, GROUP>(simd, x_of, panel, out, columns, &ahead);
                        row += GROUP;
                    } else {
                        let x = [&x[row * x_stride + at..][..steps]];
                        add_panel::<S, E, 1>(simd, x, panel, out, columns, &ahead);
                        row += 1;
                    }
                }
            }
            if whole < columns {
                let tail = columns - whole;
                for (step, to) in panel.chunks_exact_mut(width).take(steps).enumerate() {
                    let from = (at + step) * stride + whole;
                    let values = &weight[from..from + tail];
                    for (to, value) in to.iter_mut().zip(values) {
                        *to = value.widen();
                    }
                    to[tail..].fill(0.0);
                }
                let panel = S::as_simd_f32s(&panel[..steps * width]).0;
                // The last columns of a block: what comes next is asked for by nobody.
                let ahead = Ahead {
                    weight,
                    next: 0,
                    stride,
                    first: usize::MAX,
                    every: 1,
                };
                for row in 0..rows {
                    let sums = &mut sums[..width];
                    let out = &mut out[row * columns + whole..][..tail];
                    sums[..tail].copy_from_slice(out);
                    let x = [&x[row * x_stride + at..][..steps]];
                    add_panel::<S, E, 1>(simd, x, panel, sums, width, &ahead);
                    out.copy_from_slice(&sums[..tail]);
                }
            }
        }
    }
}

/// The panel that is needed next, of whose rows one group of rows asks memory for every so many.
struct Ahead<'a, E> {
    weight: &'a [E],
    next: usize,
    stride: usize,
    first: usize,
    every: usize,
}

/// Adds `xᵀ·panel` to the first columns of `R` rows of `out`, which are `columns` apart.
#[inline(always)]
fn add_panel<S: Simd, E, const R: usize>(
    simd: S,
    x: [&[f32]; R],
    panel: &[S::f32s],
    out: &mut [f32],
    columns: usize,
    ahead: &Ahead<'_, E>,
) {
    let width = WIDE * S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); WIDE]; R];
    for (row, sums) in sums.iter_mut().enumerate() {
        let out = S::as_simd_f32s(&out[row * columns..][..width]).0;
        sums.copy_from_slice(out);
    }
    let steps = panel.len() / WIDE;
    for x in x {
        assert!(x.len() == steps, "a number a row of the panel");
    }
    let mut due = ahead.first;
    for (step, values) in panel.as_chunks::<WIDE>().0.iter().enumerate() {
        if step == due {
            due += ahead.every;
            let from = ahead.next + step * ahead.stride;
            for line in (0..width).step_by(LANES) {
                prefetch(ahead.weight, from + line);
            }
        }
        for row in 0..R {
            // SAFETY: `step` is below `steps`, the length of every list. A checked index would keep the sums
            // in memory instead of in registers.
            let x = simd.splat_f32s(unsafe { *x[row].get_unchecked(step) });
            for part in 0..WIDE {
                sums[row][part] = simd.mul_add_f32s(values[part], x, sums[row][part]);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let out = S::as_mut_simd_f32s(&mut out[row * columns..][..width]).0;
        out.copy_from_slice(sums);
    }
}
