//! Algorithms by name: which parts each paper puts together.
//!
//! Owns presets, one plain function each with formula and source. There is one loss
//! ([`PolicyGradientLoss`](crate::loss::PolicyGradientLoss)) and one way to advantages
//! ([`advantages`](crate::advantage::advantages)): an algorithm is parameters, no code of its own, and any of
//! its parts can be replaced. Knows no optimizer and no batch size; the papers' are in
//! [`TeacherConfig`](crate::TeacherConfig) where a preset of it exists.
//!
//! | preset | ratio, surrogate | weight of a token | advantage | beside it |
//! |---|---|---|---|---|
//! | [`published_rlt`] | on-policy | 1/(S·L) | group | β 0.04, k3 |
//! | [`trl_1_16`] | token, clip 0.2 | 1/N | group | |
//! | [`grpo`] | token, clip 0.2 | 1/(S·L) | group | β 0.04, k3 |
//! | [`dr_grpo`] | token, clip 0.2 | 1/(S·limit) | less the group's mean | |
//! | [`dapo`] | token, clip 0.2 and 0.28 | 1/N | group | dynamic sampling, truncated masked |
//! | [`bnpo`] | token, clip 0.2 | 1/(M·N_m) | group | depends on the micro-batches |
//! | [`gspo`] | sequence, clip 3e-4 and 4e-4 | 1/(S·L) | group | |
//! | [`cispo`] | token, weight up to 5 | 1/N | group | |
//! | [`sapo`] | token, soft gate 1 and 1.05 | 1/(S·L) | group | |
//! | [`vespo`] | token, sequence weight φ | 1/N | group | |
//! | [`luspo`] | sequence, clip 2e-3 and 2.5e-3 | 1/S | group | |
//! | [`rloo`] | on-policy | 1/S | leave-one-out | β 0.05, k2 |
//! | [`reinforce_plus_plus`] | token, clip 0.2 | 1/N | whitened | β 0.01, k2 |
//! | [`reinforce_plus_plus_baseline`] | token, clip 0.2 | 1/N | less the group's mean, whitened | β 0.01, k2 |
//!
//! `S` sequences, `L` tokens of the sequence, `N` tokens of the step, `M` micro-batches of `N_m` tokens. β is 0
//! where none is named. Clips and weights act once a policy has left the one that sampled: a trainer that makes
//! one update of fresh samples, as [`TeacherTrainer`](crate::TeacherTrainer) does, has ratios of 1, and what is
//! left of an algorithm is its weights and advantages.

use serde::{Deserialize, Serialize};

use crate::advantage::{AdvantageConfig, AdvantageScale, Baseline, DynamicSampling};
use crate::loss::{
    AggregationConfig, KlEstimator, PolicyGradientConfig, RatioLevel, SurrogateConfig,
};

/// An algorithm: loss, advantages, and which samples are trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Algorithm {
    /// The loss.
    pub loss: PolicyGradientConfig,
    /// How rewards become advantages.
    pub advantage: AdvantageConfig,
    /// Whether flat groups are replaced.
    pub dynamic_sampling: Option<DynamicSampling>,
    /// Whether completions that were cut off are left out of the loss.
    pub mask_truncated: bool,
}

impl Algorithm {
    /// All presets by the names of their functions.
    pub const ALL: [(&'static str, fn() -> Self); 14] = [
        ("published_rlt", published_rlt),
        ("trl_1_16", trl_1_16),
        ("grpo", grpo),
        ("dr_grpo", dr_grpo),
        ("dapo", dapo),
        ("bnpo", bnpo),
        ("gspo", gspo),
        ("cispo", cispo),
        ("sapo", sapo),
        ("vespo", vespo),
        ("luspo", luspo),
        ("rloo", rloo),
        ("reinforce_plus_plus", reinforce_plus_plus),
        ("reinforce_plus_plus_baseline", reinforce_plus_plus_baseline),
    ];

    /// The preset of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, preset)| preset())
    }
}

/// A loss without a KL and an advantage over the group, as most of the papers have it.
fn algorithm(surrogate: SurrogateConfig, aggregation: AggregationConfig) -> Algorithm {
    Algorithm {
        loss: PolicyGradientConfig {
            surrogate,
            aggregation,
            beta: 0.0,
            ..PolicyGradientConfig::default()
        },
        advantage: AdvantageConfig::default(),
        dynamic_sampling: None,
        mask_truncated: false,
    }
}

