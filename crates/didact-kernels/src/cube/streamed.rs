//! Products of few rows on CubeCL devices: cubek's, with sums in f32.
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;

use super::projection::product;
use crate::StreamedOps;

impl StreamedOps for CubeBackend {
    fn streamed_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let dtype = weight.dtype;
        let x = if x.dtype == dtype {
            x
        } else {
            Self::float_cast(x, dtype.into())
        };
        product(x, weight)
    }
}
