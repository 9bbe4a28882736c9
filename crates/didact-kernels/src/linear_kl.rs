//! Divergence of two models' whole next-token distributions straight from hidden states.
//!
//! This module owns the operation's contract and its shape checks. It knows no model and no loss: two times hidden
//! states, rows and an output embedding come in, one number for each pair of rows comes out.
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Tensor};

use crate::{device, reference};

/// Which of the two distributions the divergence is an expectation of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KlDirection {
    /// `KL(other ‖ policy)`: what distillation from a teacher's whole distributions minimises. The policy covers all
    /// that the other does.
    Forward,
    /// `KL(policy ‖ other)`: what stands in RL objectives and in on-policy distillation. The policy keeps to what the
    /// other does too.
    Reverse,
}

/// Rows of hidden states and the output embedding that makes distributions of them.
#[derive(Debug, Clone)]
pub struct Projected {
    /// `[N, H]`.
    pub hidden: Tensor<2>,
    /// `[R]`, below `N`, repeats allowed, in any order; see [`projected_rows`](crate::projected_rows).
    pub rows: Tensor<1, Int>,
    /// `[V, H]`.
    pub embedding: Tensor<2>,
}

/// Kullback-Leibler divergence of each pair of rows over the whole vocabulary, `[R]`, in nats.
///
/// With `p = softmax(hidden[rows[r]] · embeddingᵀ / temperature)` of the policy and `q` likewise of the other,
/// [`Reverse`](KlDirection::Reverse) is `Σᵥ pᵥ·(ln pᵥ − ln qᵥ)` and [`Forward`](KlDirection::Forward) is
/// `Σᵥ qᵥ·(ln qᵥ − ln pᵥ)`. Both models have as many rows and one vocabulary; their widths may differ. The vocabulary
/// is taken in tiles: nothing of `[R, V]` is in memory, forward or backward.
///
/// Differentiable in the policy's `hidden` and `embedding`; the other is a constant. Half precisions are widened, and
/// the result is f32 then. As a difference of sums of logits it is exact to about 1e-6 of their size, so that equal
/// distributions may come out as a divergence just below 0.
///
/// # Panics
/// When the shapes do not belong together or the temperature is not a positive number.
pub fn linear_kl(
    policy: Projected,
    other: Projected,
    temperature: f64,
    direction: KlDirection,
) -> Tensor<1> {
    check_shapes(&policy, &other, temperature);
    let device = policy.hidden.device();
    let floats = [&policy, &other].map(|side| [side.hidden.dtype(), side.embedding.dtype()]);
    if !device::has_kernels_for(&device, floats.as_flattened()) {
        return reference::linear_kl(policy, other, temperature, direction);
    }
    let [count] = policy.rows.dims();
    if count == 0 {
        return Tensor::zeros([0], (&device, DType::F32));
    }
    let output: Tensor<2> = Tensor::from_dispatch(<Dispatch as LinearKlOps>::linear_kl(
        policy.hidden.into_dispatch(),
        policy.rows.into_dispatch(),
        policy.embedding.into_dispatch(),
        // A constant: a tape of its own would end here.
        other.hidden.detach().into_dispatch(),
        other.rows.into_dispatch(),
        other.embedding.detach().into_dispatch(),
        temperature,
        direction,
    ));
    output.narrow(1, 0, 1).reshape([count])
}

pub(crate) fn check_shapes(policy: &Projected, other: &Projected, temperature: f64) {
    for (name, side) in [("policy", policy), ("other", other)] {
        let (hidden, embedding) = (side.hidden.dims(), side.embedding.dims());
        assert!(
            hidden[1] == embedding[1],
            "linear_kl: the {name}'s hidden {hidden:?} and embedding {embedding:?} differ in width"
        );
    }
    let [rows, others] = [policy, other].map(|side| side.rows.dims()[0]);
    assert!(
        rows == others,
        "linear_kl: {rows} rows of the policy but {others} of the other"
    );
    let [vocabulary, others] = [policy, other].map(|side| side.embedding.dims()[0]);
    assert!(
        vocabulary == others,
        "linear_kl: the policy's vocabulary has {vocabulary} tokens, the other's {others}"
    );
    assert!(
        temperature.is_finite() && temperature > 0.0,
        "linear_kl: temperature must be a positive number, got {temperature}"
    );
}

