use burn::tensor::{Int, Tensor};

use super::widen;
use crate::linear_log_prob::check_shapes;

/// Log-probabilities of targets through the output embedding, with the whole logits in memory; see
/// [`crate::linear_log_prob()`].
pub fn linear_log_prob(
    hidden: Tensor<2>,
    rows: Tensor<1, Int>,
    embedding: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f64,
) -> Tensor<2> {
    check_shapes(
        &hidden.shape(),
        &rows.shape(),
        &embedding.shape(),
        &targets.shape(),
        temperature,
    );
    let [count] = rows.dims();
    let (hidden, embedding) = (widen(hidden), widen(embedding));
    if count == 0 {
        return Tensor::zeros([0, 3], (&hidden.device(), hidden.dtype()));
    }
    let logits = hidden
        .select(0, rows)
        .matmul(embedding.transpose())
        .div_scalar(temperature);
    let largest = logits.clone().detach().max_dim(1);
    let log_sum_exp = (logits.clone() - largest.clone()).exp().sum_dim(1).log() + largest;
    let log_prob = logits.clone().gather(1, targets.reshape([count, 1])) - log_sum_exp.clone();
    let mean_logit = ((logits.clone() - log_sum_exp.clone()).exp() * logits).sum_dim(1);
    let entropy = log_sum_exp.clone() - mean_logit;
    Tensor::cat(vec![log_prob, log_sum_exp, entropy], 1)
}
