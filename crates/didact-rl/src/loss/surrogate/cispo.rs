//! CISPO: the importance weight is cut, never a token's gradient.
//!
//! ```text
//! −sg(min(ρ, cap))·A·lp        ∂/∂lp = −min(ρ, cap)·A
//! ```
//!
//! Source: MiniMax-M1 (arXiv 2506.13585), with the cap alone as in ScaleRL (arXiv 2510.13786) and TRL, where
//! the cap is called `epsilon_high`: a ratio, not a distance from 1, and usually 5.

/// The cap of ScaleRL.
pub(super) const fn default_cap() -> f64 {
    5.0
}

/// `min(ρ, cap)`.
pub(super) fn weight(ratio: f64, cap: f64) -> f64 {
    ratio.min(cap)
}

#[cfg(test)]
mod tests {
    use super::super::{Surrogate, SurrogateInput};

    #[test]
    fn the_weight_is_cut_and_the_gradient_stays() {
        let surrogate = Surrogate::Cispo { cap: 5.0 };
        let found = |ratio| {
            surrogate.evaluate(SurrogateInput {
                ratio,
                fixed: ratio,
                log_prob: -2.0,
                advantage: 0.5,
            })
        };
        assert_eq!((found(1.5).value, found(1.5).d_log_prob), (1.5, -0.75));
        assert_eq!((found(9.0).value, found(9.0).d_log_prob), (5.0, -2.5));
        assert_eq!(found(9.0).d_ratio, 0.0);
        assert_eq!(surrogate.cuts(9.0, 0.5), (false, true));
        assert_eq!(surrogate.cuts(0.1, -0.5), (false, false));
    }
}