/// The backend family behind [`linear_kl()`]: f32 tensors, on GPUs half precisions too; at least one row, in range.
///
/// `hidden`, `rows` and `embedding` are the policy's, the next three the other's. The output `[R, 3]` is f32: the
/// divergence and the log-sum-exps of policy and other. The backward methods take it with the `gradient` of its three
/// columns, of which the first alone counts, and compute the tiles of logits again. Users call the free function.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
    Autodiff,
)]
pub trait LinearKlOps: Backend {
    /// The three columns, `[R, 3]`.
    #[fusion(meta = |_, rows, _, _, _, _, _, _| TensorSpec::new(burn::tensor::Shape::from([rows.shape[0], 3]), DType::F32))]
    fn linear_kl(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> FloatTensor<Self>;

    /// Gradients of the policy's `hidden` and `embedding`.
    #[fusion(meta = |hidden, _, embedding, _, _, _, _, _, _, _| (hidden.clone(), embedding.clone()))]
    fn linear_kl_backward(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of the policy's `hidden` alone, for an embedding that is not trained.
    #[fusion(dtype = hidden, shape = hidden)]
    fn linear_kl_backward_hidden(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> FloatTensor<Self>;
}

/// What the backward pass keeps; the policy's tensors come back from the checkpointer.
#[derive(Debug, Clone)]
struct Kept<B: Backend> {
    hidden: NodeId,
    rows: IntTensor<B>,
    embedding: NodeId,
    other: (FloatTensor<B>, IntTensor<B>, FloatTensor<B>),
    output: FloatTensor<B>,
    temperature: f64,
    direction: KlDirection,
}

#[derive(Debug)]
struct LinearKl;

impl<B: Backend + LinearKlOps> Backward<B, 2> for LinearKl {
    type State = Kept<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let kept = ops.state;
        let hidden: FloatTensor<B> = checkpointer.retrieve_node_output(kept.hidden);
        let embedding: FloatTensor<B> = checkpointer.retrieve_node_output(kept.embedding);
        let (other_hidden, other_rows, other_embedding) = kept.other;
        let [hidden_node, embedding_node] = ops.parents;
        let Some(embedding_node) = embedding_node else {
            let of_hidden = B::linear_kl_backward_hidden(
                hidden,
                kept.rows,
                embedding,
                other_hidden,
                other_rows,
                other_embedding,
                kept.output,
                gradient,
                kept.temperature,
                kept.direction,
            );
            if let Some(node) = hidden_node {
                grads.register::<B>(node.id, of_hidden);
            }
            return;
        };
        let (of_hidden, of_embedding) = B::linear_kl_backward(
            hidden,
            kept.rows,
            embedding,
            other_hidden,
            other_rows,
            other_embedding,
            kept.output,
            gradient,
            kept.temperature,
            kept.direction,
        );
        grads.register::<B>(embedding_node.id, of_embedding);
        if let Some(node) = hidden_node {
            grads.register::<B>(node.id, of_hidden);
        }
    }
}

impl<B: Backend + LinearKlOps, C: CheckpointStrategy> LinearKlOps for Autodiff<B, C> {
    fn linear_kl(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> FloatTensor<Self> {
        let nodes = [hidden.node(), embedding.node()];
        let other = (
            other_hidden.into_primitive(),
            other_rows,
            other_embedding.into_primitive(),
        );
        let forward =
            |hidden: FloatTensor<Self>,
             rows,
             embedding: FloatTensor<Self>,
             other: (FloatTensor<B>, IntTensor<B>, FloatTensor<B>)| {
                B::linear_kl(
                    hidden.into_primitive(),
                    rows,
                    embedding.into_primitive(),
                    other.0,
                    other.1,
                    other.2,
                    temperature,
                    direction,
                )
            };
        match LinearKl.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let hidden_id = prepared.checkpoint(&hidden);
                let embedding_id = prepared.checkpoint(&embedding);
                let output = forward(hidden, rows.clone(), embedding, other.clone());
                let kept = Kept {
                    hidden: hidden_id,
                    rows,
                    embedding: embedding_id,
                    other,
                    output: output.clone(),
                    temperature,
                    direction,
                };
                prepared.finish(kept, output)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(forward(hidden, rows, embedding, other))
            }
        }
    }

    fn linear_kl_backward(
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
        _: KlDirection,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        device::first_order_only("linear_kl")
    }

    fn linear_kl_backward_hidden(
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
        _: KlDirection,
    ) -> FloatTensor<Self> {
        device::first_order_only("linear_kl")
    }
}
