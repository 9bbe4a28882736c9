//! The policy-gradient loss as a user writes it.
//!
//! Owns keys, defaults, and which combinations of parts mean something. Knows no numbers of a step.

use serde::{Deserialize, Serialize};

use super::{
    AggregationConfig, Correction, CorrectionLevel, KlEstimator, OffPolicyMask, PolicyGradientLoss,
    RatioLevel, SurrogateConfig,
};
use crate::Result;
use crate::config::{check, not_negative, positive};

/// A [`PolicyGradientLoss`] as a user writes it: the default is the loss of the published RLT run.
///
/// [`crate::algorithm`] has the combinations that papers describe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyGradientConfig {
    /// What stands for the policy gradient. Default: strictly on-policy.
    pub surrogate: SurrogateConfig,
    /// What new and old policy are compared on. Default: `token`.
    pub ratio: RatioLevel,
    /// What a token weighs. Default: `sequence_mean`.
    pub aggregation: AggregationConfig,
    /// Weight of the KL to the reference; at least 0. Default: 0.04, as published for RLT; 0 needs no
    /// reference model.
    pub beta: f64,
    /// How the KL is estimated from a token. Default: `k3`.
    pub kl_estimator: KlEstimator,
    /// Multiplies each token's KL estimate with the ratio, through which the gradient then flows too.
    /// This makes the KL and its gradient unbiased (DeepSeek-V3.2; `use_bias_correction_kl` in TRL, where it
    /// is on by default). Default: false.
    pub unbiased_kl: bool,
    /// Importance weights for samples of another engine. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
    /// The mean distance in nats, above 0, from which sequences with a negative advantage are dropped
    /// ([`OffPolicyMask`]). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_policy_threshold: Option<f64>,
    /// The fraction of the step's tokens, those of highest entropy, that have a policy term; 0 keeps the
    /// highest alone. Takes a second forward pass where a step is cut into micro-batches. Default: 1, all.
    pub top_entropy: f64,
    /// Weight of the mean entropy of the tokens that are kept, which is subtracted from the loss; at least 0.
    /// Default: 0.
    pub entropy_bonus: f64,
}

impl Default for PolicyGradientConfig {
    fn default() -> Self {
        Self {
            surrogate: SurrogateConfig::OnPolicy,
            ratio: RatioLevel::Token,
            aggregation: AggregationConfig::SequenceMean,
            beta: 0.04,
            kl_estimator: KlEstimator::K3,
            unbiased_kl: false,
            correction: None,
            off_policy_threshold: None,
            top_entropy: 1.0,
            entropy_bonus: 0.0,
        }
    }
}

impl PolicyGradientConfig {
    /// The same with `limit` as the constant length of an aggregation that names none.
    #[must_use]
    pub fn with_completion_limit(mut self, limit: usize) -> Self {
        if let AggregationConfig::Constant { tokens } = &mut self.aggregation {
            tokens.get_or_insert(limit);
        }
        self
    }

    /// Checks the options and fills in what was left out.
    ///
    /// # Errors
    /// [`Error::Configuration`](crate::Error::Configuration) names the key, behind `loss.`: an option outside
    /// its range, or one that means nothing beside the others.
    pub fn resolve(&self) -> Result<PolicyGradientLoss> {
        not_negative("loss.beta", self.beta)?;
        not_negative("loss.entropy_bonus", self.entropy_bonus)?;
        check(
            "loss.top_entropy",
            (0.0..=1.0).contains(&self.top_entropy),
            || format!("{} is not between 0 and 1", self.top_entropy),
        )?;
        if let Some(threshold) = self.off_policy_threshold {
            positive("loss.off_policy_threshold", threshold)?;
        }
        if let Some(correction) = &self.correction {
            correction.validate()?;
        }
        let surrogate = self.surrogate.resolve()?;
        let aggregation = self.aggregation.resolve()?;
        self.check_together()?;
        Ok(PolicyGradientLoss {
            surrogate,
            ratio: self.ratio,
            aggregation,
            beta: self.beta,
            kl_estimator: self.kl_estimator,
            unbiased_kl: self.unbiased_kl,
            correction: self.correction,
            off_policy: self
                .off_policy_threshold
                .map(|threshold| OffPolicyMask { threshold }),
            top_entropy: self.top_entropy,
            entropy_bonus: self.entropy_bonus,
        })
    }

    /// Refuses parts that mean nothing beside each other.
    fn check_together(&self) -> Result<()> {
        let refuse =
            |key: &str, refused: bool, problem: &str| check(key, !refused, || problem.to_owned());
        refuse(
            "loss.unbiased_kl",
            self.unbiased_kl && self.beta == 0.0,
            "there is no KL to correct where beta is 0",
        )?;
        refuse(
            "loss.kl_estimator",
            self.kl_estimator == KlEstimator::K1 && self.beta > 0.0 && !self.unbiased_kl,
            "the gradient of k1 is 0 in expectation: set unbiased_kl, or take k2, whose gradient is that of a KL \
             in the reward, or k3",
        )?;
        let token = self.ratio == RatioLevel::Token;
        let vespo = matches!(self.surrogate, SurrogateConfig::Vespo { .. });
        refuse(
            "loss.ratio",
            self.surrogate == SurrogateConfig::OnPolicy && !token,
            "a strictly on-policy ratio is 1 at every level; take `token`, or a surrogate that reads old log-probs",
        )?;
        refuse(
            "loss.ratio",
            vespo && !token,
            "vespo weighs whole sequences itself; take `token`",
        )?;
        refuse(
            "loss.correction.level",
            vespo
                && self
                    .correction
                    .is_some_and(|c| c.level == CorrectionLevel::Sequence),
            "vespo makes the weights of the tokens part of its own sequence weight; take `token`",
        )?;
        refuse(
            "loss.aggregation",
            self.ratio == RatioLevel::Product
                && self.aggregation != AggregationConfig::SequenceMean,
            "with ratio `product` a completion is one action, which counts once; take `sequence_mean`",
        )
    }
}
