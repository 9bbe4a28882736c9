//! Files of JSON lines that grow batch by batch and survive being killed.
//!
//! Owns what a stage needs to go on where it was: which lines count, and whether they belong to the same work.
//! Knows no model and no problem.
//!
//! Beside `NAME` stands `NAME.identity.json`, written first, which says what the lines come from. A batch is
//! appended whole once it is computed. On opening, everything after the last whole batch is cut off (a kill in the
//! middle of a write leaves part of one), so that what follows is computed in the same batches as without a kill,
//! and the finished file is the same byte for byte.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use didact_rl::StopFlag;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result};

/// Where a stage keeps its lines, and what they depend on that the stage cannot see by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ResumableFile {
    /// The file; folders above it are made.
    pub path: PathBuf,
    /// Whatever decides the lines beside the settings and problems that a stage is given, such as the hashes of
    /// the models' weights ([`weights_hash`](crate::weights_hash)) and the reward's configuration. Lines that were
    /// written under another identity are refused rather than continued.
    pub identity: Value,
}

impl ResumableFile {
    /// The file at `path`, whose lines depend on `identity`.
    pub fn new(path: impl Into<PathBuf>, identity: Value) -> Self {
        Self {
            path: path.into(),
            identity,
        }
    }
}

/// How work is cut: `units` units of `lines_per_unit` lines each, `units_per_batch` at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) units: usize,
    pub(crate) lines_per_unit: usize,
    pub(crate) units_per_batch: usize,
}

impl Shape {
    /// The lines of the whole batches among `lines` lines.
    fn whole(self, lines: usize) -> usize {
        let batch = self.units_per_batch * self.lines_per_unit;
        let all = self.units * self.lines_per_unit;
        if lines >= all {
            all
        } else {
            lines / batch * batch
        }
    }
}

/// Computes all lines in order, those in the file excepted, and appends them to it batch by batch, until `stop` is set.
///
/// `settings` are what the stage adds to the file's identity, `belongs` says whether a line is the one of that
/// index, `work` computes the lines of some units.
pub(crate) fn resume<T: Serialize + DeserializeOwned>(
    file: Option<&ResumableFile>,
    settings: Value,
    shape: Shape,
    (stage, stop): (&str, &StopFlag),
    belongs: impl Fn(usize, &T) -> bool,
    mut work: impl FnMut(Range<usize>) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let (mut lines, mut open) = match file {
        None => (Vec::new(), None),
        Some(file) => {
            let mut open = OpenLines::open(file, settings)?;
            (open.read(shape, belongs)?, Some(open))
        }
    };
    let mut unit = lines.len() / shape.lines_per_unit.max(1);
    while unit < shape.units {
        if stop.is_set() {
            let folder = file.and_then(|file| file.path.parent());
            return Err(Error::Interrupted {
                stage: stage.to_owned(),
                step: unit as u64,
                directory: folder.unwrap_or(Path::new("")).to_owned(),
            });
        }
        let end = (unit + shape.units_per_batch).min(shape.units);
        let batch = work(unit..end)?;
        debug_assert_eq!(batch.len(), (end - unit) * shape.lines_per_unit);
        if let Some(open) = &mut open {
            open.append(&batch)?;
        }
        lines.extend(batch);
        unit = end;
    }
    Ok(lines)
}

/// The file open for one process alone.
struct OpenLines {
    path: PathBuf,
    file: File,
}

