//! The classical reward: is the answer right?
//!
//! Owns the reward of a verified answer, for reinforcement learning of students and of solvers. Knows no model; what
//! an answer is and when two are equal is [`crate::answer`]'s.

use didact_core::{Error, GroupScores, NamedValue, Outcome, Problem, Result, Reward, ScoreSpec};
use serde::{Deserialize, Serialize};

use crate::answer::{Limits, Why, extract_answer, verify_within};

/// The metric of a right answer: 1 or 0.
pub const CORRECT_TERM: &str = "reward/correct";

/// The metric of a marked answer: 1 or 0.
pub const FORMAT_TERM: &str = "reward/format";

/// The metric of an answer on which no verdict was reached: 1 or 0. Such an answer counts as wrong.
pub const UNDECIDED_TERM: &str = "answer/undecided";

/// Rewards a right answer with 1.
///
/// `r = correct + format_coefficient · format`: `correct` is 1 where the text's answer is the problem's
/// [`answer`](didact_core::Problem::answer) by [`verify_within`], `format` is 1 where [`extract_answer`] finds a mark.
/// Every value is logged, under [`CORRECT_TERM`], [`FORMAT_TERM`] and [`UNDECIDED_TERM`].
///
/// It asks for no scores and reads [`SampleScores::answered`](didact_core::SampleScores::answered) alone; a sample
/// without an answer has neither. Where an answer is told from the rest by its place, such as between a student's
/// solution tags, it needs no mark of its own: set `marked_only` to false.
///
/// ```
/// use didact_core::{GroupScores, Problem, Reward, SampleScores};
/// use didact_reward::CorrectnessReward;
///
/// let problem = Problem {
///     id: "halves".into(),
///     question: "What is half of 3?".into(),
///     solution: "Half of 3 is 1.5.".into(),
///     answer: Some(r"\frac{3}{2}".into()),
///     reasoning_trace: None,
///     domain: None,
/// };
/// let sample = |text: &str| SampleScores {
///     id: "halves, sample 0".into(),
///     scores: Vec::new(),
///     closed: true,
///     truncated: false,
///     explanation: String::new(),
///     answered: Some(text.into()),
///     completion_tokens: 5,
/// };
/// let group = GroupScores {
///     problem: &problem,
///     step: 0,
///     samples: vec![sample(r"So it is \boxed{1.5}."), sample("The answer is 2.")],
/// };
/// let outcomes = CorrectnessReward::default().evaluate(&group)?;
/// assert_eq!(outcomes[0].reward(), Some(1.0));
/// assert_eq!(outcomes[1].reward(), Some(0.0));
/// # Ok::<(), didact_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectnessReward {
    /// What a marked answer adds, right or wrong; finite. Default: 0.
    #[serde(default)]
    pub format_coefficient: f64,
    /// Whether only a marked answer can be right. Without, the last mathematics or number of a text may be, which a
    /// model in training can learn to exploit. Default: true.
    #[serde(default = "yes")]
    pub marked_only: bool,
    /// Whether the answer must be the expected text itself, but for space around it, rather than equal to it in the
    /// sense of mathematics; marks then count for nothing. Default: false.
    #[serde(default)]
    pub exact: bool,
}

const fn yes() -> bool {
    true
}

impl Default for CorrectnessReward {
    fn default() -> Self {
        Self {
            format_coefficient: 0.0,
            marked_only: true,
            exact: false,
        }
    }
}

fn expected(problem: &Problem) -> Result<&str> {
    let answer = problem.answer.as_deref().filter(|a| !a.trim().is_empty());
    answer.ok_or_else(|| Error::InvalidRequest {
        what: format!("correctness of problem {}", problem.id),
        problem: "the problem has no `answer` to verify against; add the bare final answer"
            .to_owned(),
    })
}

impl Reward for CorrectnessReward {
    fn requests(&self) -> Vec<ScoreSpec> {
        Vec::new()
    }

    /// # Errors
    /// A problem without an answer.
    fn accepts(&self, problem: &Problem) -> Result<()> {
        expected(problem).map(|_| ())
    }

    fn identity(&self) -> String {
        format!("{self:?}")
    }

