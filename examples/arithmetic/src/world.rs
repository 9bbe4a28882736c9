//! Worlds of worked arithmetic: what problems, traces and solutions are like.
//!
//! A problem is a start value and a few labelled operations, `71A+6B*3C-5`; values are taken modulo a power of ten and
//! may be written with the units first, since that is the order in which they are computed (`71` is
//! seventeen). A trace works the operations off in steps, each of which may repeat the value that it starts from
//! ([`Start`]):
//!
//! ```text
//! A71+6=32;B32*3=96;C96-5=46;
//! ```
//!
//! A solution is the answer alone, `46`, or worked: every second value with its label, then the answer.
//!
//! It knows texts only: neither tokens nor prompts nor models. What is done with one problem is
//! [`Chain`]'s business.

use std::collections::HashSet;

use didact::core::{Problem, RandomStream};
use serde::Serialize;

use crate::chain::Chain;
use crate::draws::Draws;

/// One question in so many is held out.
pub(crate) const HELD_OUT: u64 = 16;

/// What may stand between two steps without meaning anything.
pub(crate) const DIGRESSIONS: [&str; 4] =
    ["(nice day)", "(lol 7 ate 9)", "(use calc)", "(ask tool)"];

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Operator {
    /// Adds its digit.
    Add,
    /// Takes its digit away.
    Subtract,
    /// Multiplies by its digit.
    Multiply,
    /// Looks the value's units up in a table, which nobody can compute; its digit means nothing.
    LookUp,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Add, Self::Subtract, Self::Multiply, Self::LookUp];

    /// How it is written.
    #[must_use]
    pub const fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::LookUp => '#',
        }
    }
}

/// An operator as problems use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// The operator.
    pub operator: Operator,
    /// How often it comes, beside the others' weights.
    pub weight: usize,
    /// Its digits, each as often as the others.
    pub digits: &'static [u32],
}

/// What a problem's solution says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Solution {
    /// The answer.
    Answer,
    /// Every second value with its label, then the answer: `B32;46`.
    Worked,
    /// Every value that was looked up with its label, then the answer.
    LookedUp,
}

/// How a step says which value it starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Start {
    /// Not at all: `A+6=32;`.
    Unsaid,
    /// After its label: `A71+6=32;`.
    AfterLabel,
    /// Before its label, so that what follows the label follows it in the question too: `71A+6=32;`. The easiest to
    /// learn for long chains.
    BeforeLabel,
}

/// What problems, traces and solutions are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct World {
    /// Values are taken modulo this power of ten.
    pub modulus: u32,
    /// Whether values are written with the units first.
    pub units_first: bool,
    /// How a step says which value it starts from.
    pub start: Start,
    /// The operations of problems.
    pub operations: &'static [Kind],
    /// Operations of the longest chain, at most 26: each has a letter of its own.
    pub longest: usize,
    /// Whether a chain's letters begin anywhere, so that short chains show all of them, rather than with A.
    pub any_label: bool,
    /// Whether an operator and its digit are one token, so that what stands behind a letter can be copied at one look.
    pub joined_operations: bool,
    /// What solutions say.
    pub solution: Solution,
    /// Names the table that values are looked up in.
    pub table: u64,
}

impl World {
    /// Two digits; additions and subtractions twice as likely as multiplications; up to eight operations; the answer
    /// alone as solution.
    pub const SMALL: Self = Self {
        modulus: 100,
        units_first: true,
        start: Start::AfterLabel,
        operations: &[
            Kind {
                operator: Operator::Add,
                weight: 2,
                digits: &[2, 3, 4, 5, 6, 7, 8, 9],
            },
            Kind {
                operator: Operator::Subtract,
                weight: 2,
                digits: &[2, 3, 4, 5, 6, 7, 8, 9],
            },
            Kind {
                operator: Operator::Multiply,
                weight: 1,
                digits: &[2, 3],
            },
        ],
        longest: 8,
        any_label: false,
        joined_operations: false,
        solution: Solution::Answer,
        table: 0,
    };

    /// Every character of problems, traces and solutions.
    #[must_use]
    pub fn alphabet(&self) -> String {
        let labels: String = (0..self.longest).map(label).collect();
        let look_up = if self.looks_up() { "#" } else { "" };
        format!("0123456789+-*=;!() {labels}abcdefghijklmnopqrstuvwxyz{look_up}")
    }

