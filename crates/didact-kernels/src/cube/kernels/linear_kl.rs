//! Divergences of two distributions from tiles of their logits.
use cubecl::prelude::*;

/// Smaller than any logit; WGSL has no infinity to begin a maximum with.
const LEAST: f32 = -3.0e38;

/// Numbers kept for each row, with `z` the logits of the distribution that the expectation is of and `y` the other's:
/// maximum of `z`, sum of its exponentials, their sum weighted by `(z − max z) − (y − max y)`, maximum of `y`, sum of
/// its exponentials.
const KEPT: usize = 5;

/// What is known of a row, or of a part of it.
#[derive(CubeType)]
struct State {
    max_z: f32,
    sum_z: f32,
    weighted: f32,
    max_y: f32,
    sum_y: f32,
}

#[cube]
fn merged(a: &State, b: &State) -> State {
    let mut max_z = a.max_z;
    if b.max_z > max_z {
        max_z = b.max_z;
    }
    let mut max_y = a.max_y;
    if b.max_y > max_y {
        max_y = b.max_y;
    }
    let az = a.max_z - max_z;
    let ay = a.max_y - max_y;
    let bz = b.max_z - max_z;
    let by = b.max_y - max_y;
    let of_a = az.exp();
    let of_b = bz.exp();
    State {
        max_z,
        sum_z: a.sum_z * of_a + b.sum_z * of_b,
        weighted: (a.weighted + (az - ay) * a.sum_z) * of_a
            + (b.weighted + (bz - by) * b.sum_z) * of_b,
        max_y,
        sum_y: a.sum_y * ay.exp() + b.sum_y * by.exp(),
    }
}

/// Brings each row's state up to date with a tile `[R, T]` of both models' products, the vocabulary's tokens from
/// `first` on; one cube for each row. In `reverse` the expectation is of the policy, else of the other.
#[cube(launch)]
pub(in crate::cube) fn absorb(
    policy: &Tensor<f32>,
    other: &Tensor<f32>,
    state: &mut Tensor<f32>,
    inverse_temperature: f32,
    first: u32,
    #[comptime] reverse: bool,
    #[comptime] units: usize,
) {
    let row = CUBE_POS;
    let tokens = policy.shape(1);
    if row >= policy.shape(0) {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let mut max_z = f32::new(LEAST);
    let mut sum_z = 0.0f32;
    let mut weighted = 0.0f32;
    let mut max_y = f32::new(LEAST);
    let mut sum_y = 0.0f32;
    let mut token = unit;
    while token < tokens {
        let at = row * tokens + token;
        let mut z = policy[at] * inverse_temperature;
        let mut y = other[at] * inverse_temperature;
        if comptime!(!reverse) {
            z = other[at] * inverse_temperature;
            y = policy[at] * inverse_temperature;
        }
        let known = State {
            max_z,
            sum_z,
            weighted,
            max_y,
            sum_y,
        };
        let one = State {
            max_z: z,
            sum_z: 1.0f32,
            weighted: 0.0f32,
            max_y: y,
            sum_y: 1.0f32,
        };
        let both = merged(&known, &one);
        max_z = both.max_z;
        sum_z = both.sum_z;
        weighted = both.weighted;
        max_y = both.max_y;
        sum_y = both.sum_y;
        token += units;
    }
    let at = row * KEPT;
    // The first unit begins with what is known of the tiles before.
    if unit == 0 && first > 0 {
        let before = State {
            max_z: state[at],
            sum_z: state[at + 1],
            weighted: state[at + 2],
            max_y: state[at + 3],
            sum_y: state[at + 4],
        };
        let known = State {
            max_z,
            sum_z,
            weighted,
            max_y,
            sum_y,
        };
        let both = merged(&before, &known);
        max_z = both.max_z;
        sum_z = both.sum_z;
        weighted = both.weighted;
        max_y = both.max_y;
        sum_y = both.sum_y;
    }
    let mut maxima_z = Shared::<[f32]>::new_slice(units);
    let mut sums_z = Shared::<[f32]>::new_slice(units);
    let mut weights = Shared::<[f32]>::new_slice(units);
    let mut maxima_y = Shared::<[f32]>::new_slice(units);
    let mut sums_y = Shared::<[f32]>::new_slice(units);
    maxima_z[unit] = max_z;
    sums_z[unit] = sum_z;
    weights[unit] = weighted;
    maxima_y[unit] = max_y;
    sums_y[unit] = sum_y;
    sync_cube();
    let mut step = (units / 2).runtime();
    while step > 0 {
        if unit < step {
            let other = unit + step;
            let mine = State {
                max_z: maxima_z[unit],
                sum_z: sums_z[unit],
                weighted: weights[unit],
                max_y: maxima_y[unit],
                sum_y: sums_y[unit],
            };
            let theirs = State {
                max_z: maxima_z[other],
                sum_z: sums_z[other],
                weighted: weights[other],
                max_y: maxima_y[other],
                sum_y: sums_y[other],
            };
            let both = merged(&mine, &theirs);
            maxima_z[unit] = both.max_z;
            sums_z[unit] = both.sum_z;
            weights[unit] = both.weighted;
            maxima_y[unit] = both.max_y;
            sums_y[unit] = both.sum_y;
        }
        sync_cube();
        step /= 2;
    }
    if unit == 0 {
        state[at] = maxima_z[0];
        state[at + 1] = sums_z[0];
        state[at + 2] = weights[0];
        state[at + 3] = maxima_y[0];
        state[at + 4] = sums_y[0];
    }
}

/// The three columns from the state of all tiles: divergence, log-sum-exp of the policy and of the other; one unit for
/// each row.
#[cube(launch)]
pub(in crate::cube) fn finish(
    state: &Tensor<f32>,
    output: &mut Tensor<f32>,
    #[comptime] reverse: bool,
) {
    let row = ABSOLUTE_POS;
    if row * 3 >= output.len() {
        terminate!();
    }
    let at = row * KEPT;
    let log_z = state[at + 1].ln();
    let log_y = state[at + 4].ln();
    output[3 * row] = state[at + 2] / state[at + 1] - log_z + log_y;
    let of_z = state[at] + log_z;
    let of_y = state[at + 3] + log_y;
    if comptime!(reverse) {
        output[3 * row + 1] = of_z;
        output[3 * row + 2] = of_y;
    } else {
        output[3 * row + 1] = of_y;
        output[3 * row + 2] = of_z;
    }
}

/// The loss's derivative by each of the policy's products of a tile; see the CPU's `backward` for the formula. One unit
/// for each.
#[cube(launch)]
pub(in crate::cube) fn of_products<F: Float>(
    policy: &Tensor<f32>,
    other: &Tensor<f32>,
    output: &Tensor<f32>,
    gradient: &Tensor<f32>,
    of_products: &mut Tensor<F>,
    inverse_temperature: f32,
    #[comptime] reverse: bool,
    #[define(F)] _float: ElemType,
) {
    if ABSOLUTE_POS >= policy.len() {
        terminate!();
    }
    let row = ABSOLUTE_POS / policy.shape(1);
    let of_policy = policy[ABSOLUTE_POS] * inverse_temperature - output[3 * row + 1];
    let of_other = other[ABSOLUTE_POS] * inverse_temperature - output[3 * row + 2];
    let probability = of_policy.exp();
    let result = if comptime!(reverse) {
        probability * (of_policy - of_other - output[3 * row])
    } else {
        probability - of_other.exp()
    };
    of_products[ABSOLUTE_POS] = F::cast_from(gradient[3 * row] * result * inverse_temperature);
}
