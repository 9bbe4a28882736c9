//! One process at a time.
//!
//! Owns a lock that the system lets go of when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::{Error, Result};

/// Holds a folder for this process until it is dropped or the process dies.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone would leave it to a process that was forked meanwhile and did not start its program yet.
        let _ = self.file.unlock();
    }
}

impl FolderLock {
    /// The name of the file.
    pub const FILE: &'static str = "lock";

    /// Locks `folder`, which must be there, by a file named `lock` in it. The file stays; being locked is what
    /// counts.
    ///
    /// # Errors
    /// [`Error::Locked`] where someone else holds it; a file that cannot be made.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io(&path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: folder.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(Error::io(&path, error)),
        }
    }
}
