//! What new and old policy are compared on: a token, or a completion.
//!
//! Owns the ratio and its derivatives. Knows no advantage.

use serde::{Deserialize, Serialize};

/// What the ratio `ρ` of the new to the old policy is of.
///
/// With `l_t = lp_t − old_t` over the `L` tokens that count:
///
/// | level | `ρ_t` | `∂ρ_t/∂lp_u` | |
/// |---|---|---|---|
/// | `token` | `exp(l_t)` | `ρ_t` where `u = t` | PPO (arXiv 1707.06347), GRPO |
/// | `sequence` | `exp(Σ l / L)` | `ρ / L` | GSPO (arXiv 2507.18071): the geometric mean |
/// | `product` | `exp(Σ l)` | `ρ` | RLOO (arXiv 2402.14740): the completion is one action |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// One a token.
    #[default]
    Token,
    /// One a sequence, the geometric mean of its tokens' ratios.
    Sequence,
    /// One a sequence, the product of its tokens' ratios.
    Product,
}

/// The ratios of one sequence's tokens.
pub(super) struct Ratios {
    /// One a token; 1 where the mask is false.
    values: Vec<f64>,
    /// For a ratio that all tokens share, its derivative with respect to each of their log-probs.
    shared: Option<f64>,
}

impl Ratios {
    /// From `lp − old` of every token, which is not read where the mask is false.
    pub(super) fn new(level: RatioLevel, log_ratios: &[f64], mask: &[bool]) -> Self {
        let counted = log_ratios.iter().zip(mask);
        let share = match level {
            RatioLevel::Token => {
                let ratio = |(&l, &counts): (&f64, &bool)| if counts { l.exp() } else { 1.0 };
                return Self {
                    values: counted.map(ratio).collect(),
                    shared: None,
                };
            }
            RatioLevel::Sequence => {
                1.0 / mask.iter().filter(|&&counts| counts).count().max(1) as f64
            }
            RatioLevel::Product => 1.0,
        };
        let sum: f64 = counted
            .filter(|(_, counts)| **counts)
            .map(|(l, _)| *l)
            .sum();
        let ratio = (share * sum).exp();
        Self {
            values: vec![ratio; mask.len()],
            shared: Some(ratio * share),
        }
    }

    pub(super) fn of_token(&self, token: usize) -> f64 {
        self.values[token]
    }

    /// Whether all tokens have one ratio.
    pub(super) const fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// From derivatives with respect to each token's ratio to those with respect to its log-prob, in place.
    ///
    /// Where nothing depends on a ratio, it may be infinite: 0 stays 0.
    pub(super) fn chain(&self, derivatives: &mut [f64], mask: &[bool]) {
        match self.shared {
            None => {
                for (derivative, ratio) in derivatives.iter_mut().zip(&self.values) {
                    *derivative = times(*derivative, *ratio);
                }
            }
            Some(of_log_prob) => {
                let shared = times(derivatives.iter().sum(), of_log_prob);
                for (derivative, &counts) in derivatives.iter_mut().zip(mask) {
                    *derivative = if counts { shared } else { 0.0 };
                }
            }
        }
    }
}

/// The product, in which 0 times infinity is 0.
fn times(derivative: f64, ratio: f64) -> f64 {
    if derivative == 0.0 {
        0.0
    } else {
        derivative * ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_levels_by_hand() {
        let mask = [true, false, true];
        let l = [0.1_f64, f64::NAN, 0.3];
        let of = |level| Ratios::new(level, &l, &mask);
        assert_eq!(
            of(RatioLevel::Token).values,
            [0.1_f64.exp(), 1.0, 0.3_f64.exp()]
        );
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-15);
        close(of(RatioLevel::Sequence).of_token(0), 0.2_f64.exp());
        close(of(RatioLevel::Product).of_token(2), 0.4_f64.exp());
        let chained = |level| {
            let mut derivatives = [2.0, 0.0, -1.0];
            of(level).chain(&mut derivatives, &mask);
            derivatives
        };
        close(chained(RatioLevel::Token)[2], -(0.3_f64.exp()));
        close(chained(RatioLevel::Sequence)[0], 0.2_f64.exp() / 2.0);
        close(chained(RatioLevel::Product)[2], 0.4_f64.exp());
        close(chained(RatioLevel::Product)[1], 0.0);
    }
}
