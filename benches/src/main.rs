//! What the measuring commands run in a process of Didact's own: `didact-bench COMMAND`.
//!
//! `gpu` is for whoever has a GPU; the others are started by `cargo xtask bench-peers`, and by hand of little use.
#![forbid(unsafe_code)]

mod gpu;
mod peer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::Device;
use clap::{Parser, Subcommand};
use didact_gguf::Gguf;
use didact_models::Decoder;

// As in the examples: training makes and drops large temporaries, whose pages this allocator keeps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures Didact's work.
#[derive(Debug, Parser)]
#[command(name = "didact-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Does the work that requests on standard input name, one JSON object a line, and answers each with one.
    Peer {
        /// The model, as transformers saves it.
        #[arg(long)]
        model: PathBuf,
    },
    /// Writes a GGUF model as the folder that transformers opens, in f32.
    Convert {
        /// The GGUF file.
        #[arg(long)]
        gguf: PathBuf,
        /// The folder to write.
        #[arg(long)]
        folder: PathBuf,
    },
    /// Checks and times every operation on a GPU, beside what it should take; `--predict` needs no GPU.
    Gpu(gpu::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Peer { model } => peer::run(&model),
        Command::Convert { gguf, folder } => convert(&gguf, &folder),
        Command::Gpu(options) => gpu::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("didact-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn convert(gguf: &Path, folder: &Path) -> Result<()> {
    Decoder::load_gguf(&Gguf::open(gguf)?, &Device::flex())?.save_folder(folder)?;
    Ok(())
}
