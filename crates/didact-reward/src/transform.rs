//! What happens to each token's value before a span is reduced.
//!
//! Knows no token and no model: one `f64` in, one `f64` out.

use serde::{Deserialize, Serialize};

/// Applied to each token's value, before clipping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// `x`.
    #[default]
    None,
    /// `eˣ`: a log-prob becomes a probability.
    Exp,
    /// `1 − e⁻ˣ`: maps a value `≥ 0` into `[0, 1)`.
    ///
    /// On a signed value, such as [`KlEstimator::K1`], it has **no lower bound**: a token that the student
    /// finds likelier than the teacher by 10 nats gives −22025. Use it with [`KlEstimator::K3`]. The
    /// published implementation has the unbounded pair as its class default, so it is not refused.
    ExpNorm,
}

impl Transform {
    /// The transformed value.
    #[must_use]
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::None => x,
            Self::Exp => x.exp(),
            Self::ExpNorm => -(-x).exp_m1(),
        }
    }
}

/// Estimates from one token, sampled from `p`, how far the distribution `p` lies from `q`.
///
/// With `d = log p(token) − log q(token)`; both have the expectation KL(p‖q), in nats (J. Schulman,
/// "Approximating KL divergence", 2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `d`: signed, so that a token's estimate may be negative.
    #[default]
    K1,
    /// `d − 1 + e⁻ᵈ`: never negative. This is the one that the published options call Schulman's.
    K3,
}

impl KlEstimator {
    /// The estimate from the difference `d` of the two log-probs.
    ///
    /// `K3` is computed as `d + expm1(−d)`, which keeps its digits where `d` is small: in bf16 arithmetic,
    /// as the published implementation does it, `K3` is 0 for `|d| ≤ 0.06`.
    #[must_use]
    pub fn estimate(self, d: f64) -> f64 {
        match self {
            Self::K1 => d,
            // Rounding may leave −1 ulp where the two parts cancel.
            Self::K3 => (d + (-d).exp_m1()).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_differences_keep_their_digits() {
        // d²/2 − d³/6 + d⁴/24 at d = 1e-6.
        let expected = 5e-13 - 1e-18 / 6.0;
        let found = KlEstimator::K3.estimate(1e-6);
        assert!((found - expected).abs() < 1e-21, "{found:e}");
    }

    proptest! {
        #[test]
        fn k3_is_never_negative(d in -40.0f64..40.0) {
            prop_assert!(KlEstimator::K3.estimate(d) >= 0.0);
        }

        #[test]
        fn transforms_keep_the_order(a in -20.0f64..20.0, step in 1e-3f64..5.0) {
            for transform in [Transform::None, Transform::Exp, Transform::ExpNorm] {
                prop_assert!(transform.apply(a) <= transform.apply(a + step), "{transform:?}");
            }
        }

        #[test]
        fn exp_norm_of_k3_stays_below_one(d in -40.0f64..40.0) {
            let value = Transform::ExpNorm.apply(KlEstimator::K3.estimate(d));
            prop_assert!((0.0..=1.0).contains(&value));
        }
    }
}
