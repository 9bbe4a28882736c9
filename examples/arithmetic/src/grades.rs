//! How many of a teacher's explanations do what.
//!
//! Owns the shares; one explanation is graded by [`Chain::grade`].

use didact::distill::CollectedExplanation;
use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::grade::Grade;
use crate::world::World;

/// How many of a teacher's explanations do what, as fractions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Grades {
    /// Explanations looked at.
    pub explanations: usize,
    /// Every step, each right, nothing else.
    pub clean: f64,
    /// Every step, each right, whatever else is said.
    pub good: f64,
    /// Ends in the answer.
    pub ends_right: f64,
    /// Some step's value is wrong, or the steps are not those of the question.
    pub wrong: f64,
    /// Several operations in one step.
    pub skips: f64,
    /// Remarks between the steps.
    pub digresses: f64,
    /// Wrong first, then put right.
    pub corrects: f64,
    /// States a value without the operations that lead to it.
    pub leaks: f64,
}

impl Grades {
    /// Grades every explanation.
    #[must_use]
    pub fn of(world: World, explanations: &[CollectedExplanation]) -> Self {
        Self::of_texts(
            world,
            explanations
                .iter()
                .map(|e| (e.problem.question.as_str(), e.explanation.as_str())),
        )
    }

    /// Grades pairs of a question and an explanation of it.
    #[must_use]
    pub fn of_texts<'a>(world: World, texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let grades: Vec<Grade> = texts
            .into_iter()
            .map(|(question, explanation)| {
                let chain = Chain::parse(world, question);
                chain.map_or_else(Grade::default, |chain| chain.grade(explanation))
            })
            .collect();
        let share = 1.0 / grades.len().max(1) as f64;
        let of = |found: fn(&Grade) -> bool| {
            let found = grades.iter().filter(|grade| found(grade));
            found.fold(0.0, |sum, _| sum + share)
        };
        Self {
            explanations: grades.len(),
            clean: of(|g| g.is_clean()),
            good: of(|g| g.is_good()),
            ends_right: of(|g| g.ends_right),
            wrong: of(|g| g.wrong || g.malformed),
            skips: of(|g| g.skips),
            digresses: of(|g| g.digresses),
            corrects: of(|g| g.corrects),
            leaks: of(|g| g.leaks),
        }
    }
}
