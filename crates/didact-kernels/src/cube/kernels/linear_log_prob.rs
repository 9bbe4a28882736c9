//! Log-probabilities from tiles of logits.
use cubecl::prelude::*;

/// Smaller than any logit; WGSL has no infinity to begin a maximum with.
const LEAST: f32 = -3.0e38;

/// Numbers kept for each row: maximum, sum of exponentials, their sum weighted by `z − maximum`, the target's logit.
const KEPT: usize = 4;

/// Brings each row's state up to date with a tile `[R, T]` of products, the vocabulary's tokens from `first` on; one
/// cube for each row.
#[cube(launch)]
pub(in crate::cube) fn absorb<I: Int>(
    products: &Tensor<f32>,
    targets: &Tensor<I>,
    state: &mut Tensor<f32>,
    inverse_temperature: f32,
    first: u32,
    #[comptime] units: usize,
    #[define(I)] _index: ElemType,
) {
    let row = CUBE_POS;
    if row >= targets.len() {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let tokens = products.shape(1);
    // What the tile has of the target is its place in it, if it is there.
    let target = usize::cast_from(targets[row]);
    let begin = first as usize;
    let mut max = f32::new(LEAST);
    let mut sum = 0.0f32;
    let mut weighted = 0.0f32;
    let mut target_logit = 0.0f32;
    let mut token = unit;
    while token < tokens {
        let logit = products[row * tokens + token] * inverse_temperature;
        if begin + token == target {
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
    // The first unit begins with what is known of the tiles before.
    if unit == 0 && begin > 0 {
        let at = row * KEPT;
        let mut largest = max;
        if state[at] > largest {
            largest = state[at];
        }
        let (old, new) = (state[at] - largest, max - largest);
        let (of_old, of_new) = (old.exp(), new.exp());
        weighted = (weighted + new * sum) * of_new + (state[at + 2] + old * state[at + 1]) * of_old;
        sum = sum * of_new + state[at + 1] * of_old;
        max = largest;
        target_logit += state[at + 3];
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
        let at = row * KEPT;
        state[at] = maxima[0];
        state[at + 1] = sums[0];
        state[at + 2] = weights[0];
        state[at + 3] = logits[0];
    }
}

/// The three columns from the state of all tiles; one unit for each row.
#[cube(launch)]
pub(in crate::cube) fn finish(state: &Tensor<f32>, output: &mut Tensor<f32>) {
    let row = ABSOLUTE_POS;
    if row * 3 >= output.len() {
        terminate!();
    }
    let at = row * KEPT;
    let log_sum = state[at + 1].ln();
    let log_sum_exp = state[at] + log_sum;
    output[3 * row] = state[at + 3] - log_sum_exp;
    output[3 * row + 1] = log_sum_exp;
    output[3 * row + 2] = log_sum - state[at + 2] / state[at + 1];
}

/// The loss's derivative by each product of a tile; see the CPU's `backward` for the formula. One unit for each.
#[cube(launch)]
pub(in crate::cube) fn of_products<F: Float, I: Int>(
    products: &Tensor<f32>,
    targets: &Tensor<I>,
    output: &Tensor<f32>,
    gradient: &Tensor<f32>,
    of_products: &mut Tensor<F>,
    inverse_temperature: f32,
    first: u32,
    #[define(F)] _float: ElemType,
    #[define(I)] _index: ElemType,
) {
    if ABSOLUTE_POS >= products.len() {
        terminate!();
    }
    let tokens = products.shape(1);
    let (row, token) = (ABSOLUTE_POS / tokens, ABSOLUTE_POS % tokens);
    let log_prob = products[ABSOLUTE_POS] * inverse_temperature - output[3 * row + 1];
    let of_log_prob = gradient[3 * row];
    let constant = gradient[3 * row + 1] - of_log_prob;
    let mut result =
        log_prob.exp() * (constant - gradient[3 * row + 2] * (log_prob + output[3 * row + 2]));
    if first as usize + token == usize::cast_from(targets[row]) {
        result += of_log_prob;
    }
    of_products[ABSOLUTE_POS] = F::cast_from(result * inverse_temperature);
}
