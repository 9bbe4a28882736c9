//! Didact's side of the exchange with transformers, peft and TensorBoard.
//!
//! `read FOLDER` opens what `python/exchange.py write` made and prints, as one line of JSON, how far the logits
//! are apart. `write FOLDER` makes models, adapters and event files for `python/exchange.py read`.
//! `cargo xtask interop` runs both; by hand this program is of little use.
#![forbid(unsafe_code)]

mod events;
mod models;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Exchanges files with Python.
#[derive(Debug, Parser)]
#[command(name = "didact-interop")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Opens models and adapters that Python wrote.
    Read {
        /// A folder of one folder a family.
        folder: PathBuf,
    },
    /// Writes models, adapters and events.
    Write {
        /// The folder to make.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Read { folder } => models::read(&folder).map(|found| println!("{found}")),
        Task::Write { folder } => models::write(&folder).and_then(|()| events::write(&folder)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("didact-interop: {error}");
            ExitCode::FAILURE
        }
    }
}
