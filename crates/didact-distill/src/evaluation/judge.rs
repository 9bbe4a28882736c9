//! Who says whether an answer is right.
//!
//! Owns what a judge is asked and says, and the judge of mathematical answers. How these are read and compared is
//! `didact_reward::answer`'s business.

use didact_core::Problem;
use didact_reward::answer::{Limits, extract_answer, verify_within};

use crate::student::Verify;

/// What a judge says of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The bare answer that was found, if any.
    pub extracted: Option<String>,
    /// The bare answer that was expected, if the problem says.
    pub expected: Option<String>,
    /// Whether the answer is right.
    pub correct: bool,
    /// Why, for a reader.
    pub reason: String,
}

/// Finds an answer in a text and says whether it is right.
///
/// It must say the same of the same text every time.
pub trait Judge {
    /// Names the judge and its settings: answers judged under one name are not continued under another.
    fn name(&self) -> String;

    /// Says what a problem lacks to be judged, before anything is sampled.
    ///
    /// # Errors
    /// What it lacks, in words.
    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        let _ = problem;
        Ok(())
    }

    /// Judges `answer`, the part of the student's text that the evaluation chose; `None` where the student did not
    /// write that part.
    fn judge(&self, problem: &Problem, answer: Option<&str>) -> Judgement;
}

/// A judge that hands the whole answer to a [`Verify`] and finds nothing in it by itself.
#[derive(Debug, Clone, Copy)]
pub struct Exactly<V>(pub V);

impl<V: Verify> Judge for Exactly<V> {
    fn name(&self) -> String {
        "verify".to_owned()
    }

    fn judge(&self, problem: &Problem, answer: Option<&str>) -> Judgement {
        let correct = answer.is_some_and(|answer| self.0.verify(problem, answer));
        Judgement {
            extracted: answer.map(|answer| answer.trim().to_owned()),
            expected: problem.answer.clone(),
            correct,
            reason: match (answer, correct) {
                (None, _) => "no answer",
                (Some(_), true) => "verified",
                (Some(_), false) => "not verified",
            }
            .to_owned(),
        }
    }
}

/// Takes an answer for right that is the problem's bare answer to the letter, but for space around it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SameText;

impl Judge for SameText {
    fn name(&self) -> String {
        "same text".to_owned()
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        match problem.answer.as_deref().map(str::trim) {
            None | Some("") => {
                Err("it has no `answer` to be the same as; give it one or leave it out".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    fn judge(&self, problem: &Problem, answer: Option<&str>) -> Judgement {
        let same = |problem: &Problem, answer: &str| {
            problem.answer.as_deref().map(str::trim) == Some(answer.trim())
        };
        Exactly(same).judge(problem, answer)
    }
}

/// Compares the last boxed answer, or the one that the text says is its answer, by arithmetic
/// ([`didact_reward::answer`]).
///
/// Expected is the problem's bare answer, or the answer that its solution is marked to end with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mathematics {
    /// What comparing may cost; beyond it an answer is not right.
    pub limits: Limits,
}

impl Mathematics {
    fn expected(problem: &Problem) -> Option<String> {
        match &problem.answer {
            Some(answer) => Some(bare(answer)),
            None => extract_answer(&problem.solution).map(|found| found.text),
        }
    }
}

impl Judge for Mathematics {
    fn name(&self) -> String {
        format!("mathematics {:?}", self.limits)
    }

    fn accepts(&self, problem: &Problem) -> Result<(), String> {
        match Self::expected(problem) {
            Some(expected) if !expected.trim().is_empty() => Ok(()),
            _ => Err(
                "it has no `answer`, and its solution marks none by \\boxed{…} or \"the answer is …\"; give it one \
                 or leave it out"
                    .to_owned(),
            ),
        }
    }

    fn judge(&self, problem: &Problem, answer: Option<&str>) -> Judgement {
        let expected = Self::expected(problem);
        let (correct, reason) = match (&expected, answer) {
            (Some(expected), Some(answer)) => {
                let verdict = verify_within(expected, answer, &self.limits);
                (verdict.equal, verdict.why.to_string())
            }
            (_, None) => (false, "no answer".to_owned()),
            (None, _) => (false, "nothing is expected".to_owned()),
        };
        Judgement {
            extracted: answer.map(bare),
            expected,
            correct,
            reason,
        }
    }
}

/// The marked answer in a text, or the text itself.
fn bare(text: &str) -> String {
    extract_answer(text).map_or_else(|| text.trim().to_owned(), |found| found.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(answer: Option<&str>, solution: &str) -> Problem {
        Problem {
            id: "p".to_owned(),
            question: "q".to_owned(),
            solution: solution.to_owned(),
            answer: answer.map(str::to_owned),
            reasoning_trace: None,
            domain: None,
        }
    }

    #[test]
    fn answers_are_found_and_compared_by_value() {
        let judge = Mathematics::default();
        let problem = problem(Some("3/4"), "s");
        let said = judge.judge(&problem, Some(r"First \boxed{2}, then \boxed{0.75}."));
        assert_eq!(said.extracted.as_deref(), Some("0.75"));
        assert_eq!(said.expected.as_deref(), Some("3/4"));
        assert!(said.correct, "{said:?}");
        let said = judge.judge(&problem, Some("The answer is 0.74."));
        assert!(
            !said.correct && said.reason == "different values",
            "{said:?}"
        );
        let said = judge.judge(&problem, None);
        assert!(!said.correct && said.extracted.is_none(), "{said:?}");
    }

    #[test]
    fn the_same_text_needs_one_to_compare_with() {
        let expected = problem(Some(" 07"), "s");
        assert_eq!(SameText.accepts(&expected), Ok(()));
        assert!(SameText.judge(&expected, Some("07 ")).correct);
        assert!(!SameText.judge(&expected, Some("7")).correct);
        assert!(!SameText.judge(&expected, None).correct);
        for answer in [None, Some(" ")] {
            assert!(SameText.accepts(&problem(answer, r"\boxed{7}")).is_err());
        }
    }

    #[test]
    fn a_solution_may_hold_the_answer() {
        let judge = Mathematics::default();
        let marked = problem(None, r"Add them: \boxed{12}");
        assert_eq!(judge.accepts(&marked), Ok(()));
        assert!(judge.judge(&marked, Some("12")).correct);
        let unmarked = problem(None, "Add them.");
        assert!(judge.accepts(&unmarked).is_err());
        assert!(!judge.judge(&unmarked, Some("12")).correct);
    }
}
