//! Credit for single tokens: which token of an explanation was good.
//!
//! Owns how a term of the reward that is a mean or a sum over tokens becomes an advantage a token. Knows no model
//! and no particular reward: it is handed each token's values.

use didact_core::{Error as CoreError, TokenTerm};
use serde::{Deserialize, Serialize};

use super::normalise::{centre, mean, normalise};
use super::{AdvantageConfig, Baseline};
use crate::config::check;
use crate::loss::Advantage;
use crate::{Error, Result};

/// To which tokens a sample's reward is credited.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CreditConfig {
    /// The whole reward to every sampled token, as published.
    #[default]
    #[serde(deserialize_with = "crate::config::no_other_keys")]
    Sequence,
    /// A token's own value of each of the terms to that token alone, the rest of the reward to every token.
    /// The same as `to_go` with `gamma` 0.
    Token {
        /// The terms, by name. Default: all that the reward can say by token; for RLT's the KL.
        #[serde(default)]
        terms: Vec<String>,
    },
    /// To each token the values from it on, discounted: what stands before a token is not its doing.
    ToGo {
        /// What a value loses a token further on; in `[0, 1]`.
        gamma: f64,
        /// The terms, by name. Default: all that the reward can say by token; for RLT's the KL.
        #[serde(default)]
        terms: Vec<String>,
    },
}

impl CreditConfig {
    /// What values lose a token further on; `None` where tokens share one credit.
    #[must_use]
    pub const fn gamma(&self) -> Option<f64> {
        match self {
            Self::Sequence => None,
            Self::Token { .. } => Some(0.0),
            Self::ToGo { gamma, .. } => Some(*gamma),
        }
    }

    /// The terms that are credited to tokens.
    #[must_use]
    pub fn terms(&self) -> &[String] {
        match self {
            Self::Sequence => &[],
            Self::Token { terms } | Self::ToGo { terms, .. } => terms,
        }
    }

    /// Checks the options that need no reward.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn validate(&self) -> Result<()> {
        let gamma = self.gamma().unwrap_or(0.0);
        check("credit.gamma", (0.0..=1.0).contains(&gamma), || {
            format!("{gamma} is not in [0, 1]")
        })
    }

    /// The same with its terms named, out of those that the reward can say by token.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key: a term that is not available, or twice; none at all.
    pub fn with_terms_of(mut self, available: &[String]) -> Result<Self> {
        let terms = match &mut self {
            Self::Sequence => return Ok(self),
            Self::Token { terms } | Self::ToGo { terms, .. } => terms,
        };
        if terms.is_empty() {
            terms.extend_from_slice(available);
        }
        let refuse = |problem: String| Error::Configuration {
            key: "credit.terms".to_owned(),
            problem,
        };
        if terms.is_empty() {
            return Err(refuse(
                "the reward has no term that is a mean or a sum over the explanation's tokens"
                    .to_owned(),
            ));
        }
        for (i, term) in terms.iter().enumerate() {
            if !available.contains(term) || terms[..i].contains(term) {
                return Err(refuse(format!(
                    "{term} is not one of these, or stands there twice: {}",
                    available.join(", ")
                )));
            }
        }
        Ok(self)
    }
}

/// A sample whose tokens are credited.
#[derive(Debug, Clone, PartialEq)]
pub struct CreditedSample {
    /// Sampled tokens.
    pub tokens: usize,
    /// The first of them that the terms' values belong to.
    pub first: usize,
    /// The terms, in one order for all samples.
    pub terms: Vec<TokenTerm>,
}

