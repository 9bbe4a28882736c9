//! TensorBoard event files.
//!
//! Owns the format: TFRecord frames around hand-encoded `Event` messages, and which metrics become which tags.
//! Knows no training: [`TensorBoard`] is an [`Observer`].
//!
//! Each stage is a run of its own in TensorBoard's words, a folder, and a metric's tag is its name; figures of whole
//! stages are in the run `summary`. Numbers are
//! `simple_value`s, which every version reads; configurations and warnings are texts. Formats: TensorFlow's
//! `core/util/event.proto`, `core/framework/summary.proto` and `core/lib/io/record_writer.h`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::warnings::Warning;
use crate::{Error, MetricsKind, MetricsRecord, Observer, Result};

mod event;
mod frame;

use self::event::{Event, Value};

/// The folder for the figures of whole stages, which are points rather than curves.
const SUMMARY: &str = "summary";

/// Writes what a run reports to `STAGE/events.out.tfevents.…` in a folder.
///
/// A run that goes on from a checkpoint opens further files, each with a mark that makes readers forget what
/// earlier files of the stage hold from its first step on.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    stages: BTreeMap<String, EventFile>,
    /// Configurations of stages that have no file yet.
    configurations: BTreeMap<String, String>,
}

impl TensorBoard {
    /// Writes to folders in `folder`, which are made when there is something to write.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            stages: BTreeMap::new(),
            configurations: BTreeMap::new(),
        }
    }

    /// The files that were begun.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.stages.values().map(|file| file.path.as_path())
    }

    fn write(&mut self, stage: &str, step: u64, values: Vec<Value>) -> Result<()> {
        let wall_time = now();
        if !self.stages.contains_key(stage) {
            let mut file = EventFile::create(&self.folder.join(stage), wall_time)?;
            if stage != SUMMARY {
                file.write(&Event::start(wall_time, step))?;
            }
            if let Some(text) = self.configurations.remove(stage) {
                let value = Value::text("configuration", text);
                file.write(&Event::summary(wall_time, step, vec![value]))?;
            }
            self.stages.insert(stage.to_owned(), file);
        }
        match self.stages.get_mut(stage) {
            Some(file) => file.write(&Event::summary(wall_time, step, values)),
            None => Ok(()),
        }
    }
}

impl Observer for TensorBoard {
    fn on_configuration(&mut self, stage: &str, resolved: &serde_json::Value) -> Result<()> {
        let indented = serde_json::to_string_pretty(resolved)
            .map_err(|e| Error::json(&self.folder.join(stage), e))?;
        // Four spaces make a block of code in Markdown, which texts are shown as.
        let lines = indented.lines().map(|line| format!("    {line}\n"));
        self.configurations
            .insert(stage.to_owned(), lines.collect());
        Ok(())
    }

    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        record.metrics.validate()?;
        let scalars = record.metrics.iter();
        if record.kind == MetricsKind::Summary {
            let stage = &record.stage;
            let scalars =
                scalars.map(|(name, v)| Value::scalar(&format!("{stage}/{name}"), v as f32));
            return self.write(SUMMARY, record.step, scalars.collect());
        }
        let scalars = scalars.map(|(name, value)| Value::scalar(name, value as f32));
        self.write(&record.stage, record.step, scalars.collect())
    }

    fn on_warning(&mut self, warning: &Warning) -> Result<()> {
        let text = format!("{}. {}", warning.text, warning.advice);
        let value = Value::text("warnings", text);
        self.write(&warning.stage, warning.step, vec![value])
    }
}

/// One event file, open for writing.
#[derive(Debug)]
struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    fn create(folder: &Path, wall_time: f64) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let mut number = 0_u64;
        loop {
            // Files are read in the order of their names, so the seconds have a fixed width; the number keeps two
            // of one second apart.
            let name = format!(
                "events.out.tfevents.{:010}.didact.{:09}.{number}",
                wall_time as u64,
                std::process::id()
            );
            let path = folder.join(name);
            match OpenOptions::new().create_new(true).append(true).open(&path) {
                Ok(file) => {
                    let mut created = Self { path, file };
                    created.write(&Event::version(wall_time))?;
                    return Ok(created);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::io(&path, error)),
            }
        }
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        let frame = frame::frame(event.encode());
        // One write a frame, so that a run that is killed leaves whole frames.
        let written = self.file.write_all(&frame);
        written.map_err(|e| Error::io(&self.path, e))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |passed| passed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metrics, WarningKind};

    /// The payloads of a file's frames, each checked by its sums.
    fn payloads(path: &Path) -> Vec<Vec<u8>> {
        let bytes = fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let payload = rest[12..12 + length].to_vec();
            assert_eq!(&rest[..16 + length], frame::frame(&payload));
            found.push(payload);
            rest = &rest[16 + length..];
        }
        found
    }

    #[test]
    fn a_stage_is_a_run_and_another_file_voids_what_it_writes_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::new();
        metrics.set("reward", -0.5);
        let record = |step| MetricsRecord {
            stage: "teacher".into(),
            kind: MetricsKind::Train,
            step,
            metrics: metrics.clone(),
        };
        let mut first = TensorBoard::new(folder.path());
        first
            .on_configuration("teacher", &serde_json::json!({"seed": 1}))
            .unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for step in 1..=3 {
            first.on_metrics(&record(step)).unwrap();
        }
        first
            .on_warning(&Warning {
                stage: "warmup".into(),
                step: 2,
                kind: WarningKind::Run,
                text: "a".into(),
                advice: "b".into(),
            })
            .unwrap();
        let files: Vec<PathBuf> = first.files().map(Path::to_owned).collect();
        assert_eq!(files.len(), 2);
        assert!(files[0].starts_with(folder.path().join("teacher")));
        // Version, start, configuration, three steps.
        assert_eq!(payloads(&files[0]).len(), 6);

        let mut second = TensorBoard::new(folder.path());
        second.on_metrics(&record(2)).unwrap();
        let again = second.files().next().unwrap();
        assert!(again > files[0].as_path(), "read after the first");
        let found = payloads(again);
        // Behind key and wall time: step 2, session log with status START.
        assert_eq!(found[1][9..], [0x10, 2, 0x3a, 2, 0x08, 1]);
    }
}
