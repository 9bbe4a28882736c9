//! Causal attention over packed segments with shared prefixes and grouped key heads.
//!
//! This module owns the operation's contract and its shape checks. It knows no cache and no
//! projection: rotated queries, keys and values come in.
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};

use crate::{PackedLayout, device, reference};

/// Causal attention over a packed sequence, `[N, Hq, D]`.
///
/// For query head `h` of a token, over the keys `j` that the layout lets it see (all of its
/// segment's ancestors, its own segment up to itself), with key head `h / (Hq / Hkv)`:
///
/// `out = Σⱼ softmaxⱼ(scale · q·kⱼ) · vⱼ`
///
/// Shapes: `q` `[N, Hq, D]`, `k` and `v` `[N, Hkv, D]` with `Hq` a multiple of `Hkv`, and `N` the
/// layout's token count. `scale` is 1/√D in most models. Keys are not repeated for grouped heads.
///
/// # Panics
/// When the shapes do not belong together or to the layout.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    layout: &PackedLayout,
    scale: f64,
) -> Tensor<3> {
    let floats = [q.dtype(), k.dtype(), v.dtype()] == [DType::F32; 3];
    if !floats || !device::is_flex(&q.device()) {
        return reference::attention(q, k, v, layout, scale);
    }
    check_shapes(&q.shape(), &k.shape(), &v.shape(), layout);
    Tensor::from_dispatch(<Dispatch as AttentionOps>::packed_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        layout.clone(),
        scale,
    ))
}

pub(crate) fn check_shapes(q: &Shape, k: &Shape, v: &Shape, layout: &PackedLayout) {
    assert!(
        k == v,
        "attention: keys {k:?} and values {v:?} differ in shape"
    );
    assert!(
        q[0] == layout.tokens() && k[0] == layout.tokens(),
        "attention: the layout has {} tokens, but queries are {q:?} and keys {k:?}",
        layout.tokens()
    );
    assert!(
        q[2] == k[2] && k[1] > 0 && q[1].is_multiple_of(k[1]),
        "attention: query heads {q:?} cannot be grouped over key heads {k:?}"
    );
}

/// The backend family behind [`attention()`]: f32 tensors.
#[backend_extension(Flex, Autodiff)]
pub trait AttentionOps: Backend {
    /// The attended values.
    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> FloatTensor<Self>;

    /// Gradients of `q`, `k` and `v`; the scores are computed again.
    fn packed_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Debug)]
struct Attention;

impl<B: Backend + AttentionOps> Backward<B, 3> for Attention {
    type State = ([NodeId; 3], PackedLayout, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([q, k, v], layout, scale) = ops.state;
        let q = checkpointer.retrieve_node_output(q);
        let k = checkpointer.retrieve_node_output(k);
        let v = checkpointer.retrieve_node_output(v);
        let (of_q, of_k, of_v) = B::packed_attention_backward(q, k, v, gradient, layout, scale);
        for (parent, gradient) in ops.parents.into_iter().zip([of_q, of_k, of_v]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: Backend + AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let ids = [&q, &k, &v].map(|tensor| prepared.checkpoint(tensor));
                let output = B::packed_attention(
                    q.into_primitive(),
                    k.into_primitive(),
                    v.into_primitive(),
                    layout.clone(),
                    scale,
                );
                prepared.finish((ids, layout, scale), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::packed_attention(
                q.into_primitive(),
                k.into_primitive(),
                v.into_primitive(),
                layout,
                scale,
            )),
        }
    }

    fn packed_attention_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: PackedLayout,
        _: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        device::first_order_only("attention")
    }
}
