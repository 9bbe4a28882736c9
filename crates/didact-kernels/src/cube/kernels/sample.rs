//! Drawing one token of each row of logits.
//!
//! What is kept of the likeliest tokens is always a first part of them by falling logit and rising id. Where it ends is
//! found without sorting: a logit's bits, turned so that they order as the numbers do, are found one by one, each by a
//! sum over the row.
use cubecl::prelude::*;

use super::reduce;

/// Smaller than any logit; WGSL has no infinity to begin a maximum with.
const LEAST: f32 = -3.0e38;

/// Numbers of a draw: inverse temperature (0: the likeliest token), top-k, top-p, min-p, uniform, whether all are kept.
const NUMBERS: usize = 6;

/// A row of logits and how its weights are made.
#[derive(CubeType)]
struct Row {
    from: usize,
    width: usize,
    max: f32,
    inverse_temperature: f32,
}

/// Bits that order as the numbers do.
#[cube]
fn key(logit: f32) -> u32 {
    let bits = u32::reinterpret(logit);
    let mut key = bits | 0x8000_0000u32;
    if bits >= 0x8000_0000u32 {
        key = bits ^ 0xffff_ffffu32;
    }
    key
}

/// The number of a [`key`].
#[cube]
fn logit(key: u32) -> f32 {
    let mut bits = key ^ 0xffff_ffffu32;
    if key >= 0x8000_0000u32 {
        bits = key ^ 0x8000_0000u32;
    }
    f32::reinterpret(bits)
}

#[cube]
fn weight(row: &Row, logit: f32) -> f32 {
    ((logit - row.max) * row.inverse_temperature).exp()
}

/// Weights, or with `count` numbers, of the tokens whose key is at least `least`, and whose weight is at least `lightest`.
#[cube]
fn mass(
    logits: &Tensor<f32>,
    row: &Row,
    least: u32,
    lightest: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] count: bool,
    #[comptime] units: usize,
    #[comptime] planes: bool,
) -> f32 {
    let mut sum = 0.0f32;
    let mut token = UNIT_POS as usize;
    while token < row.width {
        let logit = logits[row.from + token];
        if key(logit) >= least {
            let weight = weight(row, logit);
            if weight >= lightest {
                if comptime!(count) {
                    sum += 1.0f32;
                } else {
                    sum += weight;
                }
            }
        }
        token += units;
    }
    reduce::sum(sum, shared, units, planes)
}

/// The largest key down to which the tokens' [`mass`] reaches `target`, or with `beyond` exceeds it: two bits a pass.
#[cube]
fn reaching(
    logits: &Tensor<f32>,
    row: &Row,
    target: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] beyond: bool,
    #[comptime] count: bool,
    #[comptime] units: usize,
    #[comptime] planes: bool,
) -> u32 {
    let mut found = 0u32;
    for step in 0..16u32 {
        let bits = 30u32 - 2u32 * step;
        let low = found | (1u32 << bits);
        let middle = found | (2u32 << bits);
        let high = found | (3u32 << bits);
        let mut from_low = 0.0f32;
        let mut from_middle = 0.0f32;
        let mut from_high = 0.0f32;
        let mut token = UNIT_POS as usize;
        while token < row.width {
            let logit = logits[row.from + token];
            let key = key(logit);
            if key >= low {
                let mut weight = weight(row, logit);
                if comptime!(count) {
                    weight = 1.0f32;
                }
                from_low += weight;
                if key >= middle {
                    from_middle += weight;
                }
                if key >= high {
                    from_high += weight;
                }
            }
            token += units;
        }
        let from_low = reduce::sum(from_low, shared, units, planes);
        let from_middle = reduce::sum(from_middle, shared, units, planes);
        let from_high = reduce::sum(from_high, shared, units, planes);
        let mut next = found;
        if reaches(from_low, target, beyond) {
            next = low;
        }
        if reaches(from_middle, target, beyond) {
            next = middle;
        }
        if reaches(from_high, target, beyond) {
            next = high;
        }
        found = next;
    }
    found
}

