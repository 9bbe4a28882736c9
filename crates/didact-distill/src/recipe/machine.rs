//! How fast a machine is at what models mostly do.
//!
//! Owns measuring it, in a second or so. What a stage computes is counted elsewhere.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use serde::{Deserialize, Serialize};

/// What a machine does in a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What it is called.
    pub name: String,
    /// Multiplications and additions a second that it reaches in matrix products, all devices together.
    pub operations_per_second: f64,
    /// Bytes a second that it reads, all devices together.
    pub bytes_per_second: f64,
}

/// Rows and columns of the product that computing is measured with.
const SQUARE: usize = 768;

/// Rows and columns of the matrix that reading is measured with, in f32 larger than most caches.
const READ: usize = 4096;

/// The best of so many tries counts: others may be at work.
const TRIES: usize = 5;

impl Machine {
    /// This machine's `device`, measured by a product of squares and by one of a row with a large matrix, in f32.
    #[must_use]
    pub fn measured(device: &Device) -> Self {
        let draw =
            |rows, columns| Tensor::<2>::random([rows, columns], Distribution::Default, device);
        let (a, b) = (draw(SQUARE, SQUARE), draw(SQUARE, SQUARE));
        let product = best(|| a.clone().matmul(b.clone()));
        let (row, large) = (draw(1, READ), draw(READ, READ));
        let reading = best(|| row.clone().matmul(large.clone()));
        Self {
            name: "this machine, measured".to_owned(),
            operations_per_second: 2.0 * (SQUARE as f64).powi(3) / product,
            bytes_per_second: 4.0 * (READ as f64).powi(2) / reading,
        }
    }
}

/// The least time in seconds; one try before them warms caches and pages.
fn best(work: impl Fn() -> Tensor<2>) -> f64 {
    // Read back, since a device may only have been asked to compute.
    let run = || {
        let begin = Instant::now();
        let _ = work().into_data();
        begin.elapsed().as_secs_f64()
    };
    run();
    (0..TRIES).map(|_| run()).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_computes_and_reads_at_some_speed() {
        let machine = Machine::measured(&Device::flex());
        for speed in [machine.operations_per_second, machine.bytes_per_second] {
            assert!(speed.is_finite() && speed > 1e6, "{machine:?}");
        }
    }
}
