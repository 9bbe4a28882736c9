//! Numbers from blocks of codes, and products of few rows with them.
use cubecl::prelude::*;

use super::reduce;

/// Numbers of a block.
const BLOCK: usize = 32;

/// Number `i` of block `block`: its code in words of four bytes, `scale · code + minimum`. With `four`, byte `j` of a
/// block holds the code of number `j` below and of number `j + 16` above.
#[cube]
fn number(
    words: &Tensor<u32>,
    lines: &Tensor<f32>,
    block: usize,
    i: usize,
    #[comptime] four: bool,
) -> f32 {
    let code = if comptime!(four) {
        let byte = i % 16;
        let word = words[block * 4 + byte / 4];
        let shift = u32::cast_from(byte % 4 * 8 + i / 16 * 4);
        (word >> shift) & 15
    } else {
        let word = words[block * 8 + i / 4];
        let shift = u32::cast_from(i % 4 * 8);
        (word >> shift) & 255
    };
    lines[2 * block] * f32::cast_from(code) + lines[2 * block + 1]
}

/// The numbers of the outputs from `first` on, `[here, depth]`; one unit for each.
#[cube(launch)]
pub(in crate::cube) fn decode<F: Float>(
    words: &Tensor<u32>,
    lines: &Tensor<f32>,
    numbers: &mut Tensor<F>,
    first: u32,
    #[comptime] four: bool,
    #[define(F)] _float: ElemType,
) {
    if ABSOLUTE_POS >= numbers.len() {
        terminate!();
    }
    let depth = numbers.shape(1);
    let blocks = depth.div_ceil(BLOCK);
    let (output, input) = (ABSOLUTE_POS / depth, ABSOLUTE_POS % depth);
    let block = (first as usize + output) * blocks + input / BLOCK;
    numbers[ABSOLUTE_POS] = F::cast_from(number(words, lines, block, input % BLOCK, four));
}

/// One cube for each output: its product with each of a few rows. A unit decodes a number once for all rows.
#[cube(launch)]
pub(in crate::cube) fn product<F: Float>(
    x: &Tensor<F>,
    words: &Tensor<u32>,
    lines: &Tensor<f32>,
    y: &mut Tensor<F>,
    #[comptime] four: bool,
    #[comptime] rows: usize,
    #[comptime] units: usize,
    #[comptime] planes: bool,
    #[define(F)] _float: ElemType,
) {
    let output = CUBE_POS;
    let outputs = y.shape(1);
    if output >= outputs {
        terminate!();
    }
    let depth = x.shape(1);
    let blocks = depth.div_ceil(BLOCK);
    let mut sums = Array::<f32>::new(rows);
    for row in 0..rows {
        sums[row] = 0.0f32;
    }
    let mut input = UNIT_POS as usize;
    while input < depth {
        let block = output * blocks + input / BLOCK;
        let weight = number(words, lines, block, input % BLOCK, four);
        for row in 0..rows {
            sums[row] += weight * f32::cast_from(x[row * depth + input]);
        }
        input += units;
    }
    let mut shared = Shared::<[f32]>::new_slice(units);
    for row in 0..rows {
        let sum = reduce::sum(sums[row], &mut shared, units, planes);
        if UNIT_POS == 0 {
            y[row * outputs + output] = F::cast_from(sum);
        }
    }
}
