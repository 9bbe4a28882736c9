//! Gated activations: SwiGLU, GeGLU.
//!
//! This module owns the operation's contract and its shape checks; the projections around it belong
//! to the model.
use burn::tensor::{Shape, Tensor};

use crate::reference;

/// The function that the gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `x·σ(x)`, also called swish.
    Silu,
    /// `½x·(1 + tanh(√(2/π)·(x + 0.044715x³)))`, the approximate GELU (`gelu_pytorch_tanh`).
    GeluTanh,
    /// `½x·(1 + erf(x/√2))`, the exact GELU.
    Gelu,
}

impl Activation {
    /// Coefficient of the cubic term in the approximate GELU (Hendrycks and Gimpel, 2016).
    pub(crate) const GELU_CUBIC: f64 = 0.044715;
    /// √(2/π), the factor before the approximate GELU's hyperbolic tangent.
    pub(crate) const GELU_SCALE: f64 =
        std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
}

/// A gated activation, `activation(gate) · up`, element by element, `[N, I]`.
///
/// # Panics
/// When the two shapes differ.
pub fn gated(gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
    check_shapes(&gate.shape(), &up.shape());
    reference::gated(gate, up, activation)
}

fn check_shapes(gate: &Shape, up: &Shape) {
    assert!(
        gate == up,
        "gated: gate {gate:?} and up {up:?} differ in shape"
    );
}
