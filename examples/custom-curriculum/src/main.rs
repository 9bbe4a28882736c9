//! Writes a curriculum of its own and trains a tiny model with it, beside the same training with shuffled epochs.
//!
//! Owns the command line, the comparison and what is printed. The curriculum is `frontier.rs`.
#![forbid(unsafe_code)]

mod frontier;
#[cfg(test)]
mod tests;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use didact::Device;
use didact::core::{Curriculum, Problem};
use didact::rl::rollout::RolloutOrigin;
use didact::rl::{
    EvaluationConfig, MetricsKind, MetricsRecord, Observer, RolloutRecord, RunDirectory,
    StudentModel, TeacherConfig, TeacherModels, TeacherTrainer,
};

use crate::frontier::Frontier;
use crate::world::KINDS;

// Training makes and drops large temporaries at every step; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Trains a tiny model with shuffled epochs and with a curriculum of its own.
#[derive(Debug, Parser)]
struct Options {
    /// The run directory, which must not exist yet. Default: runs/custom-curriculum-SEED.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seeds weights, problems and every draw.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of each training.
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Where tensors live: cpu, or as the build has them cuda:0, rocm:0, metal, vulkan, wgpu.
    #[arg(long, default_value = "cpu", value_parser = didact::kernels::device)]
    device: Device,
    /// So few steps that the run proves only that it works.
    #[arg(long)]
    smoke: bool,
}

fn main() -> ExitCode {
    match start(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| format!("runs/custom-curriculum-{}", options.seed).into());
    for (name, own) in [("shuffled_epochs", false), ("frontier", true)] {
        let mut watchers = (RunDirectory::create(out.join(name))?, Chosen::default());
        let curriculum: Option<Box<dyn Curriculum>> = if own {
            Some(Box::new(Frontier {
                seed: options.seed,
                drawn: 0,
                chances: vec![0.5; world::problems().len()],
            }))
        } else {
            None
        };
        train(options, curriculum, &mut watchers)?;
        println!("{name}\n{}", watchers.1.table());
    }
    println!(
        "{:.0} seconds; everything is in {}",
        begin.elapsed().as_secs_f64(),
        out.display()
    );
    Ok(())
}

/// Trains from random weights; without a curriculum with that of the configuration.
fn train(
    options: &Options,
    curriculum: Option<Box<dyn Curriculum>>,
    observers: &mut (RunDirectory, Chosen),
) -> Result<()> {
    let task = world::task(&observers.0.path().join("tokenizer"))?;
    let config = TeacherConfig {
        seed: options.seed,
        steps: if options.smoke { 3 } else { options.steps },
        problems_per_step: 4,
        group_size: 32,
        max_completion_tokens: 2,
        temperature: 1.0,
        learning_rate: 2e-3,
        reference_mixing: None,
        evaluation: Some(EvaluationConfig {
            every: 20,
            samples: 16,
            ..EvaluationConfig::default()
        }),
        loss: didact::rl::loss::PolicyGradientConfig {
            beta: 0.0,
            entropy_bonus: 0.05,
            ..Default::default()
        },
        ..TeacherConfig::published()
    };
    let models = TeacherModels {
        policy: world::decoder(&task.tokenizer, options.seed, &options.device)?,
        // This reward asks no student.
        student: StudentModel::Current,
    };
    let problems = world::problems();
    let open = |problem: &&Problem| problem.id.starts_with(KINDS[1]);
    let open: Vec<Problem> = problems.iter().filter(open).cloned().collect();
    let mut trainer = TeacherTrainer::new(models, task, &problems, &open, &config)?;
    if let Some(curriculum) = curriculum {
        trainer = trainer.with_curriculum(curriculum);
    }
    trainer.run(observers)?;
    Ok(())
}

/// Which samples were taken, and what became of the open problems.
#[derive(Default)]
struct Chosen {
    /// Of each step, how many samples were of each kind of problem.
    steps: Vec<[usize; KINDS.len()]>,
    /// The share of right answers to all open problems, by the steps made before.
    looks: Vec<(u64, f64)>,
}

impl Observer for Chosen {
    fn on_rollouts(
        &mut self,
        origin: RolloutOrigin<'_>,
        samples: &[RolloutRecord],
    ) -> didact::rl::Result<()> {
        if origin.kind == MetricsKind::Train {
            let of_kind = |kind: &str| {
                let of_it = samples.iter().filter(|s| s.problem.starts_with(kind));
                of_it.count()
            };
            self.steps.push(KINDS.map(of_kind));
        }
        Ok(())
    }

    fn on_metrics(&mut self, record: &MetricsRecord) -> didact::rl::Result<()> {
        let right = record.metrics.get("eval/reward");
        self.looks.extend(right.map(|right| (record.step, right)));
        Ok(())
    }
}

impl Chosen {
    /// For each part of the run what it spent its samples on, and how the open problems went at its end.
    fn table(&self) -> String {
        let mut text =
            String::from("       steps  samples of problems that are      right answers to\n");
        text += "              solved   open   wrong key         open problems\n";
        let mut first = 0;
        for &(step, right) in &self.looks {
            let steps = &self.steps[first..step as usize];
            let of_kind = |kind: usize| steps.iter().map(|counts| counts[kind]).sum::<usize>();
            let counts = [0, 1, 2].map(of_kind);
            let all: usize = counts.iter().sum();
            let shares = counts.map(|count| 100.0 * count as f64 / all.max(1) as f64);
            let right = 100.0 * right;
            if all == 0 {
                text += &format!("      before {right:48.0} %\n");
            } else {
                let [solved, open, wrong] = shares;
                text += &format!(
                    "{:4} to {step:4} {solved:6.0} % {open:4.0} % {wrong:9.0} % {right:19.0} %\n",
                    first + 1
                );
            }
            first = step as usize;
        }
        text
    }
}
