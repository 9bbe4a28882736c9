//! Records as they were when a checkpoint was written.
//!
//! Owns which lines and files of a run directory describe steps that a resumed run makes again. Knows no checkpoint
//! but its step.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Error, MetricsKind, Result};

/// What names a line of metrics: a resumed run writes none twice.
pub(super) type LineKey = (String, MetricsKind, u64);

/// The part of any line that says where it belongs.
#[derive(Deserialize)]
struct Origin {
    stage: String,
    step: u64,
    /// Of metrics only.
    kind: Option<serde_json::Value>,
}

/// What stands in a file of lines up to the checkpoints of `steps`.
pub(super) struct Kept {
    /// Bytes to keep.
    pub(super) length: u64,
    /// The lines that are kept.
    pub(super) keys: HashSet<LineKey>,
    /// The same as hashes of whole lines.
    pub(super) lines: HashSet<blake3::Hash>,
}

/// Looks for the last line that a checkpoint covers: a line of a stage that has one, at its step or before. Lines
/// after it are made again. A last line that was cut off is no line.
///
/// # Errors
/// A file that cannot be read; a line before the last that says nothing.
pub(super) fn kept(path: &Path, steps: &BTreeMap<String, u64>) -> Result<Kept> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|e| Error::io(path, e))?,
    };
    let mut kept = Kept {
        length: 0,
        keys: HashSet::new(),
        lines: HashSet::new(),
    };
    let (mut keys, mut lines) = (Vec::new(), Vec::new());
    let mut end = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        end += line.len() as u64;
        let origin: Origin = serde_json::from_slice(line).map_err(|e| Error::json(path, e))?;
        let covered = steps
            .get(&origin.stage)
            .is_some_and(|&step| origin.step <= step);
        let kind = origin.kind.and_then(|k| serde_json::from_value(k).ok());
        keys.extend(kind.map(|kind| (origin.stage, kind, origin.step)));
        lines.push(blake3::hash(line));
        if covered {
            kept.length = end;
            kept.keys.extend(keys.drain(..));
            kept.lines.extend(lines.drain(..));
        }
    }
    Ok(kept)
}

/// Cuts a file to `length` bytes, where it is there.
pub(super) fn cut(path: &Path, length: u64) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| {
            file.set_len(length)?;
            file.sync_all()
        })
        .map_err(|e| Error::io(path, e))
}

/// Removes the rollouts of steps after the checkpoint of their stage, and those of half-written files.
pub(super) fn remove_rollouts(rollouts: &Path, steps: &BTreeMap<String, u64>) -> Result<()> {
    for stage in names(rollouts)? {
        let last = steps.get(&stage).copied();
        let folder = rollouts.join(&stage);
        if !folder.is_dir() {
            continue;
        }
        for name in names(&folder)? {
            let step = name
                .strip_suffix(".jsonl")
                .and_then(|name| name.rsplit_once('_')?.1.parse::<u64>().ok());
            let made_again = step.is_some_and(|step| last.is_none_or(|last| step > last));
            if made_again || name.ends_with(".partial") {
                let path = folder.join(name);
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
    }
    Ok(())
}

/// The newest checkpoint of every stage under `checkpoints`, by name.
pub(super) fn newest(checkpoints: &Path) -> Result<BTreeMap<String, u64>> {
    let mut steps = BTreeMap::new();
    for stage in names(checkpoints)? {
        let of_stage = names(&checkpoints.join(&stage))?;
        let newest = of_stage.iter().filter_map(|name| {
            // One that was being replaced when the process died is put back by the store.
            crate::checkpoint::step_of(name.strip_suffix(".replaced").unwrap_or(name))
        });
        if let Some(step) = newest.max() {
            steps.insert(stage, step);
        }
    }
    Ok(steps)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| Error::io(folder, e))?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names
        .collect::<std::io::Result<_>>()
        .map_err(|e| Error::io(folder, e))
}
