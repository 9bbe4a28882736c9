//! Attention over a key/value cache: which slots of a pool each row sees.
//!
//! This module owns the operations' contracts and the host-side layout. It knows no page table and no
//! sequence: who owns which slot, and for how long, is the engine's matter. No gradient passes here.
use std::ops::Range;
use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Shape, Tensor};

use crate::{Error, device, reference};

/// Consecutive new rows of one sequence and the slots of all tokens that the last of them sees, itself
/// included.
///
/// The rows' own keys and values lie in the last `rows` slots: row `i` sees all slots but the last
/// `rows − 1 − i`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedRun {
    /// Number of rows, at least one.
    pub rows: usize,
    /// Slots in the order of their tokens, as ranges; at least `rows` slots in all.
    pub slots: Vec<Range<usize>>,
}

/// What every row of a forward pass sees of a key/value cache. Cloning is cheap.
///
/// ```
/// use didact_kernels::{CacheLayout, CachedRun};
///
/// // A prompt in slots 0..5, continued by one sequence in 8..10 and another in 12..13; one new row each.
/// let layout = CacheLayout::new(vec![
///     CachedRun { rows: 1, slots: vec![0..5, 8..10] },
///     CachedRun { rows: 1, slots: vec![0..5, 12..13] },
/// ])?;
/// assert_eq!((layout.rows(), layout.end()), (2, 13));
/// # Ok::<(), didact_kernels::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheLayout {
    runs: Arc<[CachedRun]>,
    rows: usize,
    end: usize,
}

impl CacheLayout {
    /// Lays the runs out in the order of their rows.
    ///
    /// # Errors
    /// No runs, a run without rows, or one that has fewer slots than rows.
    pub fn new(runs: Vec<CachedRun>) -> Result<Self, Error> {
        if runs.is_empty() {
            return Err(Error::NoSegments);
        }
        let (mut rows, mut end) = (0, 0);
        for (index, run) in runs.iter().enumerate() {
            let slots: usize = run.slots.iter().map(ExactSizeIterator::len).sum();
            if run.rows == 0 {
                return Err(Error::EmptySegment { segment: index });
            }
            if slots < run.rows {
                return Err(Error::TooFewSlots {
                    run: index,
                    rows: run.rows,
                    slots,
                });
            }
            rows += run.rows;
            end = run
                .slots
                .iter()
                .map(|range| range.end)
                .fold(end, usize::max);
        }
        let runs = runs.into();
        Ok(Self { runs, rows, end })
    }

    /// The runs, in the order of their rows.
    pub fn runs(&self) -> &[CachedRun] {
        &self.runs
    }

    /// Number of rows of all runs.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// One above the highest slot in use.
    pub const fn end(&self) -> usize {
        self.end
    }
}

/// Causal attention of new rows over a key/value cache, `[R, Hq, D]`.
///
/// For query head `h` of a row, over the slots `j` that the layout lets it see, with key head
/// `h / (Hq / Hkv)`: `out = Σⱼ softmaxⱼ(scale · q·kⱼ) · vⱼ`. Shapes: `q` `[R, Hq, D]`, `keys` and
/// `values` `[S, Hkv, D]` with `S` slots. A row's result does not depend on the other runs.
///
/// # Panics
/// When the shapes do not belong together or to the layout.
pub fn cached_attention(
    q: Tensor<3>,
    keys: Tensor<3>,
    values: Tensor<3>,
    layout: &CacheLayout,
    scale: f64,
) -> Tensor<3> {
    check_shapes(&q.shape(), &keys.shape(), &values.shape(), layout);
    let floats = [q.dtype(), keys.dtype(), values.dtype()];
    let tracked = device::is_autodiff(&q.device());
    if tracked || !device::has_kernels_for(&q.device(), &floats) {
        return reference::cached_attention(q, keys, values, layout, scale);
    }
    Tensor::from_dispatch(<Dispatch as CacheOps>::cached_attention(
        q.into_dispatch(),
        keys.into_dispatch(),
        values.into_dispatch(),
        layout.clone(),
        scale,
    ))
}

fn check_shapes(q: &Shape, keys: &Shape, values: &Shape, layout: &CacheLayout) {
    assert!(
        keys == values,
        "cached_attention: keys {keys:?} and values {values:?} differ in shape"
    );
    assert!(
        q[0] == layout.rows() && layout.end() <= keys[0],
        "cached_attention: the layout has {} rows and slots up to {}, but queries are {q:?} and the pool is \
         {keys:?}",
        layout.rows(),
        layout.end()
    );
    assert!(
        q[2] == keys[2] && keys[1] > 0 && q[1].is_multiple_of(keys[1]),
        "cached_attention: query heads {q:?} cannot be grouped over key heads {keys:?}"
    );
}

/// The pool `[S, H, D]` with row `i` of `rows` `[R, H, D]` in slot `slots[i]`.
///
/// On the CPU a pool that nothing else shares is changed in place.
///
/// # Panics
/// When the shapes do not belong together, the slots are not one a row, or a slot is not in the pool.
pub fn write_slots(pool: Tensor<3>, rows: Tensor<3>, slots: &Arc<[usize]>) -> Tensor<3> {
    let (to, from) = (pool.shape(), rows.shape());
    assert!(
        to[1] == from[1] && to[2] == from[2] && from[0] == slots.len(),
        "write_slots: rows {from:?} for {} slots of a pool {to:?}",
        slots.len()
    );
    assert!(
        slots.iter().all(|slot| *slot < to[0]),
        "write_slots: a slot is not below the pool's {}",
        to[0]
    );
    let floats = [pool.dtype(), rows.dtype()];
    let tracked = device::is_autodiff(&pool.device());
    if tracked || !device::has_kernels_for(&pool.device(), &floats) {
        return reference::write_slots(pool, rows, slots);
    }
    Tensor::from_dispatch(<Dispatch as CacheOps>::write_slots(
        pool.into_dispatch(),
        rows.into_dispatch(),
        slots.clone(),
    ))
}

/// The backend family behind [`cached_attention`] and [`write_slots`]: f32 tensors, on GPUs half precisions too; no
/// gradients.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
)]
pub trait CacheOps: Backend {
    /// The attended values.
    #[fusion(dtype = q, shape = q)]
    fn cached_attention(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        layout: CacheLayout,
        scale: f64,
    ) -> FloatTensor<Self>;

    /// The pool with the rows in their slots.
    #[fusion(dtype = pool, shape = pool)]
    fn write_slots(
        pool: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        slots: Arc<[usize]>,
    ) -> FloatTensor<Self>;
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "slots are ranges, often one"
)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be_laid_out() {
        assert_eq!(CacheLayout::new(vec![]), Err(Error::NoSegments));
        let run = |rows, slots| CachedRun { rows, slots };
        assert_eq!(
            CacheLayout::new(vec![run(1, vec![0..1]), run(0, vec![3..5])]),
            Err(Error::EmptySegment { segment: 1 })
        );
        assert_eq!(
            CacheLayout::new(vec![run(3, vec![0..1, 7..8])]),
            Err(Error::TooFewSlots {
                run: 0,
                rows: 3,
                slots: 2
            })
        );
    }
}
