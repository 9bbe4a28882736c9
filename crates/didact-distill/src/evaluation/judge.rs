//! Who says whether an answer is right.
//!
//! Owns what a judge is asked and says. Knows no mathematics.

use didact_core::Problem;

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
