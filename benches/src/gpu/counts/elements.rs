//! Operations on elements and rows: memory decides.
use super::{Counts, Demand, EXPONENTIAL, F32, INDEX};

/// Rows whose parts of a norm's weight gradient one unit adds up.
const NORM_ROWS: usize = 64;

/// One launch that reads and writes each number once, as little as there can be.
fn once(bytes: f64, ordinary: f64) -> Counts {
    let demand = Demand {
        bytes,
        ordinary,
        ..Demand::default()
    };
    Counts {
        least: demand,
        launches: vec![demand],
    }
}

/// `x` and `y` `[rows, width]` and the weight: `float·(2·rows·width + width)` bytes; a square, a sum, a quotient and a
/// product a number.
pub(in super::super) fn rms_norm([rows, width]: [usize; 2], float: f64) -> Counts {
    let (numbers, width) = ((rows * width) as f64, width as f64);
    once(float * (2.0 * numbers + width), 4.0 * numbers)
}

/// At least `x`, its gradient, the output's and twice the weight: `float·(3·rows·width + 2·width)`.
///
/// Ours reads `x` and the output's gradient again for the weight's gradient, whose parts of 64 rows it writes and reads
/// in f32; each row's inverse root is written and read.
pub(in super::super) fn rms_norm_backward([rows, width]: [usize; 2], float: f64) -> Counts {
    let numbers = (rows * width) as f64;
    let parts = (rows.div_ceil(NORM_ROWS) * width) as f64;
    let (rows, width) = (rows as f64, width as f64);
    let least = Demand {
        bytes: float * (3.0 * numbers + 2.0 * width),
        ordinary: 12.0 * numbers,
        ..Demand::default()
    };
    let of_rows = Demand {
        bytes: float * (3.0 * numbers + width) + F32 * rows,
        ordinary: 9.0 * numbers,
        ..Demand::default()
    };
    let of_weight = Demand {
        bytes: float * 2.0 * numbers + F32 * (rows + parts),
        ordinary: 3.0 * numbers,
        ..Demand::default()
    };
    let sum = Demand {
        bytes: F32 * parts + float * width,
        ordinary: parts,
        ..Demand::default()
    };
    Counts {
        least,
        launches: vec![of_rows, of_weight, sum],
    }
}

/// Either direction: `[tokens, heads, size]` read and written, and the angles' cosines and sines `[tokens, size/2]` in f32:
/// `tokens·size·(2·float·heads + 4)` bytes; six operations a pair.
pub(in super::super) fn rotary([tokens, heads, size]: [usize; 3], float: f64) -> Counts {
    let (tokens, heads, size) = (tokens as f64, heads as f64, size as f64);
    once(
        tokens * size * (2.0 * float * heads + 4.0),
        3.0 * tokens * heads * size,
    )
}

/// Forward `gate`, `up` and the output, backward the output's gradient and two more: `3` or `5` tensors, with one
/// exponential a number.
pub(in super::super) fn gated([rows, width]: [usize; 2], float: f64, backward: bool) -> Counts {
    let numbers = (rows * width) as f64;
    let (tensors, operations) = if backward { (5.0, 16.0) } else { (3.0, 6.0) };
    once(
        float * tensors * numbers,
        (operations + EXPONENTIAL) * numbers,
    )
}

/// `[rows, heads, size]` read and written to its slots, whose places are read: `2·float·rows·heads·size + 4·rows` bytes.
pub(in super::super) fn write_slots([rows, heads, size]: [usize; 3], float: f64) -> Counts {
    let numbers = (rows * heads * size) as f64;
    once(2.0 * float * numbers + INDEX * rows as f64, 0.0)
}

/// Parameter, gradient and both moments read, three of them written: 28 bytes a number.
pub(in super::super) fn adamw(numbers: usize) -> Counts {
    let numbers = numbers as f64;
    once(7.0 * F32 * numbers, 16.0 * numbers)
}

/// Passes over a row of logits that draw a token of all of it: the largest, the sum, the running sums by id.
const DRAW: f64 = 3.0;
/// More passes that end top-p and min-p and find the token by rank: twice 16 of two bits each, three sums, one by id.
const CUT: f64 = 36.0;

/// A token of each of `rows` rows of f32 logits, with top-p where it `cuts`. At least the logits once, with an
/// exponential each.
///
/// Ours passes over them three times, and 36 times more where it cuts: what ends the kept part is found bit by bit.
pub(in super::super) fn sample([rows, vocabulary]: [usize; 2], cuts: bool) -> Counts {
    let logits = (rows * vocabulary) as f64;
    let passes = if cuts { DRAW + CUT } else { DRAW };
    let pass = |count: f64| Demand {
        bytes: F32 * (count * logits + 8.0 * rows as f64),
        ordinary: count * logits * (EXPONENTIAL + 4.0),
        ..Demand::default()
    };
    Counts {
        least: pass(1.0),
        launches: vec![pass(passes)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_moves_28_bytes_a_number() {
        assert_eq!(adamw(10).least.bytes, 280.0);
    }

    #[test]
    fn a_cut_passes_over_the_row_bit_by_bit() {
        let [all, cut] = [false, true].map(|cuts| sample([2, 5], cuts));
        assert_eq!(all.least.bytes, 4.0 * 10.0 + 4.0 * 16.0);
        assert_eq!(all.ours().bytes, 3.0 * 40.0 + 64.0);
        assert_eq!(cut.ours().bytes, 39.0 * 40.0 + 64.0);
        assert_eq!(all.least, cut.least);
    }

    #[test]
    fn a_norm_of_two_rows_of_three() {
        let forward = rms_norm([2, 3], 2.0);
        // Six numbers in, six out, three of the weight.
        assert_eq!(forward.least.bytes, 2.0 * 15.0);
        assert_eq!(forward.ours(), forward.least);
        let backward = rms_norm_backward([2, 3], 2.0);
        assert_eq!(backward.least.bytes, 2.0 * (18.0 + 6.0));
        let [of_rows, of_weight, sum] = backward.launches[..] else {
            panic!("three launches")
        };
        assert_eq!(of_rows.bytes, 2.0 * (18.0 + 3.0) + 8.0);
        assert_eq!(of_weight.bytes, 2.0 * 12.0 + 4.0 * (2.0 + 3.0));
        assert_eq!(sum.bytes, 4.0 * 3.0 + 2.0 * 3.0);
    }

    #[test]
    fn a_norm_of_65_rows_has_two_parts() {
        let of_weight = rms_norm_backward([65, 1], 4.0).launches[1];
        assert_eq!(of_weight.bytes, 4.0 * 130.0 + 4.0 * (65.0 + 2.0));
    }

    #[test]
    fn tensors_are_counted() {
        // Three heads of four for two tokens, in and out, and two cosines and two sines a token.
        assert_eq!(
            rotary([2, 3, 4], 2.0).least.bytes,
            2.0 * (24.0 + 24.0) + 4.0 * 8.0
        );
        assert_eq!(gated([2, 5], 4.0, false).least.bytes, 4.0 * 30.0);
        assert_eq!(gated([2, 5], 4.0, true).least.bytes, 4.0 * 50.0);
        assert_eq!(
            write_slots([3, 2, 4], 2.0).least.bytes,
            2.0 * 2.0 * 24.0 + 12.0
        );
    }
}
