//! The comparison with golden values; the work is in the package `didact-conformance`.

use crate::command::{self, Outcome, cargo};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let package = ["run", "--release", "--package", "didact-conformance", "--"];
    command::run(cargo(package).args(arguments))
}