    /// # Errors
    /// A problem without an answer; a coefficient that is not finite.
    fn evaluate(&self, group: &GroupScores<'_>) -> Result<Vec<Outcome>> {
        if !self.format_coefficient.is_finite() {
            return Err(Error::NonFinite {
                what: "format_coefficient of the correctness reward".to_owned(),
                value: self.format_coefficient,
            });
        }
        let expected = expected(group.problem)?;
        let limits = Limits::default();
        let outcomes = group.samples.iter().map(|sample| {
            let answered = sample.answered.as_deref().unwrap_or_default();
            let marked = extract_answer(answered).is_some();
            let judged = !self.exact && (marked || !self.marked_only);
            let verdict = judged.then(|| verify_within(expected, answered, &limits));
            let same = self.exact && answered.trim() == expected.trim();
            let correct = f64::from(same || verdict.is_some_and(|v| v.equal));
            let undecided = verdict.is_some_and(|v| matches!(v.why, Why::Undecided(_)));
            let format = f64::from(marked);
            Outcome::Scored {
                reward: correct + self.format_coefficient * format,
                terms: vec![
                    NamedValue::new(CORRECT_TERM, correct),
                    NamedValue::new(FORMAT_TERM, format),
                    NamedValue::new(UNDECIDED_TERM, f64::from(undecided)),
                ],
            }
        });
        Ok(outcomes.collect())
    }
}

#[cfg(test)]
mod tests {
    use didact_core::SampleScores;

    use super::*;

    fn problem(answer: Option<&str>) -> Problem {
        Problem {
            id: "p".to_owned(),
            question: "q".to_owned(),
            solution: "s".to_owned(),
            answer: answer.map(str::to_owned),
            reasoning_trace: None,
            domain: None,
        }
    }

    fn evaluate(reward: &CorrectnessReward, answer: Option<&str>, text: &str) -> Result<Outcome> {
        let problem = problem(answer);
        let sample = SampleScores {
            id: "p, sample 0".to_owned(),
            scores: Vec::new(),
            closed: true,
            truncated: false,
            explanation: String::new(),
            answered: Some(text.to_owned()),
            completion_tokens: 1,
        };
        let group = GroupScores {
            problem: &problem,
            step: 0,
            samples: vec![sample],
        };
        Ok(reward.evaluate(&group)?.remove(0))
    }

    #[test]
    fn a_mark_is_needed_by_default_and_may_be_paid_for() {
        let plain = CorrectnessReward::default();
        let lenient = CorrectnessReward {
            format_coefficient: 0.1,
            marked_only: false,
            ..CorrectnessReward::default()
        };
        for (text, by_default, leniently) in [
            (r"\boxed{12}", 1.0, 1.1),
            ("It is 12", 0.0, 1.0),
            ("The answer is 13", 0.0, 0.1),
            ("", 0.0, 0.0),
        ] {
            let of = |reward| {
                evaluate(reward, Some("12"), text)
                    .unwrap()
                    .reward()
                    .unwrap()
            };
            assert!((of(&plain) - by_default).abs() < 1e-12, "{text}");
            assert!((of(&lenient) - leniently).abs() < 1e-12, "{text}");
        }
    }

    #[test]
    fn an_exact_answer_is_the_expected_text() {
        let exact = CorrectnessReward {
            exact: true,
            ..CorrectnessReward::default()
        };
        for (text, reward) in [("07", 1.0), (" 07 ", 1.0), ("7", 0.0), ("", 0.0)] {
            let outcome = evaluate(&exact, Some("07"), text).unwrap();
            assert_eq!(outcome.reward(), Some(reward), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_decided_is_logged_and_wrong() {
        let text = r"\boxed{9^{9^{9}}}";
        let outcome = evaluate(&CorrectnessReward::default(), Some("9"), text).unwrap();
        assert_eq!(outcome.reward(), Some(0.0));
        assert_eq!(outcome.term(UNDECIDED_TERM), Some(1.0));
    }

    #[test]
    fn a_problem_without_answer_is_an_error() {
        let error = evaluate(&CorrectnessReward::default(), None, "1").unwrap_err();
        assert!(error.to_string().contains("problem p"), "{error}");
        let reward = CorrectnessReward::default();
        assert!(reward.accepts(&problem(Some("1"))).is_ok());
        for lacking in [None, Some(" ")] {
            let error = reward.accepts(&problem(lacking)).unwrap_err().to_string();
            assert!(error.contains("problem p"), "{error}");
        }
    }
}
