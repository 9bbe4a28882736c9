//! The directory that a run leaves behind.
//!
//! Owns its files and their names; never writes over another run. Knows nothing of training: it is an
//! [`Observer`].
//!
//! | file | content |
//! |---|---|
//! | `config.json` | the resolved configuration of each stage |
//! | `metrics.jsonl` | one line a step or evaluation: `stage`, `kind`, `step` and flat numbers |
//! | `warnings.jsonl` | one line a warning, where there was one |
//! | `rollouts/teacher/step_000001.jsonl` | one line a sample of that step of the stage `teacher` |
//! | `rollouts/teacher/evaluation_000000.jsonl` | one line a held-out sample, by updates made before |

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::check;
use crate::rollout::RolloutOrigin;
use crate::warnings::Warning;
use crate::{Error, MetricsKind, MetricsRecord, Observer, Result, RolloutRecord};

/// A run's directory, open for writing.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    metrics: File,
    configuration: serde_json::Map<String, serde_json::Value>,
}

impl RunDirectory {
    /// Creates the directory, with those above it.
    ///
    /// # Errors
    /// [`Error::RunExists`] where something other than an empty directory stands at `path`; a file that
    /// cannot be written.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if path.exists() {
            let empty = path.is_dir()
                && fs::read_dir(&path)
                    .map_err(|e| Error::io(&path, e))?
                    .next()
                    .is_none();
            if !empty {
                return Err(Error::RunExists { path });
            }
        }
        fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        let file = path.join("metrics.jsonl");
        // `create_new` also guards against another run that started at the same moment.
        let opened = OpenOptions::new().create_new(true).append(true).open(&file);
        let metrics = opened.map_err(|e| Error::io(&file, e))?;
        Ok(Self {
            path,
            metrics,
            configuration: serde_json::Map::new(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a value as indented JSON to `name` within the directory, beside first and then renamed.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.path.join(name);
        let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::json(&path, e))?;
        text.push('\n');
        write_beside(&path, text.as_bytes())
    }

    /// Writes values as one line of JSON each to `name` within the directory, beside first and then renamed.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_json_lines<T: Serialize>(&self, name: &str, values: &[T]) -> Result<()> {
        let path = self.path.join(name);
        let mut text = String::new();
        for value in values {
            text.push_str(&serde_json::to_string(value).map_err(|e| Error::json(&path, e))?);
            text.push('\n');
        }
        write_beside(&path, text.as_bytes())
    }

    /// Keeps the resolved configuration of a stage in `config.json`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_configuration(&mut self, stage: &str, resolved: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(resolved)
            .map_err(|e| Error::json(&self.path.join("config.json"), e))?;
        self.configuration.insert(stage.to_owned(), value);
        self.write_json("config.json", &self.configuration)
    }

    /// Appends a line to `metrics.jsonl`.
    ///
    /// # Errors
    /// A number that is not finite, by name; a file that cannot be written.
    pub fn append_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        record.metrics.validate()?;
        let path = self.path.join("metrics.jsonl");
        let mut line = serde_json::to_string(record).map_err(|e| Error::json(&path, e))?;
        line.push('\n');
        // One write a line, so that a run that is killed leaves whole lines.
        self.metrics
            .write_all(line.as_bytes())
            .map_err(|e| Error::io(&path, e))
    }
}

impl Observer for RunDirectory {
    fn on_configuration(&mut self, stage: &str, resolved: &serde_json::Value) -> Result<()> {
        self.write_configuration(stage, resolved)
    }

    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        self.append_metrics(record)
    }

    fn on_rollouts(&mut self, origin: RolloutOrigin<'_>, samples: &[RolloutRecord]) -> Result<()> {
        self.write_json_lines(&rollout_file(origin)?, samples)
    }

    fn on_warning(&mut self, warning: &Warning) -> Result<()> {
        let path = self.path.join("warnings.jsonl");
        let mut line = serde_json::to_string(warning).map_err(|e| Error::json(&path, e))?;
        line.push('\n');
        let mut options = OpenOptions::new();
        let opened = options.create(true).append(true).open(&path);
        opened
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|e| Error::io(&path, e))
    }
}

/// The rollout file of `origin` within a run directory: `rollouts/teacher/step_000001.jsonl`.
///
/// # Errors
/// A stage whose name cannot name a folder.
fn rollout_file(origin: RolloutOrigin<'_>) -> Result<String> {
    let RolloutOrigin { stage, kind, step } = origin;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    check(
        "stage",
        !stage.is_empty() && stage.chars().all(plain),
        || format!("`{stage}` names a folder of rollouts; use letters, digits, `_` and `-`"),
    )?;
    let word = match kind {
        MetricsKind::Train => "step",
        MetricsKind::Evaluation => "evaluation",
        MetricsKind::Summary => "summary",
    };
    Ok(format!("rollouts/{stage}/{word}_{step:06}.jsonl"))
}

/// Writes a file beside its place and renames it, so that no reader sees half of it.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let beside = path.with_file_name(name);
    fs::write(&beside, bytes).map_err(|e| Error::io(&beside, e))?;
    fs::rename(&beside, path).map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn another_run_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs/first");
        let mut run = RunDirectory::create(&path).unwrap();
        let mut metrics = Metrics::new();
        metrics.set("reward", -0.1);
        let record = MetricsRecord {
            stage: "teacher".into(),
            kind: MetricsKind::Train,
            step: 1,
            metrics,
        };
        run.append_metrics(&record).unwrap();
        run.write_configuration("teacher", &serde_json::json!({"seed": 1}))
            .unwrap();
        let error = RunDirectory::create(&path).unwrap_err().to_string();
        assert!(error.contains("runs/first"), "{error}");
        let text = fs::read_to_string(path.join("metrics.jsonl")).unwrap();
        assert_eq!(
            text,
            "{\"stage\":\"teacher\",\"kind\":\"train\",\"step\":1,\"reward\":-0.1}\n"
        );
        assert_eq!(
            serde_json::from_str::<MetricsRecord>(&text).unwrap(),
            record
        );
        assert!(
            fs::read_to_string(path.join("config.json"))
                .unwrap()
                .contains("\"seed\": 1")
        );
    }

    #[test]
    fn a_metric_that_is_not_a_number_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunDirectory::create(folder.path().join("run")).unwrap();
        let mut metrics = Metrics::new();
        metrics.set("grad_norm", f64::INFINITY);
        let record = MetricsRecord {
            stage: "teacher".into(),
            kind: MetricsKind::Train,
            step: 1,
            metrics,
        };
        assert!(
            run.append_metrics(&record)
                .unwrap_err()
                .to_string()
                .contains("grad_norm")
        );
    }
}
