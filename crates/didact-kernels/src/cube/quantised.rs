//! Products with a weight of 8 or 4 bits on CubeCL devices.
//!
//! For many rows, some outputs' numbers at a time are decoded and multiplied by cubek; a decoding step's few rows are
//! multiplied while the codes are read.
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape, Slice};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::kernels::quantised as kernel;
use super::launch::{MOST_STREAMED_ROWS, Tile, cubes, element, empty, float_numbers, panel, words};
use crate::quantised::{Bits, QuantisedMatrix};
use crate::{QuantisedOps, StreamedQuantisedOps};

/// A matrix's codes, and the scales and minima of its blocks, on a device.
#[derive(Debug, Clone)]
pub(crate) struct OnDevice {
    words: CubeTensor,
    lines: CubeTensor,
}

impl OnDevice {
    /// Uploads a matrix to where `like` is; once for each matrix and device.
    fn of(weight: &QuantisedMatrix, like: &CubeTensor) -> Self {
        weight.on_device(
            |found: &Self| found.words.device == like.device,
            || Self {
                words: words(like, weight.codes()),
                lines: float_numbers(like, &weight.scales_and_minima_in_f32()),
            },
        )
    }
}

/// `lhs·rhs` in the type of `lhs`, or in f32 where it is added up.
fn product(lhs: CubeTensor, rhs: CubeTensor, dtype: DType) -> CubeTensor {
    matmul(lhs, rhs, None, MatmulStrategy::default(), dtype)
        .unwrap_or_else(|error| panic!("quantised_linear: {error:?}"))
}

/// The numbers of some outputs, `[here, depth]`.
fn decoded(
    weight: &QuantisedMatrix,
    there: &OnDevice,
    like: &CubeTensor,
    first: usize,
    here: usize,
) -> CubeTensor {
    let numbers = empty(like, Shape::from([here, weight.shape()[0]]), like.dtype);
    let tile = Tile::of(like);
    kernel::decode::launch(
        &numbers.client,
        tile.count(numbers.meta.num_elements()),
        tile.dim(),
        there.words.clone().into_tensor_arg(),
        there.lines.clone().into_tensor_arg(),
        numbers.clone().into_tensor_arg(),
        first as u32,
        weight.bits() == Bits::Four,
        element(like),
    );
    numbers
}

/// Panels of outputs, by the first and the count.
fn panels([depth, outputs]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    let most = panel(depth, outputs);
    (0..outputs)
        .step_by(most)
        .map(move |first| (first, most.min(outputs - first)))
}

impl QuantisedOps for CubeBackend {
    fn quantised_product(x: FloatTensor<Self>, weight: QuantisedMatrix) -> FloatTensor<Self> {
        let x = into_contiguous(x);
        let there = OnDevice::of(&weight, &x);
        let parts = panels(weight.shape()).map(|(first, here)| {
            let numbers = decoded(&weight, &there, &x, first, here);
            product(x.clone(), Self::float_swap_dims(numbers, 0, 1), x.dtype)
        });
        Self::float_cat(parts.collect(), 1)
    }

    fn quantised_product_backward(
        gradient: FloatTensor<Self>,
        weight: QuantisedMatrix,
    ) -> FloatTensor<Self> {
        let gradient = into_contiguous(gradient);
        let there = OnDevice::of(&weight, &gradient);
        let rows = gradient.meta.shape()[0];
        let mut sum: Option<CubeTensor> = None;
        for (first, here) in panels(weight.shape()) {
            let numbers = decoded(&weight, &there, &gradient, first, here);
            let slices = [Slice::from(0..rows), Slice::from(first..first + here)];
            let part = Self::float_slice(gradient.clone(), &slices);
            let more = product(part, numbers, DType::F32);
            sum = Some(match sum {
                None => more,
                Some(before) => Self::float_add(before, more),
            });
        }
        let sum = sum.expect("a weight has outputs");
        Self::float_cast(sum, gradient.dtype.into())
    }
}

impl StreamedQuantisedOps for CubeBackend {
    fn streamed_quantised_product(
        x: FloatTensor<Self>,
        weight: QuantisedMatrix,
    ) -> FloatTensor<Self> {
        let x = into_contiguous(x);
        let rows = x.meta.shape()[0];
        if rows > MOST_STREAMED_ROWS {
            return Self::quantised_product(x, weight);
        }
        let there = OnDevice::of(&weight, &x);
        let outputs = weight.shape()[1];
        let y = empty(&x, Shape::from([rows, outputs]), x.dtype);
        let tile = Tile::of(&x);
        let float = element(&x);
        kernel::product::launch(
            &y.client,
            cubes(outputs),
            tile.dim(),
            x.into_tensor_arg(),
            there.words.into_tensor_arg(),
            there.lines.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            weight.bits() == Bits::Four,
            rows,
            tile.units,
            tile.planes,
            float,
        );
        y
    }
}
