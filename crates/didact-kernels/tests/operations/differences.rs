//! Finite differences in f64 of every reference, in every input.
use burn::tensor::{DType, Device, Int, Tensor};
use didact_kernels::{Activation, Bits, PackedLayout, QuantisedMatrix, Segment, reference};

use crate::support::{Operation, assert_close, host, numbers, value_and_gradients};

/// Compares gradients with central differences: the error is of the order of the step squared.
fn check(name: &str, inputs: &[Vec<f64>], operation: impl Operation) {
    const STEP: f64 = 1e-5;
    let device = Device::flex();
    let (value, gradients) =
        value_and_gradients(&operation, inputs, &device.clone().autodiff(), DType::F64);
    let weights = numbers(99, value.len());
    let loss = |inputs: &[Vec<f64>]| -> f64 {
        let tensors: Vec<_> = inputs
            .iter()
            .map(|values| crate::support::flat(values, &device, DType::F64))
            .collect();
        host(operation(&tensors))
            .iter()
            .zip(&weights)
            .map(|(value, w)| value * w)
            .sum()
    };
    for (index, gradient) in gradients.iter().enumerate() {
        let differences: Vec<f64> = (0..gradient.len())
            .map(|entry| {
                let mut moved = inputs.to_vec();
                moved[index][entry] += STEP;
                let above = loss(&moved);
                moved[index][entry] -= 2.0 * STEP;
                (above - loss(&moved)) / (2.0 * STEP)
            })
            .collect();
        assert_close(
            &format!("{name}, input {index}"),
            gradient,
            &differences,
            1e-7,
        );
    }
}

#[test]
fn linear_log_prob() {
    let (tokens, width, vocabulary) = (4, 3, 7);
    for temperature in [1.0, 0.7] {
        check(
            "linear_log_prob",
            &[numbers(1, tokens * width), numbers(2, vocabulary * width)],
            |inputs| {
                let device = inputs[0].device();
                let rows = Tensor::<1, Int>::from_data([2, 0, 2, 3, 2], &device);
                let targets = Tensor::<1, Int>::from_data([6, 0, 1, 3, 6], &device);
                reference::linear_log_prob(
                    inputs[0].clone().reshape([tokens, width]),
                    rows,
                    inputs[1].clone().reshape([vocabulary, width]),
                    targets,
                    temperature,
                )
                .reshape([-1])
            },
        );
    }
}

#[test]
fn attention() {
    let layout = PackedLayout::new(&[
        Segment::root(3),
        Segment::child(1, 0),
        Segment::root(1),
        Segment::child(2, 1),
    ])
    .expect("a well-formed layout");
    let (tokens, size) = (layout.tokens(), 3);
    for (query_heads, key_heads) in [(1, 1), (4, 2), (3, 1)] {
        check(
            "attention",
            &[
                numbers(1, tokens * query_heads * size),
                numbers(2, tokens * key_heads * size),
                numbers(3, tokens * key_heads * size),
            ],
            |inputs| {
                reference::attention(
                    inputs[0].clone().reshape([tokens, query_heads, size]),
                    inputs[1].clone().reshape([tokens, key_heads, size]),
                    inputs[2].clone().reshape([tokens, key_heads, size]),
                    &layout,
                    0.8,
                )
                .reshape([-1])
            },
        );
    }
}

#[test]
fn linear() {
    check("linear", &[numbers(1, 15), numbers(2, 20)], |inputs| {
        let x = inputs[0].clone().reshape([3, 5]);
        let weight = inputs[1].clone().reshape([5, 4]);
        reference::linear(x, weight).reshape([-1])
    });
}

#[test]
fn quantised_linear() {
    let values: Vec<f32> = numbers(2, 40 * 3).into_iter().map(|x| x as f32).collect();
    for bits in [Bits::Eight, Bits::Four] {
        let weight = QuantisedMatrix::quantise_rows(&values, [3, 40], bits).expect("small numbers");
        check("quantised_linear", &[numbers(1, 80)], |inputs| {
            let x = inputs[0].clone().reshape([2, 40]);
            reference::quantised_linear(x, &weight).reshape([-1])
        });
    }
}

#[test]
fn rms_norm() {
    for offset in [0.0, 1.0] {
        check("rms_norm", &[numbers(1, 15), numbers(2, 5)], |inputs| {
            let x = inputs[0].clone().reshape([3, 5]);
            reference::rms_norm(x, inputs[1].clone(), 1e-5, offset).reshape([-1])
        });
    }
}

#[test]
fn rotary() {
    check(
        "rotary",
        &[numbers(1, 3 * 2 * 6), numbers(2, 9), numbers(3, 9)],
        |inputs| {
            let x = inputs[0].clone().reshape([3, 2, 6]);
            let [cos, sin] = [1, 2].map(|index: usize| inputs[index].clone().reshape([3, 3]));
            reference::rotary(x, cos, sin).reshape([-1])
        },
    );
}

#[test]
fn gated() {
    for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
        let gate = numbers(1, 15).into_iter().map(|x| 3.0 * x).collect();
        check(
            &format!("{activation:?}"),
            &[gate, numbers(2, 15)],
            |inputs| {
                let [gate, up] = [0, 1].map(|index: usize| inputs[index].clone().reshape([3, 5]));
                reference::gated(gate, up, activation).reshape([-1])
            },
        );
    }
}