impl OpenLines {
    fn open(target: &ResumableFile, settings: Value) -> Result<Self> {
        let path = target.path.clone();
        let identity_path = identity_path(&path);
        let parts = [("given", target.identity.clone()), ("stage", settings)];
        let identity = Value::from_iter(parts);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::file(parent, "creating"))?;
        }
        let begun = fs::metadata(&path).is_ok_and(|m| m.len() > 0);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::file(&path, "opening"))?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => Error::Resume {
                path: path.clone(),
                problem: "another process is writing it; wait for it or choose another file"
                    .to_owned(),
            },
            fs::TryLockError::Error(source) => Error::file(&path, "locking")(source),
        })?;
        if begun {
            check_identity(&path, &identity_path, &identity)?;
        } else {
            write_beside(&identity_path, &to_text(&identity_path, &identity)?)?;
        }
        Ok(Self { path, file })
    }

    /// Reads the lines of the whole batches and cuts off the rest.
    fn read<T: DeserializeOwned>(
        &mut self,
        shape: Shape,
        belongs: impl Fn(usize, &T) -> bool,
    ) -> Result<Vec<T>> {
        let mut bytes = Vec::new();
        self.file
            .read_to_end(&mut bytes)
            .map_err(Error::file(&self.path, "reading"))?;
        let ends: Vec<usize> = (0..bytes.len())
            .filter(|&i| bytes[i] == b'\n')
            .map(|i| i + 1)
            .collect();
        let count = shape.whole(ends.len());
        if ends.len() > count && count == shape.units * shape.lines_per_unit {
            return self.refuse(format!(
                "it has {} lines, but {count} are the whole; is it another stage's file?",
                ends.len()
            ));
        }
        let mut lines = Vec::with_capacity(count);
        let mut start = 0;
        for (index, &end) in ends[..count].iter().enumerate() {
            let line = serde_json::from_slice(&bytes[start..end]);
            match line {
                Ok(line) if belongs(index, &line) => lines.push(line),
                Ok(_) => {
                    return self.refuse(format!(
                        "line {} belongs to another problem or sample than its place says; delete the file to \
                         begin anew",
                        index + 1
                    ));
                }
                Err(error) => {
                    return self.refuse(format!(
                        "line {} is damaged ({error}); delete it and all lines after it",
                        index + 1
                    ));
                }
            }
            start = end;
        }
        let mut cut = || {
            self.file.set_len(start as u64)?;
            self.file.seek(SeekFrom::Start(start as u64))
        };
        cut().map_err(Error::file(&self.path, "cutting"))?;
        Ok(lines)
    }

    fn append<T: Serialize>(&mut self, lines: &[T]) -> Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line).map_err(Error::json(&self.path))?;
            text.push(b'\n');
        }
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .map_err(Error::file(&self.path, "writing"))
    }

    fn refuse<T>(&self, problem: String) -> Result<T> {
        Err(Error::Resume {
            path: self.path.clone(),
            problem,
        })
    }
}

/// Refuses lines that come from other settings, and names these.
fn check_identity(path: &Path, identity_path: &Path, identity: &Value) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::Resume {
            path: path.to_owned(),
            problem,
        })
    };
    let Ok(text) = fs::read_to_string(identity_path) else {
        return refuse(format!(
            "it has lines, but {} is missing, which says what they come from; delete the file or choose another",
            identity_path.display()
        ));
    };
    let Ok(stored) = serde_json::from_str::<Value>(&text) else {
        return refuse(format!("{} is no JSON", identity_path.display()));
    };
    let mut different = Vec::new();
    differences("", &stored, identity, &mut different);
    if different.is_empty() {
        return Ok(());
    }
    refuse(format!(
        "its lines come from other settings ({} differ); delete it with its identity file to begin anew, or \
         choose another file",
        different.join(", ")
    ))
}

/// The paths at which two values differ.
fn differences(path: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
    if let (Value::Object(a), Value::Object(b)) = (a, b) {
        let missing = b.keys().filter(|key| !a.contains_key(*key));
        for key in a.keys().chain(missing) {
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let none = Value::Null;
            differences(
                &below,
                a.get(key).unwrap_or(&none),
                b.get(key).unwrap_or(&none),
                found,
            );
        }
    } else if a != b {
        found.push(path.to_owned());
    }
}

fn identity_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".identity.json");
    path.with_file_name(name)
}

