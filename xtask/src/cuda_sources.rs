//! Compiles the kernels' CUDA C++ with NVIDIA's own compilers, on a machine without a GPU.
//!
//! Owns what may not be (a kernel that does not compile, that spills registers or needs too much shared memory) and the
//! table in the guide. The sources are `didact-kernels`' to make, and `cuda/compile.py` runs the compilers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::command::{self, Outcome, cargo};
use crate::python;

/// NVIDIA's compilers and headers as Python wheels, 12.9 update 1.
const WHEELS: [&str; 3] = [
    "nvidia-cuda-nvrtc-cu12==12.9.86",
    "nvidia-cuda-runtime-cu12==12.9.79",
    "nvidia-cuda-nvcc-cu12==12.9.86",
];
/// A100, and H100 and H200.
const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90a"];
/// Shared memory that a cube may take: what devices of sm_86 and sm_89 have, which have the least.
const SHARED_BYTES: usize = 99 << 10;
const FLOATS: [&str; 3] = ["f32", "f16", "bf16"];
const BEGIN: &str = "<!-- cargo xtask cuda-sources --write-docs -->\n";
const END: &str = "<!-- end -->";

/// How to compile.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only fetches the compilers.
    #[arg(long, conflicts_with = "write_docs")]
    fetch: bool,
    /// Writes the table into the guide.
    #[arg(long)]
    write_docs: bool,
}

/// What the compilers found.
#[derive(Debug, Deserialize)]
struct Compiled {
    name: String,
    architecture: String,
    registers: Option<u32>,
    spilled: Option<u32>,
    error: Option<String>,
}

/// A line that the program which writes the sources prints.
#[derive(Debug, Clone, Copy)]
struct Written {
    units: u32,
    shared_bytes: usize,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let python = python::with_wheels("cuda", &WHEELS)?;
    if options.fetch {
        return Ok(());
    }
    let folder = command::target().join("cuda-sources");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let written = write(&folder)?;
    let compiled = compile(&python, &folder)?;
    let expected = written.len() * ARCHITECTURES.len();
    if compiled.len() != expected {
        return Err(format!(
            "{} results for {expected} compilations",
            compiled.len()
        ));
    }
    let problems = problems(&written, &compiled);
    println!(
        "{} sources of {} kernels compiled by NVRTC and ptxas for {}: {} problems",
        written.len(),
        by_kernel(&written).len(),
        ARCHITECTURES.join(" and "),
        problems.len(),
    );
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    if options.write_docs {
        write_docs(&table(&written, &compiled))?;
    }
    Ok(())
}

/// Writes the sources.
fn write(folder: &Path) -> Result<BTreeMap<String, Written>, String> {
    let mut program = cargo(["run", "--release", "--package", "didact-kernels"]);
    program
        .args([
            "--features",
            "wgpu,cuda-sources",
            "--example",
            "cuda_sources",
            "--",
        ])
        .arg(folder);
    let mut written = BTreeMap::new();
    for line in output(&mut program)?.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let numbers = match fields[..] {
            [_, units, shared] => units.parse().ok().zip(shared.parse().ok()),
            _ => None,
        };
        let (units, shared_bytes) = numbers.ok_or_else(|| format!("unexpected line: {line}"))?;
        written.insert(
            fields[0].to_owned(),
            Written {
                units,
                shared_bytes,
            },
        );
    }
    Ok(written)
}

fn compile(python: &Path, folder: &Path) -> Result<Vec<Compiled>, String> {
    let mut program = Command::new(python);
    program
        .arg(command::root().join("xtask/cuda/compile.py"))
        .arg(folder)
        .args(ARCHITECTURES);
    serde_json::from_str(&output(&mut program)?).map_err(|e| format!("compile.py: {e}"))
}

/// What a program prints to standard output.
fn output(program: &mut Command) -> Result<String, String> {
    let name = program.get_program().to_string_lossy().into_owned();
    let output = program
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name} failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{name}: {error}"))
}