#[cube]
fn reaches(mass: f32, target: f32, #[comptime] beyond: bool) -> bool {
    if comptime!(beyond) {
        mass > target
    } else {
        mass >= target
    }
}

/// The unit's part of the row: consecutive tokens, so that running sums by id go from unit to unit.
#[cube]
fn part(width: usize, #[comptime] units: usize) -> (usize, usize) {
    let length = width.div_ceil(units);
    let first = UNIT_POS as usize * length;
    let mut last = first + length;
    if last > width {
        last = width;
    }
    (first, last)
}

/// The first token by id at which the running sum of `key`'s tokens, or with `all` of every token's weight, exceeds
/// `share` times the sum of all of them, or without `relative` exceeds `share` itself; else the last that counts.
#[cube]
fn by_id(
    logits: &Tensor<f32>,
    row: &Row,
    only: u32,
    share: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] all: bool,
    #[comptime] units: usize,
) -> f32 {
    let unit = UNIT_POS as usize;
    let (first, last) = part(row.width, units);
    let mut sum = 0.0f32;
    for token in first..last {
        let logit = logits[row.from + token];
        if comptime!(all) {
            sum += weight(row, logit);
        } else if key(logit) == only {
            sum += 1.0f32;
        }
    }
    shared[unit] = sum;
    sync_cube();
    let mut drawn = 0.0f32;
    if unit == 0 {
        let mut target = share;
        if comptime!(all) {
            let mut total = 0.0f32;
            for other in 0..units {
                total += shared[other];
            }
            target = share * total;
        }
        // The part that holds it, or the last that counts at all.
        let mut running = 0.0f32;
        let mut before = 0.0f32;
        let mut holder = 0usize;
        let mut found = false;
        for other in 0..units {
            let sum = shared[other];
            if !found && sum > 0.0f32 {
                holder = other;
                before = running;
                if running + sum > target {
                    found = true;
                }
            }
            running += sum;
        }
        let length = row.width.div_ceil(units);
        let begin = holder * length;
        let mut end = begin + length;
        if end > row.width {
            end = row.width;
        }
        let mut sum = before;
        let mut done = false;
        for token in begin..end {
            let logit = logits[row.from + token];
            let mut counted = weight(row, logit);
            if comptime!(!all) {
                counted = 0.0f32;
                if key(logit) == only {
                    counted = 1.0f32;
                }
            }
            if !done && counted > 0.0f32 {
                drawn = f32::cast_from(token);
                sum += counted;
                if sum > target {
                    done = true;
                }
            }
        }
    }
    sync_cube();
    // Known to the first unit alone.
    drawn
}

