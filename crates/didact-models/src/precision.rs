//! The number format of a decoder's parameters.
//!
//! Owns the change from one to another. What precision an operation computes in is the kernels' matter.

use burn::module::Param;
use burn::tensor::{FloatDType, Tensor};

use crate::{Decoder, ParameterMapper};

impl Decoder {
    /// The same with every parameter, an adapter's too, in `dtype`, rounded to the nearest.
    ///
    /// With bf16, activations are bf16 as well: half the memory, and matrix units on accelerators. Norms, rotations,
    /// gates, attention and log-probs compute in f32 and round what they return. The processor has no kernels for
    /// it and takes the plain operations, which are slower than those of f32; there it is of use for
    /// checks only. f16 has a narrow range, and nothing here scales losses for it.
    ///
    /// Which parameters record gradients stays, and folders hold f32 as before.
    ///
    /// ```
    /// use burn::tensor::{DType, Device, FloatDType};
    /// use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family};
    ///
    /// let config = DecoderConfig::new(DecoderOptions::new(Family::Qwen2, 64, 16, 32, 1, 2))?;
    /// let decoder = Decoder::init(&config, 7, &Device::flex()).cast(FloatDType::BF16);
    /// assert_eq!(decoder.output_embedding().dtype(), DType::BF16);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cast(self, dtype: FloatDType) -> Self {
        self.map_parameters(&mut Cast(dtype))
    }
}

struct Cast(FloatDType);

impl ParameterMapper for Cast {
    fn map<const D: usize>(
        &mut self,
        _path: &str,
        parameter: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = parameter.consume();
        let (recording, tracked) = (tensor.is_autodiff(), tensor.is_require_grad());
        // On the inner device: a cast that is recorded would make of the parameter a result.
        let plain = if recording { tensor.inner() } else { tensor };
        let plain = plain.cast(self.0);
        let tensor = if recording {
            Tensor::from_inner(plain)
        } else {
            plain
        };
        let tensor = if tracked {
            tensor.require_grad()
        } else {
            tensor
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{DType, Device};
    use didact_kernels::PackedLayout;

    use super::*;
    use crate::testing::{configs, decoder, numbers, parameters, upload};
    use crate::{DecodingModel, LoraConfig, ParameterVisitor, WeightPrecision};

    const IDS: [i32; 7] = [4, 17, 0, 22, 9, 13, 5];

    /// Dtypes and tracking of all parameters.
    fn kinds(decoder: &Decoder) -> Vec<(DType, bool)> {
        struct Kinds(Vec<(DType, bool)>);
        impl ParameterVisitor for Kinds {
            fn visit<const D: usize>(&mut self, _: &str, parameter: &Param<Tensor<D>>) {
                let tensor = parameter.base();
                self.0.push((tensor.dtype(), tensor.is_require_grad()));
            }
        }
        let mut kinds = Kinds(Vec::new());
        decoder.visit_parameters(&mut kinds);
        kinds.0
    }

    fn worst(found: &[f32], expected: &[f32]) -> f32 {
        let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let of = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        of.fold(0.0_f32, f32::max) / largest
    }

    /// bf16 has 8 bits of precision, and a layer rounds about ten times: 3 % of the largest entry.
    const HALF: f32 = 0.03;

    #[test]
    fn every_family_runs_forward_and_backward_in_half_precision() {
        for config in configs() {
            let layout = PackedLayout::single(IDS.len()).unwrap();
            let device = Device::flex().autodiff();
            let whole = decoder(&config, &device);
            // The shaken weights are exact in bf16, so only activations differ.
            let half = whole.clone().cast(FloatDType::BF16);
            assert_eq!(parameters(&half), parameters(&whole));
            assert!(kinds(&half).iter().all(|kind| *kind == (DType::BF16, true)));
            let run = |decoder: &Decoder| {
                let hidden = decoder.forward(upload(&IDS, &device), &layout);
                let tape = hidden
                    .clone()
                    .cast(FloatDType::F32)
                    .square()
                    .mean()
                    .backward();
                let weight = decoder.model.layers[0].mlp.up_proj.weight.clone();
                let weight = weight.expect("not quantised").val();
                let gradient = weight.grad(&tape).expect("it is part of the loss");
                (numbers(hidden.inner()), numbers(gradient))
            };
            let (expected, of_whole) = run(&whole);
            let (found, of_half) = run(&half);
            let family = config.family;
            assert!(worst(&found, &expected) < HALF, "{family:?}");
            assert!(worst(&of_half, &of_whole) < 2.0 * HALF, "{family:?}");
            assert_ne!(found, expected);
        }
    }

    #[test]
    fn a_decoder_of_half_precision_decodes_and_keeps_what_is_frozen() {
        for config in configs() {
            for dtype in [FloatDType::BF16, FloatDType::F16] {
                let device = Device::flex().autodiff();
                let whole = decoder(&config, &device)
                    .with_adapter(&LoraConfig::new(2, 4.0), 1)
                    .unwrap();
                let half = whole.clone().cast(dtype);
                let tracked = |decoder| kinds(decoder).into_iter().map(|k| k.1).collect::<Vec<_>>();
                assert_eq!(tracked(&half), tracked(&whole));
                let layout = PackedLayout::single(IDS.len()).unwrap();
                let scale = config.attention_scale();
                let decode = |decoder: &Decoder| {
                    let model = DecodingModel::new(decoder, WeightPrecision::Exact);
                    let ids = upload(&IDS, &Device::flex());
                    let hidden = model.forward_with(ids, layout.positions(), |_, q, k, v| {
                        didact_kernels::attention(q, k, v, &layout, scale)
                    });
                    numbers(model.logits(hidden))
                };
                // A prompt that the decoder itself read has hidden states of half precision.
                let read = half.valid().forward(upload(&IDS, &Device::flex()), &layout);
                assert_eq!(read.dtype(), dtype.into());
                let model = DecodingModel::new(&half, WeightPrecision::Exact);
                let difference = worst(&numbers(model.logits(read)), &decode(&whole));
                assert!(difference < 2.0 * HALF, "{:?}: {difference}", config.family);
                // Decoding computes in f32 with the rounded weights, of which only the adapter's differ.
                let difference = worst(&decode(&half), &decode(&whole));
                assert!(difference < HALF, "{:?}: {difference}", config.family);
            }
        }
    }
}
