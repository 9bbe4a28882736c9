//! Rewards made of terms, totals and a penalty.
//!
//! Owns which scores are needed and how terms add up. Knows no model: it reads the scores that its
//! requests led to.

use didact_core::{
    Error as CoreError, GroupScores, NamedValue, Outcome, Refusal, Result as CoreResult,
};
use didact_core::{Reward, SampleScores, ScoreSpec, SpanName, TokenTerm};
use serde::{Deserialize, Serialize};

use crate::term::check_name;
use crate::{Error, Reduction, Result, Term, TermConfig};

/// A sum of terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotalConfig {
    /// Names the total in metrics: letters, digits and underscores.
    pub name: String,
    /// The names of the terms that it adds up.
    pub terms: Vec<String>,
}

/// A reward as a user writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherRewardConfig {
    /// The terms; one that no total names is only logged.
    pub terms: Vec<TermConfig>,
    /// Sums of terms. **The first is the reward**; the others are logged beside it. Default: one total,
    /// `all`, of every term.
    #[serde(default)]
    pub totals: Vec<TotalConfig>,
    /// Added to every total of a sample whose explanation was not closed by its end tag; at most 0.
    /// Default: 0.
    #[serde(default)]
    pub missing_tag_penalty: f64,
    /// Whether to log all reductions of every term's values before transform and clip. Default: true.
    #[serde(default = "yes")]
    pub log_raw: bool,
}

const fn yes() -> bool {
    true
}

impl TeacherRewardConfig {
    /// Checks the configuration and fills in what was left out.
    ///
    /// # Errors
    /// What [`TermConfig::resolve`] refuses; names used twice; a total of nothing or of unknown terms; a
    /// penalty that is not finite or above 0.
    pub fn resolve(&self) -> Result<TeacherReward> {
        if self.terms.is_empty() {
            return Err(Error::Empty { kind: "term" });
        }
        let terms: Vec<Term> = self
            .terms
            .iter()
            .map(TermConfig::resolve)
            .collect::<Result<_>>()?;
        for (i, term) in terms.iter().enumerate() {
            if terms[..i].iter().any(|t| t.name() == term.name()) {
                return Err(Error::RepeatedName {
                    kind: "term",
                    name: term.name().to_owned(),
                });
            }
        }
        let penalty = self.missing_tag_penalty;
        if !(penalty.is_finite() && penalty <= 0.0) {
            return Err(Error::OutOfRange {
                owner: "the reward".to_owned(),
                setting: "missing_tag_penalty",
                value: penalty,
                allowed: "finite and at most 0, since it is added",
            });
        }
        let mut requests: Vec<ScoreSpec> = Vec::new();
        for spec in terms.iter().flat_map(Term::specs) {
            if !requests.contains(&spec) {
                requests.push(spec);
            }
        }
        let totals = resolve_totals(&self.totals, &terms)?;
        Ok(TeacherReward {
            terms,
            totals,
            missing_tag_penalty: penalty,
            log_raw: self.log_raw,
            requests,
        })
    }
}

