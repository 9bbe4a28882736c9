//! Gated activations: SwiGLU, GeGLU.
//!
//! This module owns the operation's contract and its shape checks; the projections around it belong
//! to the model.
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

/// The function that the gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `x·σ(x)`, also called swish.
    Silu,
    /// `½x·(1 + tanh(√(2/π)·(x + 0.044715x³)))`, the approximate GELU (`gelu_pytorch_tanh`).
    GeluTanh,
    /// `½x·(1 + erf(x/√2))`, the exact GELU.
    Gelu,
}

impl Activation {
    /// Coefficient of the cubic term in the approximate GELU (Hendrycks and Gimpel, 2016).
    pub(crate) const GELU_CUBIC: f64 = 0.044715;
    /// √(2/π), the factor before the approximate GELU's hyperbolic tangent.
    pub(crate) const GELU_SCALE: f64 =
        std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
}

/// A gated activation, `activation(gate) · up`, element by element, `[N, I]`.
///
/// # Panics
/// When the two shapes differ.
pub fn gated(gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
    check_shapes(&gate.shape(), &up.shape());
    let floats = [gate.dtype(), up.dtype()];
    if activation == Activation::Gelu || !device::has_kernels_for(&gate.device(), &floats) {
        return reference::gated(gate, up, activation);
    }
    Tensor::from_dispatch(<Dispatch as GatedOps>::gated(
        gate.into_dispatch(),
        up.into_dispatch(),
        activation,
    ))
}

fn check_shapes(gate: &Shape, up: &Shape) {
    assert!(
        gate == up,
        "gated: gate {gate:?} and up {up:?} differ in shape"
    );
}

/// The backend family behind [`gated`]: f32 tensors, on GPUs half precisions too.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
    Autodiff,
)]
pub trait GatedOps: Backend {
    /// The activated gate times `up`.
    #[fusion(dtype = gate, shape = gate)]
    fn gated(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// Gradients of `gate` and of `up`.
    #[fusion(meta = |gate, up, _, _| (gate.clone(), up.clone()))]
    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Debug)]
struct Gated;

impl<B: Backend + GatedOps> Backward<B, 2> for Gated {
    type State = (NodeId, NodeId, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (gate, up, activation) = ops.state;
        let gate = checkpointer.retrieve_node_output(gate);
        let up = checkpointer.retrieve_node_output(up);
        let (of_gate, of_up) = B::gated_backward(gate, up, gradient, activation);
        for (parent, gradient) in ops.parents.into_iter().zip([of_gate, of_up]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: Backend + GatedOps, C: CheckpointStrategy> GatedOps for Autodiff<B, C> {
    fn gated(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        match Gated
            .prepare::<C>([gate.node(), up.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prepared) => {
                let state = (
                    prepared.checkpoint(&gate),
                    prepared.checkpoint(&up),
                    activation,
                );
                let output = B::gated(gate.into_primitive(), up.into_primitive(), activation);
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::gated(
                gate.into_primitive(),
                up.into_primitive(),
                activation,
            )),
        }
    }

    fn gated_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        device::first_order_only("gated")
    }
}
