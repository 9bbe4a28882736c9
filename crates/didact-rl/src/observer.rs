//! Who watches a run.
//!
//! Owns the trait that training reports to: a run directory, a progress bar, a test. Knows neither.

use serde::{Deserialize, Serialize};

use crate::rollout::RolloutOrigin;
use crate::warnings::Warning;
use crate::{Metrics, Result, RolloutRecord};

/// What a line of metrics is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsKind {
    /// An update of the weights.
    Train,
    /// A look at held-out problems.
    Evaluation,
    /// Figures of a whole stage.
    Summary,
}

/// The metrics of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsRecord {
    /// The stage of the run: `warmup`, `teacher`, ….
    pub stage: String,
    /// What the numbers are about.
    pub kind: MetricsKind,
    /// Updates made so far: 0 before the first.
    pub step: u64,
    /// The numbers.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// What is being worked on within a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Completions are being sampled.
    Generate,
    /// Completions are being scored.
    Score,
    /// The weights are being updated.
    Update,
    /// Held-out problems are being looked at.
    Evaluate,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The stage of the run.
    pub stage: &'a str,
    /// What begins now.
    pub phase: Phase,
    /// Updates made so far.
    pub step: u64,
    /// Updates of the whole stage.
    pub steps: u64,
}

/// Sees everything that a run does. Every method does nothing unless it is written.
///
/// An error ends the run.
pub trait Observer {
    /// The resolved configuration of a stage, before its first step.
    ///
    /// # Errors
    /// What the observer makes of it.
    fn on_configuration(&mut self, _stage: &str, _resolved: &serde_json::Value) -> Result<()> {
        Ok(())
    }

    /// A phase begins.
    ///
    /// # Errors
    /// What the observer makes of it.
    fn on_progress(&mut self, _progress: &Progress<'_>) -> Result<()> {
        Ok(())
    }

    /// A step or an evaluation is complete.
    ///
    /// # Errors
    /// What the observer makes of it.
    fn on_metrics(&mut self, _record: &MetricsRecord) -> Result<()> {
        Ok(())
    }

    /// The samples of a step or of an evaluation.
    ///
    /// # Errors
    /// What the observer makes of it.
    fn on_rollouts(
        &mut self,
        _origin: RolloutOrigin<'_>,
        _samples: &[RolloutRecord],
    ) -> Result<()> {
        Ok(())
    }

    /// Something looks wrong; the run goes on.
    ///
    /// # Errors
    /// What the observer makes of it.
    fn on_warning(&mut self, _warning: &Warning) -> Result<()> {
        Ok(())
    }

    /// A checkpoint is about to be written, or the stage is over: everything told so far is to be durable when this
    /// returns.
    ///
    /// # Errors
    /// What could not be written. Before a checkpoint, that one is not written then.
    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Watches nothing.
impl Observer for () {}

/// Tells both, the first one first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn on_configuration(&mut self, stage: &str, resolved: &serde_json::Value) -> Result<()> {
        self.0.on_configuration(stage, resolved)?;
        self.1.on_configuration(stage, resolved)
    }

    fn on_progress(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.0.on_progress(progress)?;
        self.1.on_progress(progress)
    }

    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        self.0.on_metrics(record)?;
        self.1.on_metrics(record)
    }

    fn on_rollouts(&mut self, origin: RolloutOrigin<'_>, samples: &[RolloutRecord]) -> Result<()> {
        self.0.on_rollouts(origin, samples)?;
        self.1.on_rollouts(origin, samples)
    }

    fn on_warning(&mut self, warning: &Warning) -> Result<()> {
        self.0.on_warning(warning)?;
        self.1.on_warning(warning)
    }

    fn sync(&mut self) -> Result<()> {
        self.0.sync()?;
        self.1.sync()
    }
}

impl<T: Observer + ?Sized> Observer for &mut T {
    fn on_configuration(&mut self, stage: &str, resolved: &serde_json::Value) -> Result<()> {
        (**self).on_configuration(stage, resolved)
    }

    fn on_progress(&mut self, progress: &Progress<'_>) -> Result<()> {
        (**self).on_progress(progress)
    }

    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        (**self).on_metrics(record)
    }

    fn on_rollouts(&mut self, origin: RolloutOrigin<'_>, samples: &[RolloutRecord]) -> Result<()> {
        (**self).on_rollouts(origin, samples)
    }

    fn on_warning(&mut self, warning: &Warning) -> Result<()> {
        (**self).on_warning(warning)
    }

    fn sync(&mut self) -> Result<()> {
        (**self).sync()
    }
}
