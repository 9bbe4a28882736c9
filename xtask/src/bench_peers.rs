//! Didact beside the Python peers: the same work on the same tokens, in turns, in one run.
//!
//! Owns the order of things: build, environment, model, two worker processes, pairs, report. What the work is stands
//! in `benches/src/peer` for Didact and in `benches/peers` for the peers; this command only asks, compares and counts.

mod agreement;
mod inputs;
mod machine;
mod measure;
mod report;
mod work;
mod worker;

use std::path::{Path, PathBuf};

use crate::command::{self, Outcome, cargo};
use crate::python;
use measure::Bench;
use work::Work;

/// The peers.
const PACKAGES: [&str; 4] = ["torch", "transformers", "trl", "peft"];

/// How to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Pairs of runs a work; the ratio is the median of theirs. Fewer than 5 are only good for a try.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Prints one JSON object on standard output instead of the table.
    #[arg(long)]
    json: bool,
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Work>,
    /// A Python environment that has torch, transformers, trl and peft already.
    #[arg(long)]
    venv: Option<PathBuf>,
    /// Writes the table into the guide.
    #[arg(long)]
    write_docs: bool,
    /// Threads of either side.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Takes the program as it was built last.
    #[arg(long)]
    no_build: bool,
    /// Where the model is kept.
    #[arg(long, default_value = "models")]
    models: PathBuf,
}

impl Options {
    fn wants(&self, work: Work) -> bool {
        self.only.is_empty() || self.only.contains(&work)
    }
}

pub(crate) fn run(options: &Options) -> Outcome {
    if options.pairs == 0 {
        return Err(
            "--pairs must be at least 1, and 5 for figures that are worth keeping".to_owned(),
        );
    }
    if options.write_docs && (options.pairs < 5 || !options.only.is_empty()) {
        return Err(
            "--write-docs wants all works and at least 5 pairs: leave --only out, raise --pairs"
                .to_owned(),
        );
    }
    let gguf = smollm2_weights::obtain(&options.models).map_err(|error| error.to_string())?;
    let python = python::obtain(options.venv.as_deref(), &PACKAGES)?;
    if !options.no_build {
        build()?;
    }
    let binary = command::target().join("release").join("didact-bench");
    let folder = model_folder(&binary, &gguf)?;

    let sides = worker::Sides::new(binary, python, folder, options.threads)?;
    let mut bench = Bench::new(sides, options.pairs)?;
    for work in Work::ALL.into_iter().filter(|&work| options.wants(work)) {
        bench.measure(work)?;
    }
    let results = bench.finish()?;
    if options.json {
        println!("{}", report::json(&results));
    } else {
        println!("{}", report::text(&results));
    }
    if options.write_docs {
        report::write_docs(&results)?;
    }
    Ok(())
}

fn build() -> Outcome {
    // The features that the rest of the workspace is built with, so that nothing is built twice.
    let packages = [
        "--package",
        "didact-bench",
        "--package",
        "workspace-features",
    ];
    command::run(cargo(["build", "--release"]).args(packages))
}

/// The model as both sides load it: Didact writes it once, in f32, beside what it builds.
fn model_folder(binary: &Path, gguf: &Path) -> Result<PathBuf, String> {
    let folder = command::target().join("bench-peers").join("model");
    // The configuration is written last.
    if folder.join("config.json").exists() {
        return Ok(folder);
    }
    let mut convert = std::process::Command::new(binary);
    convert
        .arg("convert")
        .arg("--gguf")
        .arg(gguf)
        .arg("--folder")
        .arg(&folder);
    python::run(&mut convert)?;
    Ok(folder)
}
