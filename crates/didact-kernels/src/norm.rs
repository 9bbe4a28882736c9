//! Root-mean-square normalisation.
//!
//! This module owns the operation's contract and its shape checks.
use burn::tensor::{Shape, Tensor};

use crate::reference;

/// Root-mean-square normalisation of each row, `[N, H]`.
///
/// `y = x / √(mean(x²) + epsilon) · (offset + weight)`, the mean over the row (Zhang and Sennrich,
/// 2019). `offset` is 0 in most models and 1 in Gemma. Shapes: `x` `[N, H]`, `weight` `[H]`. Half
/// precisions are computed in f32 and rounded once, at the end.
///
/// # Panics
/// When the weight is not as wide as the rows.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64, offset: f64) -> Tensor<2> {
    check_shapes(&x.shape(), &weight.shape());
    reference::rms_norm(x, weight, epsilon, offset)
}

fn check_shapes(x: &Shape, weight: &Shape) {
    assert!(
        x[1] == weight[0],
        "rms_norm: rows {x:?} and weight {weight:?} differ in width"
    );
}