fn resolve_totals(configs: &[TotalConfig], terms: &[Term]) -> Result<Vec<Total>> {
    if configs.is_empty() {
        return Ok(vec![Total {
            name: "all".to_owned(),
            terms: (0..terms.len()).collect(),
        }]);
    }
    let mut totals: Vec<Total> = Vec::new();
    for config in configs {
        check_name("total", &config.name)?;
        if totals.iter().any(|t| t.name == config.name) {
            return Err(Error::RepeatedName {
                kind: "total",
                name: config.name.clone(),
            });
        }
        if config.terms.is_empty() {
            return Err(Error::Empty {
                kind: "term of a total",
            });
        }
        let mut indices = Vec::new();
        for name in &config.terms {
            let index = terms.iter().position(|t| t.name() == name).ok_or_else(|| {
                let known: Vec<&str> = terms.iter().map(Term::name).collect();
                Error::UnknownTerm {
                    total: config.name.clone(),
                    term: name.clone(),
                    known: known.join(", "),
                }
            })?;
            if indices.contains(&index) {
                return Err(Error::RepeatedName {
                    kind: "term of a total",
                    name: name.clone(),
                });
            }
            indices.push(index);
        }
        totals.push(Total {
            name: config.name.clone(),
            terms: indices,
        });
    }
    Ok(totals)
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Total {
    name: String,
    /// Indices of its terms.
    terms: Vec<usize>,
}

/// A checked reward: `Σ terms of the first total + missing-tag penalty`.
///
/// Made by [`TeacherRewardConfig::resolve`] or by a preset such as [`crate::rlt`].
///
/// **Outcomes.** A sample whose explanation or solution holds no token, where a term reads it, is
/// [refused](Outcome::Refused): it has no reward. (The published implementation scores an empty
/// explanation −3.03, better than most honest ones, and an empty solution about +3.4e36.)
///
/// **Metrics** of a scored sample, in this order for each term `T`:
///
/// | name | value |
/// |---|---|
/// | `raw/T/R` | reduction `R` of the values before transform and clip, for all seven, with `log_raw` |
/// | `reward/T/R` | reduction `R` of the transformed and clipped values, without coefficient |
/// | `reward/T` | the term: coefficients times reductions, added up |
/// | `penalty/missing_tag` | the penalty, or 0 |
/// | `total/N` | the total `N`, penalty included; the first is the reward |
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TeacherReward {
    terms: Vec<Term>,
    totals: Vec<Total>,
    missing_tag_penalty: f64,
    log_raw: bool,
    requests: Vec<ScoreSpec>,
}

impl TeacherReward {
    /// The terms, in the order they are logged.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// What is added to the reward of an explanation that was not closed.
    #[must_use]
    pub const fn missing_tag_penalty(&self) -> f64 {
        self.missing_tag_penalty
    }

    /// The outcome of one sample.
    ///
    /// # Errors
    /// As [`Reward::evaluate`].
    pub fn evaluate_sample(&self, sample: &SampleScores) -> CoreResult<Outcome> {
        let scores = match self.spans(sample)? {
            Ok(scores) => scores,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        let find = |wanted| self.found(&scores, wanted);
        let mut log = Vec::new();
        let mut values = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let raw = term.raw_values(sample, find)?;
            if self.log_raw {
                log.extend(Reduction::ALL.iter().filter_map(|reduction| {
                    let name = format!("raw/{}/{}", term.name(), reduction.name());
                    Some(NamedValue::new(name, reduction.reduce(&raw)?))
                }));
            }
            values.push(term.evaluate(&raw, &sample.id, &mut log)?);
        }
        let penalty = if sample.closed {
            0.0
        } else {
            self.missing_tag_penalty
        };
        log.push(NamedValue::new("penalty/missing_tag", penalty));
        let mut reward = None;
        for total in &self.totals {
            let value = total.terms.iter().map(|&i| values[i]).sum::<f64>() + penalty;
            let name = format!("total/{}", total.name);
            if !value.is_finite() {
                return Err(CoreError::NonFiniteSample {
                    sample: sample.id.clone(),
                    what: name,
                    value,
                });
            }
            reward.get_or_insert(value);
            log.push(NamedValue::new(name, value));
        }
        Ok(Outcome::Scored {
            reward: reward.unwrap_or(penalty),
            terms: log,
        })
    }

    /// The terms of the reward, which is the first total, that single tokens have a share in.
    fn credited(&self) -> impl Iterator<Item = (&Term, (f64, f64))> {
        let terms = self.totals.iter().take(1).flat_map(|total| &total.terms);
        terms.filter_map(|&i| Some((&self.terms[i], self.terms[i].token_coefficients()?)))
    }

    fn found<'a>(&self, scores: &[&'a [f32]], wanted: ScoreSpec) -> &'a [f32] {
        let index = self.requests.iter().position(|&spec| spec == wanted);
        index.map_or(&[], |i| scores[i])
    }

    /// The log-probs of each request, or why there are none.
    fn spans<'a>(&self, sample: &'a SampleScores) -> CoreResult<Result<Vec<&'a [f32]>, Refusal>> {
        if sample.scores.len() != self.requests.len() {
            return Err(CoreError::MismatchedScores {
                sample: sample.id.clone(),
                problem: format!(
                    "{} scores were given, but the reward asked for {}",
                    sample.scores.len(),
                    self.requests.len()
                ),
            });
        }
        let mut spans = Vec::with_capacity(self.requests.len());
        let mut refusal = None;
        for (spec, score) in self.requests.iter().zip(&sample.scores) {
            let values = score.as_ref().map_or(&[][..], |s| s.values());
            if values.is_empty() {
                // An empty solution is the problem's fault: it is named before an empty explanation.
                match spec.span {
                    SpanName::Solution => refusal = Some(Refusal::EmptySolution),
                    SpanName::Thought => {
                        refusal.get_or_insert(Refusal::EmptyThought);
                    }
                }
            }
            if let Some((i, &value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
                let first = score.as_ref().map_or(0, |s| s.span().start);
                return Err(CoreError::NonFiniteSample {
                    sample: sample.id.clone(),
                    what: format!(
                        "the log-prob of token {} ({:?} reading the {:?} in the {:?} context)",
                        first + i,
                        spec.scorer,
                        spec.span,
                        spec.context
                    ),
                    value: f64::from(value),
                });
            }
            spans.push(values);
        }
        Ok(refusal.map_or(Ok(spans), Err))
    }
}

impl Reward for TeacherReward {
    fn requests(&self) -> Vec<ScoreSpec> {
        self.requests.clone()
    }

    fn identity(&self) -> String {
        format!("{self:?}")
    }

    fn evaluate(&self, group: &GroupScores<'_>) -> CoreResult<Vec<Outcome>> {
        group
            .samples
            .iter()
            .map(|sample| self.evaluate_sample(sample))
            .collect()
    }

    /// The terms of the reward that read the explanation and have a mean or a sum among their reductions.
    fn token_terms(&self) -> Vec<String> {
        let names = self.credited().map(|(term, _)| term.name().to_owned());
        names.collect()
    }

    fn token_term(&self, name: &str, sample: &SampleScores) -> CoreResult<Option<TokenTerm>> {
        let credited = self.credited().find(|(term, _)| term.name() == name);
        let Some((term, (mean, sum))) = credited else {
            return Err(CoreError::InvalidRequest {
                what: format!("credit of reward term `{name}`"),
                problem: format!(
                    "single tokens have a share in these terms: {}",
                    self.token_terms().join(", ")
                ),
            });
        };
        let Ok(scores) = self.spans(sample)? else {
            return Ok(None);
        };
        let raw = term.raw_values(sample, |wanted| self.found(&scores, wanted))?;
        let values = term.clipped(&raw);
        Ok(Some(TokenTerm { mean, sum, values }))
    }
}
