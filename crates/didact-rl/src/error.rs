//! What training can fail with.

use std::path::{Path, PathBuf};

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What training can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model, a reward or a curriculum failed.
    #[error(transparent)]
    Core(#[from] didact_core::Error),
    /// A prompt or a supervised example could not be made.
    #[error(transparent)]
    Data(#[from] didact_data::Error),
    /// A model could not be built, read or written.
    #[error(transparent)]
    Models(#[from] didact_models::Error),
    /// A tensor operation refused its arguments.
    #[error(transparent)]
    Kernels(#[from] didact_kernels::Error),
    /// A setting that means nothing.
    #[error("configuration key {key}: {problem}")]
    Configuration {
        /// The key, with the tables it stands in.
        key: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// Training data that cannot be trained on.
    #[error("{what}: {problem}")]
    TrainingData {
        /// Which problem, example or sequence.
        what: String,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// A number that should be finite is not.
    #[error("{what} is {value}, but must be a finite number")]
    NonFinite {
        /// Which number, of which sample.
        what: String,
        /// Its value.
        value: f64,
    },
    /// A number of one sample that should be finite is not.
    #[error("{what} of {sample} is {value}, but must be a finite number")]
    NonFiniteSample {
        /// The sample.
        sample: String,
        /// Which number.
        what: String,
        /// Its value.
        value: f64,
    },
    /// A gradient that is not finite.
    #[error("the gradient of {path} is not finite; nothing was updated")]
    NonFiniteGradient {
        /// The tensor's path.
        path: String,
    },
    /// Two tensors that should be alike are not.
    #[error("tensor {path}: expected {expected}, found {found}")]
    MismatchedTensor {
        /// The tensor's path.
        path: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A tensor that the model does not have, or does not train.
    #[error("the model has no tensor {path}, or does not train it")]
    UnknownTensor {
        /// The tensor's path.
        path: String,
    },
    /// An optimizer's state that belongs to another model, configuration or moment.
    #[error("the optimizer's state does not belong to this model: {}", problems.join("; "))]
    OptimizerState {
        /// Every tensor that does not fit, and why.
        problems: Vec<String>,
    },
    /// A model none of whose parameters is trained.
    #[error("no parameter of the model records gradients; was it frozen?")]
    NothingToTrain,
    /// The policy was lost in an update that failed.
    #[error(
        "an earlier update failed halfway and the policy is lost; resume from the last checkpoint"
    )]
    LostPolicy,
    /// A device failed.
    #[error("{what}: {problem}")]
    Device {
        /// What was being done.
        what: String,
        /// What the device said.
        problem: String,
    },
    /// A run directory that holds something already.
    #[error("{} is not empty: a run never writes over another; resume it, choose another directory or remove it", path.display())]
    RunExists {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that no run began in.
    #[error("{} holds no run to resume; its metrics.jsonl is missing", path.display())]
    NoRun {
        /// The directory.
        path: PathBuf,
    },
    /// A folder that another process is writing to.
    #[error("{} is in use by another process; wait for it to end, or choose another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A checkpoint that is not as it was written.
    #[error(
        "{}: {problem}; the checkpoint is damaged: remove its folder to go on from the one before it",
        path.display()
    )]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A checkpoint of another version.
    #[error(
        "{}: it has format {found}, but this version of Didact reads format {known}; resume with the version that \
         wrote it",
        path.display()
    )]
    CheckpointFormat {
        /// The manifest.
        path: PathBuf,
        /// The format that it names.
        found: String,
        /// The format that is known.
        known: u64,
    },
    /// A checkpoint of another run.
    #[error(
        "checkpoint {} belongs to another run; these differ: {}; resume with what the run began with, or begin a \
         new one",
        path.display(),
        differences.join("; ")
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// Every difference, with both values.
        differences: Vec<String>,
    },
    /// Something that must be done before the first step.
    #[error("{what} must be done before the first step, but {steps} were made")]
    TooLate {
        /// What was to be done.
        what: String,
        /// Steps made.
        steps: u64,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of a rollout file that holds no sample, or one that contradicts itself.
    #[error("{}, line {line}: {problem}", path.display())]
    Rollout {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A reward that asks for a score which a run did not record.
    #[error(
        "{}, line {line}: sample {sample} has no score of {wanted}, which the reward asks for; recorded are: \
         {recorded}. Only a model could compute it", path.display()
    )]
    MissingScore {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The sample.
        sample: String,
        /// What the reward asks for.
        wanted: String,
        /// What there is.
        recorded: String,
    },
    /// A value that cannot be written as JSON or read from it.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the reader or writer said.
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether it tells of a number that should be finite and is not.
    #[must_use]
    pub const fn is_non_finite(&self) -> bool {
        matches!(
            self,
            Self::NonFinite { .. }
                | Self::NonFiniteSample { .. }
                | Self::NonFiniteGradient { .. }
                | Self::Core(
                    didact_core::Error::NonFinite { .. }
                        | didact_core::Error::NonFiniteSample { .. }
                        | didact_core::Error::NonFiniteRequest { .. }
                )
        )
    }

    /// The sample whose number is not finite, where it is one sample's.
    #[must_use]
    pub fn non_finite_sample(&self) -> Option<&str> {
        match self {
            Self::NonFiniteSample { sample, .. }
            | Self::Core(didact_core::Error::NonFiniteSample { sample, .. }) => Some(sample),
            _ => None,
        }
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn json(path: &Path, source: serde_json::Error) -> Self {
        Self::Json {
            path: path.to_owned(),
            source,
        }
    }
}
