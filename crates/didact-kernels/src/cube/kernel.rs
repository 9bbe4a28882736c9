//! The device code of `linear_log_prob`. One cube works on one output row; its units share the other
//! dimension among them, so that only a cube's worth of logits ever exists.
//!
//! Kernels live apart because CubeCL's prelude and burn's tensor types share names.
use cubecl::prelude::*;

/// Smaller than any logit; WGSL has no infinity to begin a maximum with.
const LEAST: f32 = -3.0e38;

#[cube]
fn dot(lhs: &Tensor<f32>, lhs_start: usize, rhs: &Tensor<f32>, rhs_start: usize, n: usize) -> f32 {
    let mut sum = 0.0f32;
    for i in 0..n {
        sum += lhs[lhs_start + i] * rhs[rhs_start + i];
    }
    sum
}

/// The loss's derivative by one logit; see the CPU's `backward` for the formula.
#[cube]
fn logit_gradient(
    logit: f32,
    is_target: bool,
    output: &Tensor<f32>,
    gradient: &Tensor<f32>,
    row: usize,
) -> f32 {
    let log_prob = logit - output[3 * row + 1];
    let of_log_prob = gradient[3 * row];
    let constant = gradient[3 * row + 1] - of_log_prob;
    let mut result =
        log_prob.exp() * (constant - gradient[3 * row + 2] * (log_prob + output[3 * row + 2]));
    if is_target {
        result += of_log_prob;
    }
    result
}

/// One cube for each projected row. Each unit keeps a running maximum, sum and weighted sum of its
/// share of the vocabulary; a tree in shared memory merges them.
#[cube(launch)]
pub(super) fn forward<I: Int>(
    hidden: &Tensor<f32>,
    rows: &Tensor<I>,
    embedding: &Tensor<f32>,
    targets: &Tensor<I>,
    output: &mut Tensor<f32>,
    inverse_temperature: f32,
    #[comptime] units: usize,
    #[define(I)] _index: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows.len() {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let width = hidden.shape(1);
    let vocabulary = embedding.shape(0);
    let from = usize::cast_from(rows[row]) * width;
    let target = usize::cast_from(targets[row]);

    let mut max = f32::new(LEAST);
    let mut sum = 0.0f32;
    let mut weighted = 0.0f32;
    let mut target_logit = 0.0f32;
    let mut token = unit;
    while token < vocabulary {
        let logit = dot(hidden, from, embedding, token * width, width) * inverse_temperature;
        if token == target {
            target_logit = logit;
        }
        if logit > max {
            let shift = max - logit;
            let factor = shift.exp();
            weighted = (weighted + shift * sum) * factor;
            sum = sum * factor + 1.0f32;
            max = logit;
        } else {
            let shift = logit - max;
            let e = shift.exp();
            sum += e;
            weighted += e * shift;
        }
        token += units;
    }

    let mut maxima = Shared::<[f32]>::new_slice(units);
    let mut sums = Shared::<[f32]>::new_slice(units);
    let mut weights = Shared::<[f32]>::new_slice(units);
    let mut logits = Shared::<[f32]>::new_slice(units);
    maxima[unit] = max;
    sums[unit] = sum;
    weights[unit] = weighted;
    // One unit found the target, the others hold zero.
    logits[unit] = target_logit;
    sync_cube();
    let mut step = (units / 2).runtime();
    while step > 0 {
        if unit < step {
            let other = unit + step;
            let mut largest = maxima[unit];
            if maxima[other] > largest {
                largest = maxima[other];
            }
            let shift = maxima[unit] - largest;
            let other_shift = maxima[other] - largest;
            let factor = shift.exp();
            let other_factor = other_shift.exp();
            let merged = (weights[unit] + shift * sums[unit]) * factor
                + (weights[other] + other_shift * sums[other]) * other_factor;
            sums[unit] = sums[unit] * factor + sums[other] * other_factor;
            weights[unit] = merged;
            maxima[unit] = largest;
            logits[unit] = logits[unit] + logits[other];
        }
        sync_cube();
        step /= 2;
    }
    if unit == 0 {
        let log_sum = sums[0].ln();
        let log_sum_exp = maxima[0] + log_sum;
        output[3 * row] = logits[0] - log_sum_exp;
        output[3 * row + 1] = log_sum_exp;
        output[3 * row + 2] = log_sum - weights[0] / sums[0];
    }
}

