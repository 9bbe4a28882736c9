//! What a checkpoint consists of, and proof that it is all there.
//!
//! Owns the manifest's form and its checks. The manifest is written after every other file, so a folder without
//! one is not a checkpoint.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Identity;
use super::files::{FileWriter, Files};
use crate::{Error, Result};

/// The version of the folder's form that this crate writes and reads.
pub const FORMAT: u64 = 1;

pub(super) const NAME: &str = "manifest.json";

/// The longest manifest or state that is read, in bytes.
const LONGEST: u64 = 1 << 28;

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEntry {
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

/// The list of a checkpoint's files, and whose they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: u64,
    /// The version of the crate that wrote it, for people.
    pub(super) version: String,
    pub(super) step: u64,
    pub(super) identity: Identity,
    pub(super) files: BTreeMap<String, FileEntry>,
}

/// A manifest with the hash of its own compact form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    manifest: Value,
    blake3: String,
}

impl Manifest {
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let manifest = serde_json::to_value(self)?;
        let blake3 = seal(&manifest)?;
        let mut text = serde_json::to_vec_pretty(&Sealed { manifest, blake3 })?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads and checks the manifest of `folder`; its files are not looked at.
    pub(super) fn read(files: &dyn Files, folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let damaged = |problem: String| Error::DamagedCheckpoint {
            path: path.clone(),
            problem,
        };
        let mut text = Vec::new();
        let opened = match files.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(
                    "it is missing, so the checkpoint is not complete".to_owned(),
                ));
            }
            other => other.map_err(|e| Error::io(&path, e))?,
        };
        let read = opened.take(LONGEST).read_to_end(&mut text);
        read.map_err(|e| Error::io(&path, e))?;
        let sealed: Sealed =
            serde_json::from_slice(&text).map_err(|e| damaged(format!("not a manifest: {e}")))?;
        let found = &sealed.manifest["format"];
        if found.as_u64() != Some(FORMAT) {
            return Err(Error::CheckpointFormat {
                path,
                found: found.to_string(),
                known: FORMAT,
            });
        }
        let expected = seal(&sealed.manifest).map_err(|e| Error::json(&path, e))?;
        if expected != sealed.blake3 {
            return Err(damaged(format!(
                "its hash is {expected}, but it says {}",
                sealed.blake3
            )));
        }
        serde_json::from_value(sealed.manifest).map_err(|e| damaged(e.to_string()))
    }

    /// Compares every file of `folder` with what stands here.
    pub(super) fn verify(&self, files: &dyn Files, folder: &Path) -> Result<()> {
        for (name, expected) in &self.files {
            let path = folder.join(name);
            let damaged = |problem: String| {
                Err(Error::DamagedCheckpoint {
                    path: path.clone(),
                    problem,
                })
            };
            let mut file = match files.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return damaged("it is missing".to_owned());
                }
                other => other.map_err(|e| Error::io(&path, e))?,
            };
            let mut hasher = blake3::Hasher::new();
            let bytes = io::copy(&mut file, &mut hasher).map_err(|e| Error::io(&path, e))?;
            if bytes != expected.bytes {
                return damaged(format!(
                    "it has {bytes} bytes, but was written with {}",
                    expected.bytes
                ));
            }
            let found = hasher.finalize().to_hex().to_string();
            if found != expected.blake3 {
                return damaged(format!(
                    "its hash is {found}, but it was written with {}",
                    expected.blake3
                ));
            }
        }
        Ok(())
    }
}

fn seal(manifest: &Value) -> serde_json::Result<String> {
    let compact = serde_json::to_vec(manifest)?;
    Ok(blake3::hash(&compact).to_hex().to_string())
}

/// A file that is hashed while it is written.
pub(super) struct HashedFile {
    file: Box<dyn FileWriter>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl HashedFile {
    pub(super) fn create(files: &dyn Files, path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: files.create(path)?,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    /// Makes it durable.
    pub(super) fn finish(mut self) -> io::Result<FileEntry> {
        self.file.flush()?;
        self.file.sync()?;
        Ok(FileEntry {
            bytes: self.bytes,
            blake3: self.hasher.finalize().to_hex().to_string(),
        })
    }
}

impl Write for HashedFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
