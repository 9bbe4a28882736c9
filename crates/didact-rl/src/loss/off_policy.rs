//! Sequences that the policy has moved away from.
//!
//! Owns one decision, which carries no gradient. Knows no surrogate.

use serde::Serialize;

/// Takes the policy term, not the KL, from sequences with a negative advantage that the policy has moved away
/// from: pushing further down what is no longer likely unsettles training.
///
/// A token is kept where `A ≥ 0` or `mean_t (sampling_t − lp_t) ≤ threshold` over its sequence's tokens that
/// count. The engine's log-probs at the time of sampling hold both sources of distance, older weights and
/// other kernels.
///
/// Source: DeepSeek-V3.2 (arXiv 2512.02556), equation 9; `off_policy_mask_threshold` in TRL.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OffPolicyMask {
    /// The largest mean distance that is kept, in nats; above 0.
    pub threshold: f64,
}

impl OffPolicyMask {
    /// Whether tokens with a negative advantage are dropped.
    pub(super) fn drops(self, log_probs: &[f64], sampling: &[f64], mask: &[bool]) -> bool {
        let tokens = mask.iter().filter(|&&counts| counts).count().max(1) as f64;
        let distance = |t: usize| {
            if mask[t] {
                sampling[t] - log_probs[t]
            } else {
                0.0
            }
        };
        let sum: f64 = (0..mask.len()).map(distance).sum();
        sum / tokens > self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_over_the_tokens_that_count_decides() {
        let mask = OffPolicyMask { threshold: 0.5 };
        let sampling = [-1.0, -1.0, 0.0];
        let counts = [true, true, false];
        assert!(mask.drops(&[-1.0, -2.2, -99.0], &sampling, &counts));
        assert!(
            !mask.drops(&[-1.0, -2.0, -99.0], &sampling, &counts),
            "0.5 is kept"
        );
        assert!(
            !mask.drops(&[-0.1, -0.1, 0.0], &sampling, &counts),
            "nearer than before"
        );
        assert!(!mask.drops(&[0.0; 3], &sampling, &[false; 3]));
    }
}
