//! SAPO: a soft gate in place of the clip.
//!
//! ```text
//! −A·4/τ·σ(τ·(ρ − 1))        ∂/∂ρ = −A·4·σ·(1 − σ)
//! ```
//!
//! `σ` is the logistic function, `τ` depends on the sign of `A`. At `ρ = 1` the derivative is `−A`, that of
//! `−ρ·A`; it falls smoothly on both sides. Source: arXiv 2511.20347.

use super::SurrogateOutput;

pub(super) const fn default_positive() -> f64 {
    1.0
}

pub(super) const fn default_negative() -> f64 {
    1.05
}

pub(super) fn evaluate(ratio: f64, advantage: f64, temperature: f64) -> SurrogateOutput {
    let gate = 1.0 / (1.0 + (-temperature * (ratio - 1.0)).exp());
    SurrogateOutput::of_ratio(
        -advantage * 4.0 / temperature * gate,
        -advantage * 4.0 * gate * (1.0 - gate),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_by_hand() {
        let fresh = evaluate(1.0, 0.7, 2.0);
        assert_eq!((fresh.value, fresh.d_ratio), (-0.7, -0.7));
        // σ(1) at ρ = 1.5 and τ = 2.
        let gate = 1.0 / (1.0 + (-1.0_f64).exp());
        let found = evaluate(1.5, -1.0, 2.0);
        assert!((found.value - 2.0 * gate).abs() < 1e-15);
        assert!((found.d_ratio - 4.0 * gate * (1.0 - gate)).abs() < 1e-15);
        // A ratio beyond all bounds neither overflows nor moves anything.
        assert_eq!(evaluate(f64::INFINITY, 1.0, 1.0).d_ratio, 0.0);
    }
}
