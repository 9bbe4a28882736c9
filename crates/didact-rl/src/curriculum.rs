//! Which problems come next.
//!
//! Owns the curricula that come with the crate and how a configuration names them. Knows no model: a curriculum
//! hears the rewards of the problems that it chose ([`Curriculum::observe`]) and nothing else.
//!
//! | curriculum | next problem |
//! |---|---|
//! | [`Uniform`] | any, each as likely |
//! | [`ShuffledEpochs`] | every one once an epoch, in an order drawn anew for each |
//! | [`EasyToHard`] | every one once an epoch, in the order of the rewards so far |
//! | [`DomainMixture`] | of the domain that is furthest behind its share |
//! | [`SkipSolved`] | what another curriculum chooses, but for problems that are solved |
//!
//! All draws are functions of the run's seed, so the same seed and the same rewards give the same problems.

use std::collections::BTreeMap;

use didact_core::{Curriculum, Problem, RandomStream, StreamKey};
use serde::{Deserialize, Serialize};

mod domain_mixture;
mod easy_to_hard;
mod shuffled_epochs;
mod skip_solved;
#[cfg(test)]
mod tests;
mod uniform;

pub use domain_mixture::{Domain, DomainMixture};
pub use easy_to_hard::EasyToHard;
pub use shuffled_epochs::ShuffledEpochs;
pub use skip_solved::{SkipSolved, Solved};
pub use uniform::Uniform;

use crate::config::check;
use crate::{Error, Result};

/// A curriculum as a user writes it.
///
/// ```
/// use didact_core::Problem;
/// use didact_rl::curriculum::CurriculumConfig;
///
/// # let problem = |id: &str, domain: &str| Problem {
/// #     id: id.to_owned(), question: "?".to_owned(), solution: "!".to_owned(), answer: None,
/// #     reasoning_trace: None, domain: Some(domain.to_owned()),
/// # };
/// let config: CurriculumConfig = serde_json::from_str(
///     r#"{"kind": "domain_mixture", "weights": {"algebra": 3.0, "geometry": 1.0}}"#,
/// )?;
/// let problems = [problem("a", "algebra"), problem("g", "geometry")];
/// let mut curriculum = config.build(42, &problems)?;
/// assert_eq!(curriculum.next(0, 4), [0, 0, 1, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CurriculumConfig {
    /// [`Uniform`].
    #[serde(deserialize_with = "crate::config::no_other_keys")]
    Uniform,
    /// [`ShuffledEpochs`].
    #[default]
    #[serde(deserialize_with = "crate::config::no_other_keys")]
    ShuffledEpochs,
    /// [`EasyToHard`].
    EasyToHard {
        /// What a problem's earlier rewards count for beside its latest, in `[0, 1)`. Default 0.5.
        #[serde(default = "half")]
        smoothing: f64,
    },
    /// [`DomainMixture`].
    DomainMixture {
        /// The share of each domain, in any unit; 0 leaves its problems out. Empty, the default: all alike.
        #[serde(default)]
        weights: BTreeMap<String, f64>,
        /// How the problems of one domain follow each other. Default `shuffled_epochs`.
        #[serde(default)]
        within: Box<Self>,
    },
    /// [`SkipSolved`].
    SkipSolved {
        /// A sample is solved where its reward is at least this.
        reward: f64,
        /// A problem is solved where at least this share of its group is, in `(0, 1]`. Default 1.
        #[serde(default = "one")]
        fraction: f64,
        /// What is chosen from. Default `shuffled_epochs`.
        #[serde(default)]
        of: Box<Self>,
    },
}

const fn half() -> f64 {
    0.5
}

const fn one() -> f64 {
    1.0
}

