//! Budgets, sizes and metrics of the claims, fixed before their runs.
//!
//! Owns every number that decides about an outcome. Knows no model.

use didact::distill::AnswersConfig;
use didact::models::LoraConfig;
use didact::rl::{EvaluationConfig, FineTuneConfig, TeacherConfig};

/// Explanations of each problem that the best is chosen of, and that fill the buckets.
pub(super) const CHOICE: usize = 8;

/// Data sets by reward.
pub(super) const BUCKETS: usize = 8;

/// What is done with how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// Whether sizes prove only that every stage works.
    pub(super) smoke: bool,
}

impl Plan {
    const fn or(self, full: usize, small: usize) -> usize {
        if self.smoke { small } else { full }
    }

    /// Adapters of students and teachers alike.
    pub(super) fn adapter(self) -> LoraConfig {
        LoraConfig::new(16, 32.0)
    }

    /// Problems that teachers explain for students.
    pub(super) const fn explained(self) -> usize {
        self.or(24, 3)
    }

    /// Problems that teachers are judged on.
    pub(super) const fn held_out(self) -> usize {
        self.or(64, 2)
    }

    /// The first of these, which students answer.
    pub(super) const fn answered(self) -> usize {
        self.or(24, 2)
    }

    /// Longest explanation, in tokens.
    const fn explanation_tokens(self) -> usize {
        self.or(40, 8)
    }

    /// Longest thought with its solution, in tokens.
    const fn answer_tokens(self) -> usize {
        self.or(112, 12)
    }

    /// Tries at each problem of a solver whose right ones are kept.
    const fn tries(self) -> usize {
        self.or(4, 1)
    }

    fn fine_tune(self) -> FineTuneConfig {
        FineTuneConfig {
            seed: self.seed,
            batch_size: self.or(8, 2),
            learning_rate: 2e-4,
            warmup_ratio: 0.0,
            micro_batch_tokens: 1024,
            ..FineTuneConfig::published_distillation()
        }
    }

    /// Of a teacher or a solver, in its format.
    pub(super) fn warm_up(self) -> FineTuneConfig {
        let steps = self.or(8, 1) as u64;
        FineTuneConfig {
            stage: "warm_up".to_owned(),
            epochs: 1,
            max_steps: Some(steps),
            ..self.fine_tune()
        }
    }

    /// Of a student on explanations.
    pub(super) fn distillation(self) -> FineTuneConfig {
        FineTuneConfig {
            epochs: self.or(2, 1) as u64,
            ..self.fine_tune()
        }
    }

    /// Of a student on a bucket, of which there are many.
    pub(super) fn bucket_distillation(self) -> FineTuneConfig {
        FineTuneConfig {
            epochs: 1,
            ..self.fine_tune()
        }
    }

    /// Of a teacher.
    pub(super) fn explaining(self) -> TeacherConfig {
        TeacherConfig {
            seed: self.seed,
            steps: self.or(20, 1) as u64,
            problems_per_step: self.or(6, 1),
            group_size: self.or(4, 2),
            max_completion_tokens: self.explanation_tokens(),
            stop_at_end_tag: true,
            learning_rate: 2e-4,
            reference_mixing: None,
            micro_batch_tokens: 1024,
            evaluation: Some(EvaluationConfig {
                every: 0,
                ..EvaluationConfig::default()
            }),
            ..TeacherConfig::published()
        }
    }

    /// Of a solver: half as many steps, since its samples are about three times as long.
    pub(super) fn solving(self) -> TeacherConfig {
        TeacherConfig {
            steps: self.or(10, 1) as u64,
            max_completion_tokens: self.answer_tokens(),
            // It is looked at by its greedy answers, as students are.
            evaluation: None,
            ..self.explaining()
        }
    }

    /// The likeliest answer, and the known solution after its thought.
    pub(super) fn examination(self) -> AnswersConfig {
        AnswersConfig {
            max_completion_tokens: self.answer_tokens(),
            solution_log_prob: true,
            seed: self.seed,
            ..AnswersConfig::default()
        }
    }

    /// Of a solver whose right tries are kept.
    pub(super) fn trying(self) -> AnswersConfig {
        AnswersConfig {
            greedy: false,
            samples: self.tries(),
            temperature: 0.7,
            top_p: 1.0,
            solution_log_prob: false,
            ..self.examination()
        }
    }
}
