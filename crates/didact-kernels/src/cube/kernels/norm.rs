//! Root-mean-square normalisation.
use cubecl::prelude::*;

use super::reduce;

/// One cube for each row; see [`crate::rms_norm`].
#[cube(launch)]
pub(in crate::cube) fn forward<F: Float>(
    x: &Tensor<F>,
    weight: &Tensor<F>,
    y: &mut Tensor<F>,
    epsilon: f32,
    offset: f32,
    #[comptime] units: usize,
    #[comptime] planes: bool,
    #[define(F)] _float: ElemType,
) {
    let row = CUBE_POS;
    if row >= x.shape(0) {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let width = x.shape(1);
    let from = row * width;
    let mut squares = 0.0f32;
    let mut i = unit;
    while i < width {
        let value = f32::cast_from(x[from + i]);
        squares += value * value;
        i += units;
    }
    let mut shared = Shared::<[f32]>::new_slice(units);
    let total = reduce::sum(squares, &mut shared, units, planes);
    let root = (total / f32::cast_from(width) + epsilon).sqrt();
    i = unit;
    while i < width {
        let factor = f32::cast_from(weight[i]) + offset;
        y[from + i] = F::cast_from(f32::cast_from(x[from + i]) / root * factor);
        i += units;
    }
}

/// One cube for each row: with `r` the inverse root and `h = gradient · (offset + weight)`,
/// `of_x = r·(h − x·r²·mean(x·h))`. `inverse` keeps `r` for [`of_weight`].
#[cube(launch)]
pub(in crate::cube) fn of_rows<F: Float>(
    x: &Tensor<F>,
    weight: &Tensor<F>,
    gradient: &Tensor<F>,
    of_x: &mut Tensor<F>,
    inverse: &mut Tensor<f32>,
    epsilon: f32,
    offset: f32,
    #[comptime] units: usize,
    #[comptime] planes: bool,
    #[define(F)] _float: ElemType,
) {
    let row = CUBE_POS;
    if row >= x.shape(0) {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let width = x.shape(1);
    let from = row * width;
    let mut squares = 0.0f32;
    let mut products = 0.0f32;
    let mut i = unit;
    while i < width {
        let value = f32::cast_from(x[from + i]);
        let factor = f32::cast_from(weight[i]) + offset;
        squares += value * value;
        products += value * f32::cast_from(gradient[from + i]) * factor;
        i += units;
    }
    let mut shared = Shared::<[f32]>::new_slice(units);
    let squares = reduce::sum(squares, &mut shared, units, planes);
    let products = reduce::sum(products, &mut shared, units, planes);
    let count = f32::cast_from(width);
    let r = 1.0f32 / (squares / count + epsilon).sqrt();
    let shrink = r * r * products / count;
    if unit == 0 {
        inverse[row] = r;
    }
    i = unit;
    while i < width {
        let factor = f32::cast_from(weight[i]) + offset;
        let h = f32::cast_from(gradient[from + i]) * factor;
        let value = f32::cast_from(x[from + i]);
        of_x[from + i] = F::cast_from(r * (h - value * shrink));
        i += units;
    }
}

/// One unit for each column of a block of rows: its part of `Σ gradient · x · r`, `[blocks, H]`.
#[cube(launch)]
pub(in crate::cube) fn of_weight<F: Float>(
    x: &Tensor<F>,
    gradient: &Tensor<F>,
    inverse: &Tensor<f32>,
    parts: &mut Tensor<f32>,
    #[comptime] rows: usize,
    #[define(F)] _float: ElemType,
) {
    let (count, width) = (x.shape(0), x.shape(1));
    if ABSOLUTE_POS >= parts.len() {
        terminate!();
    }
    let block = ABSOLUTE_POS / width;
    let column = ABSOLUTE_POS % width;
    let first = block * rows;
    let mut last = first + rows;
    if last > count {
        last = count;
    }
    let mut sum = 0.0f32;
    for row in first..last {
        let at = row * width + column;
        sum += f32::cast_from(gradient[at]) * f32::cast_from(x[at]) * inverse[row];
    }
    parts[ABSOLUTE_POS] = sum;
}
