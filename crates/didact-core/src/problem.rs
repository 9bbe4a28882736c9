//! Questions with their solutions.

use serde::{Deserialize, Serialize};

/// A question and the solution that a teacher explains.
///
/// Only reading code should build one by hand: `didact-data` refuses an empty solution with the file
/// and line it stands in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Names the problem in metrics, rollouts and errors; unique within a data set.
    pub id: String,
    /// What the student is asked.
    pub question: String,
    /// The worked solution, whose likelihood under the student is the teacher's reward.
    pub solution: String,
    /// The bare final answer, for checking students' answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// A thought that leads to the solution, for warming up a teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_trace: Option<String>,
    /// The field that the problem belongs to, for curricula and reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}
