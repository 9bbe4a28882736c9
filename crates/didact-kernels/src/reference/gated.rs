use burn::tensor::{Tensor, activation::sigmoid};

use super::widen;
use crate::Activation;

/// A gated activation; see [`crate::gated`].
pub fn gated(gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
    let dtype = gate.dtype();
    let (gate, up) = (widen(gate), widen(up));
    let activated = match activation {
        Activation::Silu => gate.clone() * sigmoid(gate),
        Activation::GeluTanh => {
            let cube = gate.clone() * gate.clone() * gate.clone();
            let inner = (gate.clone() + cube.mul_scalar(Activation::GELU_CUBIC))
                .mul_scalar(Activation::GELU_SCALE);
            gate * inner.tanh().add_scalar(1.0).mul_scalar(0.5)
        }
        Activation::Gelu => {
            let inner = gate.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2);
            gate * inner.erf().add_scalar(1.0).mul_scalar(0.5)
        }
    };
    (activated * up).cast(dtype)
}
