//! Log-probabilities of target tokens straight from hidden states, without the whole logits.
//!
//! This module owns the operation's contract and its shape checks. It knows no model: hidden states,
//! rows, an output embedding and targets come in, three numbers for each row come out.
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
use burn::tensor::{DType, Device, Int, Shape, Tensor, TensorData};

use crate::{Error, device, reference};

/// Log-probability, log-sum-exp and entropy of projected rows, `[R, 3]`.
///
/// With `z = hidden[rows[r]] · embeddingᵀ / temperature` (in nats throughout):
///
/// | column | value |
/// |---|---|
/// | 0 | log-probability of the target, `z[targets[r]] − lse` |
/// | 1 | log-sum-exp, `lse = ln Σᵥ exp(zᵥ)` |
/// | 2 | entropy, `lse − Σᵥ pᵥ·zᵥ` with `pᵥ = exp(zᵥ − lse)` |
///
/// Shapes: `hidden` `[N, H]`, `rows` `[R]` (repeats allowed, any order), `embedding` `[V, H]`,
/// `targets` `[R]`. All three columns are differentiable in `hidden` and `embedding`.
/// Half precisions are widened, and the result is f32 then.
///
/// Rows and targets must lie in range: make them with [`projected_rows`], which checks.
///
/// # Panics
/// When the shapes do not belong together or the temperature is not a positive number.
pub fn linear_log_prob(
    hidden: Tensor<2>,
    rows: Tensor<1, Int>,
    embedding: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f64,
) -> Tensor<2> {
    if !device::has_kernels_for(&hidden.device(), &[hidden.dtype(), embedding.dtype()]) {
        return reference::linear_log_prob(hidden, rows, embedding, targets, temperature);
    }
    check_shapes(
        &hidden.shape(),
        &rows.shape(),
        &embedding.shape(),
        &targets.shape(),
        temperature,
    );
    if rows.dims()[0] == 0 {
        return Tensor::zeros([0, 3], (&hidden.device(), DType::F32));
    }
    Tensor::from_dispatch(<Dispatch as LinearLogProbOps>::linear_log_prob(
        hidden.into_dispatch(),
        rows.into_dispatch(),
        embedding.into_dispatch(),
        targets.into_dispatch(),
        temperature,
    ))
}

#[cfg(feature = "fusion")]
fn three_columns(rows: &Shape) -> Shape {
    Shape::from([rows[0], 3])
}

