//! One term of a reward: `Σ_i c_i · reduce_i(clip(transform(signal)))` over the tokens of a span.
//!
//! Knows which scores it reads, not how they are made nor how terms are added up.

use didact_core::{Error as CoreError, NamedValue, Result as CoreResult, ScoreContext, ScoreSpec};
use didact_core::{SampleScores, SpanName};
use serde::{Deserialize, Serialize};

use crate::{Error, KlEstimator, Reduction, Result, Transform};

/// The number that each token of a term's span contributes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Signal {
    /// `log p(token)` under one scorer.
    LogProb {
        /// Whose log-probs.
        score: ScoreSpec,
    },
    /// `−log p(token)` under one scorer.
    Surprisal {
        /// Whose log-probs.
        score: ScoreSpec,
    },
    /// How far `score` lies from `baseline`, estimated from each token's two log-probs.
    Divergence {
        /// The distribution `p` that the tokens were sampled from.
        score: ScoreSpec,
        /// The distribution `q` that it is compared with; the same span, read by another model or in
        /// another context.
        baseline: ScoreSpec,
        /// The estimator.
        estimator: KlEstimator,
    },
}

impl Signal {
    /// The score that is read first.
    #[must_use]
    pub const fn score(&self) -> ScoreSpec {
        match self {
            Self::LogProb { score }
            | Self::Surprisal { score }
            | Self::Divergence { score, .. } => *score,
        }
    }

    /// The score that the first is compared with.
    #[must_use]
    pub const fn baseline(&self) -> Option<ScoreSpec> {
        match self {
            Self::Divergence { baseline, .. } => Some(*baseline),
            Self::LogProb { .. } | Self::Surprisal { .. } => None,
        }
    }
}

/// A term as a user writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermConfig {
    /// Names the term in metrics and totals: letters, digits and underscores.
    pub name: String,
    /// What each token contributes.
    pub signal: Signal,
    /// Applied to each token's value. Default: none.
    #[serde(default)]
    pub transform: Transform,
    /// Transformed values below this are raised to it. Default: no clip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Transformed values above this are lowered to it. Default: no clip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<f64>,
    /// How the span's values become scores.
    pub reductions: Vec<Reduction>,
    /// What each reduction counts for in the reward: a penalty has a negative coefficient.
    pub coefficients: Vec<f64>,
}

impl TermConfig {
    /// Checks the term and fills in what was left out.
    ///
    /// # Errors
    /// As many coefficients as reductions are needed, at least one, none repeated; finite coefficients;
    /// clips that leave room; temperatures above 0; a divergence between two different scores of one
    /// span; a solution is only read in the student's context.
    pub fn resolve(&self) -> Result<Term> {
        let term = || self.name.clone();
        check_name("term", &self.name)?;
        if self.reductions.is_empty() {
            return Err(Error::NoReduction { term: term() });
        }
        if self.reductions.len() != self.coefficients.len() {
            return Err(Error::CoefficientCount {
                term: term(),
                reductions: self.reductions.len(),
                coefficients: self.coefficients.len(),
            });
        }
        for (i, reduction) in self.reductions.iter().enumerate() {
            if self.reductions[..i].contains(reduction) {
                let reduction = reduction.name();
                return Err(Error::RepeatedReduction {
                    term: term(),
                    reduction,
                });
            }
        }
        let owner = || format!("reward term `{}`", self.name);
        if let Some(&value) = self.coefficients.iter().find(|c| !c.is_finite()) {
            let (setting, allowed) = ("coefficients", "finite");
            return Err(Error::OutOfRange {
                owner: owner(),
                setting,
                value,
                allowed,
            });
        }
        for (setting, value) in [("floor", self.floor), ("ceiling", self.ceiling)] {
            if let Some(value) = value.filter(|v| v.is_nan()) {
                let allowed = "a number, or left out";
                return Err(Error::OutOfRange {
                    owner: owner(),
                    setting,
                    value,
                    allowed,
                });
            }
        }
        let floor = self.floor.unwrap_or(f64::NEG_INFINITY);
        let ceiling = self.ceiling.unwrap_or(f64::INFINITY);
        if floor >= ceiling {
            return Err(Error::CrossedClips {
                term: term(),
                floor,
                ceiling,
            });
        }
        self.check_signal()?;
        Ok(Term {
            name: self.name.clone(),
            signal: self.signal,
            transform: self.transform,
            floor,
            ceiling,
            parts: self
                .reductions
                .iter()
                .zip(&self.coefficients)
                .map(|(&reduction, &coefficient)| Part {
                    reduction,
                    coefficient,
                })
                .collect(),
        })
    }

