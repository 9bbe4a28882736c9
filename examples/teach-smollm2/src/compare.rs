//! Teacher RL with all weights, with an adapter, and with an adapter over quantised weights, side by side.
//!
//! Owns what differs between them and the table at the end. Each runs in a process of its own, so that each has
//! a peak memory of its own; problems, seed and objective are the same. There is no warm-up: teacher and student
//! begin as one model and share its memory.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use didact::core::Problem;
use didact::distill::{PlannedStage, Task};
use didact::models::{Bits, Decoder, DecoderConfig, LoraConfig};
use didact::rl::memory::{MemoryPlace, PlannedModel, PlannedStudent, WeightStorage};
use didact::rl::{
    MetricsKind, MetricsRecord, RunDirectory, StudentModel, TeacherConfig, TeacherModels,
    TeacherTask, TeacherTrainer,
};
use example_console::Console;

use crate::Result;
use crate::options::Options;

const RANK: usize = 16;
const ALPHA: f64 = 32.0;
/// An adapter's learning rate over that of all weights, as is usual.
const ADAPTER_RATE: f64 = 10.0;
/// The steps before this one warm caches up and are not timed.
const FIRST_TIMED: u64 = 3;

/// What teacher RL trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trained {
    /// All weights.
    Full,
    /// An adapter beside f32 weights.
    Lora,
    /// An adapter beside 8-bit weights.
    Lora8,
    /// An adapter beside 4-bit weights.
    Lora4,
}

impl Trained {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lora => "lora",
            Self::Lora8 => "lora8",
            Self::Lora4 => "lora4",
        }
    }

    fn label(self) -> String {
        match self {
            Self::Full => "all weights".to_owned(),
            Self::Lora => format!("adapter of rank {RANK}"),
            Self::Lora8 => "the same over 8 bits".to_owned(),
            Self::Lora4 => "the same over 4 bits".to_owned(),
        }
    }

    fn config(self, options: &Options) -> TeacherConfig {
        let mut config = options.pipeline().teacher;
        // An adapter has no difference to mix; the same without it for all.
        config.reference_mixing = None;
        if self != Self::Full {
            config.learning_rate *= ADAPTER_RATE;
        }
        config
    }

    fn policy(self, model: Decoder) -> Result<Decoder> {
        let base = match self {
            Self::Full => return Ok(model),
            Self::Lora => model,
            Self::Lora8 => model.quantise(Bits::Eight)?,
            Self::Lora4 => model.quantise(Bits::Four)?,
        };
        Ok(base.with_adapter(&LoraConfig::new(RANK, ALPHA), 1)?)
    }
}

/// Runs all of them, one after the other, and prints the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let out = options.out();
    if out.exists() {
        return Err(format!("{} exists; a run never writes over another", out.display()).into());
    }
    let program = std::env::current_exe()?;
    for trained in Trained::value_variants() {
        eprintln!("── {}", trained.label());
        let mut command = Command::new(&program);
        command
            .args(
                std::env::args_os()
                    .skip(1)
                    .filter(|word| word != "--compare"),
            )
            .args(["--teach-only", trained.name()])
            .arg("--out")
            .arg(out.join(trained.name()));
        let status = command.status()?;
        if !status.success() {
            return Err(format!("{} failed ({status})", trained.label()).into());
        }
    }
    if !options.dry_run {
        println!("{}", table(&out)?);
    }
    Ok(())
}

/// What [`teach`] would do.
pub(crate) fn plan(
    trained: Trained,
    options: &Options,
    sizes: &DecoderConfig,
    task: &Task,
) -> Result<PlannedStage> {
    let lora = LoraConfig::new(RANK, ALPHA);
    let policy = PlannedModel {
        config: sizes,
        weights: match trained {
            Trained::Full | Trained::Lora => WeightStorage::F32,
            Trained::Lora8 => WeightStorage::EightBit,
            Trained::Lora4 => WeightStorage::FourBit,
        },
        adapter: (trained != Trained::Full).then_some(&lora),
        place: MemoryPlace::of(&options.device),
    };
    Ok(PlannedStage::teacher(
        &task.teacher,
        &task.train,
        &policy,
        &PlannedStudent::Initial,
        &trained.config(options),
    )?)
}

/// Teacher RL of one kind, from the model as it is.
pub(crate) fn teach(
    trained: Trained,
    options: &Options,
    model: Decoder,
    task: TeacherTask,
    problems: [&[Problem]; 2],
    console: &mut Console,
) -> Result<()> {
    let config = trained.config(options);
    let models = TeacherModels {
        policy: trained.policy(model)?,
        student: StudentModel::Initial,
    };
    let mut directory = RunDirectory::create(options.out())?;
    let [train, held_out] = problems;
    let mut trainer = TeacherTrainer::new(models, task, train, held_out, &config)?;
    trainer.run(&mut (&mut directory, console))?;
    if trained != Trained::Full {
        trainer
            .policy()?
            .save_adapter(directory.path().join("adapter"))?;
    }
    Ok(())
}

/// What one run wrote down.
struct Figures {
    reward: Vec<f64>,
    evaluations: Vec<f64>,
    step: f64,
    update: f64,
    memory: f64,
}

impl Figures {
    fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("metrics.jsonl");
        let file = std::io::BufReader::new(fs_err::File::open(&path)?);
        let (mut reward, mut evaluations) = (Vec::new(), Vec::new());
        let (mut steps, mut updates, mut memory) = (Vec::new(), Vec::new(), 0.0);
        for line in file.lines() {
            let record: MetricsRecord = serde_json::from_str(&line?)?;
            let get = |name: &str| record.metrics.get(name).unwrap_or(f64::NAN);
            match record.kind {
                MetricsKind::Train => {
                    reward.push(get("reward"));
                    memory = get("memory/peak");
                    if record.step >= FIRST_TIMED {
                        steps.push(get("time/step"));
                        updates.push(get("time/update"));
                    }
                }
                MetricsKind::Evaluation => evaluations.push(get("eval/reward")),
                MetricsKind::Summary => {}
            }
        }
        Ok(Self {
            reward,
            evaluations,
            step: median(steps),
            update: median(updates),
            memory,
        })
    }
}

fn table(out: &Path) -> Result<String> {
    let mut text = String::from(
        "| trained | memory | of full | step, median | of full | update, median | of full | held-out reward, before → after |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let mut all = Vec::new();
    for trained in Trained::value_variants() {
        all.push((*trained, Figures::read(&out.join(trained.name()))?));
    }
    let full = &all[0].1;
    for (trained, found) in &all {
        let evaluation =
            |at: Option<&f64>| at.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
        let _ = writeln!(
            text,
            "| {} | {:.2} GB | {:.2} | {:.2} s | {:.2} | {:.2} s | {:.2} | {} → {} |",
            trained.label(),
            found.memory / 1e9,
            found.memory / full.memory,
            found.step,
            found.step / full.step,
            found.update,
            found.update / full.update,
            evaluation(found.evaluations.first()),
            evaluation(found.evaluations.last()),
        );
    }
    text.push_str("\nreward of each step's samples\n\n| step |");
    for (trained, _) in &all {
        let _ = write!(text, " {} |", trained.name());
    }
    text.push_str("\n|---|---|---|---|---|\n");
    for step in 0..full.reward.len() {
        let _ = write!(text, "| {} |", step + 1);
        for (_, found) in &all {
            let _ = write!(
                text,
                " {:.2} |",
                found.reward.get(step).unwrap_or(&f64::NAN)
            );
        }
        text.push('\n');
    }
    Ok(text)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
