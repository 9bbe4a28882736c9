//! Log-probabilities of target tokens straight from hidden states, without the whole logits.
//!
//! This module owns the operation's contract and its shape checks. It knows no model: hidden states,
//! rows, an output embedding and targets come in, three numbers for each row come out.
use burn::tensor::{Device, Int, Shape, Tensor, TensorData};

use crate::{Error, reference};

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
    reference::linear_log_prob(hidden, rows, embedding, targets, temperature)
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
