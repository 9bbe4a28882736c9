//! Rotary position embedding.
//!
//! This module owns the operation's contract and its shape checks. It does not know how angles are
//! made from positions: their cosines and sines come in.
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};

use crate::{device, reference};

/// Rotates each head's pairs by its token's angles, `[N, H, D]`.
///
/// Pairs are `(x[i], x[i + D/2])`, the layout of Hugging Face's `rotate_half`:
/// `y[i] = x[i]·cos[i] − x[i + D/2]·sin[i]` and `y[i + D/2] = x[i + D/2]·cos[i] + x[i]·sin[i]`.
/// Shapes: `x` `[N, H, D]` with `D` even, `cos` and `sin` `[N, D/2]`. On the fast path these are f32, whatever `x` is, since
/// half precisions do not hold the angles of later positions, and carry no gradient.
///
/// # Panics
/// When the shapes do not belong together.
pub fn rotary(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<3> {
    check_shapes(&x.shape(), &cos.shape(), &sin.shape());
    let fits = |table: &Tensor<2>| table.dtype() == DType::F32 && !table.is_require_grad();
    let own = device::has_kernels_for(&x.device(), &[x.dtype()]);
    if !(own && fits(&cos) && fits(&sin)) {
        return reference::rotary(x, cos, sin);
    }
    Tensor::from_dispatch(<Dispatch as RotaryOps>::rotary(
        x.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
    ))
}

fn check_shapes(x: &Shape, cos: &Shape, sin: &Shape) {
    assert!(
        cos == sin && cos[0] == x[0] && 2 * cos[1] == x[2],
        "rotary: heads {x:?} need cosines and sines [{}, {}/2], got {cos:?} and {sin:?}",
        x[0],
        x[2]
    );
}

/// The backend family behind [`rotary`]: f32 tensors; on GPUs what is rotated may have half precision.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
    Autodiff,
)]
pub trait RotaryOps: Backend {
    /// The rotated heads.
    #[fusion(dtype = x, shape = x)]
    fn rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient of `x`: the gradient turned back by the same angles.
    #[fusion(dtype = gradient, shape = gradient)]
    fn rotary_backward(
        gradient: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

#[derive(Debug)]
struct Rotary;

impl<B: Backend + RotaryOps> Backward<B, 1> for Rotary {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (cos, sin) = ops.state;
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::rotary_backward(gradient, cos, sin));
        }
    }
}

impl<B: Backend + RotaryOps, C: CheckpointStrategy> RotaryOps for Autodiff<B, C> {
    fn rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let prepared = Rotary.prepare::<C>([x.node()]).compute_bound().stateful();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let output = B::rotary(x.into_primitive(), cos.clone(), sin.clone());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((cos, sin), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn rotary_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        device::first_order_only("rotary")
    }
}
