//! Which tokens decide something: those of high entropy.
//!
//! Owns the cut of a step. Knows no loss.

/// Where the step's tokens of high entropy begin.
///
/// Keeps the policy term, not the KL, of the fraction `ρ` of the step's tokens with the highest entropy, those
/// at which the policy chooses a way; the entropy bonus then acts on the same tokens. The threshold is the
/// quantile `1 − ρ` of the entropies of **all** tokens of the step that count, interpolated linearly; a token
/// at the threshold is kept.
///
/// Source: arXiv 2506.01939, "Beyond the 80/20 rule", which keeps 0.2; `top_entropy_quantile` in TRL, which
/// takes the quantile of each micro-batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EntropyCut {
    /// The lowest entropy that is kept, in nats.
    pub threshold: f64,
    /// The step's tokens that are kept.
    pub tokens: usize,
}

impl EntropyCut {
    /// The cut that keeps `fraction` (in `[0, 1]`) of the tokens with these entropies.
    #[must_use]
    pub fn new(fraction: f64, mut entropies: Vec<f64>) -> Self {
        entropies.sort_unstable_by(f64::total_cmp);
        let Some(last) = entropies.len().checked_sub(1) else {
            return Self {
                threshold: f64::INFINITY,
                tokens: 0,
            };
        };
        let position = (1.0 - fraction.clamp(0.0, 1.0)) * last as f64;
        let below = entropies[position.floor() as usize];
        let above = entropies[position.ceil() as usize];
        // Rounding must not lift the threshold above the entropy that it is made of.
        let threshold = (below + (above - below) * position.fract()).min(above);
        Self {
            threshold,
            tokens: entropies.iter().filter(|&&e| e >= threshold).count(),
        }
    }

    /// Whether a token of this entropy is kept.
    #[must_use]
    pub fn keeps(self, entropy: f64) -> bool {
        entropy >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_are_kept_and_ties_too() {
        let cut = |fraction, entropies: &[f64]| EntropyCut::new(fraction, entropies.to_vec());
        // numpy.quantile([0, 1, 2, 3, 4], 0.8) is 3.2.
        let found = cut(0.2, &[3.0, 0.0, 4.0, 1.0, 2.0]);
        assert!((found.threshold - 3.2).abs() < 1e-12 && found.tokens == 1);
        assert!(found.keeps(4.0) && !found.keeps(3.0));
        assert_eq!(
            cut(0.0, &[1.0, 2.0]).tokens,
            1,
            "the highest is always kept"
        );
        assert_eq!(cut(1.0, &[1.0, 2.0]).tokens, 2);
        assert_eq!(cut(0.5, &[0.3; 7]).tokens, 7, "equals stay together");
        assert_eq!(cut(0.5, &[]).tokens, 0);
    }
}
