//! Gated activations.
use cubecl::prelude::*;

/// What the approximate GELU's tangent is taken of, for `x`.
#[cube]
fn inner(x: f32, scale: f32, cubic: f32) -> f32 {
    (x + x * x * x * cubic) * scale
}

/// The hyperbolic tangent, which some devices let overflow for large numbers.
#[cube]
fn tangent(x: f32) -> f32 {
    let e = (x.abs() * -2.0f32).exp();
    let size = (1.0f32 - e) / (1.0f32 + e);
    if x < 0.0f32 { -size } else { size }
}

/// One unit for each element; see [`crate::gated()`]. SiLU, or the approximate GELU with `tanh`.
#[cube(launch)]
pub(in crate::cube) fn forward<F: Float>(
    gate: &Tensor<F>,
    up: &Tensor<F>,
    y: &mut Tensor<F>,
    scale: f32,
    cubic: f32,
    #[comptime] tanh: bool,
    #[define(F)] _float: ElemType,
) {
    if ABSOLUTE_POS >= gate.len() {
        terminate!();
    }
    let x = f32::cast_from(gate[ABSOLUTE_POS]);
    let mut through = x;
    if comptime!(tanh) {
        through *= 0.5f32 * (1.0f32 + tangent(inner(x, scale, cubic)));
    } else {
        through /= 1.0f32 + (-x).exp();
    }
    y[ABSOLUTE_POS] = F::cast_from(through * f32::cast_from(up[ABSOLUTE_POS]));
}

/// One unit for each element: both gradients.
#[cube(launch)]
pub(in crate::cube) fn backward<F: Float>(
    gate: &Tensor<F>,
    up: &Tensor<F>,
    gradient: &Tensor<F>,
    of_gate: &mut Tensor<F>,
    of_up: &mut Tensor<F>,
    scale: f32,
    cubic: f32,
    #[comptime] tanh: bool,
    #[define(F)] _float: ElemType,
) {
    if ABSOLUTE_POS >= gate.len() {
        terminate!();
    }
    let x = f32::cast_from(gate[ABSOLUTE_POS]);
    let g = f32::cast_from(gradient[ABSOLUTE_POS]);
    let tangent = tangent(inner(x, scale, cubic));
    let sigmoid = 1.0f32 / (1.0f32 + (-x).exp());
    // The part of x that goes through, and how that changes with x.
    let share = if comptime!(tanh) {
        0.5f32 * (1.0f32 + tangent)
    } else {
        sigmoid
    };
    let of_share = if comptime!(tanh) {
        let of_inner = (1.0f32 + 3.0f32 * x * x * cubic) * scale;
        0.5f32 * (1.0f32 - tangent * tangent) * of_inner
    } else {
        sigmoid * (1.0f32 - sigmoid)
    };
    let through = x * share;
    let slope = share + x * of_share;
    of_gate[ABSOLUTE_POS] = F::cast_from(g * f32::cast_from(up[ABSOLUTE_POS]) * slope);
    of_up[ABSOLUTE_POS] = F::cast_from(g * through);
}
