//! AdamW's update.
use cubecl::prelude::*;

/// One unit for each entry; see [`crate::AdamWStep`].
#[cube(launch)]
pub(in crate::cube) fn update(
    gradient: &Tensor<f32>,
    parameter: &mut Tensor<f32>,
    first: &mut Tensor<f32>,
    second: &mut Tensor<f32>,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    keep: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
) {
    let at = ABSOLUTE_POS;
    if at >= gradient.len() {
        terminate!();
    }
    let g = gradient[at];
    let m = beta1 * first[at] + rest1 * g;
    let v = beta2 * second[at] + rest2 * g * g;
    first[at] = m;
    second[at] = v;
    parameter[at] = parameter[at] * keep - step_size * m / (v.sqrt() * root_correction + epsilon);
}
