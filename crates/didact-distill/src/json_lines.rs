//! Whole files of JSON lines.
//!
//! Owns reading them with the line's number in errors, and writing them so that no reader sees half of one.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Reads a file of one JSON value a line; empty lines are skipped.
///
/// # Errors
/// A file that cannot be read; a line that is no such value, by number.
pub fn read<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(Error::file(path, "reading"))?;
    let mut values = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        values.push(serde_json::from_str(line).map_err(|error| Error::Line {
            path: path.to_owned(),
            line: index + 1,
            problem: error.to_string(),
        })?);
    }
    Ok(values)
}

/// Writes one JSON value a line, beside the file first and then renamed.
///
/// # Errors
/// A file that cannot be written.
pub fn write<T: Serialize>(path: impl AsRef<Path>, values: &[T]) -> Result<()> {
    let path = path.as_ref();
    let mut text = Vec::new();
    for value in values {
        serde_json::to_writer(&mut text, value).map_err(Error::json(path))?;
        text.push(b'\n');
    }
    crate::resumable::write_beside(path, &text)
}
