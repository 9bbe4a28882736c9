//! How many of a teacher's explanations do what.
//!
//! Owns the shares; one explanation is graded by [`Chain::grade`].

use didact::distill::CollectedExplanation;
use serde::{Deserialize, Serialize};

use crate::world::Chain;

/// How many of a teacher's explanations do what, as fractions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Grades {
    /// Explanations looked at.
    pub explanations: usize,
    /// Every step, each right, nothing else.
    pub clean: f64,
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
}

impl Grades {
    /// Grades every explanation.
    pub fn of(explanations: &[CollectedExplanation]) -> Self {
        let mut grades = Self {
            explanations: explanations.len(),
            ..Self::default()
        };
        let share = 1.0 / explanations.len().max(1) as f64;
        for explained in explanations {
            let Some(chain) = Chain::parse(&explained.problem.question) else {
                continue;
            };
            let grade = chain.grade(&explained.explanation);
            let mut count = |total: fn(&mut Self) -> &mut f64, found: bool| {
                *total(&mut grades) += if found { share } else { 0.0 };
            };
            count(|g| &mut g.clean, grade.is_clean());
            count(|g| &mut g.ends_right, grade.ends_right);
            count(|g| &mut g.wrong, grade.wrong || grade.malformed);
            count(|g| &mut g.skips, grade.skips);
            count(|g| &mut g.digresses, grade.digresses);
            count(|g| &mut g.corrects, grade.corrects);
        }
        grades
    }
}