    /// Symbol and digit of every operation that problems have.
    pub(crate) fn signs(&self) -> impl Iterator<Item = (char, u32)> {
        let signs = |kind: &'static Kind| {
            let digits = kind.digits.iter();
            digits.map(|&digit| (kind.operator.symbol(), digit))
        };
        self.operations.iter().flat_map(signs)
    }

    /// Whether values are looked up.
    #[must_use]
    pub fn looks_up(&self) -> bool {
        let mut kinds = self.operations.iter();
        kinds.any(|kind| kind.operator == Operator::LookUp)
    }

    /// What the table, which has ten entries, says of a value.
    #[must_use]
    pub fn looked_up(&self, value: u32) -> u32 {
        let entries = RandomStream::new(self.table);
        entries.below(u64::from(value % 10), self.modulus as usize) as u32
    }

    /// A value's text.
    #[must_use]
    pub fn written(&self, value: u32) -> String {
        let digits = self.digits();
        let text = format!("{value:0digits$}");
        if self.units_first {
            text.chars().rev().collect()
        } else {
            text
        }
    }

    /// Digits of a value.
    pub(crate) const fn digits(&self) -> usize {
        self.modulus.ilog10() as usize
    }

    /// Different problems of a set, with traces.
    #[must_use]
    pub fn problems(&self, set: &ProblemSet) -> Vec<Problem> {
        let part = if set.held_out { "held-out" } else { "train" };
        let mut seen = HashSet::new();
        let mut problems = Vec::with_capacity(set.count);
        let mut index = 0;
        while problems.len() < set.count {
            let mut draws = Draws::new(set.seed, set.stream, index);
            index += 1;
            let length = draws.between(set.operations.0, set.operations.1);
            let chain = Chain::draw(*self, length, &mut draws);
            let wanted = chain.is_held_out() == set.held_out
                && set.with.is_none_or(|operator| chain.uses(operator));
            if wanted && seen.insert(chain.question()) {
                let trace = chain.trace(set.habits, &mut draws);
                problems.push(chain.problem(format!("{part}-{}", problems.len()), trace));
            }
        }
        problems
    }
}

/// Which problems are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProblemSet {
    /// The run's seed.
    pub seed: u64,
    /// Names the set's draws among those of the run.
    pub stream: u64,
    /// How many; they must exist.
    pub count: usize,
    /// Whether they are of the questions that nothing is trained on.
    pub held_out: bool,
    /// Operations of a chain, from and to.
    pub operations: (usize, usize),
    /// An operator that each of them uses.
    pub with: Option<Operator>,
    /// How their traces are written.
    pub habits: Habits,
}

/// Whether a habit is a trace's or a step's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Scope {
    /// A trace has a habit or not; one that has it shows it at some of its steps, at least one.
    Trace,
    /// Each step has a habit or not.
    Step,
}

/// How likely each bad habit is; each is drawn by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Habits {
    /// What the probabilities of `skip`, `digress` and `correct` are of.
    pub scope: Scope,
    /// Several operations at once.
    pub skip: f64,
    /// Remarks that mean nothing.
    pub digress: f64,
    /// A wrong value, then `!` and the right one.
    pub correct: f64,
    /// Nothing but the answer, `=46;`. Always of a trace.
    pub leak: f64,
}

impl Habits {
    /// Every trace shows every step and nothing else.
    pub const NONE: Self = Self {
        scope: Scope::Trace,
        skip: 0.0,
        digress: 0.0,
        correct: 0.0,
        leak: 0.0,
    };
}

/// The label of an operation.
pub(crate) const fn label(index: usize) -> char {
    (b'A' + index as u8) as char
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Habits = Habits {
        skip: 0.5,
        digress: 0.5,
        correct: 0.5,
        ..Habits::NONE
    };

    fn set(stream: u64, count: usize, held_out: bool) -> ProblemSet {
        ProblemSet {
            seed: 1,
            stream,
            count,
            held_out,
            operations: (1, 2),
            with: None,
            habits: ALL,
        }
    }

    #[test]
    fn no_held_out_problem_is_trained_on() {
        let train = World::SMALL.problems(&set(2, 300, false));
        let held_out = World::SMALL.problems(&set(3, 100, true));
        assert_eq!((train.len(), held_out.len()), (300, 100));
        let questions: HashSet<_> = train.iter().map(|p| &p.question).collect();
        assert_eq!(questions.len(), 300);
        assert!(held_out.iter().all(|p| !questions.contains(&p.question)));
    }

    #[test]
    fn a_set_uses_the_operator_that_it_asks_for() {
        let multiplied = ProblemSet {
            with: Some(Operator::Multiply),
            ..set(4, 50, false)
        };
        let problems = World::SMALL.problems(&multiplied);
        assert!(problems.iter().all(|p| p.question.contains('*')));
    }

    #[test]
    fn values_are_written_in_the_worlds_order() {
        assert_eq!(World::SMALL.written(7), "70");
        let other = World {
            modulus: 1_000,
            units_first: false,
            ..World::SMALL
        };
        assert_eq!(other.written(42), "042");
    }
}