pub(crate) fn to_text(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Error::json(path))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a file beside its place and renames it, so that no reader sees half of it.
pub(crate) fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::file(parent, "creating"))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside).map_err(Error::file(&beside, "creating"))?;
    // Renamed before its bytes are on the disk, a file could be empty after a loss of power.
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::file(&beside, "writing"))?;
    fs::rename(&beside, path).map_err(Error::file(path, "renaming to"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SHAPE: Shape = Shape {
        units: 7,
        lines_per_unit: 3,
        units_per_batch: 2,
    };

    /// Lines that tell their place; the second is how often work was done for a batch that begins there.
    fn lines(file: &ResumableFile, settings: Value, begun: &mut Vec<usize>) -> Result<Vec<String>> {
        let line = |index: usize| format!("line {index} ä\n");
        resume(
            Some(file),
            settings,
            SHAPE,
            ("lines", &StopFlag::new()),
            |index, found: &String| *found == line(index),
            |units| {
                begun.push(units.start);
                Ok((units.start * 3..units.end * 3).map(line).collect())
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn cut_anywhere_the_file_becomes_the_same_again(at in 0.0f64..1.0) {
            let folder = tempfile::tempdir().unwrap();
            let file = ResumableFile::new(folder.path().join("a/lines.jsonl"), json!({"weights": "w"}));
            let all = lines(&file, json!(1), &mut Vec::new()).unwrap();
            let whole = fs::read(&file.path).unwrap();
            let at = (at * whole.len() as f64) as usize;
            fs::write(&file.path, &whole[..at]).unwrap();
            // A run that is killed before its first batch leaves whole batches alone.
            let kept = whole[..at].iter().filter(|&&byte| byte == b'\n').count();
            let batches = SHAPE.whole(kept);
            let killed = |_| Err(Error::Stage { stage: "lines".into(), problem: "killed".into() });
            let belongs = |_: usize, _: &String| true;
            let ended = resume(Some(&file), json!(1), SHAPE, ("lines", &StopFlag::new()), belongs, killed);
            prop_assert_eq!(ended.is_err(), kept < 21);
            let left = fs::read(&file.path).unwrap();
            prop_assert_eq!(left.iter().filter(|&&byte| byte == b'\n').count(), batches);
            prop_assert!(whole.starts_with(&left) && left.last().is_none_or(|&byte| byte == b'\n'));

            let mut begun = Vec::new();
            prop_assert_eq!(lines(&file, json!(1), &mut begun).unwrap(), all);
            prop_assert!(fs::read(&file.path).unwrap() == whole);
            // Whole batches are not computed again.
            let first = kept / 6 * 2;
            prop_assert_eq!(begun.first().copied(), (kept < 21).then_some(first));
        }
    }

    #[test]
    fn a_finished_file_takes_no_work() {
        let folder = tempfile::tempdir().unwrap();
        let file = ResumableFile::new(folder.path().join("lines.jsonl"), Value::Null);
        lines(&file, Value::Null, &mut Vec::new()).unwrap();
        let mut begun = Vec::new();
        assert_eq!(lines(&file, Value::Null, &mut begun).unwrap().len(), 21);
        assert_eq!(begun, Vec::<usize>::new());
    }

    #[test]
    fn a_stop_is_heard_between_batches_and_loses_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = ResumableFile::new(folder.path().join("lines.jsonl"), Value::Null);
        let stop = StopFlag::new();
        let ended = resume(
            Some(&file),
            Value::Null,
            SHAPE,
            ("lines", &stop),
            |_, _: &String| true,
            |units| {
                stop.set();
                Ok((units.start * 3..units.end * 3)
                    .map(|index| format!("line {index} ä\n"))
                    .collect())
            },
        );
        assert!(
            matches!(&ended, Err(Error::Interrupted { step: 2, stage, .. }) if stage == "lines"),
            "{ended:?}"
        );
        let mut begun = Vec::new();
        lines(&file, Value::Null, &mut begun).unwrap();
        assert_eq!(begun, [2, 4, 6]);
    }

    #[test]
    fn lines_of_other_settings_are_refused_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        let file = ResumableFile::new(&path, json!({"weights": "w"}));
        lines(&file, json!({"seed": 1, "samples": 2}), &mut Vec::new()).unwrap();
        let error = |file: &ResumableFile, settings| {
            lines(file, settings, &mut Vec::new())
                .unwrap_err()
                .to_string()
        };
        let found = error(&file, json!({"seed": 3, "samples": 2}));
        assert!(found.contains("stage.seed differ"), "{found}");
        let other = ResumableFile::new(&path, json!({"weights": "v"}));
        let found = error(&other, json!({"seed": 1, "samples": 2}));
        assert!(found.contains("given.weights differ"), "{found}");
        fs::remove_file(identity_path(&path)).unwrap();
        let found = error(&file, json!({"seed": 1, "samples": 2}));
        assert!(found.contains("is missing"), "{found}");
    }

    #[test]
    fn damaged_strange_and_superfluous_lines_are_refused_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = ResumableFile::new(folder.path().join("lines.jsonl"), Value::Null);
        lines(&file, Value::Null, &mut Vec::new()).unwrap();
        let whole = fs::read_to_string(&file.path).unwrap();
        for (text, expected) in [
            (whole.replace("\"line 4 ", "line 4 "), "line 5 is damaged"),
            (whole.replace("line 4 ", "line 9 "), "line 5 belongs"),
            (format!("{whole}\"more\"\n"), "22 lines"),
        ] {
            fs::write(&file.path, text).unwrap();
            let error = lines(&file, Value::Null, &mut Vec::new())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn one_process_writes_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = ResumableFile::new(folder.path().join("lines.jsonl"), Value::Null);
        let _open = OpenLines::open(&file, Value::Null).unwrap();
        let error = OpenLines::open(&file, Value::Null)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("another process"), "{error}");
    }
}