/// The backend family behind [`linear_log_prob()`]: f32 tensors, on GPUs half precisions too; at least one row, in
/// range. The three columns and their gradient are f32.
///
/// The backward methods take the forward's `output` and the `gradient` of its three columns, and
/// compute the tiles of logits again. Users call the free function.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
    Autodiff,
)]
pub trait LinearLogProbOps: Backend {
    /// The three columns, `[R, 3]`.
    #[fusion(meta = |_, rows, _, _, _| TensorSpec::new(three_columns(&rows.shape), DType::F32))]
    fn linear_log_prob(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self>;

    /// Gradients of `hidden` and of `embedding`.
    #[fusion(meta = |hidden, _, embedding, _, _, _, _| (hidden.clone(), embedding.clone()))]
    fn linear_log_prob_backward(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of `hidden` alone, for an embedding that is not trained.
    #[fusion(dtype = hidden, shape = hidden)]
    fn linear_log_prob_backward_hidden(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self>;

    /// Gradient of `embedding` alone, for hidden states that carry none.
    #[fusion(dtype = embedding, shape = embedding)]
    fn linear_log_prob_backward_embedding(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self>;
}

/// What the backward pass keeps; the inputs come back from the checkpointer.
#[derive(Debug, Clone)]
struct Kept<B: Backend> {
    hidden: NodeId,
    rows: IntTensor<B>,
    embedding: NodeId,
    targets: IntTensor<B>,
    output: FloatTensor<B>,
    temperature: f64,
}

#[derive(Debug)]
struct LinearLogProb;

impl<B: Backend + LinearLogProbOps> Backward<B, 2> for LinearLogProb {
    type State = Kept<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let Kept {
            hidden,
            rows,
            embedding,
            targets,
            output,
            temperature,
        } = ops.state;
        let hidden: FloatTensor<B> = checkpointer.retrieve_node_output(hidden);
        let embedding: FloatTensor<B> = checkpointer.retrieve_node_output(embedding);
        let (of_hidden, of_embedding) = match ops.parents {
            [Some(hidden_node), Some(embedding_node)] => {
                let (of_hidden, of_embedding) = B::linear_log_prob_backward(
                    hidden,
                    rows,
                    embedding,
                    targets,
                    output,
                    gradient,
                    temperature,
                );
                (
                    Some((hidden_node, of_hidden)),
                    Some((embedding_node, of_embedding)),
                )
            }
            [Some(node), None] => {
                let of_hidden = B::linear_log_prob_backward_hidden(
                    hidden,
                    rows,
                    embedding,
                    targets,
                    output,
                    gradient,
                    temperature,
                );
                (Some((node, of_hidden)), None)
            }
            [None, Some(node)] => {
                let of_embedding = B::linear_log_prob_backward_embedding(
                    hidden,
                    rows,
                    embedding,
                    targets,
                    output,
                    gradient,
                    temperature,
                );
                (None, Some((node, of_embedding)))
            }
            [None, None] => (None, None),
        };
        for (node, gradient) in [of_hidden, of_embedding].into_iter().flatten() {
            grads.register::<B>(node.id, gradient);
        }
    }
}

impl<B: Backend + LinearLogProbOps, C: CheckpointStrategy> LinearLogProbOps for Autodiff<B, C> {
    fn linear_log_prob(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let nodes = [hidden.node(), embedding.node()];
        match LinearLogProb.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let hidden_id = prepared.checkpoint(&hidden);
                let embedding_id = prepared.checkpoint(&embedding);
                let output = B::linear_log_prob(
                    hidden.into_primitive(),
                    rows.clone(),
                    embedding.into_primitive(),
                    targets.clone(),
                    temperature,
                );
                let kept = Kept {
                    hidden: hidden_id,
                    rows,
                    embedding: embedding_id,
                    targets,
                    output: output.clone(),
                    temperature,
                };
                prepared.finish(kept, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::linear_log_prob(
                hidden.into_primitive(),
                rows,
                embedding.into_primitive(),
                targets,
                temperature,
            )),
        }
    }

    fn linear_log_prob_backward(
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        device::first_order_only("linear_log_prob")
    }

    fn linear_log_prob_backward_hidden(
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> FloatTensor<Self> {
        device::first_order_only("linear_log_prob")
    }

    fn linear_log_prob_backward_embedding(
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> FloatTensor<Self> {
        device::first_order_only("linear_log_prob")
    }
}

/// Checks rows and targets on the host and uploads them for [`linear_log_prob()`].
///
/// # Errors
/// When there is not one target for each row, a row is not below `tokens` (the number of hidden
/// rows) or a target is not below `vocabulary`; the message names the entry.
pub fn projected_rows(
    rows: &[usize],
    targets: &[u32],
    tokens: usize,
    vocabulary: usize,
    device: &Device,
) -> Result<(Tensor<1, Int>, Tensor<1, Int>), Error> {
    validate_rows(rows, targets, tokens, vocabulary)?;
    let upload = |values: Vec<i32>| {
        let count = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [count]), device)
    };
    // Both limits are tensor dimensions, which devices index with 32 bits.
    let rows = upload(rows.iter().map(|row| *row as i32).collect());
    let targets = upload(targets.iter().map(|target| *target as i32).collect());
    Ok((rows, targets))
}

/// Checks rows and targets as [`projected_rows`] does, without uploading them.
///
/// # Errors
/// As [`projected_rows`].
pub fn validate_rows(
    rows: &[usize],
    targets: &[u32],
    tokens: usize,
    vocabulary: usize,
) -> Result<(), Error> {
    if rows.len() != targets.len() {
        return Err(Error::TargetCount {
            rows: rows.len(),
            targets: targets.len(),
        });
    }
    for (entry, (row, target)) in rows.iter().zip(targets).enumerate() {
        if *row >= tokens {
            return Err(Error::RowOutOfRange {
                entry,
                row: *row,
                rows: tokens,
            });
        }
        let target = *target as usize;
        if target >= vocabulary {
            return Err(Error::TargetOutOfRange {
                entry,
                target,
                vocabulary,
            });
        }
    }
    Ok(())
}

pub(crate) fn check_shapes(
    hidden: &Shape,
    rows: &Shape,
    embedding: &Shape,
    targets: &Shape,
    temperature: f64,
) {
    assert!(
        hidden[1] == embedding[1],
        "linear_log_prob: hidden {hidden:?} and embedding {embedding:?} differ in width"
    );
    assert!(
        rows[0] == targets[0],
        "linear_log_prob: {} rows but {} targets",
        rows[0],
        targets[0]
    );
    assert!(
        temperature.is_finite() && temperature > 0.0,
        "linear_log_prob: temperature must be a positive number, got {temperature}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_targets_are_checked_on_the_host() {
        assert_eq!(validate_rows(&[0, 4], &[9, 0], 5, 10), Ok(()));
        assert_eq!(
            validate_rows(&[0, 4], &[9], 5, 10),
            Err(Error::TargetCount {
                rows: 2,
                targets: 1
            })
        );
        assert_eq!(
            validate_rows(&[0, 5], &[9, 0], 5, 10),
            Err(Error::RowOutOfRange {
                entry: 1,
                row: 5,
                rows: 5
            })
        );
        assert_eq!(
            validate_rows(&[0, 4], &[10, 0], 5, 10),
            Err(Error::TargetOutOfRange {
                entry: 0,
                target: 10,
                vocabulary: 10
            })
        );
    }
}
