//! Solvers: what they are rewarded for, and when an answer is right.
//!
//! Owns the comparison of answers. A worked solution is right if what it ends with is.

use std::sync::Arc;

use didact::core::{Error as CoreError, GroupScores, Outcome, Problem, Reward, ScoreSpec};
use didact::data::{AnswerPlace, PromptFormat, Tokenizer};
use didact::rl::TeacherTask;
use didact::rl::rollout::Role;

/// Whether what stands between the solution's tags ends with the answer.
pub(crate) fn is_right(problem: &Problem, solution: &str) -> bool {
    solution.rsplit(';').next() == problem.answer.as_deref()
}

/// 1 for a right answer, 0 for any other and for none.
struct Right;

impl Reward for Right {
    fn requests(&self) -> Vec<ScoreSpec> {
        Vec::new()
    }

    fn evaluate(&self, group: &GroupScores<'_>) -> Result<Vec<Outcome>, CoreError> {
        let outcome = |answered: Option<&str>| {
            let right = answered.is_some_and(|answer| is_right(group.problem, answer));
            Outcome::Scored {
                reward: f64::from(u8::from(right)),
                terms: Vec::new(),
            }
        };
        let samples = group.samples.iter();
        Ok(samples.map(|s| outcome(s.answered.as_deref())).collect())
    }
}

/// The task of a solver.
pub(crate) fn task(tokenizer: Arc<Tokenizer>, format: PromptFormat) -> TeacherTask {
    TeacherTask::new(tokenizer, format, Arc::new(Right)).with_role(Role::Solver {
        answer: AnswerPlace::Solution,
    })
}

#[cfg(test)]
mod tests {
    use arithmetic::chain::Chain;
    use arithmetic::world::{Solution, World};

    use super::*;

    #[test]
    fn a_worked_solution_is_right_if_its_end_is() {
        let world = World {
            solution: Solution::Worked,
            ..World::SMALL
        };
        let chain = Chain::parse(world, "71A+6B*3C-5").unwrap();
        let problem = chain.problem(String::new(), String::new());
        assert!(is_right(&problem, &problem.solution));
        assert!(is_right(&problem, "B00;46") && is_right(&problem, "46"));
        assert!(!is_right(&problem, "B69;45") && !is_right(&problem, "46;"));
        assert!(!is_right(&problem, ""));
    }
}
