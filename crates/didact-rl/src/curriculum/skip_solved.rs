//! Leaves out what is solved.

use didact_core::{Curriculum, ProblemResult};
use serde::{Deserialize, Serialize};

use super::{load, refuse, same, save};

/// When a problem is solved: at least `fraction` of its group have a reward of at least `reward`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Solved {
    /// The reward of a sample that is good enough.
    pub reward: f64,
    /// How many of a group must be, in `(0, 1]`; a refused sample is not.
    pub fraction: f64,
}

/// Another curriculum without the problems that are solved.
///
/// Problems that the other chooses and that are solved are passed over until it comes to others. Where fewer are left
/// than a step takes, they come several times in it, each time with other samples. Once all are solved a new round
/// begins: all are open again, and are passed over again as soon as they are seen to be solved still.
///
/// Of a [`DomainMixture`](super::DomainMixture) it takes what is solved out of the shares; within one, each domain
/// keeps its share to the end.
pub struct SkipSolved {
    of: Box<dyn Curriculum>,
    rule: Solved,
    solved: Vec<bool>,
    rounds: u64,
    /// Where the search for an open problem goes on, should the other curriculum not find one.
    cursor: usize,
}

/// How many problems the other curriculum may choose for one, as a multiple of the training set.
const PATIENCE: usize = 4;

const NAME: &str = "skip_solved";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    problems: usize,
    rule: Solved,
    solved: Vec<usize>,
    rounds: u64,
    cursor: usize,
    of: String,
}

impl SkipSolved {
    /// Chooses as `of` does, which is over the problems `0..problems`.
    #[must_use]
    pub fn new(of: Box<dyn Curriculum>, problems: usize, rule: Solved) -> Self {
        Self {
            of,
            rule,
            solved: vec![false; problems],
            rounds: 0,
            cursor: 0,
        }
    }

    /// How many problems are solved in this round.
    #[must_use]
    pub fn solved(&self) -> usize {
        self.solved.iter().filter(|&&solved| solved).count()
    }

    /// How often all problems were solved.
    #[must_use]
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// The next open problem in the order of the training set.
    fn in_order(&mut self) -> usize {
        while self.solved[self.cursor] {
            self.cursor = (self.cursor + 1) % self.solved.len();
        }
        let found = self.cursor;
        self.cursor = (self.cursor + 1) % self.solved.len();
        found
    }
}

impl std::fmt::Debug for SkipSolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SkipSolved")
            .field("rule", &self.rule)
            .field("problems", &self.solved.len())
            .field("solved", &self.solved())
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}

impl Curriculum for SkipSolved {
    fn next(&mut self, step: u64, count: usize) -> Vec<usize> {
        if self.solved.is_empty() {
            return Vec::new();
        }
        if self.solved.iter().all(|&solved| solved) {
            self.solved.fill(false);
            self.rounds += 1;
        }
        let mut chosen = Vec::with_capacity(count);
        // A curriculum that draws may come to few open problems for long, one that repeats itself to none.
        let mut patience = PATIENCE * self.solved.len() + count;
        while chosen.len() < count && patience > 0 {
            let asked = (count - chosen.len()).min(patience);
            patience -= asked;
            let found = self.of.next(step, asked);
            if found.is_empty() {
                break;
            }
            // What is out of range is passed on, for the trainer to refuse.
            let open = |&problem: &usize| !self.solved.get(problem).copied().unwrap_or(false);
            chosen.extend(found.into_iter().filter(open));
        }
        while chosen.len() < count {
            chosen.push(self.in_order());
        }
        chosen
    }

    fn observe(&mut self, step: u64, results: &[ProblemResult]) {
        for result in results {
            if let Some(solved) = self.solved.get_mut(result.problem) {
                *solved |= result.solved_fraction(self.rule.reward) >= self.rule.fraction;
            }
        }
        self.of.observe(step, results);
    }

    fn state(&self) -> String {
        let solved = self
            .solved
            .iter()
            .enumerate()
            .filter(|(_, solved)| **solved);
        save(
            NAME,
            &State {
                problems: self.solved.len(),
                rule: self.rule,
                solved: solved.map(|(problem, _)| problem).collect(),
                rounds: self.rounds,
                cursor: self.cursor,
                of: self.of.state(),
            },
        )
    }

    fn restore(&mut self, state: &str) -> didact_core::Result<()> {
        let saved: State = load(NAME, state)?;
        let problems = self.solved.len();
        same(NAME, "problems", &problems, &saved.problems)?;
        same(NAME, "rule", &self.rule, &saved.rule)?;
        let mut named = saved.solved.iter().chain(std::iter::once(&saved.cursor));
        if let Some(problem) = named.find(|&&problem| problem >= problems.max(1)) {
            return Err(refuse(
                NAME,
                format!("it names problem {problem} of {problems}; was the state edited?"),
            ));
        }
        self.of.restore(&saved.of)?;
        self.solved.fill(false);
        for problem in saved.solved {
            self.solved[problem] = true;
        }
        self.rounds = saved.rounds;
        self.cursor = saved.cursor;
        Ok(())
    }
}
