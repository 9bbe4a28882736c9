//! What the pipeline can fail with.

use std::path::{Path, PathBuf};

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What collecting, distilling or evaluating can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that means nothing.
    #[error("key {key}: {problem}")]
    Configuration {
        /// The key.
        key: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// A recipe that means nothing, or names what is not there.
    #[error("{path}: {problem}")]
    Recipe {
        /// The recipe's file, or its folder where it was not read from one.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A stage has nothing to work on.
    #[error("stage {stage}: {problem}")]
    Stage {
        /// The stage.
        stage: String,
        /// What it lacks.
        problem: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {doing} it failed: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// A value that cannot be written as JSON.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A file that a stage was to go on with, but cannot.
    #[error("{path}: {problem}")]
    Resume {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
    /// A line of a data set that cannot be read.
    #[error("{path}:{line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The run was asked to stop.
    #[error(
        "stopped after step {step} of stage {stage}; the run in {} can be resumed where it wrote checkpoints",
        directory.display()
    )]
    Interrupted {
        /// The stage that was running.
        stage: String,
        /// Its steps that were made.
        step: u64,
        /// The run directory.
        directory: std::path::PathBuf,
    },
    /// A problem or an example that the prompt format or the tokenizer refuses.
    #[error(transparent)]
    Data(#[from] didact_data::Error),
    /// What a model refuses.
    #[error(transparent)]
    Core(#[from] didact_core::Error),
    /// A reward whose configuration means nothing.
    #[error(transparent)]
    Reward(#[from] didact_reward::Error),
    /// What loading or saving a model refuses.
    #[error(transparent)]
    Models(#[from] didact_models::Error),
    /// What training refuses.
    #[error(transparent)]
    Training(#[from] didact_rl::Error),
}

impl Error {
    /// The same, naming the stage where it does not say where it happened by itself.
    pub(crate) fn of_stage(self, stage: &str) -> Self {
        match self {
            Self::Recipe { .. }
            | Self::Stage { .. }
            | Self::File { .. }
            | Self::Resume { .. }
            | Self::Line { .. }
            | Self::Interrupted { .. } => self,
            error => Self::Stage {
                stage: stage.to_owned(),
                problem: error.to_string(),
            },
        }
    }

    pub(crate) fn file(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            path,
            doing,
            source,
        }
    }

    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Json { path, source }
    }
}
