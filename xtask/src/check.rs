//! What must hold before a change lands, but for the tests.

use std::fs;
use std::path::Path;

use crate::command::{self, Outcome, cargo, root, target};
use crate::package;

pub(crate) fn run() -> Outcome {
    command::run(&mut cargo(["fmt", "--all", "--check"]))?;
    // The one feature for the CPU that no test and no example turns on.
    let everything = [
        "--release",
        "--workspace",
        "--features",
        "teach-smollm2/hub",
    ];
    command::run(
        cargo(["clippy", "--all-targets"])
            .args(everything)
            .args(["--", "-D", "warnings"]),
    )?;
    command::run(
        cargo(["doc", "--no-deps"])
            .args(everything)
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    downstream()?;
    package::run(&[])
}

/// A small crate of a user's, outside the workspace, against the façade alone. It is checked in the
/// workspace's target folder with its lock file, so that the dependencies are not built again.
fn downstream() -> Outcome {
    let template = root().join("xtask/downstream");
    let folder = target().join("downstream");
    let copy = |from: &Path, to: &Path| {
        fs::copy(from, to).map_err(|error| format!("cannot write {}: {error}", to.display()))
    };
    let source = folder.join("src");
    fs::create_dir_all(&source)
        .map_err(|error| format!("cannot make {}: {error}", source.display()))?;
    copy(&template.join("src/main.rs"), &source.join("main.rs"))?;
    copy(&root().join("Cargo.lock"), &folder.join("Cargo.lock"))?;
    let manifest = template.join("manifest.toml");
    let manifest = fs::read_to_string(&manifest)
        .map_err(|error| format!("cannot read {}: {error}", manifest.display()))?;
    let facade = root().join("crates/didact").display().to_string();
    fs::write(
        folder.join("Cargo.toml"),
        manifest.replace("{facade}", &facade),
    )
    .map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
    // The target folder may lie outside the workspace, where cargo would not find its settings.
    let settings = root().join(".cargo/config.toml");
    command::run(
        cargo(["check", "--release", "--offline", "--config"])
            .arg(settings)
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", target()),
    )
}
