//! What a run does with a number that is not finite: ends with a typed error, or leaves out a sample or a step, so
//! many times and no more.
//!
//! Owns the bounds and the count of what was left out. Such a number never goes on into a mean, a loss or a weight.

use serde::{Deserialize, Serialize};

use crate::config::check;
use crate::warnings::{Warning, WarningKind};
use crate::{Error, Metrics, Observer, Result};

/// How much may be left out because a score, a reward, a log-prob, a loss or a gradient is not finite.
///
/// Without it, the run ends with an error that names the sample or the tensor. What is left out is counted in the
/// metrics `skipped/samples` and `skipped/steps`, and a warning names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NonFiniteConfig {
    /// Samples that a step may leave out, as a fraction of all, in `[0, 1)`. One that is left out counts nowhere: not
    /// in its group, not in the loss. Default 0.
    pub skip_samples: f64,
    /// Steps in a row that may be made without an update, because of a gradient that is not finite or of more
    /// samples than `skip_samples`. Default 0.
    pub skip_steps: u64,
}

impl NonFiniteConfig {
    /// Checks the ranges; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn validate(&self, key: &str) -> Result<()> {
        check(
            &format!("{key}.skip_samples"),
            (0.0..1.0).contains(&self.skip_samples),
            || format!("{} is not in [0, 1)", self.skip_samples),
        )
    }

    const fn skips(&self) -> bool {
        self.skip_samples > 0.0 || self.skip_steps > 0
    }
}

/// What one step left out.
#[derive(Debug)]
pub(crate) struct Skipped {
    config: NonFiniteConfig,
    /// Of the samples drawn, or the examples of the batch.
    samples: usize,
    left_out: Vec<Error>,
}

impl Skipped {
    /// For a step of at least `samples` samples.
    pub(crate) const fn new(config: NonFiniteConfig, samples: usize) -> Self {
        Self {
            config,
            samples,
            left_out: Vec::new(),
        }
    }

    /// There are more samples than were known of before.
    pub(crate) fn at_least(&mut self, samples: usize) {
        self.samples = self.samples.max(samples);
    }

    /// The sample that may be left out because of `error`.
    ///
    /// # Errors
    /// `error` itself, where it is not of one sample or too many were left out.
    pub(crate) fn leave_out(&mut self, error: Error) -> Result<String> {
        let allowed = self.config.skip_samples * self.samples as f64;
        match error.non_finite_sample() {
            Some(sample) if (self.left_out.len() + 1) as f64 <= allowed => {
                let sample = sample.to_owned();
                self.left_out.push(error);
                Ok(sample)
            }
            _ => Err(error),
        }
    }

    /// Whether `sample` was left out.
    pub(crate) fn holds(&self, sample: &str) -> bool {
        let mut samples = self.left_out.iter().map(Error::non_finite_sample);
        samples.any(|other| other == Some(sample))
    }

    /// Whether the whole step may be left out because of `error`, after `in_a_row` others.
    pub(crate) const fn allows_step(&self, error: &Error, in_a_row: u64) -> bool {
        error.is_non_finite() && in_a_row < self.config.skip_steps
    }

    /// Puts the counts into the metrics of step `step` and warns of everything left out.
    pub(crate) fn report(
        &self,
        whole_step: Option<&Error>,
        stage: &str,
        step: u64,
        metrics: &mut Metrics,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if !self.config.skips() {
            return Ok(());
        }
        metrics.set("skipped/samples", self.left_out.len() as f64);
        metrics.set("skipped/steps", f64::from(u8::from(whole_step.is_some())));
        let samples = self.left_out.iter().map(|e| ("a sample", e));
        for (what, error) in samples.chain(whole_step.map(|e| ("the whole step", e))) {
            observer.on_warning(&Warning {
                stage: stage.to_owned(),
                step,
                kind: WarningKind::Run,
                text: format!("step {step} left out {what}: {error}"),
                advice: "a lower learning rate or a smaller max_grad_norm keeps weights in range; look at the \
                         sample where one is named"
                    .to_owned(),
            })?;
        }
        Ok(())
    }
}
