//! Writing to a key/value cache.
use cubecl::prelude::*;

/// One unit for each number of `rows` `[R, …]`: row `i` goes to `slots[i]` of the pool.
#[cube(launch)]
pub(in crate::cube) fn write<F: Float>(
    rows: &Tensor<F>,
    slots: &Tensor<i32>,
    pool: &mut Tensor<F>,
    #[define(F)] _float: ElemType,
) {
    if ABSOLUTE_POS >= rows.len() {
        terminate!();
    }
    let width = rows.len() / slots.len();
    let slot = usize::cast_from(slots[ABSOLUTE_POS / width]);
    pool[slot * width + ABSOLUTE_POS % width] = rows[ABSOLUTE_POS];
}