/// One cube for each projected row: its gradient `[R, H]`, over blocks of `units` vocabulary tokens.
#[cube(launch)]
pub(super) fn backward_rows<I: Int>(
    hidden: &Tensor<f32>,
    rows: &Tensor<I>,
    embedding: &Tensor<f32>,
    targets: &Tensor<I>,
    output: &Tensor<f32>,
    gradient: &Tensor<f32>,
    of_rows: &mut Tensor<f32>,
    inverse_temperature: f32,
    #[comptime] units: usize,
    #[define(I)] _index: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows.len() {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let width = hidden.shape(1);
    let vocabulary = embedding.shape(0);
    let from = usize::cast_from(rows[row]) * width;
    let target = usize::cast_from(targets[row]);
    let mut block = Shared::<[f32]>::new_slice(units);
    let mut start = 0usize.runtime();
    while start < vocabulary {
        let token = start + unit;
        let mut of_logit = 0.0f32;
        if token < vocabulary {
            let logit = dot(hidden, from, embedding, token * width, width) * inverse_temperature;
            of_logit = logit_gradient(logit, token == target, output, gradient, row);
        }
        block[unit] = of_logit * inverse_temperature;
        sync_cube();
        let mut tokens = vocabulary - start;
        if tokens > units {
            tokens = units.runtime();
        }
        let mut column = unit;
        while column < width {
            let mut sum = 0.0f32;
            if start > 0 {
                sum = of_rows[row * width + column];
            }
            for i in 0..tokens {
                sum += block[i] * embedding[(start + i) * width + column];
            }
            of_rows[row * width + column] = sum;
            column += units;
        }
        sync_cube();
        start += units;
    }
}

/// One cube for each vocabulary token: its gradient `[V, H]`, over blocks of `units` projected rows in
/// the order of the list.
#[cube(launch)]
pub(super) fn backward_embedding<I: Int>(
    hidden: &Tensor<f32>,
    rows: &Tensor<I>,
    embedding: &Tensor<f32>,
    targets: &Tensor<I>,
    output: &Tensor<f32>,
    gradient: &Tensor<f32>,
    of_embedding: &mut Tensor<f32>,
    inverse_temperature: f32,
    #[comptime] units: usize,
    #[define(I)] _index: ElemType,
) {
    let token = CUBE_POS;
    if token >= embedding.shape(0) {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let width = hidden.shape(1);
    let count = rows.len();
    let mut block = Shared::<[f32]>::new_slice(units);
    let mut start = 0usize.runtime();
    while start < count {
        let row = start + unit;
        let mut of_logit = 0.0f32;
        if row < count {
            let from = usize::cast_from(rows[row]) * width;
            let logit = dot(hidden, from, embedding, token * width, width) * inverse_temperature;
            let target = usize::cast_from(targets[row]);
            of_logit = logit_gradient(logit, token == target, output, gradient, row);
        }
        block[unit] = of_logit * inverse_temperature;
        sync_cube();
        let mut here = count - start;
        if here > units {
            here = units.runtime();
        }
        let mut column = unit;
        while column < width {
            let mut sum = 0.0f32;
            if start > 0 {
                sum = of_embedding[token * width + column];
            }
            for i in 0..here {
                let from = usize::cast_from(rows[start + i]) * width;
                sum += block[i] * hidden[from + column];
            }
            of_embedding[token * width + column] = sum;
            column += units;
        }
        sync_cube();
        start += units;
    }
}
