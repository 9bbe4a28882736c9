//! Products with a weight of 8 or 4 bits on the CPU.
//!
//! For many rows, some outputs' numbers at a time become f32 in a buffer that all threads share, and are
//! multiplied there; a decoding step's few rows meet the numbers of four outputs, in the first-level cache.
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::f16;
use gemm::Parallelism;
use rayon::prelude::*;

use super::product::{Destination, Matrix, product_into};
use super::streamed::{Product, columns::Source};
use super::vectorised::vectorised;
use super::{contiguous, floats, tensor};
use crate::quantised::{BLOCK, Bits, Line, QuantisedMatrix};
use crate::{QuantisedOps, StreamedQuantisedOps};

/// Outputs whose numbers are in f32 at a time: packing the rows again for each such panel is little beside
/// multiplying them, and the panel stays in a shared cache.
const PANEL: usize = 512;

impl QuantisedOps for Flex {
    fn quantised_product(x: FloatTensor<Self>, weight: QuantisedMatrix) -> FloatTensor<Self> {
        let x = contiguous(x);
        let rows = x.layout().shape()[0];
        let [depth, columns] = weight.shape();
        let mut out = vec![0.0; rows * columns];
        in_panels(&weight, rows, |first, here, panel| {
            let panel = Matrix::rows(panel, weight.padded_depth()).transposed();
            product_into(
                &mut out[first..],
                columns,
                [rows, here, depth],
                Matrix::rows(floats(&x), depth),
                panel,
                Destination::Overwrite,
                Parallelism::Rayon(0),
            );
        });
        tensor(out, [rows, columns])
    }

    fn quantised_product_backward(
        gradient: FloatTensor<Self>,
        weight: QuantisedMatrix,
    ) -> FloatTensor<Self> {
        let gradient = contiguous(gradient);
        let rows = gradient.layout().shape()[0];
        let [depth, columns] = weight.shape();
        let mut out = vec![0.0; rows * depth];
        in_panels(&weight, rows, |first, here, panel| {
            product_into(
                &mut out,
                depth,
                [rows, depth, here],
                Matrix::rows(&floats(&gradient)[first..], columns),
                Matrix::rows(panel, weight.padded_depth()),
                if first == 0 {
                    Destination::Overwrite
                } else {
                    Destination::Add
                },
                Parallelism::Rayon(0),
            );
        });
        tensor(out, [rows, depth])
    }
}

impl StreamedQuantisedOps for Flex {
    fn streamed_quantised_product(
        x: FloatTensor<Self>,
        weight: QuantisedMatrix,
    ) -> FloatTensor<Self> {
        let x = contiguous(x);
        let rows = x.layout().shape()[0];
        let [depth, columns] = weight.shape();
        let product = Product {
            x: floats(&x),
            rows,
            depth,
            columns,
        };
        let output = product.of_source(|first| Outputs {
            weight: &weight,
            first,
        });
        tensor(output, [rows, columns])
    }
}

/// Calls `with` for each panel: its first output, how many it has, and their numbers in rows of
/// [`QuantisedMatrix::padded_depth`].
fn in_panels(weight: &QuantisedMatrix, rows: usize, mut with: impl FnMut(usize, usize, &[f32])) {
    let [depth, columns] = weight.shape();
    if rows * depth * columns == 0 {
        return;
    }
    let width = weight.padded_depth();
    let mut panel = vec![0.0; PANEL.min(columns) * width];
    for first in (0..columns).step_by(PANEL) {
        let here = PANEL.min(columns - first);
        let panel = &mut panel[..here * width];
        let outputs = panel.par_chunks_mut(width).with_min_len(16).enumerate();
        outputs.for_each(|(index, numbers)| decode(weight, first + index, numbers));
        with(first, here, panel);
    }
}

/// The outputs from one on.
struct Outputs<'a> {
    weight: &'a QuantisedMatrix,
    first: usize,
}

impl Source for Outputs<'_> {
    fn scratch(&self) -> usize {
        self.weight.padded_depth()
    }

    fn read<'a>(&'a self, column: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        decode(self.weight, self.first + column, scratch);
        &scratch[..self.weight.shape()[0]]
    }
}

/// Writes the numbers of one output, up to whole blocks.
pub(crate) fn decode(weight: &QuantisedMatrix, output: usize, out: &mut [f32]) {
    let (codes, lines) = weight.column(output);
    match weight.bits() {
        Bits::Eight => decode_eight(out, codes, lines),
        Bits::Four => decode_four(out, codes, lines),
    }
}

vectorised! {
    fn decode_eight(out: &mut [f32], codes: &[u8], lines: &[Line]) {
        let blocks = out.as_chunks_mut::<BLOCK>().0.iter_mut();
        for ((out, codes), line) in blocks.zip(codes.as_chunks::<BLOCK>().0).zip(lines) {
            let (scale, minimum) = (widen(line.scale), widen(line.minimum));
            for (out, code) in out.iter_mut().zip(codes) {
                *out = f32::from(*code).mul_add(scale, minimum);
            }
        }
    }
}

vectorised! {
    fn decode_four(out: &mut [f32], codes: &[u8], lines: &[Line]) {
        const HALF: usize = BLOCK / 2;
        let blocks = out.as_chunks_mut::<BLOCK>().0.iter_mut();
        for ((out, codes), line) in blocks.zip(codes.as_chunks::<HALF>().0).zip(lines) {
            let (scale, minimum) = (widen(line.scale), widen(line.minimum));
            // Else the compiler makes vectors of one number of each of several blocks, gathered one by one.
            let codes = std::hint::black_box(codes);
            let words: [u32; HALF] = std::array::from_fn(|index| u32::from(codes[index]));
            for index in 0..HALF {
                out[index] = ((words[index] & 15) as f32).mul_add(scale, minimum);
            }
            for index in 0..HALF {
                out[HALF + index] = ((words[index] >> 4) as f32).mul_add(scale, minimum);
            }
        }
    }
}

/// The finite f16 in f32, without a call: its bits one exponent range lower, then 2¹¹² times that, which is
/// exact for the subnormal ones too.
#[inline(always)]
fn widen(value: f16) -> f32 {
    let bits = u32::from(value.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_f16_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            if value.is_finite() {
                assert_eq!(widen(value).to_bits(), value.to_f32().to_bits());
            }
        }
    }
}
