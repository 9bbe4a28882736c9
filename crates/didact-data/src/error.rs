//! What can go wrong between a file and a token.

use std::path::PathBuf;

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What reading problems, formatting prompts and tokenising can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {action} failed: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A row of a problem file is not what it should be.
    #[error("{}:{line}: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What was found, what was expected.
        problem: String,
    },
    /// A problem file holds no problem.
    #[error("{}: no problem in it; expected one JSON object a line", path.display())]
    NoProblems {
        /// The file.
        path: PathBuf,
    },
    /// A tokenizer could not be used.
    #[error("tokenizer {name}: {problem}")]
    Tokenizer {
        /// The file or folder that it came from.
        name: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// A chat template is wrong, or refused what it was given.
    #[error("chat template of {name}: {problem}")]
    Template {
        /// Whose template.
        name: String,
        /// What the template engine said.
        problem: String,
    },
    /// A chat template does not end, or not soon.
    #[error(
        "chat template of {name}: stopped after {fuel} steps; does it loop? A usual template needs a few hundred"
    )]
    TemplateLoops {
        /// Whose template.
        name: String,
        /// The steps it was allowed.
        fuel: u64,
    },
    /// A chat template writes far more than it was given.
    #[error(
        "chat template of {name}: stopped after writing {limit} bytes for {given} bytes of messages"
    )]
    TemplateOutput {
        /// Whose template.
        name: String,
        /// The bytes it was allowed to write.
        limit: usize,
        /// The bytes of the messages.
        given: usize,
    },
    /// A prompt format that means nothing.
    #[error("prompt format {name}: {problem}")]
    Format {
        /// The file, or the preset's name.
        name: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// A problem or a completion that cannot be put into the prompt format.
    #[error("problem {id}: {problem}")]
    Problem {
        /// The problem's id.
        id: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// A GGUF file cannot be read, or lacks what a tokenizer needs.
    #[error(transparent)]
    Gguf(#[from] didact_gguf::Error),
}

impl Error {
    pub(crate) fn file(
        path: &std::path::Path,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File {
            path: path.to_path_buf(),
            action,
            source,
        }
    }
}

impl From<Error> for didact_core::Error {
    fn from(error: Error) -> Self {
        Self::Other(Box::new(error))
    }
}
