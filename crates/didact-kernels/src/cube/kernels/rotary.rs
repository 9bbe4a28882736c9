//! Rotary position embedding.
use cubecl::prelude::*;

/// One unit for each pair; see [`crate::rotary`]. `turn` is 1 forwards and −1 backwards.
#[cube(launch)]
pub(in crate::cube) fn rotate<F: Float>(
    x: &Tensor<F>,
    cos: &Tensor<f32>,
    sin: &Tensor<f32>,
    y: &mut Tensor<F>,
    turn: f32,
    #[define(F)] _float: ElemType,
) {
    if ABSOLUTE_POS >= x.len() / 2 {
        terminate!();
    }
    let (heads, half) = (x.shape(1), cos.shape(1));
    let pair = ABSOLUTE_POS % half;
    let head = ABSOLUTE_POS / half;
    let angle = head / heads * half + pair;
    let (low, high) = (head * 2 * half + pair, head * 2 * half + half + pair);
    let (a, b) = (f32::cast_from(x[low]), f32::cast_from(x[high]));
    let (c, s) = (cos[angle], sin[angle] * turn);
    y[low] = F::cast_from(a * c - b * s);
    y[high] = F::cast_from(b * c + a * s);
}
