//! Root-mean-square normalisation.
//!
//! This module owns the operation's contract and its shape checks.
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Shape, Tensor};

use crate::{device, reference};

/// Root-mean-square normalisation of each row, `[N, H]`.
///
/// `y = x / √(mean(x²) + epsilon) · (offset + weight)`, the mean over the row (Zhang and Sennrich,
/// 2019). `offset` is 0 in most models and 1 in Gemma. Shapes: `x` `[N, H]`, `weight` `[H]`. Half
/// precisions are computed in f32 and rounded once, at the end.
///
/// # Panics
/// When the weight is not as wide as the rows.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64, offset: f64) -> Tensor<2> {
    check_shapes(&x.shape(), &weight.shape());
    if !device::has_kernels_for(&x.device(), &[x.dtype(), weight.dtype()]) {
        return reference::rms_norm(x, weight, epsilon, offset);
    }
    Tensor::from_dispatch(<Dispatch as NormOps>::rms_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        epsilon,
        offset,
    ))
}

fn check_shapes(x: &Shape, weight: &Shape) {
    assert!(
        x[1] == weight[0],
        "rms_norm: rows {x:?} and weight {weight:?} differ in width"
    );
}

/// The backend family behind [`rms_norm`]: f32 tensors, on GPUs half precisions too.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
    Autodiff,
)]
pub trait NormOps: Backend {
    /// The normalised rows.
    #[fusion(dtype = x, shape = x)]
    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        offset: f64,
    ) -> FloatTensor<Self>;

    /// Gradients of `x` and of `weight`.
    #[fusion(meta = |x, weight, _, _, _| (x.clone(), weight.clone()))]
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
        offset: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Debug)]
struct RmsNorm;

impl<B: Backend + NormOps> Backward<B, 2> for RmsNorm {
    type State = (NodeId, NodeId, f64, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (x, weight, epsilon, offset) = ops.state;
        let x = checkpointer.retrieve_node_output(x);
        let weight = checkpointer.retrieve_node_output(weight);
        let (of_x, of_weight) = B::rms_norm_backward(x, weight, gradient, epsilon, offset);
        for (parent, gradient) in ops.parents.into_iter().zip([of_x, of_weight]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: Backend + NormOps, C: CheckpointStrategy> NormOps for Autodiff<B, C> {
    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        offset: f64,
    ) -> FloatTensor<Self> {
        match RmsNorm
            .prepare::<C>([x.node(), weight.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prepared) => {
                let state = (
                    prepared.checkpoint(&x),
                    prepared.checkpoint(&weight),
                    epsilon,
                    offset,
                );
                let output =
                    B::rms_norm(x.into_primitive(), weight.into_primitive(), epsilon, offset);
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::rms_norm(
                x.into_primitive(),
                weight.into_primitive(),
                epsilon,
                offset,
            )),
        }
    }

    fn rms_norm_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
        _: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        device::first_order_only("rms_norm")
    }
}
