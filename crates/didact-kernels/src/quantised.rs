//! Products with a frozen weight of 8 or 4 bits.
//!
//! This module owns the two operations' contracts and the gradient of the rows. How numbers become codes is the
//! matter of [`QuantisedMatrix`]. No gradient of the weight exists, and no f32 copy of it is kept.
mod matrix;

pub(crate) use matrix::{BLOCK, Line};
pub use matrix::{Bits, QuantisedMatrix};

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::Shape;
use burn::tensor::{DType, FloatDType, Tensor};

use crate::{device, reference};

/// `x·Ŵ`, `[N, in]·[in, out] → [N, out]`, with the gradient `g·Ŵᵀ` of `x` alone.
///
/// For many rows; half precisions are computed in f32. `Ŵ` is turned into f32 some columns at a time, in the forward and again in the backward
/// pass; what the tape keeps is a counted reference to the matrix.
///
/// # Panics
/// When the widths differ.
pub fn quantised_linear(x: Tensor<2>, weight: &QuantisedMatrix) -> Tensor<2> {
    check_width("quantised_linear", &x, weight);
    let device = x.device();
    if !device::has_kernels_for(&device, &[DType::F32]) {
        return reference::quantised_linear(x, weight);
    }
    match x.dtype() {
        DType::F32 => {}
        DType::F16 | DType::BF16 if !device::is_cpu(&device) => {}
        // Faster than a product of halves, and without a half copy of the weight on the tape.
        DType::F16 | DType::BF16 => {
            let dtype = x.dtype();
            return quantised_linear(x.cast(FloatDType::F32), weight).cast(dtype);
        }
        _ => return reference::quantised_linear(x, weight),
    }
    Tensor::from_dispatch(<Dispatch as QuantisedOps>::quantised_product(
        x.into_dispatch(),
        weight.clone(),
    ))
}

/// `x·Ŵ`, `[R, in]·[in, out] → [R, out]`, for few rows, without gradients.
///
/// The codes are read once for all rows. Each output is summed in an order that depends on neither the
/// number of rows nor the number of threads.
///
/// # Panics
/// When the widths differ, or `x` is not f32.
pub fn streamed_quantised_product(x: Tensor<2>, weight: &QuantisedMatrix) -> Tensor<2> {
    check_width("streamed_quantised_product", &x, weight);
    assert!(
        x.dtype() == DType::F32,
        "streamed_quantised_product: rows must be F32, not {:?}",
        x.dtype()
    );
    let device = x.device();
    if x.dims()[0] == 0 {
        return Tensor::zeros([0, weight.shape()[1]], (&device, DType::F32));
    }
    if device::is_autodiff(&device) || !device::has_kernels_for(&device, &[DType::F32]) {
        return reference::quantised_linear(x, weight);
    }
    Tensor::from_dispatch(
        <Dispatch as StreamedQuantisedOps>::streamed_quantised_product(
            x.into_dispatch(),
            weight.clone(),
        ),
    )
}

fn check_width(operation: &str, x: &Tensor<2>, weight: &QuantisedMatrix) {
    assert!(
        x.dims()[1] == weight.shape()[0],
        "{operation}: rows {:?} and weight {:?} differ in width",
        x.dims(),
        weight.shape()
    );
}

/// The backend family behind [`quantised_linear`]: f32 rows, on GPUs half precisions too.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
    Autodiff,
)]
pub trait QuantisedOps: Backend {
    /// The product.
    #[fusion(dtype = x, shape = Shape::from([x[0], weight.shape()[1]]))]
    fn quantised_product(x: FloatTensor<Self>, weight: QuantisedMatrix) -> FloatTensor<Self>;

    /// The gradient of `x`.
    #[fusion(dtype = gradient, shape = Shape::from([gradient[0], weight.shape()[0]]))]
    fn quantised_product_backward(
        gradient: FloatTensor<Self>,
        weight: QuantisedMatrix,
    ) -> FloatTensor<Self>;
}

/// The backend family behind [`streamed_quantised_product`]: f32 rows, no gradients.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
)]
pub trait StreamedQuantisedOps: Backend {
    /// The product.
    #[fusion(dtype = x, shape = Shape::from([x[0], weight.shape()[1]]))]
    fn streamed_quantised_product(
        x: FloatTensor<Self>,
        weight: QuantisedMatrix,
    ) -> FloatTensor<Self>;
}

#[derive(Debug)]
struct QuantisedLinear;

impl<B: Backend + QuantisedOps> Backward<B, 1> for QuantisedLinear {
    type State = QuantisedMatrix;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::quantised_product_backward(gradient, ops.state));
        }
    }
}

impl<B: Backend + QuantisedOps, C: CheckpointStrategy> QuantisedOps for Autodiff<B, C> {
    fn quantised_product(x: FloatTensor<Self>, weight: QuantisedMatrix) -> FloatTensor<Self> {
        match QuantisedLinear
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) => {
                let output = B::quantised_product(x.into_primitive(), weight.clone());
                prepared.finish(weight, output)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::quantised_product(x.into_primitive(), weight))
            }
        }
    }

    fn quantised_product_backward(_: FloatTensor<Self>, _: QuantisedMatrix) -> FloatTensor<Self> {
        device::first_order_only("quantised_linear")
    }
}
