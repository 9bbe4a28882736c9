//! Gated activations on the CPU, element by element.
//!
//! SiLU and the approximate GELU are both `x·σ(s(x))`, since ½(1 + tanh u) = σ(2u): with `s(x) = x`,
//! and with `s(x) = a·x + b·x³` for a = 2√(2/π) and b = 0.044715·a.
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::vectorised::{exp, vectorised};
use super::{contiguous, filled, floats, tensor};
use crate::{Activation, GatedOps};

/// Elements of one task.
const ELEMENTS: usize = 16 * 1024;

impl GatedOps for Flex {
    fn gated(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let (gate, up) = (contiguous(gate), contiguous(up));
        let [linear, cubic] = sigmoid_argument(activation);
        let [gates, ups] = [&gate, &up].map(floats);
        let [output] = filled(gates.len(), ELEMENTS, |index, [output]| {
            let here = index * ELEMENTS..index * ELEMENTS + output.len();
            forward(output, &gates[here.clone()], &ups[here], linear, cubic);
        });
        tensor::<2>(output, gate.layout().shape().dims())
    }

    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, up, gradient) = (contiguous(gate), contiguous(up), contiguous(gradient));
        let [linear, cubic] = sigmoid_argument(activation);
        let [gates, ups, gradients] = [&gate, &up, &gradient].map(floats);
        let [of_gate, of_up] = filled(gates.len(), ELEMENTS, |index, [of_gate, of_up]| {
            let here = index * ELEMENTS..index * ELEMENTS + of_gate.len();
            let (gate, up, gradient) = (&gates[here.clone()], &ups[here.clone()], &gradients[here]);
            backward(of_gate, of_up, gate, up, gradient, linear, cubic);
        });
        let shape = gate.layout().shape().dims();
        (tensor::<2>(of_gate, shape), tensor::<2>(of_up, shape))
    }
}

/// The coefficients of x and of x³ in s(x).
fn sigmoid_argument(activation: Activation) -> [f32; 2] {
    match activation {
        Activation::Silu => [1.0, 0.0],
        Activation::GeluTanh => {
            let linear = 2.0 * Activation::GELU_SCALE;
            [linear as f32, (linear * Activation::GELU_CUBIC) as f32]
        }
        Activation::Gelu => unreachable!("the exact GELU takes the reference"),
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

vectorised! {
    fn forward(output: &mut [f32], gate: &[f32], up: &[f32], linear: f32, cubic: f32) {
        for ((output, x), up) in output.iter_mut().zip(gate).zip(up) {
            *output = x * sigmoid(x * (linear + cubic * x * x)) * up;
        }
    }
}

vectorised! {
    /// d(x·σ(s))/dx = σ + x·σ·(1 − σ)·s′.
    fn backward(
        of_gate: &mut [f32],
        of_up: &mut [f32],
        gate: &[f32],
        up: &[f32],
        gradient: &[f32],
        linear: f32,
        cubic: f32,
    ) {
        let to = of_gate.iter_mut().zip(of_up);
        for ((((of_gate, of_up), x), up), gradient) in to.zip(gate).zip(up).zip(gradient) {
            let square = x * x;
            let sigmoid = sigmoid(x * (linear + cubic * square));
            let slope = linear + 3.0 * cubic * square;
            *of_up = gradient * (x * sigmoid);
            *of_gate = gradient * up * (sigmoid + x * sigmoid * (1.0 - sigmoid) * slope);
        }
    }
}
