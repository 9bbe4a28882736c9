//! Talks to a trained teacher: an explanation, its reward by terms, its tokens in colour.
//!
//! Owns the command line and the conversation; `classroom` holds the models, `shown` the colours.
#![forbid(unsafe_code)]

mod classroom;
mod shown;

use std::io::{IsTerminal, Write as _, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use didact::Device;
use didact::core::Problem;

use crate::classroom::{Classroom, Places};
use crate::shown::Paint;

// Models make and drop large temporaries; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Talks to a trained teacher: shows an explanation, its reward by terms, and its tokens in colour.
///
/// With a question and a solution it answers once; without, it asks for them until the input ends.
#[derive(Debug, Parser)]
struct Options {
    /// The directory of a finished run, such as quickstart leaves.
    #[arg(long, default_value = "runs/quickstart-1")]
    run: PathBuf,
    /// The teacher, a Hugging Face folder or a GGUF file; RUN/teacher by default. RUN/base is the teacher before training.
    #[arg(long)]
    teacher: Option<PathBuf>,
    /// The student that the reward asks, a Hugging Face folder or a GGUF file; RUN/base by default.
    #[arg(long)]
    student: Option<PathBuf>,
    /// The prompt format: `thought`, `think`, or a TOML file. By default RUN/format.json.
    #[arg(long)]
    format: Option<String>,
    /// What is asked.
    #[arg(long, requires = "solution")]
    question: Option<String>,
    /// What the teacher is shown beside it.
    #[arg(long, requires = "question")]
    solution: Option<String>,
    /// Judges this text rather than an explanation of the teacher's.
    #[arg(long, requires = "question", conflicts_with_all = ["samples", "temperature", "max_tokens", "seed"])]
    explanation: Option<String>,
    /// Explanations that are sampled.
    #[arg(long, default_value_t = 1)]
    samples: usize,
    /// Divides the logits; above 0.
    #[arg(long, default_value_t = 0.7)]
    temperature: f64,
    /// At most so many tokens of an explanation.
    #[arg(long, default_value_t = 512)]
    max_tokens: usize,
    /// Seeds the draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where tensors live: cpu, or as the build has them cuda:0, rocm:0, metal, vulkan, wgpu.
    #[arg(long, default_value = "cpu", value_parser = didact::kernels::device)]
    device: Device,
    /// Whether tokens are coloured; by default on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

impl Colour {
    fn paint(self) -> Paint {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint::new(match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stdout().is_terminal() && !no_color,
        })
    }
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
    let mut classroom = Classroom::open(&Places {
        run: &options.run,
        teacher: options.teacher.as_deref(),
        student: options.student.as_deref(),
        format: options.format.as_deref(),
        device: &options.device,
    })?;
    let paint = options.color.paint();
    if let (Some(question), Some(solution)) = (&options.question, &options.solution) {
        let problem = problem(question, solution);
        return answer(
            &mut classroom,
            options,
            &problem,
            options.explanation.as_deref(),
            paint,
        );
    }
    loop {
        let Some(question) = ask("question")? else {
            return Ok(());
        };
        let Some(solution) = ask("solution")? else {
            return Ok(());
        };
        let written = ask("explanation, or nothing to hear the teacher's")?;
        let written = written.filter(|text| !text.is_empty());
        let problem = problem(&question, &solution);
        // What one question is refused for says nothing about the next.
        if let Err(error) = answer(&mut classroom, options, &problem, written.as_deref(), paint) {
            eprintln!("error: {error}\n");
        }
    }
}

fn problem(question: &str, solution: &str) -> Problem {
    Problem {
        id: "yours".to_owned(),
        question: question.to_owned(),
        solution: solution.to_owned(),
        answer: None,
        reasoning_trace: None,
        domain: None,
    }
}

fn answer(
    classroom: &mut Classroom,
    options: &Options,
    problem: &Problem,
    written: Option<&str>,
    paint: Paint,
) -> Result<()> {
    let records = match written {
        Some(text) => classroom.judge(problem, text)?,
        None => {
            let Options {
                samples,
                temperature,
                max_tokens,
                seed,
                ..
            } = *options;
            classroom.explain(problem, samples, (temperature, max_tokens), seed)?
        }
    };
    for record in &records {
        println!("{}", shown::explanation(record, paint));
    }
    Ok(())
}

/// A line of the input without its end; none where the input ended.
fn ask(what: &str) -> Result<Option<String>> {
    if stdin().is_terminal() {
        print!("{what}> ");
        stdout().flush()?;
    }
    let mut line = String::new();
    let read = stdin().read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}
