//! Root-mean-square normalisation on the CPU, row by row.
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use super::vectorised::{LANES, sum_lanes, vectorised};
use super::{contiguous, filled, floats, tensor};
use crate::NormOps;

/// Rows of one task. The weight's gradient is summed within tasks first, so this is part of its order.
const ROWS: usize = 32;

impl NormOps for Flex {
    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        offset: f64,
    ) -> FloatTensor<Self> {
        let (x, weight) = (contiguous(x), contiguous(weight));
        let (rows, width) = (x.layout().shape()[0], x.layout().shape()[1]);
        let (values, weight) = (floats(&x), floats(&weight));
        let chunk = ROWS * width;
        let [output] = filled(rows * width, chunk, |index, [output]| {
            let values = &values[index * chunk..][..output.len()];
            normalise(output, values, weight, epsilon as f32, offset as f32);
        });
        tensor(output, [rows, width])
    }

    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
        offset: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, gradient) = (contiguous(x), contiguous(weight), contiguous(gradient));
        let (rows, width) = (x.layout().shape()[0], x.layout().shape()[1]);
        let (values, weight, gradient) = (floats(&x), floats(&weight), floats(&gradient));
        let mut of_x = vec![0.0; rows * width];
        let chunk = ROWS * width.max(1);
        let parts: Vec<Vec<f32>> = of_x
            .par_chunks_mut(chunk)
            .zip(values.par_chunks(chunk))
            .zip(gradient.par_chunks(chunk))
            .map(|((of_x, values), gradient)| {
                let mut of_weight = vec![0.0; width];
                let (epsilon, offset) = (epsilon as f32, offset as f32);
                backward(
                    of_x,
                    &mut of_weight,
                    values,
                    weight,
                    gradient,
                    epsilon,
                    offset,
                );
                of_weight
            })
            .collect();
        let mut of_weight = vec![0.0; width];
        for part in parts {
            for (sum, part) in of_weight.iter_mut().zip(part) {
                *sum += part;
            }
        }
        (tensor(of_x, [rows, width]), tensor(of_weight, [width]))
    }
}

/// 1/√(mean(x²) + epsilon)
#[inline(always)]
fn inverse_rms(row: &[f32], epsilon: f32) -> f32 {
    let squares = sum_products(row, row);
    1.0 / (squares / row.len() as f32 + epsilon).sqrt()
}

#[inline(always)]
fn sum_products(lhs: &[f32], rhs: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (left, right) = (lhs.chunks_exact(LANES), rhs.chunks_exact(LANES));
    let (left_rest, right_rest) = (left.remainder(), right.remainder());
    for (left, right) in left.zip(right) {
        for lane in 0..LANES {
            lanes[lane] += left[lane] * right[lane];
        }
    }
    for (lane, (left, right)) in lanes.iter_mut().zip(left_rest.iter().zip(right_rest)) {
        *lane += left * right;
    }
    sum_lanes(lanes)
}

vectorised! {
    fn normalise(output: &mut [f32], values: &[f32], weight: &[f32], epsilon: f32, offset: f32) {
        let width = weight.len().max(1);
        for (output, row) in output.chunks_exact_mut(width).zip(values.chunks_exact(width)) {
            let scale = inverse_rms(row, epsilon);
            for ((output, x), weight) in output.iter_mut().zip(row).zip(weight) {
                *output = x * scale * (offset + weight);
            }
        }
    }
}

vectorised! {
    /// With s = 1/rms and h = g·(offset + weight):
    /// dx = s·(h − x·s²·mean(h·x)), and dweight gathers g·x·s over the rows.
    fn backward(
        of_x: &mut [f32],
        of_weight: &mut [f32],
        values: &[f32],
        weight: &[f32],
        gradient: &[f32],
        epsilon: f32,
        offset: f32,
    ) {
        let width = weight.len().max(1);
        let rows = values.chunks_exact(width).zip(gradient.chunks_exact(width));
        for (of_x, (row, gradient)) in of_x.chunks_exact_mut(width).zip(rows) {
            let scale = inverse_rms(row, epsilon);
            for ((to, gradient), weight) in of_x.iter_mut().zip(gradient).zip(weight) {
                *to = gradient * (offset + weight);
            }
            let mean = sum_products(of_x, row) / width as f32;
            let along = scale * scale * mean;
            for (to, x) in of_x.iter_mut().zip(row) {
                *to = scale * (*to - x * along);
            }
            for ((sum, gradient), x) in of_weight.iter_mut().zip(gradient).zip(row) {
                *sum += gradient * (x * scale);
            }
        }
    }
}