fn with_ratio(mut algorithm: Algorithm, ratio: RatioLevel) -> Algorithm {
    algorithm.loss.ratio = ratio;
    algorithm
}

fn with_kl(mut algorithm: Algorithm, beta: f64, estimator: KlEstimator) -> Algorithm {
    (algorithm.loss.beta, algorithm.loss.kl_estimator) = (beta, estimator);
    algorithm
}

fn with_advantage(
    mut algorithm: Algorithm,
    baseline: Baseline,
    scale: AdvantageScale,
) -> Algorithm {
    (algorithm.advantage.baseline, algorithm.advantage.scale) = (baseline, scale);
    algorithm
}

/// The published recipe of reinforcement-learned teachers (arXiv 2506.08388, and its run files): strictly
/// on-policy GRPO.
///
/// `1/S Σ_s 1/L Σ_t (−ρA + 0.04·k3)` with `ρ = exp(lp − sg(lp))`, `A = (r − mean_g)/(std_g + 1e-4)`.
#[must_use]
pub fn published_rlt() -> Algorithm {
    Algorithm {
        loss: PolicyGradientConfig::default(),
        ..algorithm(SurrogateConfig::OnPolicy, AggregationConfig::SequenceMean)
    }
}

/// The defaults of TRL 1.16's `GRPOConfig`: the token mean that it calls `dapo`, a clip of 0.2, no KL.
///
/// Its KL is unbiased by default; where `loss.beta` is raised above 0, set `loss.unbiased_kl` too. Its
/// correction of samples from vLLM, on by default there, is `loss.correction` with its default; here the
/// policy samples by itself.
#[must_use]
pub fn trl_1_16() -> Algorithm {
    algorithm(SurrogateConfig::clipped(0.2), AggregationConfig::TokenMean)
}

/// GRPO (DeepSeekMath, arXiv 2402.03300).
///
/// `1/S Σ_s 1/L Σ_t (−min(ρA, clamp(ρ, 0.8, 1.2)·A) + 0.04·k3)`, `A = (r − mean_g)/(std_g + 1e-4)`.
#[must_use]
pub fn grpo() -> Algorithm {
    let clipped = SurrogateConfig::clipped(0.2);
    with_kl(
        algorithm(clipped, AggregationConfig::SequenceMean),
        0.04,
        KlEstimator::K3,
    )
}

/// Dr. GRPO (arXiv 2503.20783): no length and no deviation in the weights, which favour long wrong and easy
/// problems.
///
/// `1/(S·limit) Σ_s Σ_t −min(ρA, clamp(ρ, 0.8, 1.2)·A)`, `A = r − mean_g`; `limit` is the longest completion
/// that is allowed.
#[must_use]
pub fn dr_grpo() -> Algorithm {
    let constant = AggregationConfig::Constant { tokens: None };
    with_advantage(
        algorithm(SurrogateConfig::clipped(0.2), constant),
        Baseline::Group,
        AdvantageScale::None,
    )
}

/// DAPO (arXiv 2503.14476): clip-higher, token mean, dynamic sampling, and no loss from what was cut off.
///
/// `1/N Σ_s Σ_t −min(ρA, clamp(ρ, 0.8, 1.28)·A)`, `A = (r − mean_g)/(std_g + 1e-4)` of groups that differ. Its
/// soft punishment of long answers is a reward.
#[must_use]
pub fn dapo() -> Algorithm {
    Algorithm {
        dynamic_sampling: Some(DynamicSampling::default()),
        mask_truncated: true,
        ..algorithm(
            SurrogateConfig::clipped_higher(0.2, 0.28),
            AggregationConfig::TokenMean,
        )
    }
}

/// BNPO, as TRL names the mean over the tokens of each micro-batch.
///
/// `1/M Σ_m 1/N_m Σ_{s in m} Σ_t −min(ρA, clamp(ρ, 0.8, 1.2)·A)`. **It depends on how a step is cut into
/// micro-batches**, by definition; [`trl_1_16`] is the same without that.
#[must_use]
pub fn bnpo() -> Algorithm {
    algorithm(
        SurrogateConfig::clipped(0.2),
        AggregationConfig::MicroBatchTokenMean,
    )
}

