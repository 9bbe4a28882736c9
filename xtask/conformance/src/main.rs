//! Checks Didact against golden values that other implementations made.
//!
//! `--fixtures DIR` takes any directory of the shape that `fixtures/README.md` describes. Each module
//! owns one kind of file and says nothing where it is absent.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

mod data_format;
mod forward;
mod golden;
mod greedy;
mod losses;
mod model_rewards;
mod report;
mod rewards;
mod smollm2;
mod spans;
mod tokenizer;
mod training;

/// Checks Didact against golden values that other implementations made.
#[derive(Debug, Parser)]
struct Arguments {
    /// The directory of golden values.
    #[arg(long)]
    fixtures: PathBuf,
    /// SmolLM2-135M-Instruct as a GGUF file; its checks are skipped without it.
    #[arg(long)]
    smollm2: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut report = report::Report::default();
    // One line a module: MODULE::run(&arguments.fixtures, &mut report);
    forward::run(&arguments.fixtures, &mut report);
    rewards::run(&arguments.fixtures, &mut report);
    losses::run(&arguments.fixtures, &mut report);
    tokenizer::run(&arguments.fixtures, &mut report);
    data_format::run(&arguments.fixtures, &mut report);
    spans::run(&arguments.fixtures, &mut report);
    training::run(&arguments.fixtures, &mut report);
    greedy::run(&arguments.fixtures, &mut report);
    model_rewards::run(&arguments.fixtures, &mut report);
    smollm2::run(
        &arguments.fixtures,
        arguments.smollm2.as_deref(),
        &mut report,
    );
    if report.close() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
