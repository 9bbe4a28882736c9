//! Why the weights cannot be had.

use std::io;
use std::path::{Path, PathBuf};

use crate::Attempts;

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the weights cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not the published one.
    #[error("{}: this is not the published file (BLAKE3 {found}, expected {}); delete it and run again", path.display(), crate::HASH)]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
    },
    /// There is no Python to ask for the package.
    #[error("neither `python3` nor `python` runs pip here; install Python 3 with pip")]
    NoPython,
    /// A Python command failed.
    #[error("`{command}` failed: {output}")]
    Python {
        /// The command.
        command: String,
        /// The end of what it printed.
        output: String,
    },
    /// The package does not hold the file.
    #[error("the Python package {package} does not hold {}", crate::FILE_NAME)]
    NotInPackage {
        /// The package with its version.
        package: &'static str,
    },
    /// The hub does not give a file.
    #[error("the hub does not give {what}: {problem}")]
    Hub {
        /// Which model or file.
        what: String,
        /// What it answered.
        problem: String,
    },
    /// Every way failed.
    #[error("cannot obtain {}; tried:{attempts}\nOn a machine with a network, run `cargo xtask fetch smollm2`, and copy the file here", path.display())]
    Unobtainable {
        /// Where the file was to be.
        path: PathBuf,
        /// What was tried.
        attempts: Attempts,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, what, source }
    }
}
