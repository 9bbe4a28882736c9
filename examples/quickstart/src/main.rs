//! Trains a tiny teacher to explain worked arithmetic and distills students of two sizes from it.
//!
//! Owns the order of things: decoders that can do the arithmetic in every style they have seen are taken as they are
//! shipped or schooled, then the same loop as for any model (`didact::distill::pipeline`) makes a teacher of one.
#![forbid(unsafe_code)]

mod bases;
mod options;
mod report;
mod summary;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arithmetic::grades::Grades;
use arithmetic::language;
use arithmetic::world::{ProblemSet, World};
use clap::Parser;
use didact::core::Problem;
use didact::distill::pipeline::{Models, NamedStudent, Task, run};
use didact::distill::{CollectedExplanation, plan};
use didact::reward::rlt;
use didact::rl::{RunDirectory, TeacherTask, TensorBoard};
use example_console::Console;

use crate::bases::{Bases, LARGE_NAME, Schooling};
use crate::options::{HABITS, OPERATIONS, Options};
use crate::report::BeforeAfter;
use crate::summary::Results;

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
    if !options.summary.is_empty() {
        println!("{}", summary::table(&options.summary)?);
        return Ok(());
    }
    if options.dry_run {
        return dry_run(options);
    }
    let mut console = Console::new().every(Duration::from_secs(4));
    if let Some(folder) = &options.make_bases {
        let lessons = [options.small_lessons(), options.large_lessons()];
        let lessons = [lessons[0].as_slice(), lessons[1].as_slice()];
        let made = bases::make(folder, lessons, &mut console)?;
        console.line(&format!("{} says what was made", made.display()));
        return Ok(());
    }
    let mut directory = RunDirectory::create(options.out())?;
    let mut board = TensorBoard::new(directory.path().join("tensorboard"));
    let base = directory.path().join("base");
    let task = task(options, &base)?;
    let bases = begin(
        options,
        &task,
        &mut directory,
        &mut (&mut console, &mut board),
    )?;
    bases.small.save_folder(&base)?;

    console.heading("warm-up, teacher RL, explanations, students");
    let models = Models {
        teacher: bases.small.clone(),
        student: bases.small,
        others: vec![NamedStudent {
            name: LARGE_NAME.to_owned(),
            decoder: bases.large,
        }],
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
    directory.write_json("results.json", &Results::new(options.seed, &results))?;
    console.line(&report::table(&results, &explanations, &grades));
    let page = didact::rl::report::write(directory.path())?;
    console.line(&format!(
        "everything is in {}; {} shows it",
        directory.path().display(),
        page.display()
    ));
    Ok(())
}

/// The decoders that the loop begins with.
fn begin(
    options: &Options,
    task: &Task,
    directory: &mut RunDirectory,
    watchers: &mut (&mut Console, &mut TensorBoard),
) -> Result<Bases> {
    let device = options.device.clone().autodiff();
    if !options.from_scratch && !options.smoke {
        return bases::shipped(&directory.path().join("shipped"), &device);
    }
    watchers
        .0
        .heading("schooling: random weights learn worked arithmetic");
    let schooling = Schooling {
        tokenizer: &task.teacher.tokenizer,
        format: &task.teacher.format,
        small: &options.small_lessons(),
        large: &options.large_lessons(),
        seed: options.seed,
    };
    let (bases, missed) = schooling.attend(&device, &mut (&mut *directory, &mut *watchers))?;
    for lesson in missed {
        let what = "ended before its loss was low enough; expect poor arithmetic";
        watchers.0.line(&format!("{lesson} {what}"));
    }
    Ok(bases)
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
    let tokenizer = &task.teacher.tokenizer;
    let (small, large) = (
        bases::SMALL.config(tokenizer)?,
        bases::LARGE.config(tokenizer)?,
    );
    let (small, others) = ((&small).into(), [(&large).into()]);
    for stage in plan(&task, &small, &small, &others, &options.pipeline())? {
        println!("{stage}");
    }
    Ok(())
}

/// The explanations that a stage kept.
fn explanations(path: &Path) -> Result<Vec<CollectedExplanation>> {
    let text = fs_err::read_to_string(path)?;
    Ok(text
        .lines()
        .map(serde_json::from_str)
        .collect::<std::result::Result<_, _>>()?)
}
