use burn::tensor::Tensor;

use crate::AdamWStep;

/// AdamW's update in plain tensor operations; see [`crate::adamw()`].
#[must_use]
pub fn adamw(
    step: AdamWStep,
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
) -> [Tensor<1>; 3] {
    let first = first * step.beta1 + gradient.clone() * step.rest1;
    let second = second * step.beta2 + gradient.clone() * gradient * step.rest2;
    let root = second.clone().sqrt() * step.root_correction + step.epsilon;
    let parameter = parameter * step.keep - first.clone() / root * step.step_size;
    [parameter, first, second]
}
