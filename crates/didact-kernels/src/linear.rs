//! The product of activations with a weight, and its two backward products.
//!
//! This module owns the operation's contract and its shape checks. It knows no bias: adding one is a tensor
//! operation like others.
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};

use crate::{device, reference};

/// `x·W`, `[N, K]·[K, M] → [N, M]`, with gradients `g·Wᵀ` and `xᵀ·g`.
///
/// No operand is copied or transposed in memory for any of the three products, and only the gradients that
/// are asked for are computed.
///
/// # Panics
/// When the shapes do not belong together.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    assert!(
        x.dims()[1] == weight.dims()[0],
        "linear: rows {:?} and weight {:?} differ in width",
        x.dims(),
        weight.dims()
    );
    let floats = [x.dtype(), weight.dtype()] == [DType::F32; 2];
    if !floats || !device::is_cpu(&x.device()) {
        return reference::linear(x, weight);
    }
    Tensor::from_dispatch(<Dispatch as LinearOps>::linear_product(
        x.into_dispatch(),
        weight.into_dispatch(),
    ))
}

/// The backend family behind [`linear()`]: f32 tensors.
#[backend_extension(Flex, Autodiff)]
pub trait LinearOps: Backend {
    /// The product.
    fn linear_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of `x`.
    fn linear_product_backward_x(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The gradient of `weight`.
    fn linear_product_backward_weight(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

#[derive(Debug)]
struct Linear;

impl<B: Backend + LinearOps> Backward<B, 2> for Linear {
    /// What the other operand's gradient needs, where that is asked for.
    type State = [Option<NodeId>; 2];

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [x, weight] = ops.state;
        let [x_node, weight_node] = ops.parents;
        if let (Some(node), Some(weight)) = (x_node, weight) {
            let weight = checkpointer.retrieve_node_output(weight);
            grads.register::<B>(
                node.id,
                B::linear_product_backward_x(weight, gradient.clone()),
            );
        }
        if let (Some(node), Some(x)) = (weight_node, x) {
            let x = checkpointer.retrieve_node_output(x);
            grads.register::<B>(node.id, B::linear_product_backward_weight(x, gradient));
        }
    }
}

impl<B: Backend + LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn linear_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let tracked = [x.is_tracked(), weight.is_tracked()];
        match Linear
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prepared) => {
                let x_id = tracked[1].then(|| prepared.checkpoint(&x));
                let weight_id = tracked[0].then(|| prepared.checkpoint(&weight));
                let output = B::linear_product(x.into_primitive(), weight.into_primitive());
                prepared.finish([x_id, weight_id], output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::linear_product(
                x.into_primitive(),
                weight.into_primitive(),
            )),
        }
    }

    fn linear_product_backward_x(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        device::first_order_only("linear")
    }

    fn linear_product_backward_weight(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        device::first_order_only("linear")
    }
}
