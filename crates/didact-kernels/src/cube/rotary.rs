//! Rotary position embedding on CubeCL devices.
use burn::backend::tensor::FloatTensor;
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};

use super::kernels::rotary as kernel;
use super::launch::{Tile, element, empty};
use crate::RotaryOps;

fn rotated(x: CubeTensor, cos: CubeTensor, sin: CubeTensor, turn: f32) -> CubeTensor {
    let [x, cos, sin] = [x, cos, sin].map(into_contiguous);
    let tile = Tile::of(&x);
    let y = empty(&x, x.meta.shape().clone(), x.dtype);
    let float = element(&x);
    kernel::rotate::launch(
        &y.client,
        tile.count(x.meta.num_elements() / 2),
        tile.dim(),
        x.into_tensor_arg(),
        cos.into_tensor_arg(),
        sin.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        turn,
        float,
    );
    y
}

impl RotaryOps for CubeBackend {
    fn rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        rotated(x, cos, sin, 1.0)
    }

    fn rotary_backward(
        gradient: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        rotated(gradient, cos, sin, -1.0)
    }
}
