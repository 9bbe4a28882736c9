//! Domains in given shares.

use didact_core::{Curriculum, ProblemResult};
use serde::{Deserialize, Serialize};

use super::{load, refuse, same, save};
use crate::config::{check, not_negative};
use crate::{Error, Result};

/// The problems of one domain.
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its share, in the unit of the others'.
    pub weight: f64,
    /// The indices of its problems in the training set.
    pub problems: Vec<usize>,
    /// Chooses among them, by their place in `problems`.
    pub curriculum: Box<dyn Curriculum>,
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Domain")
            .field("name", &self.name)
            .field("weight", &self.weight)
            .field("problems", &self.problems.len())
            .finish_non_exhaustive()
    }
}

/// Mixes domains, each with a curriculum of its own.
///
/// No domain is drawn by lot: the next problem is of the domain furthest behind its share, the first of those alike.
/// With shares `w` that sum to 1, `n` problems chosen and `n_d` of them of domain `d`,
///
/// ```text
/// d = argmax_d ( w_d · (n + 1) − n_d )
/// ```
///
/// so that at any time `n_d < w_d · n + 1`, and of two domains both are within one problem of their share: even small
/// steps hold the mixture. What is drawn is which problem of a domain comes.
#[derive(Debug)]
pub struct DomainMixture {
    domains: Vec<Domain>,
    /// The shares, which sum to 1.
    shares: Vec<f64>,
    taken: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    domains: Vec<DomainState>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DomainState {
    name: String,
    weight: f64,
    problems: usize,
    taken: u64,
    curriculum: String,
}

const NAME: &str = "domain_mixture";

impl DomainMixture {
    /// Mixes `domains`; one without problems or without weight is never chosen.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a weight below 0 or not finite, for a name that comes twice, or where no domain
    /// has both problems and weight.
    pub fn new(domains: Vec<Domain>) -> Result<Self> {
        let key = |name: &str| format!("curriculum.weights.{name}");
        for (index, domain) in domains.iter().enumerate() {
            not_negative(&key(&domain.name), domain.weight)?;
            let new = domains[..index].iter().all(|d| d.name != domain.name);
            check(&key(&domain.name), new, || "it comes twice".to_owned())?;
        }
        let weight = |d: &Domain| if d.problems.is_empty() { 0.0 } else { d.weight };
        let sum: f64 = domains.iter().map(weight).sum();
        if !(sum > 0.0 && sum.is_finite()) {
            return Err(Error::Configuration {
                key: "curriculum.weights".to_owned(),
                problem: format!(
                    "those of domains with problems sum to {sum}, which is no number above 0"
                ),
            });
        }
        Ok(Self {
            shares: domains.iter().map(|domain| weight(domain) / sum).collect(),
            taken: vec![0; domains.len()],
            domains,
        })
    }

    /// The names of the domains with how many problems of each were chosen.
    pub fn taken(&self) -> impl Iterator<Item = (&str, u64)> {
        let names = self.domains.iter().map(|domain| domain.name.as_str());
        names.zip(self.taken.iter().copied())
    }

    fn furthest_behind(&self) -> usize {
        let next = (self.taken.iter().sum::<u64>() + 1) as f64;
        let mut found = (0, f64::NEG_INFINITY);
        for (domain, (&share, &taken)) in self.shares.iter().zip(&self.taken).enumerate() {
            let behind = share * next - taken as f64;
            if share > 0.0 && behind > found.1 {
                found = (domain, behind);
            }
        }
        found.0
    }
}

impl Curriculum for DomainMixture {
    fn next(&mut self, step: u64, count: usize) -> Vec<usize> {
        // Each domain is asked once, so that its curriculum sees how many a step wants of it.
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); self.domains.len()];
        for place in 0..count {
            let domain = self.furthest_behind();
            self.taken[domain] += 1;
            places[domain].push(place);
        }
        let mut chosen = vec![None; count];
        for (domain, places) in self.domains.iter_mut().zip(&places) {
            if places.is_empty() {
                continue;
            }
            let own = domain.curriculum.next(step, places.len());
            for (&place, own) in places.iter().zip(own) {
                // What is out of range stays so, for the trainer to refuse.
                chosen[place] = Some(domain.problems.get(own).copied().unwrap_or(usize::MAX));
            }
        }
        chosen.into_iter().flatten().collect()
    }

    fn observe(&mut self, step: u64, results: &[ProblemResult]) {
        for domain in &mut self.domains {
            let own: Vec<ProblemResult> = results
                .iter()
                .filter_map(|result| {
                    let place = domain.problems.iter().position(|&p| p == result.problem)?;
                    Some(ProblemResult {
                        problem: place,
                        rewards: result.rewards.clone(),
                    })
                })
                .collect();
            if !own.is_empty() {
                domain.curriculum.observe(step, &own);
            }
        }
    }

    fn state(&self) -> String {
        let domains = self.domains.iter().zip(&self.taken);
        save(
            NAME,
            &State {
                domains: domains
                    .map(|(domain, &taken)| DomainState {
                        name: domain.name.clone(),
                        weight: domain.weight,
                        problems: domain.problems.len(),
                        taken,
                        curriculum: domain.curriculum.state(),
                    })
                    .collect(),
            },
        )
    }

    fn restore(&mut self, state: &str) -> didact_core::Result<()> {
        let saved: State = load(NAME, state)?;
        let expected: Vec<(&str, f64, usize)> = self
            .domains
            .iter()
            .map(|d| (d.name.as_str(), d.weight, d.problems.len()))
            .collect();
        let found: Vec<(&str, f64, usize)> = saved
            .domains
            .iter()
            .map(|d| (d.name.as_str(), d.weight, d.problems))
            .collect();
        same(
            NAME,
            "name, weight and problems of the domains",
            &expected,
            &found,
        )?;
        // All or nothing: what the first domains took up is given back where a later one refuses.
        let before: Vec<String> = self.domains.iter().map(|d| d.curriculum.state()).collect();
        for index in 0..self.domains.len() {
            let restored = self.domains[index]
                .curriculum
                .restore(&saved.domains[index].curriculum);
            if let Err(error) = restored {
                for (domain, state) in self.domains[..index].iter_mut().zip(&before) {
                    domain.curriculum.restore(state)?;
                }
                let name = &self.domains[index].name;
                return Err(refuse(NAME, format!("domain {name}: {error}")));
            }
        }
        self.taken = saved.domains.iter().map(|d| d.taken).collect();
        Ok(())
    }
}
