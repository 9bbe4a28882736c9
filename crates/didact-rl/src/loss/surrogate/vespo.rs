//! VESPO: a smooth weight of the whole sequence.
//!
//! ```text
//! −sg(φ(w))·A·lp,   φ(w) = w^k·exp(λ·(1 − w))        ∂/∂lp = −φ(w)·A
//! log w = clamp( Σ_t clamp(lp_t − old_t, ±20) + Σ_t log(correction_t), log 1e-8, 20 )
//! ```
//!
//! `φ(1) = 1`; sequences that became much likelier or less likely weigh less, without an edge. The clamps are
//! those of the published implementation; `log(correction)` is at least `log 1e-8`, so that a masked token all
//! but drops its sequence. Source: arXiv 2602.10693, and TRL for the constants.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{not_negative, positive};

/// The bound of a token's and of a sequence's log-ratio.
const LARGEST: f64 = 20.0;
/// The smallest weight that is told from 0.
const SMALLEST: f64 = 1e-8;

/// The constants of `φ(w) = w^k·exp(λ·(1 − w))`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VespoWeight {
    /// How fast sequences that became less likely lose weight; at least 0.
    pub k: f64,
    /// How fast sequences that became likelier lose weight; above 0.
    pub lambda: f64,
}

pub(super) const fn default_positive() -> VespoWeight {
    VespoWeight {
        k: 2.0,
        lambda: 3.0,
    }
}

pub(super) const fn default_negative() -> VespoWeight {
    VespoWeight {
        k: 3.0,
        lambda: 2.0,
    }
}

impl VespoWeight {
    pub(super) fn validate(self, key: &str) -> Result<()> {
        not_negative(&format!("{key}.k"), self.k)?;
        positive(&format!("{key}.lambda"), self.lambda)
    }

    /// `φ` from `log w`.
    #[must_use]
    pub fn of(self, log_weight: f64) -> f64 {
        let weight = log_weight.exp();
        (self.lambda + self.k * log_weight - self.lambda * weight).exp()
    }
}

/// `log w` of a sequence, from `lp − old` and the correction of each token, which are read where `mask` is
/// true.
pub(in crate::loss) fn log_weight(
    log_ratios: &[f64],
    correction: Option<&[f64]>,
    mask: &[bool],
) -> f64 {
    let smallest = SMALLEST.ln();
    let of_token = |t: usize| {
        let correction = correction.map_or(0.0, |weights| weights[t].ln().clamp(smallest, LARGEST));
        log_ratios[t].clamp(-LARGEST, LARGEST) + correction
    };
    let counted = (0..mask.len()).filter(|&t| mask[t]);
    counted.map(of_token).sum::<f64>().clamp(smallest, LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_by_hand() {
        let phi = default_positive();
        assert!((phi.of(0.0) - 1.0).abs() < 1e-15);
        // 2² · e^(3·(1 − 2))
        assert!((phi.of(2.0_f64.ln()) - 4.0 * (-3.0_f64).exp()).abs() < 1e-12);
        assert!(phi.of(LARGEST) == 0.0 && phi.of(SMALLEST.ln()) < 1e-13);
    }

    #[test]
    fn the_logarithm_is_of_the_whole_sequence_and_bounded() {
        let mask = [true, true, false];
        let found = |l: [f64; 3], correction: Option<&[f64]>| log_weight(&l, correction, &mask);
        assert!((found([0.3, -0.1, 99.0], None) - 0.2).abs() < 1e-15);
        assert_eq!(
            found([90.0, -90.0, 0.0], None),
            0.0,
            "each token is bounded"
        );
        assert_eq!(found([15.0, 15.0, 0.0], None), LARGEST);
        let corrected = found([0.3, -0.1, 0.0], Some(&[2.0, 1.0, 7.0]));
        assert!((corrected - (0.2 + 2.0_f64.ln())).abs() < 1e-15);
        assert_eq!(found([0.0; 3], Some(&[0.0, 1.0, 1.0])), SMALLEST.ln());
    }
}
