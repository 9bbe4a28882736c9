//! Didact's files in Python and Python's files in Didact, by hand: the packages are gigabytes.
//!
//! Owns the order of things and the page of the guide. What is written and compared stands in
//! `xtask/interop`: `python/exchange.py` for transformers, peft and TensorBoard, `src` for Didact.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::command::{self, Outcome, cargo};
use crate::python;

/// Logits may differ by this much.
const TOLERANCE: f64 = 1e-4;
/// An adapter that moves the logits by less than this would prove nothing.
const LEAST_MOVE: f64 = 1e-2;

const PACKAGES: [&str; 4] = ["torch", "transformers", "peft", "tensorboard"];

/// How to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A Python environment that has torch, transformers, peft and tensorboard already.
    #[arg(long)]
    venv: Option<PathBuf>,
    /// Writes the result into the guide.
    #[arg(long)]
    write_docs: bool,
}

/// The largest differences of logits.
#[derive(Debug, Deserialize)]
struct Differences {
    model: f64,
    adapter: f64,
    /// How far the adapter moves the logits.
    adapter_moves: f64,
}

/// What Didact found in the files of Python.
#[derive(Debug, Deserialize)]
struct Theirs {
    differences: BTreeMap<String, Differences>,
}

/// What Python found in the files of Didact.
#[derive(Debug, Deserialize)]
struct Ours {
    differences: BTreeMap<String, Differences>,
    events: Events,
    versions: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Events {
    /// Pairs of step and value by tag.
    scalars: BTreeMap<String, Vec<(u64, f64)>>,
    /// Tags of texts.
    texts: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let python = python::obtain(options.venv.as_deref(), &PACKAGES)?;
    command::run(&mut cargo([
        "build",
        "--release",
        "--package",
        "didact-interop",
    ]))?;
    let program = command::target().join("release").join("didact-interop");
    let folder = command::target().join("interop");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let (theirs, ours) = (folder.join("theirs"), folder.join("ours"));

    let exchange = |task: &str, folder: &Path| {
        let script = command::root().join("xtask/interop/python/exchange.py");
        let mut command = Command::new(&python);
        command.arg(script).arg(task).arg(folder);
        command
    };
    python::run(&mut exchange("write", &theirs))?;
    let theirs: Theirs = answer(Command::new(&program).arg("read").arg(&theirs))?;
    python::run(Command::new(&program).arg("write").arg(&ours))?;
    let expected = read_events(&ours.join("events.json"))?;
    let ours: Ours = answer(&mut exchange("read", &ours))?;

    let page = page(&theirs, &ours, &expected);
    println!("{page}");
    check(
        "transformers' and peft's files in Didact",
        &theirs.differences,
    )?;
    check("Didact's files in transformers and peft", &ours.differences)?;
    check_events(&expected, &ours.events)?;
    if options.write_docs {
        let place = command::root().join("docs/src/interop.md");
        std::fs::write(&place, page).map_err(|e| format!("{}: {e}", place.display()))?;
    }
    Ok(())
}

/// The JSON object that a command's last line is.
fn answer<T: for<'a> Deserialize<'a>>(command: &mut Command) -> Result<T, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} failed ({})", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| format!("{program} answered {line:?}: {error}"))
}

fn read_events(path: &Path) -> Result<Events, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn check(what: &str, differences: &BTreeMap<String, Differences>) -> Outcome {
    if differences.is_empty() {
        return Err(format!("{what}: no model was compared"));
    }
    for (family, found) in differences {
        for (part, difference) in [("model", found.model), ("adapter", found.adapter)] {
            if difference.is_nan() || difference > TOLERANCE {
                return Err(format!(
                    "{what}: the logits of {family} ({part}) differ by {difference:e}, allowed is {TOLERANCE:e}"
                ));
            }
        }
        if found.adapter_moves.is_nan() || found.adapter_moves < LEAST_MOVE {
            return Err(format!(
                "{what}: the adapter of {family} moves the logits by {:e} only",
                found.adapter_moves
            ));
        }
    }
    Ok(())
}

/// TensorBoard keeps values as f32.
fn check_events(expected: &Events, found: &Events) -> Outcome {
    let narrow = |events: &Events| -> BTreeMap<String, Vec<(u64, u32)>> {
        let narrow = |&(step, value): &(u64, f64)| (step, (value as f32).to_bits());
        let of_tag = |(tag, values): (&String, &Vec<(u64, f64)>)| {
            (tag.clone(), values.iter().map(narrow).collect())
        };
        events.scalars.iter().map(of_tag).collect()
    };
    let has_texts = expected.texts.iter().all(|tag| found.texts.contains(tag));
    if narrow(expected) == narrow(found) && has_texts {
        Ok(())
    } else {
        Err(format!(
            "TensorBoard read {found:?}, but written was {expected:?}"
        ))
    }
}

fn page(theirs: &Theirs, ours: &Ours, expected: &Events) -> String {
    let mut page = String::from(
        "# Files of other programs\n\n\
         Tiny random models of every family, each with a LoRA adapter, went both ways, and one run's TensorBoard\n\
         events one way. A figure is the largest difference of a logit; at most 1e-4 is allowed. In brackets\n\
         stands how far the adapter moves the logits. The command, which CI does not run:\n\n\
         ```text\ncargo xtask interop --write-docs\n```\n\n\
         | family | transformers' model here | peft's adapter here | this model in transformers | this adapter in peft |\n\
         |---|---|---|---|---|\n",
    );
    for (family, read) in &theirs.differences {
        let Some(written) = ours.differences.get(family) else {
            continue;
        };
        let _ = writeln!(
            page,
            "| {family} | {:.1e} | {:.1e} ({:.2}) | {:.1e} | {:.1e} ({:.2}) |",
            read.model,
            read.adapter,
            read.adapter_moves,
            written.model,
            written.adapter,
            written.adapter_moves
        );
    }
    let points: usize = expected.scalars.values().map(Vec::len).sum();
    let _ = writeln!(
        page,
        "\nTensorBoard's own reader found all {points} points of {} scalars, bit for bit as f32.\n",
        expected.scalars.len()
    );
    let versions: Vec<String> = ours
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let _ = writeln!(page, "{}, {}.", today(), versions.join(", "));
    page
}

/// The date as the system writes it.
fn today() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    let text = output.map_or_else(
        |_| String::new(),
        |o| String::from_utf8_lossy(&o.stdout).into_owned(),
    );
    text.trim().to_owned()
}
