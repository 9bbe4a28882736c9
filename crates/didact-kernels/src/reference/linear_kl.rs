use burn::tensor::{Tensor, activation::log_softmax};

use super::widen;
use crate::linear_kl::check_shapes;
use crate::{KlDirection, Projected};

/// Divergence of two models' distributions, with the whole logits in memory; see [`crate::linear_kl()`].
pub fn linear_kl(
    policy: Projected,
    other: Projected,
    temperature: f64,
    direction: KlDirection,
) -> Tensor<1> {
    check_shapes(&policy, &other, temperature);
    let log_probs = |side: Projected| {
        let rows = widen(side.hidden).select(0, side.rows);
        let logits = rows.matmul(widen(side.embedding).transpose());
        log_softmax(logits.div_scalar(temperature), 1)
    };
    let [count] = policy.rows.dims();
    if count == 0 {
        let hidden = widen(policy.hidden);
        return Tensor::zeros([0], (&hidden.device(), hidden.dtype()));
    }
    let (policy, other) = (log_probs(policy), log_probs(other).detach());
    let (of, from) = match direction {
        KlDirection::Forward => (other, policy),
        KlDirection::Reverse => (policy, other),
    };
    (of.clone().exp() * (of - from)).sum_dim(1).reshape([count])
}
