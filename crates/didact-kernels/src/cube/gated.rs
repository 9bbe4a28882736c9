//! Gated activations on CubeCL devices.
use burn::backend::tensor::FloatTensor;
use burn_cubecl::{CubeBackend, kernel::into_contiguous};

use super::kernels::gated as kernel;
use super::launch::{Tile, element, empty};
use crate::{Activation, GatedOps};

/// What the kernels are compiled for: whether it is the approximate GELU, and its two constants.
const fn constants(activation: Activation) -> (bool, f32, f32) {
    let tanh = matches!(activation, Activation::GeluTanh);
    (
        tanh,
        Activation::GELU_SCALE as f32,
        Activation::GELU_CUBIC as f32,
    )
}

impl GatedOps for CubeBackend {
    fn gated(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let [gate, up] = [gate, up].map(into_contiguous);
        let tile = Tile::of(&gate);
        let y = empty(&gate, gate.meta.shape().clone(), gate.dtype);
        let (tanh, scale, cubic) = constants(activation);
        let float = element(&gate);
        kernel::forward::launch(
            &y.client,
            tile.count(gate.meta.num_elements()),
            tile.dim(),
            gate.into_tensor_arg(),
            up.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            scale,
            cubic,
            tanh,
            float,
        );
        y
    }

    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [gate, up, gradient] = [gate, up, gradient].map(into_contiguous);
        let tile = Tile::of(&gate);
        let of_gate = empty(&gate, gate.meta.shape().clone(), gate.dtype);
        let of_up = empty(&gate, gate.meta.shape().clone(), gate.dtype);
        let (tanh, scale, cubic) = constants(activation);
        let float = element(&gate);
        kernel::backward::launch(
            &of_up.client,
            tile.count(gate.meta.num_elements()),
            tile.dim(),
            gate.into_tensor_arg(),
            up.into_tensor_arg(),
            gradient.into_tensor_arg(),
            of_gate.clone().into_tensor_arg(),
            of_up.clone().into_tensor_arg(),
            scale,
            cubic,
            tanh,
            float,
        );
        (of_gate, of_up)
    }
}
