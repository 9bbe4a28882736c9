//! Teacher rewards without one of their parts.

use didact::reward::{Reduction, RltConfig};
use didact::rl::advantage::CreditConfig;
use serde::Serialize;

/// A change of the published reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ablation {
    /// None.
    Published,
    /// λ = 0: the divergence costs nothing.
    NoKl,
    /// The solution's likelihood counts for nothing.
    NoSolution,
    /// Means alone, no minimum and no maximum.
    MeanOnly,
    /// The divergence's sum, divided by the tokens of a clean explanation, instead of its mean.
    Sum,
    /// Each token is credited its own divergence.
    PerToken,
}

impl Ablation {
    pub(crate) const ALL: [Self; 6] = [
        Self::Published,
        Self::NoKl,
        Self::NoSolution,
        Self::MeanOnly,
        Self::Sum,
        Self::PerToken,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::NoKl => "no kl (lambda 0)",
            Self::NoSolution => "no solution term",
            Self::MeanOnly => "means alone",
            Self::Sum => "sum of the kl",
            Self::PerToken => "kl credited per token",
        }
    }

    pub(crate) fn reward(self) -> RltConfig {
        let published = RltConfig::default();
        match self {
            Self::Published | Self::PerToken => published,
            Self::NoKl => RltConfig {
                kl_coefficients: vec![0.0, 0.0],
                ..published
            },
            Self::NoSolution => RltConfig {
                solution_coefficients: vec![0.0, 0.0],
                ..published
            },
            Self::MeanOnly => RltConfig {
                solution_coefficients: vec![1.0],
                solution_reductions: vec![Reduction::Mean],
                kl_coefficients: vec![3.0],
                kl_reductions: vec![Reduction::Mean],
                ..published
            },
            Self::Sum => RltConfig {
                kl_coefficients: vec![3.0 / 40.0, 0.03],
                kl_reductions: vec![Reduction::Sum, Reduction::Max],
                ..published
            },
        }
    }

    pub(crate) const fn credit(self) -> CreditConfig {
        match self {
            Self::PerToken => CreditConfig::Token { terms: Vec::new() },
            _ => CreditConfig::Sequence,
        }
    }
}
