//! All tests of the workspace.

use crate::command::{self, Outcome, cargo};

/// The one profile of tests, conformance and examples, so that the tensor library is built once.
const EVERYTHING: [&str; 2] = ["--release", "--workspace"];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let run = |tests: &[&str]| command::run(cargo(tests).args(EVERYTHING).args(arguments));
    if has_nextest() {
        // A filter may leave nothing to run here and something among the examples below.
        run(&["nextest", "run", "--no-tests=warn"])?;
    } else {
        run(&["test", "--lib", "--bins", "--tests"])?;
    }
    // Arguments choose tests by the runner's own flags, which the documentation's runner does not know.
    if arguments.is_empty() {
        run(&["test", "--doc"])
    } else {
        Ok(())
    }
}

fn has_nextest() -> bool {
    cargo(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}
