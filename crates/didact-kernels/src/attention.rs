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
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{AutodiffBackend, Backend, Dispatch, backend_extension};
#[cfg(feature = "fusion")]
use burn::tensor::DType;
use burn::tensor::{Shape, Tensor};

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
    if !device::has_kernels_for(&q.device(), &[q.dtype(), k.dtype(), v.dtype()]) {
        return reference::attention(q, k, v, layout, scale);
    }
    check_shapes(&q.shape(), &k.shape(), &v.shape(), layout);
    let (output, _) = <Dispatch as AttentionOps>::packed_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        layout.clone(),
        scale,
    );
    Tensor::from_dispatch(output)
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

#[cfg(feature = "fusion")]
fn outputs(q: &TensorSpec) -> (TensorSpec, TensorSpec) {
    let one_a_head = Shape::from([q.shape[0], q.shape[1]]);
    (q.clone(), TensorSpec::new(one_a_head, DType::F32))
}

/// The backend family behind [`attention()`]: f32 tensors, on GPUs half precisions too.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
    Autodiff,
)]
pub trait AttentionOps: Backend {
    /// The attended values `[N, Hq, D]`, and the log-sum-exp `[N, Hq]` of the scores in f32, a constant.
    #[fusion(meta = |q, _, _, _, _| outputs(q))]
    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of `q`, `k` and `v`, from what the forward pass returned; the scores are computed again.
    #[fusion(meta = |q, k, v, _, _, _, _, _| (q.clone(), k.clone(), v.clone()))]
    fn packed_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        output: FloatTensor<Self>,
        log_sum_exp: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Debug)]
struct Attention;

impl<B: Backend + AttentionOps> Backward<B, 3> for Attention {
    type State = ([NodeId; 3], [FloatTensor<B>; 2], PackedLayout, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([q, k, v], [output, log_sum_exp], layout, scale) = ops.state;
        let q = checkpointer.retrieve_node_output(q);
        let k = checkpointer.retrieve_node_output(k);
        let v = checkpointer.retrieve_node_output(v);
        let (of_q, of_k, of_v) =
            B::packed_attention_backward(q, k, v, output, log_sum_exp, gradient, layout, scale);
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
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [q.node(), k.node(), v.node()];
        let forward = |q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>| {
            let (q, k, v) = (q.into_primitive(), k.into_primitive(), v.into_primitive());
            B::packed_attention(q, k, v, layout.clone(), scale)
        };
        match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let ids = [&q, &k, &v].map(|tensor| prepared.checkpoint(tensor));
                let (output, log_sum_exp) = forward(q, k, v);
                let kept = [output.clone(), log_sum_exp.clone()];
                let output = prepared.finish((ids, kept, layout, scale), output);
                (output, <Self as AutodiffBackend>::from_inner(log_sum_exp))
            }
            OpsKind::UnTracked(prepared) => {
                let (output, log_sum_exp) = forward(q, k, v);
                (
                    prepared.finish(output),
                    <Self as AutodiffBackend>::from_inner(log_sum_exp),
                )
            }
        }
    }

    fn packed_attention_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
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
