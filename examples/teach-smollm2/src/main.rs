//! Trains SmolLM2-135M-Instruct as a teacher and distills students from it: the whole loop on real weights.
//!
//! Owns the command line and the sizes that suit two CPU cores; the loop itself is `didact::distill::pipeline`.
#![forbid(unsafe_code)]

mod claims;
mod compare;
mod options;
mod report;
mod source;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use didact::core::Problem;
use didact::data::{PromptFormat, read_problems};
use didact::distill::pipeline::{Models, Task, run_until};
use didact::distill::{Error, plan};
use didact::models::DecoderConfig;
use didact::reward::RltConfig;
use didact::rl::report::Reporter;
use didact::rl::{RunDirectory, TeacherTask, TensorBoard};
use example_console::{Console, INTERRUPTED, stop_on_ctrl_c};

use experiments::Result;

use crate::options::Options;
use crate::source::Source;

// Training makes and drops large temporaries at every step; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Three times the published penalty. Where explanations are as short as here, one that is cut off strays less from
/// the student's own words than one that comes to its point and ends, and at −1 it has the better reward: teachers
/// learn not to end.
const MISSING_TAG_PENALTY: f64 = -3.0;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = if options.compare {
        compare::run(&options).map(|()| Outcome::Done)
    } else if let Some(seeds) = &options.claims {
        problems(&options)
            .and_then(|[train, held_out]| claims::run(&options, seeds, [&train, &held_out]))
            .map(|()| Outcome::Done)
    } else {
        teach(&options)
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How a run ended.
enum Outcome {
    Done,
    Interrupted,
}

/// Problems to train on and to evaluate on.
fn problems(options: &Options) -> Result<[Vec<Problem>; 2]> {
    let mut train = match &options.data {
        Some(path) => read_problems(path)?,
        None => source::shipped_train()?,
    };
    let mut held_out = match &options.held_out {
        Some(path) => read_problems(path)?,
        None => source::shipped_held_out()?,
    };
    train.truncate(options.train_problems());
    source::trace_by_first_step(&mut train);
    held_out.truncate(options.held_out_problems());
    Ok([train, held_out])
}

/// What teachers are rewarded by.
fn reward() -> RltConfig {
    RltConfig {
        missing_tag_penalty: MISSING_TAG_PENALTY,
        ..RltConfig::default()
    }
}

fn teach(options: &Options) -> Result<Outcome> {
    let mut console = Console::new();
    let config = options.pipeline();
    let [train, held_out] = problems(options)?;

    console.heading("model");
    let source = Source::find(options.model.as_deref())?;
    let tokenizer = source.tokenizer()?;
    let teacher = TeacherTask::new(
        Arc::new(tokenizer),
        PromptFormat::think(),
        Arc::new(reward().resolve()?),
    );
    if options.dry_run {
        let sizes = source.sizes()?;
        let task = Task {
            teacher,
            train,
            held_out,
        };
        return dry_run(options, &sizes, &task).map(|()| Outcome::Done);
    }
    let model = source.weights(&options.device.clone().autodiff())?;
    drop(source);
    if let Some(trained) = options.teach_only {
        return compare::teach(
            trained,
            options,
            model,
            teacher,
            [&train, &held_out],
            &mut console,
        )
        .map(|()| Outcome::Done);
    }
    let stop = stop_on_ctrl_c()?;
    let mut directory = if options.resume {
        RunDirectory::resume(options.out())?
    } else {
        RunDirectory::create(options.out())?
    };
    console.line(&format!(
        "{} problems to train on, {} held out; run directory {}",
        train.len(),
        held_out.len(),
        directory.path().display()
    ));
    let task = Task {
        teacher,
        train,
        held_out,
    };
    let models = Models {
        teacher: model.clone(),
        student: model,
        others: Vec::new(),
    };
    console.heading("warm-up, teacher RL, explanations, students");
    let mut board = TensorBoard::new(directory.path().join("tensorboard"));
    // A long run: the page is there to look at while it goes on.
    let mut reporter = Reporter::new(directory.path()).every(5);
    let mut watchers = (&mut console, (&mut board, &mut reporter));
    let results = run_until(
        &stop,
        &task,
        models,
        &config,
        &mut directory,
        &mut watchers,
        None,
    );
    if let Err(Error::Interrupted { .. }) = &results {
        console.line("stopped; the same command with --resume goes on");
        return Ok(Outcome::Interrupted);
    }
    let results = results?;
    console.heading("results");
    console.line(&report::table(&results));
    let page = didact::rl::report::write(directory.path())?;
    console.line(&format!(
        "everything is in {}; {} shows it",
        directory.path().display(),
        page.display()
    ));
    Ok(Outcome::Done)
}

/// Prints what each stage would do and hold.
fn dry_run(options: &Options, sizes: &DecoderConfig, task: &Task) -> Result<()> {
    let stages = match options.teach_only {
        Some(trained) => vec![compare::plan(trained, options, sizes, task)?],
        None => plan(task, &sizes.into(), &sizes.into(), &[], &options.pipeline())?,
    };
    for stage in stages {
        println!("{stage}");
    }
    Ok(())
}
