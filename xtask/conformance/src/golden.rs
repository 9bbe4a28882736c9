//! Reading golden JSON files, in which NaN and the infinities are strings.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The JSON in `path`.
pub(crate) fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// The files of `folder` that end in `.json`, by name; none where there is no such folder.
pub(crate) fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}

/// A member of an object.
pub(crate) fn member<'a>(value: &'a Value, key: &str) -> Result<&'a Value, String> {
    value.get(key).ok_or_else(|| format!("there is no `{key}`"))
}

/// A number, written as such or as one of the strings `nan`, `inf`, `-inf`.
pub(crate) fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .ok_or_else(|| format!("{value} is not a number"))
}

/// A list of numbers.
pub(crate) fn numbers(value: &Value) -> Result<Vec<f64>, String> {
    list(value)?.iter().map(number).collect()
}

/// A list of lists of numbers.
pub(crate) fn rows(value: &Value) -> Result<Vec<Vec<f64>>, String> {
    list(value)?.iter().map(numbers).collect()
}

/// A list.
pub(crate) fn list(value: &Value) -> Result<&[Value], String> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| format!("{value} is not a list"))
}

/// A text.
pub(crate) fn text(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("{value} is not a text"))
}
