//! AdamW's update on CubeCL devices.
use burn::backend::tensor::FloatTensor;
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};

use super::kernels::adamw as kernel;
use super::launch::Tile;
use crate::{AdamWOps, AdamWStep};

/// The tensor to write into: itself where nothing else holds its memory.
fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    if tensor.can_mut() {
        tensor
    } else {
        tensor.copy()
    }
}

impl AdamWOps for CubeBackend {
    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [parameter, first, second] = [parameter, first, second].map(owned);
        let gradient = into_contiguous(gradient);
        let tile = Tile::of(&parameter);
        kernel::update::launch(
            &parameter.client,
            tile.count(gradient.meta.num_elements()),
            tile.dim(),
            gradient.into_tensor_arg(),
            parameter.clone().into_tensor_arg(),
            first.clone().into_tensor_arg(),
            second.clone().into_tensor_arg(),
            step.beta1,
            step.beta2,
            step.rest1,
            step.rest2,
            step.keep,
            step.step_size,
            step.root_correction,
            step.epsilon,
        );
        (parameter, first, second)
    }
}
