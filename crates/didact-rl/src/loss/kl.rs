//! How far the policy is from the reference, estimated from each token's two log-probs.
//!
//! Owns the three estimators and their derivatives. Knows no model.

use serde::{Deserialize, Serialize};

/// Estimates KL(policy ‖ reference) from a token that the policy sampled, with `d = reference − lp`.
///
/// | name | value | derivative | as a term of a loss |
/// |---|---|---|---|
/// | `k1` | `−d` | `1` | its gradient is 0 in expectation: only with `unbiased_kl` |
/// | `k2` | `d²/2` | `−d` | the gradient of a KL that stands in the reward |
/// | `k3` | `eᵈ − d − 1` | `1 − eᵈ` | never negative, low variance; GRPO and TRL |
///
/// `k1` and `k3` have the KL as their expectation, `k2` nearly so. With `unbiased_kl` the value is multiplied
/// by the ratio `ρ`, through which the gradient then flows too: `ρ·(κ + κ′)`. At `ρ = 1` that makes `k1` and
/// `k3` estimate the KL's own gradient, which `k3` alone does not.
///
/// Sources: J. Schulman, "Approximating KL divergence", 2020; DeepSeek-V3.2 (arXiv 2512.02556) for the factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `−d`: signed.
    K1,
    /// `d²/2`.
    K2,
    /// `eᵈ − d − 1`.
    #[default]
    K3,
}

impl KlEstimator {
    /// The estimate from `d = reference − log_prob`, and its derivative with respect to the log-prob.
    #[must_use]
    pub fn estimate(self, d: f64) -> (f64, f64) {
        match self {
            Self::K1 => (-d, 1.0),
            Self::K2 => (0.5 * d * d, -d),
            // expm1 keeps the digits where d is small.
            Self::K3 => (d.exp_m1() - d, -d.exp_m1()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over two tokens, the expectation of each estimate and of its gradient are known.
    #[test]
    fn expectations_are_those_that_the_table_names() {
        let (p, q) = ([0.7_f64, 0.3], [0.4_f64, 0.6]);
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        // With logits (z, 0), dlp_0/dz = 1 − p_0 and dlp_1/dz = −p_0; dKL/dz is by the chain rule.
        let slope = [p[1], -p[0]];
        let d_kl: f64 = (0..2)
            .map(|i| p[i] * slope[i] * ((p[i] / q[i]).ln() + 1.0))
            .sum();
        let expect = |f: &dyn Fn(usize, f64, f64) -> f64, estimator: KlEstimator| -> f64 {
            let term = |i: usize| {
                let (value, derivative) = estimator.estimate((q[i] / p[i]).ln());
                p[i] * f(i, value, derivative)
            };
            term(0) + term(1)
        };
        for estimator in [KlEstimator::K1, KlEstimator::K3] {
            assert!((expect(&|_, value, _| value, estimator) - kl).abs() < 1e-12);
            let unbiased = expect(&|i, value, d| slope[i] * (value + d), estimator);
            assert!((unbiased - d_kl).abs() < 1e-12, "{estimator:?}");
        }
        let plain = |estimator| expect(&|i, _, d| slope[i] * d, estimator);
        assert!(plain(KlEstimator::K1).abs() < 1e-12);
        assert!((plain(KlEstimator::K2) - d_kl).abs() < 1e-12);
        assert!((plain(KlEstimator::K3) - d_kl).abs() > 1e-2);
    }
}