impl CurriculumConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn validate(&self) -> Result<()> {
        self.validate_at("curriculum")
    }

    fn validate_at(&self, key: &str) -> Result<()> {
        match self {
            Self::Uniform | Self::ShuffledEpochs => Ok(()),
            Self::EasyToHard { smoothing } => check(
                &format!("{key}.smoothing"),
                (0.0..1.0).contains(smoothing),
                || format!("{smoothing} is not in [0, 1)"),
            ),
            Self::DomainMixture { weights, within } => {
                for (domain, weight) in weights {
                    crate::config::not_negative(&format!("{key}.weights.{domain}"), *weight)?;
                }
                let some = weights.is_empty() || weights.values().any(|&weight| weight > 0.0);
                check(&format!("{key}.weights"), some, || {
                    "all are 0; give one domain a share".to_owned()
                })?;
                within.validate_at(&format!("{key}.within"))
            }
            Self::SkipSolved {
                reward,
                fraction,
                of,
            } => {
                check(&format!("{key}.reward"), reward.is_finite(), || {
                    format!("{reward} is not a number")
                })?;
                let range = *fraction > 0.0 && *fraction <= 1.0;
                check(&format!("{key}.fraction"), range, || {
                    format!("{fraction} is not in (0, 1]")
                })?;
                of.validate_at(&format!("{key}.of"))
            }
        }
    }

    /// The curriculum over `problems`, whose draws `seed` decides.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); a mixture of problems without domains, or whose domains and weights
    /// do not match.
    pub fn build(&self, seed: u64, problems: &[Problem]) -> Result<Box<dyn Curriculum>> {
        self.validate()?;
        let all: Vec<&Problem> = problems.iter().collect();
        self.build_at("curriculum", seed, &all)
    }

    fn build_at(&self, key: &str, seed: u64, problems: &[&Problem]) -> Result<Box<dyn Curriculum>> {
        let count = problems.len();
        Ok(match self {
            Self::Uniform => Box::new(Uniform::new(seed, count)),
            Self::ShuffledEpochs => Box::new(ShuffledEpochs::new(seed, count)),
            Self::EasyToHard { smoothing } => Box::new(EasyToHard::new(seed, count, *smoothing)),
            Self::DomainMixture { weights, within } => {
                let mut domains = Vec::new();
                let within_key = format!("{key}.within");
                for (index, (name, members)) in by_domain(problems)?.into_iter().enumerate() {
                    let weight = match weights.get(name) {
                        Some(weight) => *weight,
                        None if weights.is_empty() => 1.0,
                        None => {
                            return Err(Error::Configuration {
                                key: format!("{key}.weights"),
                                problem: format!(
                                    "problem {} is of domain {name}, which has no weight; 0 leaves it out",
                                    problems[members[0]].id
                                ),
                            });
                        }
                    };
                    let own: Vec<&Problem> = members.iter().map(|&m| problems[m]).collect();
                    let seed = draws(seed, DOMAIN, index as u64).bits(0);
                    domains.push(Domain {
                        name: name.to_owned(),
                        weight,
                        problems: members,
                        curriculum: within.build_at(&within_key, seed, &own)?,
                    });
                }
                for name in weights.keys() {
                    let known = domains.iter().any(|domain| domain.name == *name);
                    check(&format!("{key}.weights.{name}"), known, || {
                        "no problem is of this domain".to_owned()
                    })?;
                }
                Box::new(DomainMixture::new(domains)?)
            }
            Self::SkipSolved {
                reward,
                fraction,
                of,
            } => {
                let of = of.build_at(&format!("{key}.of"), seed, problems)?;
                let solved = Solved {
                    reward: *reward,
                    fraction: *fraction,
                };
                Box::new(SkipSolved::new(of, count, solved))
            }
        })
    }
}

/// The indices of each domain's problems, domains in alphabetical order.
fn by_domain<'a>(problems: &[&'a Problem]) -> Result<BTreeMap<&'a str, Vec<usize>>> {
    let mut domains = BTreeMap::<&str, Vec<usize>>::new();
    for (index, problem) in problems.iter().enumerate() {
        let Some(domain) = &problem.domain else {
            return Err(Error::TrainingData {
                what: format!("problem {}", problem.id),
                problem: "it names no domain, which the curriculum domain_mixture needs of all"
                    .to_owned(),
            });
        };
        domains.entry(domain).or_default().push(index);
    }
    Ok(domains)
}

// The uses of draws in curricula, named in a stream's key where training has its step: far above any step.
/// Epochs' permutations.
const PERMUTATION: u64 = u64::MAX;
/// Independent draws.
const DRAW: u64 = u64::MAX - 1;
/// The seeds of domains.
const DOMAIN: u64 = u64::MAX - 2;

/// The random stream of one use of draws.
const fn draws(seed: u64, use_: u64, index: u64) -> RandomStream {
    StreamKey {
        run_seed: seed,
        step: use_,
        problem: index,
        sample: 0,
    }
    .stream()
}

/// A curriculum's state, with the kind that it is of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved<T> {
    kind: String,
    state: T,
}

/// The state of the curriculum called `what` as text; integers, finite numbers and strings always have one.
fn save(what: &str, state: &impl Serialize) -> String {
    let kind = what.to_owned();
    serde_json::to_string(&Saved { kind, state }).unwrap_or_default()
}

/// Reads a state of the curriculum called `what`.
fn load<T: for<'de> Deserialize<'de>>(what: &str, text: &str) -> didact_core::Result<T> {
    let read = |error: serde_json::Error| refuse(what, error.to_string());
    let saved: Saved<serde_json::Value> = serde_json::from_str(text).map_err(read)?;
    same(what, "kind", &what, &saved.kind.as_str())?;
    serde_json::from_value(saved.state).map_err(read)
}

fn refuse(what: &str, problem: impl Into<String>) -> didact_core::Error {
    didact_core::Error::InvalidState {
        what: format!("curriculum {what}"),
        problem: problem.into(),
    }
}

/// Refuses a state where what was expected and what was found are not the same.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    key: &str,
    expected: &T,
    found: &T,
) -> didact_core::Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(refuse(
        what,
        format!("{key}: expected {expected:?}, found {found:?}; is the state of another run?"),
    ))
}