/// GSPO (arXiv 2507.18071): the ratio of the whole completion, per token, clipped as one.
///
/// `1/S Σ_s −min(ρA, clamp(ρ, 1 − 3e-4, 1 + 4e-4)·A)` with `ρ = exp(1/L Σ_t (lp − old))`.
#[must_use]
pub fn gspo() -> Algorithm {
    let clipped = SurrogateConfig::clipped_higher(3e-4, 4e-4);
    with_ratio(
        algorithm(clipped, AggregationConfig::SequenceMean),
        RatioLevel::Sequence,
    )
}

/// CISPO (MiniMax-M1, arXiv 2506.13585; the cap of ScaleRL, arXiv 2510.13786).
///
/// `1/N Σ_s Σ_t −sg(min(ρ, 5))·A·lp`.
#[must_use]
pub fn cispo() -> Algorithm {
    algorithm(SurrogateConfig::cispo(), AggregationConfig::TokenMean)
}

/// SAPO (arXiv 2511.20347).
///
/// `1/S Σ_s 1/L Σ_t −A·4/τ·σ(τ·(ρ − 1))`, `τ = 1` where `A > 0`, else 1.05.
#[must_use]
pub fn sapo() -> Algorithm {
    algorithm(SurrogateConfig::sapo(), AggregationConfig::SequenceMean)
}

/// VESPO (arXiv 2602.10693).
///
/// `1/N Σ_s Σ_t −sg(φ(w))·A·lp`, `φ(w) = w^k·exp(λ(1 − w))` of the ratio `w` of the whole completion.
#[must_use]
pub fn vespo() -> Algorithm {
    algorithm(SurrogateConfig::vespo(), AggregationConfig::TokenMean)
}

/// LUSPO (arXiv 2602.05261): GSPO with each completion weighing its length, which GSPO holds against long ones.
///
/// `1/S Σ_s L·(−min(ρA, clamp(ρ, 1 − 2e-3, 1 + 2.5e-3)·A))` with GSPO's `ρ`.
#[must_use]
pub fn luspo() -> Algorithm {
    let clipped = SurrogateConfig::clipped_higher(2e-3, 2.5e-3);
    with_ratio(
        algorithm(clipped, AggregationConfig::SequenceSum),
        RatioLevel::Sequence,
    )
}

/// RLOO (arXiv 2402.14740): REINFORCE with the mean of the other samples as its baseline. A choice of advantage
/// and of weights, with the plainest surrogate.
///
/// `1/S Σ_s Σ_t (−ρA + 0.05·k2)`, `A = r − mean of the others`, on-policy. The paper puts the KL into the reward;
/// the gradient of `k2` in the loss is the same in expectation, token by token, without its variance. For
/// samples that are older than the policy, TRL's form is ratio `product` with a clip and `sequence_mean`.
#[must_use]
pub fn rloo() -> Algorithm {
    let on_policy = algorithm(SurrogateConfig::OnPolicy, AggregationConfig::SequenceSum);
    with_advantage(
        with_kl(on_policy, 0.05, KlEstimator::K2),
        Baseline::LeaveOneOut,
        AdvantageScale::None,
    )
}

/// REINFORCE++ (arXiv 2501.03262): PPO's loss with advantages that are centred and scaled over the whole step
/// in place of a critic. A choice of advantage and normalisation.
///
/// `1/N Σ_s Σ_t (−min(ρA, clamp(ρ, 0.8, 1.2)·A) + 0.01·k2)`, `A = (r − mean)/(std + 1e-4)` over the step. The paper
/// puts the KL into the reward of each token; here it is in the loss, as `k2`, whose gradient is that of the
/// token's own KL. Whitening is over samples, not tokens.
#[must_use]
pub fn reinforce_plus_plus() -> Algorithm {
    let clipped = algorithm(SurrogateConfig::clipped(0.2), AggregationConfig::TokenMean);
    with_advantage(
        with_kl(clipped, 0.01, KlEstimator::K2),
        Baseline::None,
        AdvantageScale::Whitened,
    )
}

/// REINFORCE++ with a baseline (arXiv 2501.03262): the group's mean is subtracted first, for several samples of
/// a problem.
///
/// As [`reinforce_plus_plus`], with `A = a/(std of a + 1e-4)`, `a = r − mean_g`, over the step.
#[must_use]
pub fn reinforce_plus_plus_baseline() -> Algorithm {
    let whitened = AdvantageScale::Whitened;
    with_advantage(reinforce_plus_plus(), Baseline::Group, whitened)
}

#[cfg(test)]
mod tests;
