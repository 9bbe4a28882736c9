//! The directory that a run leaves behind.
//!
//! Owns its files and their names; never writes over another run. Knows nothing of training: it is an
//! [`Observer`].
//!
//! | file | content |
//! |---|---|
//! | `config.json` | the resolved configuration of each stage |
//! | `environment.json` | version, platform, command and git revision of each process that wrote here |
//! | `metrics.jsonl` | one line a step or evaluation: `stage`, `kind`, `step` and flat numbers |
//! | `warnings.jsonl` | one line a warning, where there was one |
//! | `rollouts/teacher/step_000001.jsonl` | one line a sample of that step of the stage `teacher` |
//! | `rollouts/teacher/evaluation_000000.jsonl` | one line a held-out sample, by updates made before |
//! | `checkpoints/teacher/step_000010/` | what the stage `teacher` goes on from |
//! | `lock` | held by the process that writes here |

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::lines::{LineFile, WholeFiles, write_beside};
use self::rewind::LineKey;
use crate::checkpoint::{CheckpointStore, FolderLock};
use crate::config::check;
use crate::rollout::RolloutOrigin;
use crate::warnings::Warning;
use crate::{Error, MetricsKind, MetricsRecord, Observer, Result, RolloutRecord};

mod environment;
mod lines;
mod rewind;

pub use environment::Environment;

const METRICS: &str = "metrics.jsonl";
const WARNINGS: &str = "warnings.jsonl";
const CONFIGURATION: &str = "config.json";
const ENVIRONMENT: &str = "environment.json";
const CHECKPOINTS: &str = "checkpoints";

/// A run's directory, open for writing by this process alone.
///
/// On a full disk, metrics, warnings and rollouts wait in memory until there is room.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    metrics: LineFile,
    warnings: LineFile,
    rollouts: WholeFiles,
    configuration: serde_json::Map<String, serde_json::Value>,
    /// What stood in the files when the run was resumed: it is not written a second time.
    known_metrics: HashSet<LineKey>,
    known_warnings: HashSet<blake3::Hash>,
    _lock: FolderLock,
}

