//! What the pipeline can fail with.

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
    /// A stage has nothing to work on.
    #[error("stage {stage}: {problem}")]
    Stage {
        /// The stage.
        stage: String,
        /// What it lacks.
        problem: String,
    },
    /// A problem or an example that the prompt format or the tokenizer refuses.
    #[error(transparent)]
    Data(#[from] didact_data::Error),
    /// What a model refuses.
    #[error(transparent)]
    Core(#[from] didact_core::Error),
    /// What loading or saving a model refuses.
    #[error(transparent)]
    Models(#[from] didact_models::Error),
    /// What training refuses.
    #[error(transparent)]
    Training(#[from] didact_rl::Error),
}
