//! A Python environment that has the packages which Didact is compared with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command;

/// The interpreter of `venv`, or of one beside what cargo builds, in which all `packages` are: what is missing is
/// installed.
pub(crate) fn obtain(venv: Option<&Path>, packages: &[&str]) -> Result<PathBuf, String> {
    let made = command::target().join("bench-peers").join("venv");
    let folder = venv.unwrap_or(&made);
    let python = folder.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    if !python.exists() {
        if venv.is_some() {
            return Err(format!(
                "{} is no Python environment: there is no {}",
                folder.display(),
                python.display()
            ));
        }
        make(folder)?;
    }
    let missing = missing(&python, packages)?;
    if !missing.is_empty() {
        eprintln!(
            "xtask: {} lacks {}; pip fetches them, which can take gigabytes",
            folder.display(),
            missing.join(", ")
        );
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "--disable-pip-version-check", "install"])
            .args(&missing);
        run(&mut pip).map_err(|error| {
            format!(
                "{error}\npip could not install {}; install them into an environment by hand and give it with --venv",
                missing.join(", ")
            )
        })?;
    }
    Ok(python)
}

/// The interpreter of an environment beside what cargo builds, in which these wheels are, given with their versions.
pub(crate) fn with_wheels(name: &str, wheels: &[&str]) -> Result<PathBuf, String> {
    let folder = command::target().join(name).join("venv");
    let python = folder.join("bin/python");
    if !python.exists() {
        make(&folder)?;
    }
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ])
    .args(wheels);
    run(&mut pip)?;
    Ok(python)
}

fn make(folder: &Path) -> Result<(), String> {
    let python = ["python3", "python"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .args(["-m", "venv", "--help"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
        .ok_or(
            "this needs Python 3 with the module venv, and neither python3 nor python has it; \
             install it (on Debian python3-venv), or give an environment with --venv",
        )?;
    run(Command::new(python).args(["-m", "venv"]).arg(folder))
}

/// The packages that `python` cannot find.
fn missing<'a>(python: &Path, packages: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let find =
        "import importlib.util as u, sys; print(*[p for p in sys.argv[1:] if not u.find_spec(p)])";
    let output = Command::new(python)
        .args(["-c", find])
        .args(packages)
        .output()
        .map_err(|error| format!("cannot run {}: {error}", python.display()))?;
    if !output.status.success() {
        return Err(format!(
            "{} does not work: {}",
            python.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(packages
        .iter()
        .copied()
        .filter(|package| names.split_whitespace().any(|name| name == *package))
        .collect())
}

/// Runs a command whose output belongs to standard error, which standard output's JSON must not be mixed with.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} failed ({status})"))
    }
}
