//! Fresh parameters, the same for the same seed on every machine and for any thread count.

use burn::tensor::Device;
use didact_core::{RandomStream, StreamKey};

use crate::assemble::{Role, assemble};
use crate::{Decoder, DecoderConfig};

/// The standard deviation of fresh weights, `initializer_range` in Hugging Face's configurations.
const DEVIATION: f64 = 0.02;

impl Decoder {
    /// A decoder with fresh parameters: weights from a normal distribution of deviation 0.02, norms
    /// that scale by 1, biases 0.
    ///
    /// Each tensor has its own random stream, named by `seed` and the tensor's path, so a decoder with
    /// more layers begins with the same ones.
    #[must_use]
    pub fn init(config: &DecoderConfig, seed: u64, device: &Device) -> Self {
        let norm = 1.0 - config.family.norm_offset() as f32;
        let built = assemble(config, device, None, &mut |slot| {
            let count = slot.shape.iter().product();
            Ok(match slot.role {
                Role::Embedding | Role::Projection => normal(&stream(seed, &slot.path), count),
                Role::Norm => vec![norm; count],
                Role::Bias => vec![0.0; count],
            })
        });
        built.unwrap_or_else(|_| unreachable!("filling from a stream cannot fail"))
    }
}

/// The random stream of the tensor at `path`.
pub(crate) fn stream(seed: u64, path: &str) -> RandomStream {
    StreamKey {
        run_seed: seed,
        step: fnv(path),
        problem: 0,
        sample: 0,
    }
    .stream()
}

/// The 64-bit FNV-1a hash (Fowler, Noll and Vo).
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Normal numbers by Box and Muller's method; draws 2i and 2i + 1 make numbers 2i and 2i + 1.
fn normal(stream: &RandomStream, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    for pair in 0..count.div_ceil(2) as u64 {
        // 1 − u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - stream.uniform(2 * pair)).ln()).sqrt() * DEVIATION;
        let (sin, cos) = (std::f64::consts::TAU * stream.uniform(2 * pair + 1)).sin_cos();
        values.push((radius * cos) as f32);
        values.push((radius * sin) as f32);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_the_deviation_and_no_skew() {
        let values = normal(&RandomStream::new(3), 100_001);
        assert_eq!(values.len(), 100_001);
        let moment = |power: i32| {
            values
                .iter()
                .map(|&v| (f64::from(v) / DEVIATION).powi(power))
                .sum::<f64>()
                / values.len() as f64
        };
        // Five standard errors: √(1/n), √(2/n), √(15/n), √(96/n).
        for (power, expected, error) in [
            (1, 0.0, 0.016),
            (2, 1.0, 0.023),
            (3, 0.0, 0.062),
            (4, 3.0, 0.155),
        ] {
            assert!(
                (moment(power) - expected).abs() < error,
                "{power}: {}",
                moment(power)
            );
        }
    }
}
