//! Files of one JSON value a line, and what waits for a full disk to have room again.
//!
//! Owns appending whole lines and writing whole files. Knows no content.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Bytes that wait in memory at most; a run that records more on a full disk ends.
const MOST_WAITING: usize = 256 << 20;

/// A file that lines are added to.
///
/// Where the disk is full, lines wait in memory and are written, in order, with a later one.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    file: Option<File>,
    /// Bytes of whole lines.
    length: u64,
    waiting: Vec<u8>,
    /// Whether a part of a line may stand behind `length`.
    torn: bool,
}

impl LineFile {
    /// A file that is made with its first line, or goes on after the `length` bytes it has.
    pub(super) const fn new(path: PathBuf, length: u64) -> Self {
        Self {
            path,
            file: None,
            length,
            waiting: Vec::new(),
            torn: true,
        }
    }

    /// Adds a line, which ends with a line feed.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<()> {
        self.waiting.extend_from_slice(line);
        match self.write_waiting() {
            Err(error) if may_wait(&error, self.waiting.len()) => Ok(()),
            other => other.map_err(|e| Error::io(&self.path, e)),
        }
    }

    /// Returns when all lines are on the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.write_waiting()
            .and_then(|()| self.file.as_ref().map_or(Ok(()), File::sync_data))
            .map_err(|e| Error::io(&self.path, e))
    }

    fn write_waiting(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                none.insert(options.create(true).append(true).open(&self.path)?)
            }
        };
        if self.torn {
            file.set_len(self.length)?;
        }
        self.torn = true;
        // One write a line, so that a run that is killed leaves whole lines.
        file.write_all(&self.waiting)?;
        self.torn = false;
        self.length += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

/// Whole files, written beside their place and renamed; on a full disk they wait.
#[derive(Debug, Default)]
pub(super) struct WholeFiles {
    waiting: VecDeque<(PathBuf, Vec<u8>)>,
    bytes: usize,
    /// Written since the last [`sync`](Self::sync).
    written: Vec<PathBuf>,
}

impl WholeFiles {
    pub(super) fn write(&mut self, path: &Path, content: Vec<u8>) -> Result<()> {
        self.bytes += content.len();
        self.waiting.push_back((path.to_owned(), content));
        match self.write_waiting() {
            Err((_, error)) if may_wait(&error, self.bytes) => Ok(()),
            other => other.map_err(|(path, e)| Error::io(&path, e)),
        }
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.write_waiting()
            .map_err(|(path, e)| Error::io(&path, e))?;
        for path in self.written.drain(..) {
            let synced = File::open(&path).and_then(|file| file.sync_data());
            synced.map_err(|e| Error::io(&path, e))?;
        }
        Ok(())
    }

    fn write_waiting(&mut self) -> Result<(), (PathBuf, io::Error)> {
        while let Some((path, content)) = self.waiting.front() {
            write_beside(path, content).map_err(|e| (path.clone(), e))?;
            self.bytes -= content.len();
            if let Some((path, _)) = self.waiting.pop_front() {
                self.written.push(path);
            }
        }
        Ok(())
    }
}

/// Writes a file beside its place and renames it, so that no reader sees half of it.
pub(super) fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside)?;
    // Renamed before its bytes are on the disk, a file could be empty after a loss of power.
    file.write_all(bytes).and_then(|()| file.sync_all())?;
    fs::rename(&beside, path)
}

fn may_wait(error: &io::Error, bytes: usize) -> bool {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    full && bytes <= MOST_WAITING
}
