//! What the pipeline found out, as `results.json` holds it.
//!
//! Owns the figures' names. Knows nothing of how models came about.

use didact_models::Decoder;
use didact_rl::Evaluation;
use serde::{Deserialize, Serialize};

use crate::student::StudentEvaluation;
use crate::{Interval, weights_hash};

/// A teacher's held-out figures before and after RL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeacherResults {
    /// Before RL.
    pub before: Evaluation,
    /// After RL.
    pub after: Evaluation,
    /// Mean reward after minus before, paired by problem.
    pub reward_difference: Option<Interval>,
    /// The same without the penalty for a missing end tag.
    pub reward_without_penalty_difference: Option<Interval>,
}

/// A student's held-out figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentResults {
    /// Which student: one of [`STUDENTS`], after `NAME_` for a student of another size.
    pub name: String,
    /// Whose explanations it learnt from: one of [`STUDENTS`].
    pub teacher: String,
    /// Numbers in its parameters.
    pub parameters: u64,
    /// Explanations that it learnt from.
    pub explanations: usize,
    /// Mean log-prob of the solution's tokens after the student's own thought, in nats.
    pub solution_log_prob: Option<Interval>,
    /// The same minus the undistilled student's, paired by problem.
    pub difference: Option<Interval>,
    /// The fraction of thoughts that it closed.
    pub closed: f64,
    /// The fraction of right answers, where answers were wanted.
    pub accuracy: Option<Interval>,
    /// The hash of its weights.
    pub weights: String,
}

impl StudentResults {
    pub(super) fn new(
        [name, teacher]: [&str; 2],
        explanations: usize,
        evaluation: &StudentEvaluation,
        undistilled: &[Option<f64>],
        student: &Decoder,
    ) -> Self {
        Self {
            name: name.to_owned(),
            teacher: teacher.to_owned(),
            parameters: student.config().parameter_count().unwrap_or(u64::MAX),
            explanations,
            solution_log_prob: evaluation.solution_log_prob(),
            difference: Interval::of_differences(undistilled, &evaluation.solution_log_probs()),
            closed: evaluation.closed(),
            accuracy: evaluation.accuracy(),
            weights: weights_hash(student),
        }
    }
}

/// Everything that the pipeline found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineResults {
    /// The teacher before and after RL.
    pub teacher: TeacherResults,
    /// The hash of the trained teacher's weights.
    pub teacher_weights: String,
    /// The students: undistilled, of the teacher before RL, of the trained teacher; then those of other sizes in the same
    /// order. One whose teacher closed no explanation is not there.
    pub students: Vec<StudentResults>,
    /// Solution log-prob of the trained teacher's student minus that of the student of the teacher before RL,
    /// paired by problem.
    pub student_difference: Option<Interval>,
    /// The whole pipeline's duration.
    pub seconds: f64,
}

/// The names of the three students of a size, in the order of [`PipelineResults::students`].
pub const STUDENTS: [&str; 3] = ["undistilled", "of_teacher_before_rl", "of_trained_teacher"];
