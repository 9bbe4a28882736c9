//! Trains a tiny teacher from scratch on worked arithmetic and distills students from it.
//!
//! Owns the order of things: schooling makes a decoder that can do the arithmetic in every style it has seen,
//! then the same loop as for any model (`didact::distill::pipeline`) makes a teacher of it.
#![forbid(unsafe_code)]

mod options;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arithmetic::grades::Grades;
use arithmetic::language;
use arithmetic::schooling::{School, Size};
use arithmetic::world::{ProblemSet, World};
use clap::Parser;
use didact::Device;
use didact::core::Problem;
use didact::distill::pipeline::{Models, Task, run};
use didact::distill::{CollectedExplanation, plan};
use didact::reward::rlt;
use didact::rl::{RunDirectory, TeacherTask, TensorBoard};
use example_console::Console;

use crate::options::{HABITS, OPERATIONS, Options};
use crate::report::BeforeAfter;

// Training makes and drops large temporaries at every step; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

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
    if options.dry_run {
        return dry_run(options);
    }
    let mut console = Console::new().every(Duration::from_secs(4));
    let mut directory = RunDirectory::create(options.out())?;
    let mut board = TensorBoard::new(directory.path().join("tensorboard"));
    let base = directory.path().join("base");
    let task = task(options, &base)?;
    let TeacherTask {
        tokenizer, format, ..
    } = &task.teacher;

    console.heading("schooling: random weights learn worked arithmetic");
    let school = School {
        world: World::SMALL,
        tokenizer,
        format,
        seed: options.seed,
    };
    let (decoder, missed) = {
        let mut watchers = (&mut directory, (&mut console, &mut board));
        let device = Device::flex().autodiff();
        let fresh = Size::TINY.fresh(tokenizer, options.seed, &device)?;
        school.attend(fresh, &options.lessons(), &mut watchers)?
    };
    decoder.save_folder(&base)?;
    for lesson in missed {
        console.line(&format!(
            "{lesson} ended before its loss was low enough; expect poor arithmetic"
        ));
    }

    console.heading("warm-up, teacher RL, explanations, students");
    let models = Models {
        teacher: decoder.clone(),
        student: decoder,
    };
    let right = |problem: &Problem, answer: &str| problem.answer.as_deref() == Some(answer);
    let results = run(
        &task,
        models,
        &options.pipeline(),
        &mut directory,
        &mut (&mut console, &mut board),
        Some(&right),
    )?;

    console.heading("results");
    let read =
        |when: &str| explanations(&directory.path().join(format!("explanations_{when}.jsonl")));
    let explanations = BeforeAfter {
        before: read("before")?,
        after: read("after")?,
    };
    let grades = BeforeAfter {
        before: Grades::of(World::SMALL, &explanations.before),
        after: Grades::of(World::SMALL, &explanations.after),
    };
    directory.write_json("grades.json", &grades)?;
    console.line(&report::table(&results, &explanations, &grades));
    let page = didact::rl::report::write(directory.path())?;
    console.line(&format!(
        "everything is in {}; {} shows it",
        directory.path().display(),
        page.display()
    ));
    Ok(())
}

/// What the loop works on; the tokenizer's files are written to `folder`.
fn task(options: &Options, folder: &Path) -> Result<Task> {
    let (tokenizer, format) = (
        language::tokenizer(&World::SMALL, folder)?,
        language::format()?,
    );
    let (train, held_out) = options.problems();
    let drawn = |stream, count, held_out| {
        World::SMALL.problems(&ProblemSet {
            seed: options.seed,
            stream,
            count,
            held_out,
            operations: OPERATIONS,
            with: None,
            habits: HABITS,
        })
    };
    Ok(Task {
        teacher: TeacherTask::new(Arc::new(tokenizer), format, Arc::new(rlt().resolve()?)),
        train: drawn(2, train, false),
        held_out: drawn(3, held_out, true),
    })
}

/// Prints what each stage would do and hold.
fn dry_run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let task = task(options, folder.path())?;
    let sizes = Size::TINY.config(&task.teacher.tokenizer)?;
    for stage in plan(
        &task,
        &(&sizes).into(),
        &(&sizes).into(),
        &options.pipeline(),
    )? {
        println!("{stage}");
    }
    Ok(())
}

/// The explanations that a stage kept.
fn explanations(path: &Path) -> Result<Vec<CollectedExplanation>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .lines()
        .map(serde_json::from_str)
        .collect::<std::result::Result<_, _>>()?)
}