/// Id and log-probability of one token; one cube for each row. `cuts` says whether some row cuts tokens off, `counts`
/// whether some row has a top-k; every row does the same steps, so that all units meet at every barrier.
#[cube(launch)]
pub(in crate::cube) fn draw(
    logits: &Tensor<f32>,
    draws: &Tensor<f32>,
    drawn: &mut Tensor<f32>,
    #[comptime] cuts: bool,
    #[comptime] counts: bool,
    #[comptime] units: usize,
    #[comptime] planes: bool,
) {
    let index = CUBE_POS;
    if index >= logits.shape(0) {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let width = logits.shape(1);
    let from = index * width;
    let at = index * NUMBERS;

    // The likeliest token, the first of several, and whether a logit is not finite.
    let mut max = f32::new(LEAST);
    let mut likeliest = 0.0f32;
    let mut bad = 0.0f32;
    let mut token = unit;
    while token < width {
        let logit = logits[from + token];
        if (u32::reinterpret(logit) & 0x7f80_0000u32) == 0x7f80_0000u32 {
            bad += 1.0f32;
        } else if logit > max {
            max = logit;
            likeliest = f32::cast_from(token);
        }
        token += units;
    }
    let mut shared = Shared::<[f32]>::new_slice(units);
    let mut places = Shared::<[f32]>::new_slice(units);
    let bad = reduce::sum(bad, &mut shared, units, planes);
    shared[unit] = max;
    places[unit] = likeliest;
    sync_cube();
    let mut step = (units / 2).runtime();
    while step > 0 {
        if unit < step {
            let other = unit + step;
            let better = shared[other] > shared[unit];
            let sooner = shared[other] == shared[unit] && places[other] < places[unit];
            if better || sooner {
                shared[unit] = shared[other];
                places[unit] = places[other];
            }
        }
        sync_cube();
        step /= 2;
    }
    let max = shared[0];
    let likeliest = places[0];
    sync_cube();

    let greedy = draws[at] == 0.0f32;
    let mut inverse_temperature = draws[at];
    if greedy {
        inverse_temperature = 1.0f32;
    }
    let row = Row {
        from,
        width,
        max,
        inverse_temperature,
    };
    let total = mass(
        logits,
        &row,
        0u32,
        0.0f32,
        &mut shared,
        false,
        units,
        planes,
    );
    let uniform = draws[at + 4];
    let mut id = by_id(logits, &row, 0u32, uniform, &mut shared, true, units);

    if comptime!(cuts) {
        // What is kept: the tokens above a key, and of those that have it so many, by id.
        let mut kept = total;
        let mut lightest = 0.0f32;
        if comptime!(counts) {
            let top_k = draws[at + 1];
            let last = reaching(logits, &row, top_k, &mut shared, false, true, units, planes);
            let fewer = mass(
                logits,
                &row,
                last + 1u32,
                0.0f32,
                &mut shared,
                true,
                units,
                planes,
            );
            let above = mass(
                logits,
                &row,
                last + 1u32,
                0.0f32,
                &mut shared,
                false,
                units,
                planes,
            );
            lightest = weight(&row, logit(last));
            if top_k < f32::cast_from(width) {
                kept = above + (top_k - fewer) * lightest;
            }
        }
        let top_p = draws[at + 2];
        let target = top_p * kept;
        let last = reaching(
            logits,
            &row,
            target,
            &mut shared,
            false,
            false,
            units,
            planes,
        );
        let above = mass(
            logits,
            &row,
            last + 1u32,
            0.0f32,
            &mut shared,
            false,
            units,
            planes,
        );
        if top_p < 1.0f32 {
            lightest = weight(&row, logit(last));
            let mut equal = ((target - above) / lightest).ceil();
            if equal < 1.0f32 {
                equal = 1.0f32;
            }
            let mass = above + equal * lightest;
            if mass < kept {
                kept = mass;
            }
        }
        // Tokens too light for min-p are the last of those kept, so they all go or none of the rest does.
        let min_p = draws[at + 3];
        let heavy = mass(logits, &row, 0u32, min_p, &mut shared, false, units, planes);
        if lightest < min_p && heavy < kept {
            kept = heavy;
        }
        let target = uniform * kept;
        let last = reaching(
            logits,
            &row,
            target,
            &mut shared,
            true,
            false,
            units,
            planes,
        );
        let above = mass(
            logits,
            &row,
            last + 1u32,
            0.0f32,
            &mut shared,
            false,
            units,
            planes,
        );
        let mut skipped = ((target - above) / weight(&row, logit(last))).floor();
        if skipped < 0.0f32 {
            skipped = 0.0f32;
        }
        let of_equals = by_id(logits, &row, last, skipped, &mut shared, false, units);
        if draws[at + 5] == 0.0f32 {
            id = of_equals;
        }
    }
    if unit == 0 {
        if greedy {
            id = likeliest;
        }
        let chosen = logits[from + usize::cast_from(id)];
        let mut log_prob = (chosen - max) * inverse_temperature - total.ln();
        if bad > 0.0f32 {
            id = f32::new(-1.0);
            log_prob = 0.0f32;
        }
        drawn[2 * index] = id;
        drawn[2 * index + 1] = log_prob;
    }
}
