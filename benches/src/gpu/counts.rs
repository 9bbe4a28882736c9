//! How much work an operation is: the least that any implementation does, and what ours does by its design.
//!
//! Pure functions of sizes, read off the kernels in `crates/didact-kernels/src/cube`. `float` is the bytes of a number.
//! What one cube reads twice of a few KiB counts once; what another cube reads again counts again, whether or not a
//! cache keeps it. What is in a partly filled tile counts, the rest of the tile does not.
mod attention;
mod elements;
mod products;

pub(super) use attention::{CachedAttention, Heads, PackedAttention};
pub(super) use elements::{adamw, gated, rms_norm, rms_norm_backward, rotary, sample, write_slots};
pub(super) use products::{Linear, LinearLogProb, QuantisedLinear};

use std::iter::Sum;
use std::ops::Add;

/// An exponential, in multiplications and additions: an H100's multiprocessor makes 16 of the one or 256 of the other in
/// a cycle.
const EXPONENTIAL: f64 = 16.0;
/// Bytes of an f32.
const F32: f64 = 4.0;
/// Bytes of an index.
const INDEX: f64 = 4.0;

/// What a device is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Demand {
    /// Bytes read from and written to memory.
    pub(super) bytes: f64,
    /// Multiplications and additions that matrix units can do.
    pub(super) matrix: f64,
    /// Multiplications and additions on ordinary units, in f32.
    pub(super) ordinary: f64,
    /// Numbers that units read, one at a time, from shared memory or a cache. An ordinary unit multiplies several times
    /// as fast as it reads.
    pub(super) reads: f64,
}

impl Demand {
    /// Multiplications and additions, wherever they are done.
    pub(super) fn operations(self) -> f64 {
        self.matrix + self.ordinary
    }
}

impl Add for Demand {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            matrix: self.matrix + other.matrix,
            ordinary: self.ordinary + other.ordinary,
            reads: self.reads + other.reads,
        }
    }
}

impl Sum for Demand {
    fn sum<I: Iterator<Item = Self>>(demands: I) -> Self {
        demands.fold(Self::default(), Add::add)
    }
}

/// One pass of one operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counts {
    /// Inputs read once, outputs written once, products on matrix units.
    pub(super) least: Demand,
    /// What our launches ask for, in their order; launches of the same kernel are one entry.
    pub(super) launches: Vec<Demand>,
}

impl Counts {
    /// All launches together.
    pub(super) fn ours(&self) -> Demand {
        self.launches.iter().copied().sum()
    }
}

/// The most that a device does in a second.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Peaks {
    /// Bytes that memory moves in a second. The defaults of all four are an H100 SXM's.
    #[arg(long, default_value_t = 3.35e12)]
    bytes_per_second: f64,
    /// Multiplications and additions of matrix units in a second, in the type that is timed.
    #[arg(long, default_value_t = 989e12)]
    operations_per_second: f64,
    /// The same of ordinary units, in f32.
    #[arg(long, default_value_t = 67e12)]
    ordinary_operations_per_second: f64,
    /// Numbers that all units read from shared memory in a second, without conflicts: 132 multiprocessors, 32 numbers a
    /// cycle each, at 1.98 GHz.
    #[arg(long, default_value_t = 8.4e12)]
    reads_per_second: f64,
}

impl Peaks {
    /// The largest of the four times, in seconds: all four go on at once.
    pub(super) fn seconds(&self, demand: Demand) -> f64 {
        (demand.bytes / self.bytes_per_second)
            .max(demand.matrix / self.operations_per_second)
            .max(demand.ordinary / self.ordinary_operations_per_second)
            .max(demand.reads / self.reads_per_second)
    }

    /// What most of the expected time goes to.
    pub(super) fn limit(&self, counts: &Counts) -> &'static str {
        let mut parts = [
            ("memory", 0.0),
            ("matrix units", 0.0),
            ("ordinary units", 0.0),
            ("reads", 0.0),
        ];
        for &launch in &counts.launches {
            let seconds = self.seconds(launch);
            let of = [
                Demand {
                    bytes: launch.bytes,
                    ..Demand::default()
                },
                Demand {
                    matrix: launch.matrix,
                    ..Demand::default()
                },
                Demand {
                    ordinary: launch.ordinary,
                    ..Demand::default()
                },
                Demand {
                    reads: launch.reads,
                    ..Demand::default()
                },
            ];
            for (part, demand) in parts.iter_mut().zip(of) {
                if self.seconds(demand) >= seconds {
                    part.1 += seconds;
                    break;
                }
            }
        }
        parts
            .into_iter()
            .fold(
                parts[0],
                |most, part| if part.1 > most.1 { part } else { most },
            )
            .0
    }

    /// Seconds below which no implementation comes.
    pub(super) fn floor(&self, counts: &Counts) -> f64 {
        self.seconds(counts.least)
    }

    /// Seconds of our launches one after the other, each at a peak; no time is counted between them.
    pub(super) fn expected(&self, counts: &Counts) -> f64 {
        counts
            .launches
            .iter()
            .map(|&launch| self.seconds(launch))
            .sum()
    }

    /// The peaks in words.
    pub(super) fn describe(&self) -> String {
        format!(
            "{:.2} TB/s of memory, {:.0} T operations/s on matrix units, {:.0} T on ordinary units, {:.1} T reads/s of \
             shared memory",
            self.bytes_per_second / 1e12,
            self.operations_per_second / 1e12,
            self.ordinary_operations_per_second / 1e12,
            self.reads_per_second / 1e12,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_follow_each_other_and_each_has_its_own_limit() {
        let peaks = Peaks {
            bytes_per_second: 10.0,
            operations_per_second: 1000.0,
            ordinary_operations_per_second: 100.0,
            reads_per_second: 20.0,
        };
        let memory = Demand {
            bytes: 30.0,
            matrix: 1000.0,
            ..Demand::default()
        };
        let reading = Demand {
            bytes: 10.0,
            ordinary: 200.0,
            reads: 100.0,
            ..Demand::default()
        };
        let counts = Counts {
            least: Demand {
                matrix: 500.0,
                ..Demand::default()
            },
            launches: vec![memory, reading],
        };
        assert_eq!(peaks.seconds(memory), 3.0);
        assert_eq!(peaks.seconds(reading), 5.0);
        assert_eq!(peaks.floor(&counts), 0.5);
        assert_eq!(peaks.expected(&counts), 8.0);
        assert_eq!(peaks.limit(&counts), "reads");
        assert_eq!(counts.ours().bytes, 40.0);
        assert_eq!(counts.ours().operations(), 1200.0);
    }
}
