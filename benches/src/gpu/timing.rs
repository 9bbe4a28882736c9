//! How long a call takes on a device.
use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::works::Call;

/// A sample is repeated calls for about so long, so that the wait for the device at its end weighs little.
const SAMPLE: Duration = Duration::from_millis(10);
const MOST_CALLS: u32 = 200;

/// How often to measure.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Settings {
    /// Samples before those that count.
    #[arg(long, default_value_t = 3)]
    warm_up: u32,
    /// Samples, of which the median is printed.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
}

impl Settings {
    /// Median seconds of a call. The first call compiles; every sample ends when the device has finished.
    ///
    /// Launches are made while the device works on earlier ones: what takes less time on the device than its launches
    /// take on the host is measured as the latter.
    pub(super) fn seconds(&self, device: &Device, call: &mut Call) -> crate::Result<f64> {
        let mut sample = |calls: u32| {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            device.sync()?;
            crate::Result::Ok(start.elapsed() / calls)
        };
        sample(1)?;
        let calls = calls(sample(1)?);
        for _ in 0..self.warm_up {
            sample(calls)?;
        }
        let samples: crate::Result<Vec<_>> = (0..self.samples).map(|_| sample(calls)).collect();
        Ok(median(samples?).as_secs_f64())
    }
}

/// Calls of a sample when one takes so long.
fn calls(one: Duration) -> u32 {
    let fit = SAMPLE.as_nanos() / one.as_nanos().max(1);
    u32::try_from(fit).map_or(MOST_CALLS, |fit| fit.clamp(1, MOST_CALLS))
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn a_sample_lasts_long_enough() {
        assert_eq!(calls(Duration::from_millis(1)), 10);
        assert_eq!(calls(Duration::from_secs(1)), 1);
        assert_eq!(calls(Duration::ZERO), MOST_CALLS);
    }

    #[test]
    fn the_middle_sample_counts() {
        let samples = [5, 1, 100].map(Duration::from_micros);
        assert_eq!(median(samples.to_vec()), Duration::from_micros(5));
    }

    #[test]
    fn every_sample_is_taken() {
        let count = Rc::new(Cell::new(0));
        let counter = count.clone();
        let mut call: Call = Box::new(move || {
            counter.set(counter.get() + 1);
            std::thread::sleep(2 * SAMPLE);
        });
        let settings = Settings {
            warm_up: 1,
            samples: 3,
        };
        let seconds = settings
            .seconds(&Device::flex(), &mut call)
            .expect("the CPU");
        assert_eq!(count.get(), 2 + 1 + 3);
        assert!(seconds >= (2 * SAMPLE).as_secs_f64());
    }
}