fn problems(written: &BTreeMap<String, Written>, compiled: &[Compiled]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, Written { shared_bytes, .. }) in written {
        if *shared_bytes > SHARED_BYTES {
            problems.push(format!(
                "{name}: {shared_bytes} bytes of shared memory, more than {SHARED_BYTES}"
            ));
        }
    }
    for Compiled {
        name,
        architecture,
        spilled,
        error,
        ..
    } in compiled
    {
        if let Some(error) = error {
            problems.push(format!("{name} for {architecture}: {error}"));
        }
        if let Some(bytes) = spilled.filter(|bytes| *bytes > 0) {
            problems.push(format!("{name} for {architecture}: spills {bytes} bytes"));
        }
    }
    problems
}

/// A source's name without its float type, by which a row of the table unites three of them.
fn without_float(name: &str) -> (String, Option<&'static str>) {
    let float = FLOATS
        .into_iter()
        .find(|float| name.split('-').any(|part| part == *float));
    let parts: Vec<&str> = name
        .split('-')
        .filter(|part| Some(*part) != float)
        .collect();
    (parts.join("-"), float)
}

fn by_kernel(written: &BTreeMap<String, Written>) -> BTreeMap<String, Written> {
    written
        .iter()
        .map(|(name, written)| (without_float(name).0, *written))
        .collect()
}

fn table(written: &BTreeMap<String, Written>, compiled: &[Compiled]) -> String {
    let mut table = format!(
        "| kernel | units | shared memory, bytes | registers, {} |\n|---|---:|---:|---|---|\n",
        ARCHITECTURES.join(" | registers, ")
    );
    for (
        kernel,
        Written {
            units,
            shared_bytes,
        },
    ) in by_kernel(written)
    {
        let _ = write!(table, "| {kernel} | {units} | {shared_bytes} |");
        for architecture in ARCHITECTURES {
            let registers: BTreeMap<_, _> = compiled
                .iter()
                .filter(|row| row.architecture == architecture)
                .filter_map(|row| {
                    let (name, float) = without_float(&row.name);
                    let place = FLOATS.iter().position(|f| Some(*f) == float);
                    (name == kernel).then_some((place, row.registers?))
                })
                .collect();
            let registers: Vec<_> = registers.values().map(u32::to_string).collect();
            let _ = write!(table, " {} |", registers.join(" / "));
        }
        table.push('\n');
    }
    table
}

fn write_docs(table: &str) -> Outcome {
    let page: PathBuf = command::root().join("docs/src/gpu.md");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", page.display());
    let text = std::fs::read_to_string(&page).map_err(|error| wrong(&error))?;
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or_else(|| wrong(&"has no place for the table"))?;
    let (_, after) = rest
        .split_once(END)
        .ok_or_else(|| wrong(&"has no end of the table"))?;
    std::fs::write(&page, format!("{before}{BEGIN}\n{table}\n{END}{after}"))
        .map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spill_and_too_much_shared_memory_are_problems() {
        let written = BTreeMap::from([
            (
                "a-f32".to_owned(),
                Written {
                    units: 1,
                    shared_bytes: SHARED_BYTES,
                },
            ),
            (
                "b-f32".to_owned(),
                Written {
                    units: 1,
                    shared_bytes: SHARED_BYTES + 1,
                },
            ),
        ]);
        let row = |name: &str, spilled, error: Option<&str>| Compiled {
            name: name.to_owned(),
            architecture: "sm_80".to_owned(),
            registers: Some(32),
            spilled,
            error: error.map(str::to_owned),
        };
        let compiled = [
            row("a-f32", Some(0), None),
            row("b-f32", Some(4), None),
            row("c", None, Some("no")),
        ];
        let problems = problems(&written, &compiled);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.starts_with('a')));
    }

    #[test]
    fn the_types_of_a_kernel_share_a_row() {
        for float in FLOATS {
            let (kernel, found) = without_float(&format!("norm-forward-{float}-tree"));
            assert_eq!((kernel.as_str(), found), ("norm-forward-tree", Some(float)));
        }
    }
}
