//! Developer and CI commands of the workspace: `cargo xtask COMMAND`.
//!
//! Knows which commands of cargo make up a check; knows nothing of what the crates do. It depends
//! on none of them, so that it builds in seconds.
#![forbid(unsafe_code)]

mod bench_peers;
mod check;
mod command;
mod conformance;
mod cuda_sources;
mod fetch;
mod interop;
mod package;
mod python;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer and CI commands of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Formatting, clippy, documentation, features and a downstream crate; warnings are errors.
    Check,
    /// All tests, with nextest where it is installed, and the documentation's examples.
    Test {
        /// Further arguments for the test runner, such as a name to filter by.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Downloads a model and prints its path.
    Fetch {
        /// Which model.
        #[arg(value_enum)]
        model: fetch::Model,
        /// The folder to keep it in.
        #[arg(long, default_value = "models")]
        out: PathBuf,
    },
    /// Compares everything with golden values made by other implementations.
    Conformance {
        /// Arguments for the comparison: `--fixtures DIR`, `--smollm2 FILE`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures Didact beside the Python peers: the same work on the same tokens, in turns.
    BenchPeers(bench_peers::Options),
    /// Compiles the kernels' CUDA C++ with NVRTC and ptxas, fetched as Python wheels; needs no GPU.
    CudaSources(cuda_sources::Options),
    /// Opens Didact's files in transformers, peft and TensorBoard, and theirs in Didact; by hand.
    Interop(interop::Options),
    /// Packages every crate as it would be published, without building the packages.
    Package {
        /// Further arguments for `cargo package`, such as `--offline`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check => check::run(),
        Task::Test { arguments } => test::run(&arguments),
        Task::Fetch { model, out } => fetch::run(model, &out),
        Task::Conformance { arguments } => conformance::run(&arguments),
        Task::BenchPeers(options) => bench_peers::run(&options),
        Task::CudaSources(options) => cuda_sources::run(&options),
        Task::Interop(options) => interop::run(&options),
        Task::Package { arguments } => package::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
