//! The command line, and the sizes of every stage.

use std::path::PathBuf;

use arithmetic::schooling::Lesson;
use arithmetic::world::Habits;
use clap::Parser;
use didact::Device;
use didact::distill::student::StudentEvaluationConfig;
use didact::distill::{CollectConfig, PipelineConfig, SelectionConfig};
use didact::rl::{AdamWConfig, Decay, FineTuneConfig, OptimizerConfig, Schedule, TeacherConfig};

/// Trains a tiny teacher to explain worked arithmetic, and distills students of two sizes from its explanations.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// The run directory, which must not exist yet. Default: runs/quickstart-SEED.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seeds problems and every draw; from scratch, weights too.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Schools the decoders that the loop begins with, rather than taking those that are shipped.
    #[arg(long)]
    pub(crate) from_scratch: bool,
    /// Where tensors live: cpu, or as the build has them cuda:0, rocm:0, metal, vulkan, wgpu.
    #[arg(long, default_value = "cpu", value_parser = didact::kernels::device)]
    pub(crate) device: Device,
    /// Prints the resolved configuration of every stage and the memory that it will take, and trains nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Prints the accuracies of these finished runs side by side, and trains nothing.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) summary: Vec<PathBuf>,
    /// Makes the decoders that are shipped, in examples/quickstart/bases or another folder, and nothing else.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "examples/quickstart/bases")]
    pub(crate) make_bases: Option<PathBuf>,
    /// Sizes so small that the run proves only that every stage works.
    #[arg(long)]
    pub(crate) smoke: bool,
}

/// Operations of the problems that are explained.
pub(crate) const OPERATIONS: (usize, usize) = (2, 4);

/// The longest explanation, in tokens: one with every habit at every step.
const EXPLANATION_TOKENS: usize = 112;

/// The tokens around an explanation and an answer: tags, digits and the end of the turn.
const ANSWER_TOKENS: usize = 8;

/// How most of the traces that the models grow up with are written.
pub(crate) const HABITS: Habits = Habits {
    skip: 0.45,
    digress: 0.35,
    correct: 0.25,
    ..Habits::NONE
};

/// Traces in every style, half in the student's format, half in the teacher's.
const fn mixture(stage: &'static str, steps: u64, peak: f64) -> Lesson {
    Lesson {
        stage,
        steps,
        until: None,
        texts: 24,
        schedule: Schedule {
            peak,
            warmup_steps: 0,
            steps,
            decay: Decay::Cosine,
            floor: 0.0,
        },
        operations: OPERATIONS,
        habits: HABITS,
        plain_share: 0.0,
        plain_operations: (1, 1),
        teacher_share: 0.5,
    }
}

impl Options {
    /// Where the run is written.
    pub(crate) fn out(&self) -> PathBuf {
        self.out
            .clone()
            .unwrap_or_else(|| format!("runs/quickstart-{}", self.seed).into())
    }

    /// One of two numbers: the run's or the smoke test's.
    const fn of<T: Copy>(&self, run: T, smoke: T) -> T {
        if self.smoke { smoke } else { run }
    }

    /// The lessons that make a small decoder of random weights do arithmetic.
    pub(crate) fn small_lessons(&self) -> Vec<Lesson> {
        let primer = Lesson {
            stage: "primer",
            steps: self.of(4_000, 40),
            until: Some(0.015),
            texts: 16,
            schedule: Schedule {
                warmup_steps: self.of(50, 5),
                ..Schedule::constant(5e-3)
            },
            operations: (1, 3),
            habits: Habits::NONE,
            plain_share: 0.0,
            plain_operations: (1, 1),
            teacher_share: 0.0,
        };
        vec![primer, mixture("mixture", self.of(1_500, 60), 3e-3)]
    }

    /// The lessons of the small decoder, widened.
    pub(crate) fn large_lessons(&self) -> Vec<Lesson> {
        vec![mixture("mixture_large", self.of(500, 10), 2e-3)]
    }

    /// Problems to train on, and held out.
    pub(crate) const fn problems(&self) -> (usize, usize) {
        (self.of(800, 16), self.of(500, 4))
    }

    /// How the loop's stages work.
    pub(crate) fn pipeline(&self) -> PipelineConfig {
        let small = FineTuneConfig {
            seed: self.seed,
            batch_size: 32,
            optimizer: OptimizerConfig::Adamw(AdamWConfig {
                beta2: 0.99,
                ..AdamWConfig::default()
            }),
            ..FineTuneConfig::published_distillation()
        };
        PipelineConfig {
            warm_up: Some(FineTuneConfig {
                stage: "warmup".to_owned(),
                epochs: self.of(2, 1),
                learning_rate: 1e-3,
                ..small.clone()
            }),
            teacher: TeacherConfig {
                seed: self.seed,
                steps: self.of(80, 1),
                problems_per_step: self.of(12, 1),
                group_size: self.of(12, 2),
                max_completion_tokens: EXPLANATION_TOKENS,
                learning_rate: 1.5e-4,
                ..TeacherConfig::published()
            },
            collect: CollectConfig {
                problems: Some(self.of(500, 8)),
                // Untrained models close little.
                selection: SelectionConfig {
                    keep_unclosed: self.smoke,
                    ..SelectionConfig::default()
                },
                seed: self.seed,
                ..CollectConfig::default()
            },
            distillation: FineTuneConfig {
                epochs: self.of(3, 1),
                learning_rate: 5e-4,
                ..small
            },
            student: StudentEvaluationConfig {
                temperature: 0.7,
                max_completion_tokens: EXPLANATION_TOKENS + ANSWER_TOKENS,
                answers: true,
                seed: self.seed,
            },
            // A matter of a minute.
            checkpoints: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_accepted() {
        for arguments in [
            &["quickstart"][..],
            &["quickstart", "--smoke", "--seed", "7"],
        ] {
            let options = Options::try_parse_from(arguments).unwrap();
            let config = options.pipeline();
            config.teacher.resolve(192, &[0], "</explanation>").unwrap();
            for fine_tune in [config.warm_up.unwrap(), config.distillation] {
                fine_tune.resolve(options.problems().0, 192).unwrap();
            }
        }
    }
}
