//! Learning rates by step.
//!
//! Owns how the learning rate moves over a run. Knows no optimizer.

use serde::{Deserialize, Serialize};

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Stays at its peak.
    #[default]
    Constant,
    /// Falls to 0 along half a cosine: `peak · (1 + cos(π·t)) / 2`.
    Cosine,
    /// Falls to 0 on a line: `peak · (1 − t)`.
    Linear,
}

/// A learning rate that rises on a line from 0 and then decays.
///
/// With `w` warm-up steps out of `n`, step `s` (from 0) has `peak · s / w` for `s < w`, then the decay at
/// `t = (s − w) / (n − w)`, as the schedules of transformers do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps of the rise.
    pub warmup_steps: u64,
    /// Steps of the whole run; a constant rate does not use it.
    pub steps: u64,
    /// What follows the rise.
    pub decay: Decay,
}

impl Schedule {
    /// `rate` at every step.
    #[must_use]
    pub const fn constant(rate: f64) -> Self {
        Self {
            peak: rate,
            warmup_steps: 0,
            steps: 0,
            decay: Decay::Constant,
        }
    }

    /// The learning rate of step `step`, counted from 0.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let t = ((step - self.warmup_steps) as f64 / rest).min(1.0);
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine => self.peak * 0.5 * (1.0 + (std::f64::consts::PI * t).cos()),
            Decay::Linear => self.peak * (1.0 - t),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_on_a_line_then_the_decay() {
        let schedule = Schedule {
            peak: 2.0,
            warmup_steps: 4,
            steps: 12,
            decay: Decay::Cosine,
        };
        let rates: Vec<f64> = (0..=12).map(|s| schedule.rate(s)).collect();
        assert_eq!(&rates[..5], &[0.0, 0.5, 1.0, 1.5, 2.0]);
        assert!((rates[8] - 1.0).abs() < 1e-12);
        assert!(rates[12].abs() < 1e-12);
        let linear = Schedule {
            decay: Decay::Linear,
            ..schedule
        };
        assert!((linear.rate(6) - 1.5).abs() < 1e-12);
        assert_eq!(Schedule::constant(0.1).rate(1000), 0.1);
    }
}
