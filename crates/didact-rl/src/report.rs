//! A run as one page to read: `report.html`, which needs nothing beside it.
//!
//! Owns what is shown of a run directory and how. Reads what the run wrote; knows no training. The page has no
//! script and loads nothing: charts are drawn as SVG, figures stand in their tooltips, and light or dark follows
//! the reader's system. All text of models and problems is escaped.
//!
//! What cannot be read of a run that was cut off is named on the page and left out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, MetricsKind, MetricsRecord, Observer, Result};

mod accuracies;
mod chart;
mod explanations;
mod html;
mod overview;
mod page;
mod records;
mod tokens;

use self::records::Records;

/// Writes `report.html` into a run directory, replacing an older one, and says where it is.
///
/// # Errors
/// A directory without `metrics.jsonl`; a page that cannot be written.
pub fn write(run: impl AsRef<Path>) -> Result<PathBuf> {
    let run = run.as_ref();
    let records = Records::read(run)?;
    let path = run.join("report.html");
    let beside = run.join("report.html.partial");
    fs::write(&beside, page::render(&records)).map_err(|e| Error::io(&beside, e))?;
    fs::rename(&beside, &path).map_err(|e| Error::io(&path, e))?;
    Ok(path)
}

/// Writes the report while a run goes on.
///
/// It reads the files of the run, so it must hear of each step after the [`RunDirectory`](crate::RunDirectory):
/// `(&mut directory, &mut reporter)`. A report that cannot be written does not end the run; [`error`](Self::error)
/// holds the reason.
#[derive(Debug)]
pub struct Reporter {
    run: PathBuf,
    every: u64,
    error: Option<Error>,
}

impl Reporter {
    /// Writes the report of the run in `run` after every evaluation and every figure of a whole stage.
    #[must_use]
    pub fn new(run: impl Into<PathBuf>) -> Self {
        Self {
            run: run.into(),
            every: 0,
            error: None,
        }
    }

    /// The same, and after every `steps` training steps; 0 for none.
    #[must_use]
    pub const fn every(mut self, steps: u64) -> Self {
        self.every = steps;
        self
    }

    /// Why the last report could not be written.
    #[must_use]
    pub const fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }
}

impl Observer for Reporter {
    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        let due = match record.kind {
            MetricsKind::Train => self.every > 0 && record.step.is_multiple_of(self.every),
            MetricsKind::Evaluation | MetricsKind::Summary => true,
        };
        if due {
            self.error = write(&self.run).err();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