    fn check_signal(&self) -> Result<()> {
        let wrong = |problem| {
            Err(Error::Signal {
                term: self.name.clone(),
                problem,
            })
        };
        let score = self.signal.score();
        for spec in [Some(score), self.signal.baseline()].into_iter().flatten() {
            if !(spec.temperature > 0.0 && spec.temperature.is_finite()) {
                return Err(Error::OutOfRange {
                    owner: format!("reward term `{}`", self.name),
                    setting: "temperature",
                    value: spec.temperature,
                    allowed: "finite and above 0",
                });
            }
            if spec.span == SpanName::Solution && spec.context == ScoreContext::Teacher {
                return wrong(
                    "the teacher is given the solution before it writes: score it in the student's context",
                );
            }
        }
        match self.signal.baseline() {
            Some(baseline) if baseline.span != score.span => wrong(
                "score and baseline read different spans; a divergence compares the same tokens",
            ),
            Some(baseline) if baseline == score => {
                wrong("score and baseline are the same, so that the term is always 0")
            }
            _ => Ok(()),
        }
    }
}

/// A reduction with what it counts for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Part {
    /// How the span's values become a score.
    pub reduction: Reduction,
    /// What the score is multiplied with.
    pub coefficient: f64,
}

/// A checked term; made by [`TermConfig::resolve`].
///
/// `Σ_i c_i · reduce_i(min(max(transform(x_t), floor), ceiling))` over the tokens `t` of the span, in f64.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Term {
    name: String,
    signal: Signal,
    transform: Transform,
    floor: f64,
    ceiling: f64,
    parts: Vec<Part>,
}

impl Term {
    /// The name in metrics and totals.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What each token contributes.
    #[must_use]
    pub const fn signal(&self) -> Signal {
        self.signal
    }

    /// The reductions with their coefficients.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The scores it reads.
    pub(crate) fn specs(&self) -> impl Iterator<Item = ScoreSpec> {
        [Some(self.signal.score()), self.signal.baseline()]
            .into_iter()
            .flatten()
    }

    /// The tokens' values before transform and clip.
    ///
    /// `find` looks up a score, which must hold at least one token.
    pub(crate) fn raw_values<'a>(
        &self,
        sample: &SampleScores,
        find: impl Fn(ScoreSpec) -> &'a [f32],
    ) -> CoreResult<Vec<f64>> {
        let score = find(self.signal.score());
        Ok(match self.signal {
            Signal::LogProb { .. } => score.iter().map(|&a| f64::from(a)).collect(),
            Signal::Surprisal { .. } => score.iter().map(|&q| -f64::from(q)).collect(),
            Signal::Divergence {
                baseline,
                estimator,
                ..
            } => {
                let baseline = find(baseline);
                if score.len() != baseline.len() {
                    return Err(CoreError::MismatchedScores {
                        sample: sample.id.clone(),
                        problem: format!(
                            "term `{}` compares {} tokens with {}; both models must read the same ids",
                            self.name,
                            score.len(),
                            baseline.len()
                        ),
                    });
                }
                let differences = score.iter().zip(baseline);
                differences
                    .map(|(&p, &q)| estimator.estimate(f64::from(p) - f64::from(q)))
                    .collect()
            }
        })
    }

    /// The tokens' values after transform and clip.
    pub(crate) fn clipped(&self, raw: &[f64]) -> Vec<f64> {
        raw.iter()
            .map(|&x| self.transform.apply(x).max(self.floor).min(self.ceiling))
            .collect()
    }

    /// What mean and sum of the values count for, where single tokens of the explanation have a share in
    /// the term.
    pub(crate) fn token_coefficients(&self) -> Option<(f64, f64)> {
        let of = |reduction: Reduction| {
            let parts = self.parts.iter();
            let mut matching = parts.filter(|part| part.reduction == reduction);
            matching.next().map_or(0.0, |part| part.coefficient)
        };
        let coefficients = (of(Reduction::Mean), of(Reduction::Sum));
        let counts = coefficients != (0.0, 0.0) && self.signal.score().span == SpanName::Thought;
        counts.then_some(coefficients)
    }

    /// The term's value; its parts are added to `log` as `reward/NAME/REDUCTION`, the sum as
    /// `reward/NAME`.
    pub(crate) fn evaluate(
        &self,
        raw: &[f64],
        sample: &str,
        log: &mut Vec<NamedValue>,
    ) -> CoreResult<f64> {
        let clipped = self.clipped(raw);
        let mut total = 0.0;
        for part in &self.parts {
            let name = format!("reward/{}/{}", self.name, part.reduction.name());
            let score = part.reduction.reduce(&clipped).unwrap_or(f64::NAN);
            if !score.is_finite() {
                return Err(CoreError::NonFiniteSample {
                    sample: sample.to_owned(),
                    what: name,
                    value: score,
                });
            }
            total += part.coefficient * score;
            log.push(NamedValue::new(name, score));
        }
        log.push(NamedValue::new(format!("reward/{}", self.name), total));
        Ok(total)
    }
}

pub(crate) fn check_name(kind: &'static str, name: &str) -> Result<()> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Error::UnusableName {
            kind,
            name: name.to_owned(),
        });
    }
    Ok(())
}