impl RunDirectory {
    /// Creates the directory, with those above it.
    ///
    /// # Errors
    /// [`Error::RunExists`] where something other than an empty directory stands at `path`, or than what a process
    /// left that was killed before it began; a file that cannot be written.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if path.exists() {
            let io = |e| Error::io(&path, e);
            if !path.is_dir() {
                return Err(Error::RunExists { path });
            }
            for entry in fs::read_dir(&path).map_err(io)? {
                if entry.map_err(io)?.file_name() != FolderLock::FILE {
                    return Err(Error::RunExists { path });
                }
            }
        }
        fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        let lock = FolderLock::take(&path)?;
        let file = path.join(METRICS);
        // Made anew even under the lock: another run may have begun and ended since the look above.
        fs::File::create_new(&file).map_err(|e| Error::io(&file, e))?;
        let directory = Self::opened(path, lock);
        directory.write_json(ENVIRONMENT, &[Environment::here()])?;
        Ok(directory)
    }

    /// Opens the directory of a run that was stopped or killed, to go on from the newest checkpoint of each stage.
    ///
    /// Metrics, warnings and rollouts of later steps are removed: the run makes them again. A run of several
    /// stages is run again from its start; lines that stand here already are not written twice.
    ///
    /// # Errors
    /// No run at `path`; [`Error::Locked`] where it still runs; a file that cannot be read or written.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !path.join(METRICS).is_file() {
            return Err(Error::NoRun { path });
        }
        let lock = FolderLock::take(&path)?;
        let mut directory = Self::opened(path, lock);
        let file = directory.path.join(CONFIGURATION);
        if let Ok(text) = fs::read(&file) {
            directory.configuration =
                serde_json::from_slice(&text).map_err(|e| Error::json(&file, e))?;
        }
        let steps = rewind::newest(&directory.path.join(CHECKPOINTS))?;
        directory.rewind(&steps)?;
        directory.add_environment()?;
        Ok(directory)
    }

    /// Removes what was recorded after the checkpoints at `steps`, by stage; needed by itself only to go on from
    /// others than the newest.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn rewind(&mut self, steps: &BTreeMap<String, u64>) -> Result<()> {
        let [metrics, warnings] = [METRICS, WARNINGS].map(|name| self.path.join(name));
        let kept = rewind::kept(&metrics, steps)?;
        rewind::cut(&metrics, kept.length)?;
        self.metrics = LineFile::new(metrics, kept.length);
        self.known_metrics = kept.keys;
        let kept = rewind::kept(&warnings, steps)?;
        rewind::cut(&warnings, kept.length)?;
        self.warnings = LineFile::new(warnings, kept.length);
        self.known_warnings = kept.lines;
        rewind::remove_rollouts(&self.path.join("rollouts"), steps)
    }

    /// The checkpoints of `stage`, in `checkpoints/<stage>`.
    ///
    /// # Errors
    /// A stage whose name cannot name a folder; as [`CheckpointStore::open`].
    pub fn checkpoints(&self, stage: &str) -> Result<CheckpointStore> {
        check_stage(stage)?;
        CheckpointStore::open(self.path.join(CHECKPOINTS).join(stage))
    }

    /// Adds this process to those that wrote here. A list that cannot be read is begun anew: nothing depends on it.
    fn add_environment(&self) -> Result<()> {
        let text = fs::read(self.path.join(ENVIRONMENT)).unwrap_or_default();
        let mut all: Vec<Environment> = serde_json::from_slice(&text).unwrap_or_default();
        all.push(Environment::here());
        self.write_json(ENVIRONMENT, &all)
    }

    fn opened(path: PathBuf, lock: FolderLock) -> Self {
        Self {
            metrics: LineFile::new(path.join(METRICS), 0),
            warnings: LineFile::new(path.join(WARNINGS), 0),
            rollouts: WholeFiles::default(),
            configuration: serde_json::Map::new(),
            known_metrics: HashSet::new(),
            known_warnings: HashSet::new(),
            _lock: lock,
            path,
        }
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
        write_beside(&path, text.as_bytes()).map_err(|e| Error::io(&path, e))
    }

    /// Writes values as one line of JSON each to `name` within the directory, beside first and then renamed.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_json_lines<T: Serialize>(&self, name: &str, values: &[T]) -> Result<()> {
        let path = self.path.join(name);
        let text = json_lines(&path, values)?;
        write_beside(&path, &text).map_err(|e| Error::io(&path, e))
    }

    /// Keeps the resolved configuration of a stage in `config.json`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_configuration(&mut self, stage: &str, resolved: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(resolved)
            .map_err(|e| Error::json(&self.path.join(CONFIGURATION), e))?;
        self.configuration.insert(stage.to_owned(), value);
        self.write_json(CONFIGURATION, &self.configuration)
    }

    /// Appends a line to `metrics.jsonl`.
    ///
    /// # Errors
    /// A number that is not finite, by name; a file that cannot be written.
    pub fn append_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        record.metrics.validate()?;
        let key = (record.stage.clone(), record.kind, record.step);
        if self.known_metrics.contains(&key) {
            return Ok(());
        }
        let line = json_lines(&self.path.join(METRICS), std::slice::from_ref(record))?;
        self.metrics.append(&line)
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
        let path = self.path.join(rollout_file(origin)?);
        let text = json_lines(&path, samples)?;
        self.rollouts.write(&path, text)
    }

    fn on_warning(&mut self, warning: &Warning) -> Result<()> {
        let line = json_lines(&self.path.join(WARNINGS), std::slice::from_ref(warning))?;
        if self.known_warnings.contains(&blake3::hash(&line)) {
            return Ok(());
        }
        self.warnings.append(&line)
    }

    fn sync(&mut self) -> Result<()> {
        self.rollouts.sync()?;
        self.warnings.sync()?;
        self.metrics.sync()
    }
}

/// One line of JSON a value.
fn json_lines<T: Serialize>(path: &Path, values: &[T]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for value in values {
        serde_json::to_writer(&mut text, value).map_err(|e| Error::json(path, e))?;
        text.push(b'\n');
    }
    Ok(text)
}

fn check_stage(stage: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    check(
        "stage",
        !stage.is_empty() && stage.chars().all(plain) && !stage.starts_with('.'),
        || {
            format!(
                "`{stage}` names a folder of the run; use letters, digits, `_`, `-` and `.`, and begin with another \
                 than `.`"
            )
        },
    )
}

/// The rollout file of `origin` within a run directory: `rollouts/teacher/step_000001.jsonl`.
///
/// # Errors
/// A stage whose name cannot name a folder.
fn rollout_file(origin: RolloutOrigin<'_>) -> Result<String> {
    let RolloutOrigin { stage, kind, step } = origin;
    check_stage(stage)?;
    let word = match kind {
        MetricsKind::Train => "step",
        MetricsKind::Evaluation => "evaluation",
        MetricsKind::Summary => "summary",
    };
    Ok(format!("rollouts/{stage}/{word}_{step:06}.jsonl"))
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
    fn one_that_was_killed_before_it_began_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lock"), "").unwrap();
        let run = RunDirectory::create(folder.path()).unwrap();
        assert!(run.checkpoints("student-1.5b").is_ok());
        for name in ["", "a/b", ".hidden"] {
            assert!(run.checkpoints(name).is_err(), "{name}");
        }
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
