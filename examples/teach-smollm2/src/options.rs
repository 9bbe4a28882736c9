//! The command line, and what it means for each stage.

use std::path::PathBuf;

use clap::Parser;
use didact::Device;
use didact::distill::student::StudentEvaluationConfig;
use didact::distill::{CollectConfig, PipelineConfig, SelectionConfig};
use didact::rl::{CheckpointConfig, FineTuneConfig, TeacherConfig};
use experiments::Seeds;

use crate::compare::Trained;

/// Arguments that the claims have fixed, or that mean nothing for them.
const OF_ONE_RUN: [&str; 16] = [
    "compare",
    "teach_only",
    "resume",
    "dry_run",
    "checkpoint_every",
    "no_checkpoints",
    "seed",
    "warm_up_steps",
    "steps",
    "problems_per_step",
    "group_size",
    "learning_rate",
    "explanation_tokens",
    "explained_problems",
    "epochs",
    "held_out_problems",
];

/// Trains SmolLM2-135M-Instruct as a teacher on grade-school problems and distills a student from it.
///
/// Without arguments it obtains the model, takes the problems that it ships, and runs the whole loop.
#[derive(Debug, Parser)]
// `--compare` hands its arguments on with others behind them.
#[command(args_override_self = true)]
pub(crate) struct Options {
    /// A model: a folder with config.json, weights and tokenizer.json, or a GGUF file, or (built with feature `hub`)
    /// a hub id. Without it, SmolLM2-135M-Instruct, downloaded to models/ once.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Where tensors live: cpu, or as the build has them cuda:0, rocm:0, metal, vulkan, wgpu.
    #[arg(long, default_value = "cpu", value_parser = didact::kernels::device)]
    pub(crate) device: Device,
    /// Problems to train on, as JSON lines with question and solution.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Problems to evaluate on, in the same form.
    #[arg(long)]
    pub(crate) held_out: Option<PathBuf>,
    /// The run directory, which must not exist yet unless it is resumed. Default: runs/teach-smollm2-SEED.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Goes on from the checkpoints of a run that was stopped or killed; all other arguments must be as before.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Steps between two checkpoints; 0 writes one at the end of each stage.
    #[arg(long, default_value_t = 5)]
    checkpoint_every: u64,
    /// Writes no checkpoint, which saves the disk 1.6 GB a stage; the run cannot be resumed.
    #[arg(long, conflicts_with = "resume")]
    no_checkpoints: bool,
    /// Seeds the order of problems and every draw.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Updates of the warm-up; 0 leaves it out.
    #[arg(long, default_value_t = 8)]
    warm_up_steps: u64,
    /// Steps of teacher RL.
    #[arg(long, default_value_t = 20)]
    steps: u64,
    /// Problems of each RL step.
    #[arg(long, default_value_t = 6)]
    problems_per_step: usize,
    /// Explanations sampled of each problem.
    #[arg(long, default_value_t = 4)]
    group_size: usize,
    /// Learning rate of teacher RL.
    #[arg(long, default_value_t = 2e-5)]
    learning_rate: f64,
    /// The longest explanation, in tokens.
    #[arg(long, default_value_t = 40)]
    explanation_tokens: usize,
    /// Problems that the teachers explain for the students.
    #[arg(long, default_value_t = 64)]
    explained_problems: usize,
    /// Passes of a student over its explanations.
    #[arg(long, default_value_t = 1)]
    epochs: u64,
    /// Held-out problems looked at.
    #[arg(long, default_value_t = 64)]
    held_out_problems: usize,
    /// Trains the teacher alone four times: all weights, an adapter, an adapter over 8-bit and over 4-bit weights;
    /// prints memory, times and rewards of each.
    #[arg(long)]
    pub(crate) compare: bool,
    /// Trains the teacher alone, without a warm-up and without students.
    #[arg(long, value_enum, conflicts_with = "compare")]
    pub(crate) teach_only: Option<Trained>,
    /// Fills rows 1, 3 and 7 of the claims with adapters, for these seeds, as `3` or `1..3`; goes on where it was ended.
    /// Its sizes are fixed.
    #[arg(
        long,
        value_name = "SEEDS",
        num_args = 0..=1,
        default_missing_value = "1..3",
        conflicts_with_all = OF_ONE_RUN
    )]
    pub(crate) claims: Option<Seeds>,
    /// Writes the tables of the claims found so far into this README, between its marks, and runs nothing.
    #[arg(long, value_name = "README", num_args = 0..=1, requires = "claims", default_missing_value = "examples/teach-smollm2/README.md")]
    pub(crate) write_readme: Option<PathBuf>,
    /// Prints the resolved configuration of every stage and the memory that it will take, and trains nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Sizes so small that the run proves only that every stage works.
    #[arg(long)]
    pub(crate) smoke: bool,
}

impl Options {
    pub(crate) fn out(&self) -> PathBuf {
        self.out_or(&format!("runs/teach-smollm2-{}", self.seed))
    }

    pub(crate) fn out_or(&self, default: &str) -> PathBuf {
        // A smoke test leaves real figures alone.
        let end = if self.smoke { "-smoke" } else { "" };
        let default = || format!("{default}{end}").into();
        self.out.clone().unwrap_or_else(default)
    }

    pub(crate) fn train_problems(&self) -> usize {
        if self.smoke { 4 } else { usize::MAX }
    }

    pub(crate) fn held_out_problems(&self) -> usize {
        if self.smoke {
            2
        } else {
            self.held_out_problems
        }
    }

    pub(crate) fn pipeline(&self) -> PipelineConfig {
        let small = self.smoke;
        let checkpoint = CheckpointConfig {
            every: self.checkpoint_every,
            keep_last: 1,
            ..CheckpointConfig::default()
        };
        let fine_tune = FineTuneConfig {
            checkpoint: checkpoint.clone(),
            seed: self.seed,
            batch_size: if small { 2 } else { 8 },
            learning_rate: 2e-5,
            warmup_ratio: 0.0,
            micro_batch_tokens: 1024,
            ..FineTuneConfig::published_distillation()
        };
        let warm_up_steps = if small {
            self.warm_up_steps.min(1)
        } else {
            self.warm_up_steps
        };
        PipelineConfig {
            warm_up: (warm_up_steps > 0).then(|| FineTuneConfig {
                stage: "warmup".to_owned(),
                epochs: warm_up_steps,
                max_steps: Some(warm_up_steps),
                ..fine_tune.clone()
            }),
            teacher: TeacherConfig {
                seed: self.seed,
                steps: if small { 1 } else { self.steps },
                problems_per_step: if small { 1 } else { self.problems_per_step },
                group_size: if small { 2 } else { self.group_size },
                max_completion_tokens: if small { 8 } else { self.explanation_tokens },
                stop_at_end_tag: true,
                learning_rate: self.learning_rate,
                micro_batch_tokens: 1024,
                checkpoint,
                ..TeacherConfig::published()
            },
            collect: CollectConfig {
                problems: Some(if small { 2 } else { self.explained_problems }),
                selection: SelectionConfig {
                    keep_unclosed: small,
                    ..SelectionConfig::default()
                },
                seed: self.seed,
                ..CollectConfig::default()
            },
            distillation: FineTuneConfig {
                epochs: if small { 1 } else { self.epochs },
                ..fine_tune
            },
            student: StudentEvaluationConfig {
                max_completion_tokens: if small { 8 } else { self.explanation_tokens },
                seed: self.seed,
                ..StudentEvaluationConfig::default()
            },
            checkpoints: !self.no_checkpoints,
        }
    }
}
