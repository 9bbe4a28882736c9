//! Root-mean-square normalisation on CubeCL devices.
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::{CubeBackend, kernel::into_contiguous};

use super::kernels::norm as kernel;
use super::launch::{Tile, cubes, element, empty};
use crate::NormOps;

/// Rows whose parts of the weight's gradient one unit adds up.
pub(super) const ROWS: usize = 64;

impl NormOps for CubeBackend {
    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        offset: f64,
    ) -> FloatTensor<Self> {
        let (x, weight) = (into_contiguous(x), into_contiguous(weight));
        let tile = Tile::of(&x);
        let y = empty(&x, x.meta.shape().clone(), x.dtype);
        let float = element(&x);
        kernel::forward::launch(
            &y.client,
            cubes(x.meta.shape()[0]),
            tile.dim(),
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            epsilon as f32,
            offset as f32,
            tile.units,
            tile.planes,
            float,
        );
        y
    }

    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
        offset: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [x, weight, gradient] = [x, weight, gradient].map(into_contiguous);
        let (rows, width) = (x.meta.shape()[0], x.meta.shape()[1]);
        let tile = Tile::of(&x);
        let of_x = empty(&x, x.meta.shape().clone(), x.dtype);
        let inverse = empty(&x, Shape::from([rows]), DType::F32);
        kernel::of_rows::launch(
            &of_x.client,
            cubes(rows),
            tile.dim(),
            x.clone().into_tensor_arg(),
            weight.clone().into_tensor_arg(),
            gradient.clone().into_tensor_arg(),
            of_x.clone().into_tensor_arg(),
            inverse.clone().into_tensor_arg(),
            epsilon as f32,
            offset as f32,
            tile.units,
            tile.planes,
            element(&x),
        );
        let parts = empty(&x, Shape::from([rows.div_ceil(ROWS), width]), DType::F32);
        kernel::of_weight::launch(
            &parts.client,
            tile.count(rows.div_ceil(ROWS) * width),
            tile.dim(),
            x.clone().into_tensor_arg(),
            gradient.into_tensor_arg(),
            inverse.into_tensor_arg(),
            parts.clone().into_tensor_arg(),
            ROWS,
            element(&x),
        );
        let sum = Self::float_reshape(Self::float_sum_dim(parts, 0), Shape::from([width]));
        let dtype: FloatDType = weight.dtype.into();
        (of_x, Self::float_cast(sum, dtype))
    }
}
