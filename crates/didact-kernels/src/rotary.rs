//! Rotary position embedding.
//!
//! This module owns the operation's contract and its shape checks. It does not know how angles are
//! made from positions: their cosines and sines come in.
use burn::tensor::{Shape, Tensor};

use crate::reference;

/// Rotates each head's pairs by its token's angles, `[N, H, D]`.
///
/// Pairs are `(x[i], x[i + D/2])`, the layout of Hugging Face's `rotate_half`:
/// `y[i] = x[i]·cos[i] − x[i + D/2]·sin[i]` and `y[i + D/2] = x[i + D/2]·cos[i] + x[i]·sin[i]`.
/// Shapes: `x` `[N, H, D]` with `D` even, `cos` and `sin` `[N, D/2]`, which carry no gradient on the
/// fast path.
///
/// # Panics
/// When the shapes do not belong together.
pub fn rotary(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<3> {
    check_shapes(&x.shape(), &cos.shape(), &sin.shape());
    reference::rotary(x, cos, sin)
}

fn check_shapes(x: &Shape, cos: &Shape, sin: &Shape) {
    assert!(
        cos == sin && cos[0] == x[0] && 2 * cos[1] == x[2],
        "rotary: heads {x:?} need cosines and sines [{}, {}/2], got {cos:?} and {sin:?}",
        x[0],
        x[2]
    );
}