/// Advantages a token: the sequence's, in which the credited terms' distance from the baseline is replaced by
/// the token's own.
///
/// Sample `i` has the sequence advantage `A_i` ([`advantages`](super::advantages)) with the divisor `D`, and of
/// a credited term, with coefficients `mean` and `sum`, the values `x_1 … x_n` of its explanation's tokens.
/// `X` and `Y` are the baselines of `mean_k x` and of `Σ_k x`: of the scored samples of the group, of all but
/// `i`, or 0, as the rewards' own baseline is. With the discounted value `G_t` and weight `H_t` of the tokens
/// from `t` on, over all sampled tokens and `x = 0` outside the explanation,
///
/// ```text
/// G_t = x_t + γ·G_{t+1},   H_t = [t in the explanation] + γ·H_{t+1},   h = H_1 = Σ_{j<n} γ^j
/// δ_i  = mean·(mean_k x − X) + sum·(Σ_k x − Y)
/// δ_it = (mean/h + sum)·(G_t − H_t·X)
/// A_it = A_i + Σ_terms (δ_it − δ_i) / D
/// ```
///
/// So mean and deviation of the group are those of the whole rewards, and the parts of a reward keep their
/// proportions. Consequences, which tests hold:
///
/// - `γ = 0`, a mean: `A_it = A_i + mean·(x_t − mean_k x)/D`, whose mean over the explanation is `A_i`.
/// - `γ = 1`: a token's credit is all that follows it. Without a baseline the expected gradient is that of the
///   sequence's credit, with less variance; with one, `H_t·X` is what is expected to follow.
/// - A token after the explanation, such as the end tag, gets the rest of the reward alone.
///
/// A sample without a reward has its sequence advantage for every token; so have all samples of a group whose
/// rewards have a standard deviation of at most [`EPSILON`](super::EPSILON), where dividing by it would only
/// blow up noise.
///
/// Sources: token credit of a KL to the student, JOLT (2026) and on-policy distillation (Thinking Machines,
/// 2025), which do not divide by the group's deviation; rewards to go, Williams (1992).
///
/// # Errors
/// As [`advantages`](super::advantages); samples that do not match the rewards or each other; a value that is not
/// finite.
pub fn token_advantages(
    rewards: &[Vec<Option<f64>>],
    samples: &[Vec<Option<CreditedSample>>],
    gamma: f64,
    config: &AdvantageConfig,
) -> Result<Vec<Vec<Advantage>>> {
    let normalised = normalise(rewards, config)?;
    let sizes = rewards.iter().map(Vec::len);
    if !sizes.eq(samples.iter().map(Vec::len)) {
        return Err(invalid("other groups than the rewards have".to_owned()));
    }
    let mut all = Vec::with_capacity(samples.len());
    for (index, (group, advantages)) in samples.iter().zip(&normalised.advantages).enumerate() {
        let deltas = match normalised.divisors[index] {
            Some(divisor) => group_deltas(group, gamma, divisor, config.baseline)?,
            None => vec![None; group.len()],
        };
        let of_sample = |(&advantage, deltas): (&f64, Option<Vec<f64>>)| match deltas {
            None => Advantage::Sequence(advantage),
            Some(deltas) => {
                Advantage::Token(deltas.into_iter().map(|delta| advantage + delta).collect())
            }
        };
        all.push(advantages.iter().zip(deltas).map(of_sample).collect());
    }
    Ok(all)
}

/// `Σ_terms (δ_it − δ_i) / D` of every token of every scored sample.
fn group_deltas(
    group: &[Option<CreditedSample>],
    gamma: f64,
    divisor: f64,
    baseline: Baseline,
) -> Result<Vec<Option<Vec<f64>>>> {
    let mut deltas: Vec<Option<Vec<f64>>> = group
        .iter()
        .map(|sample| sample.as_ref().map(|sample| vec![0.0; sample.tokens]))
        .collect();
    let scored: Vec<&CreditedSample> = group.iter().flatten().collect();
    let terms = scored.first().map_or(0, |sample| sample.terms.len());
    if scored.iter().any(|sample| sample.terms.len() != terms) {
        return Err(invalid("unequal numbers of credited terms".to_owned()));
    }
    for term in 0..terms {
        for sample in &scored {
            sample.check(term)?;
        }
        let values = |sample: &&CreditedSample| sample.terms[term].values.clone();
        let means: Vec<f64> = scored.iter().map(|s| mean(&values(s))).collect();
        let sums: Vec<f64> = scored.iter().map(|s| values(s).iter().sum()).collect();
        let (over_mean, over_sum) = (centre(&means, baseline), centre(&sums, baseline));
        for (i, deltas) in deltas.iter_mut().flatten().enumerate() {
            let credited = &scored[i].terms[term];
            let of_sequence = credited.mean * over_mean[i] + credited.sum * over_sum[i];
            let of_tokens = scored[i].to_go(credited, gamma, means[i] - over_mean[i]);
            for (delta, of_token) in deltas.iter_mut().zip(of_tokens) {
                *delta += (of_token - of_sequence) / divisor;
            }
        }
    }
    Ok(deltas)
}

impl CreditedSample {
    fn check(&self, term: usize) -> Result<()> {
        let term = &self.terms[term];
        let end = self.first + term.values.len();
        if term.values.is_empty() || end > self.tokens {
            return Err(invalid(format!(
                "values of tokens {}..{end} of a completion of {}",
                self.first, self.tokens
            )));
        }
        let mut numbers = term.values.iter().chain([&term.mean, &term.sum]);
        match numbers.find(|value| !value.is_finite()) {
            Some(&value) => Err(CoreError::NonFinite {
                what: "the credit of a token".to_owned(),
                value,
            }
            .into()),
            None => Ok(()),
        }
    }

    /// `δ_it` of every sampled token, from the baseline `expected` of a token's value.
    fn to_go(&self, term: &TokenTerm, gamma: f64, expected: f64) -> Vec<f64> {
        let span = self.first..self.first + term.values.len();
        let (mut value, mut weight) = (0.0, 0.0);
        let mut to_go = vec![(0.0, 0.0); self.tokens];
        for t in (0..self.tokens).rev() {
            value *= gamma;
            weight *= gamma;
            if span.contains(&t) {
                value += term.values[t - self.first];
                weight += 1.0;
            }
            to_go[t] = (value, weight);
        }
        let horizon = to_go[self.first].1;
        let coefficient = term.mean / horizon + term.sum;
        let delta = |(value, weight): (f64, f64)| coefficient * (value - weight * expected);
        to_go.into_iter().map(delta).collect()
    }
}

fn invalid(problem: String) -> Error {
    Error::TrainingData {
        what: "credit of single tokens".to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests;
