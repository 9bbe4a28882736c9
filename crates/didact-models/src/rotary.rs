//! Rotary frequencies and the tables of cosines and sines by position.
//!
//! Frequencies and angles are computed on the host in f64 and rounded once, so that far positions
//! lose nothing. The rotation itself is a kernel.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::{DecoderOptions, Llama3Scaling};

/// Cosines and sines of each token's angles, `[N, head_dim / 2]`.
#[derive(Debug, Clone)]
pub struct RotaryTables {
    /// Cosines.
    pub cos: Tensor<2>,
    /// Sines.
    pub sin: Tensor<2>,
}

impl RotaryTables {
    /// The tables for tokens at `positions`.
    #[must_use]
    pub fn new(options: &DecoderOptions, positions: &[u32], device: &Device) -> Self {
        let frequencies = frequencies(options);
        let shape = [positions.len(), frequencies.len()];
        let mut cos = Vec::with_capacity(shape[0] * shape[1]);
        let mut sin = Vec::with_capacity(shape[0] * shape[1]);
        for &position in positions {
            for frequency in &frequencies {
                let (s, c) = (f64::from(position) * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        let upload = |values: Vec<f32>| {
            Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
        };
        Self {
            cos: upload(cos),
            sin: upload(sin),
        }
    }
}

/// The angle by which each pair of a head turns from one position to the next, `head_dim / 2` of them:
/// θ^(−2i/D), then changed by the scaling.
#[must_use]
pub fn frequencies(options: &DecoderOptions) -> Vec<f64> {
    let width = options.head_dim as f64;
    (0..options.head_dim / 2)
        .map(|i| options.rope_theta.powf(-((2 * i) as f64) / width))
        .map(|frequency| match &options.rope_scaling {
            Some(scaling) => scaling.apply(frequency),
            None => frequency,
        })
        .collect()
}

impl Llama3Scaling {
    /// The changed frequency, as `transformers` computes it for `rope_type: llama3`.
    ///
    /// With the wavelength w = 2π/f and the original context L: f/factor where w > L/low,
    /// f where w < L/high, and between them (1−s)·f/factor + s·f with s = (L/w − low)/(high − low).
    #[must_use]
    pub fn apply(&self, frequency: f64) -> f64 {
        let context = self.original_max_position_embeddings as f64;
        let wavelength = std::f64::consts::TAU / frequency;
        if wavelength > context / self.low_freq_factor {
            frequency / self.factor
        } else if wavelength < context / self.high_freq_factor {
            frequency
        } else {
            let smooth = (context / wavelength - self.low_freq_factor)
                / (self.high_freq_factor - self.low_freq_factor);
            (1.0 - smooth) * frequency / self.factor + smooth * frequency
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_short_wavelengths_and_slows_long_ones() {
        let scaling = Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        assert_eq!(scaling.apply(1.0), 1.0);
        assert_eq!(scaling.apply(1e-5), 1e-5 / 8.0);
        // Half way between the two: L/w = 2.5.
        let between = std::f64::consts::TAU * 2.5 / 8192.0;
        assert!((scaling.apply(between) / between - (0.5 / 8.0 + 0.5)).abs() < 1e-12);
    }
}
