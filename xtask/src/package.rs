//! Packages of the crates that are published.

use std::fs;

use crate::command::{self, Outcome, cargo, root};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut command = cargo(["package", "--no-verify", "--allow-dirty"]);
    for name in crates()? {
        command.args(["--package", &name]);
    }
    command::run(command.args(arguments))
}

/// The published crates: a folder under `crates/` is named as its crate.
fn crates() -> Result<Vec<String>, String> {
    let folder = root().join("crates");
    let failed = |error| format!("cannot list {}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
