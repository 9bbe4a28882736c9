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
    /// Falls along half a cosine, `(1 + cos(π·t)) / 2`.
    Cosine,
    /// Falls on a line, `1 − t`.
    Linear,
}

/// A learning rate that rises on a line from 0 and then decays.
///
/// With `w` warm-up steps out of `n`, step `s` (from 0) has `peak · s / w` for `s < w`, then
/// `peak · (floor + (1 − floor) · d(t))` with the [`Decay`] `d` at `t = (s − w) / (n − w)`, as the schedules of
/// transformers do.
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
    /// The fraction of the peak that the decay ends at, in `[0, 1]`.
    #[serde(default)]
    pub floor: f64,
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
            floor: 0.0,
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
        let fraction = match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * t).cos()),
            Decay::Linear => 1.0 - t,
        };
        self.peak * (self.floor + (1.0 - self.floor) * fraction)
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
            floor: 0.0,
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

    /// Learning rates of transformers; `tests/golden/optimizer.py` makes them.
    #[test]
    fn rates_are_those_of_transformers() {
        #[derive(Deserialize)]
        struct Golden {
            schedule: Rates,
        }
        #[derive(Deserialize)]
        struct Rates {
            peak: f64,
            warmup_steps: u64,
            steps: u64,
            floor: f64,
            rates: std::collections::BTreeMap<String, Vec<f64>>,
        }
        let golden = include_str!("../tests/golden/optimizer.json");
        let golden = serde_json::from_str::<Golden>(golden).unwrap().schedule;
        assert_eq!(golden.rates.len(), 4);
        for (name, expected) in &golden.rates {
            let decay = match name.as_str() {
                "constant" => Decay::Constant,
                "linear" => Decay::Linear,
                _ => Decay::Cosine,
            };
            let schedule = Schedule {
                peak: golden.peak,
                warmup_steps: golden.warmup_steps,
                steps: golden.steps,
                decay,
                floor: if name == "cosine_floor" {
                    golden.floor
                } else {
                    0.0
                },
            };
            for (step, expected) in expected.iter().enumerate() {
                let found = schedule.rate(step as u64);
                assert!(
                    (found - expected).abs() < 1e-15,
                    "{name}, step {step}: {found} and {expected}"
                );
            }
        }
    }
}
