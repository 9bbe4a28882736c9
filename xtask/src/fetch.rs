//! Models that the examples and the conformance checks use.

use std::path::Path;

use crate::command::Outcome;

/// A model that can be fetched.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Model {
    /// SmolLM2-135M-Instruct, four-bit GGUF, 98 MB.
    Smollm2,
}

pub(crate) fn run(model: Model, out: &Path) -> Outcome {
    let path = match model {
        Model::Smollm2 => smollm2_weights::obtain(out).map_err(|error| error.to_string())?,
    };
    println!("{}", path.display());
    Ok(())
}
