//! How fast a machine is at what models mostly do.
//!
//! Owns measuring it, in a second or so. What a stage computes is counted elsewhere.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use didact_rl::memory::MemoryPlace;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

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
    /// Bytes of one GPU's memory, in a file a number or such as `"80 GB"` or `"22 GiB"`. With it, stages are planned with
    /// their models on that GPU, and the plan says which fit; without it, everything is counted as on the processor.
    #[serde(default, deserialize_with = "memory")]
    pub memory: Option<u64>,
}

/// A number of bytes, or one with a unit.
fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected bytes, or a text such as \"80 GB\"")]
    enum Given {
        Bytes(u64),
        Text(String),
    }
    match Option::<Given>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Given::Bytes(bytes)) => Ok(Some(bytes)),
        Some(Given::Text(text)) => bytes(&text).map(Some).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no amount of memory; write a number above 0 and one of MB, GB, MiB and GiB, as in \"80 GB\""
            ))
        }),
    }
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let unit = match unit.trim() {
        "MB" => 1e6,
        "GB" => 1e9,
        "MiB" => f64::from(1 << 20),
        "GiB" => f64::from(1 << 30),
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * unit;
    (1.0..1e18).contains(&bytes).then_some(bytes as u64)
}

/// Rows and columns of the product that computing is measured with.
const SQUARE: usize = 768;

/// Rows and columns of the matrix that reading is measured with, in f32 larger than most caches.
const READ: usize = 4096;

/// The best of so many tries counts: others may be at work.
const TRIES: usize = 5;

impl Machine {
    /// Where models are planned to run.
    pub(super) const fn place(&self) -> MemoryPlace {
        match self.memory {
            Some(_) => MemoryPlace::Device,
            None => MemoryPlace::Host,
        }
    }

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
            memory: None,
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
    fn memory_is_bytes_or_a_number_with_a_unit() {
        let of = |memory: &str| {
            let text =
                format!("name = 'a'\noperations_per_second = 1\nbytes_per_second = 1\n{memory}");
            toml::from_str::<Machine>(&text).map(|machine| machine.memory)
        };
        for (memory, expected) in [
            ("", None),
            ("memory = 7", Some(7)),
            ("memory = '80 GB'", Some(80_000_000_000)),
            ("memory = '1.5 GiB'", Some(3 << 29)),
            ("memory = '40 MiB'", Some(40 << 20)),
        ] {
            assert_eq!(of(memory).unwrap(), expected, "{memory}");
        }
        for memory in [
            "'80'",
            "'GB'",
            "'80 GBit'",
            "'-1 GB'",
            "'0 GB'",
            "'nan GB'",
            "true",
        ] {
            let error = of(&format!("memory = {memory}")).unwrap_err().to_string();
            assert!(error.contains("80 GB"), "{memory}: {error}");
        }
    }

    #[test]
    fn a_machine_computes_and_reads_at_some_speed() {
        let machine = Machine::measured(&Device::flex());
        for speed in [machine.operations_per_second, machine.bytes_per_second] {
            assert!(speed.is_finite() && speed > 1e6, "{machine:?}");
        }
    }
}
