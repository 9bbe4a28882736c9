use burn::tensor::{FloatDType, Gradients, Int};
use didact_kernels::{PackedLayout, attention};

use super::*;
use crate::adapter::is_factor;
use crate::testing::{configs, decoder, numbers, options, parameters, upload};
use crate::{
    DecoderConfig, DecoderOptions, DecodingModel, Family, LoraConfig, ParameterVisitor,
    WeightPrecision,
};

const IDS: [i32; 9] = [4, 17, 0, 22, 9, 9, 13, 1, 5];
const BITS: [Bits; 2] = [Bits::Eight, Bits::Four];

/// All the small decoders, and one whose blocks are whole, several and short.
fn all() -> Vec<DecoderConfig> {
    let wide = DecoderOptions {
        intermediate_size: 70,
        hidden_size: 32,
        ..options(Family::Llama)
    };
    let wide = DecoderConfig::new(wide).unwrap();
    configs().into_iter().chain([wide]).collect()
}

fn hidden(decoder: &Decoder) -> Vec<f32> {
    let layout = PackedLayout::single(IDS.len()).unwrap();
    numbers(decoder.forward(upload(&IDS, &decoder.device()), &layout))
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs() / b.abs().max(1.0))
        .fold(0.0, f32::max)
}

fn lora() -> LoraConfig {
    LoraConfig::new(3, 6.0)
}

fn is_projection(path: &str) -> bool {
    path.ends_with("_proj.weight")
}

#[test]
fn it_computes_what_its_weights_in_f32_compute() {
    for config in all() {
        for device in [Device::flex(), Device::flex().autodiff()] {
            let base = decoder(&config, &device);
            for bits in BITS {
                let quantised = base.quantise(bits).unwrap();
                assert_eq!(quantised.quantised(), Some(bits));
                assert_eq!(quantised.device(), device);
                let plain = quantised.dequantise();
                assert_eq!(plain.quantised(), None);
                assert_eq!(plain.parameter_paths(), base.parameter_paths());
                let difference = worst(&hidden(&quantised), &hidden(&plain));
                assert!(
                    difference < 1e-5,
                    "{:?}, {bits:?}: {difference}",
                    config.family
                );
                assert_ne!(hidden(&plain), hidden(&base));
            }
        }
    }
}

#[test]
fn a_decoder_of_half_precision_stays_one() {
    for config in all() {
        let base = decoder(&config, &Device::flex()).cast(FloatDType::BF16);
        let quantised = base.quantise(Bits::Eight).unwrap();
        let plain = quantised.dequantise();
        let first = plain.model.layers[0].mlp.up_proj.weight.clone().unwrap();
        assert_eq!(first.val().dtype(), DType::BF16);
        // bf16 has eight bits of its own.
        let difference = worst(&hidden(&quantised), &hidden(&plain));
        assert!(difference < 0.1, "{:?}: {difference}", config.family);
    }
}

#[test]
fn eight_bits_are_nearer_than_four() {
    let base = decoder(&all()[0], &Device::flex());
    let [eight, four] = BITS.map(|bits| {
        let found = parameters(&base.quantise(bits).unwrap().dequantise());
        let all = found.iter().zip(parameters(&base));
        all.map(|((_, _, found), (_, _, exact))| worst(found, &exact))
            .fold(0.0, f32::max)
    });
    assert!(eight > 0.0 && eight < 0.5 / 255.0 * 1.01 + 1e-4, "{eight}");
    assert!(four > 4.0 * eight && four < 0.5 / 15.0 * 1.01, "{four}");
}

#[test]
fn only_the_projections_weights_are_no_parameters_any_more() {
    for config in all() {
        let base = decoder(&config, &Device::flex());
        let quantised = base.quantise(Bits::Four).unwrap();
        let expected: Vec<_> = parameters(&base)
            .into_iter()
            .filter(|(path, ..)| !is_projection(path))
            .collect();
        assert_eq!(parameters(&quantised), expected);
    }
}

#[test]
fn snapshots_copies_and_moves_keep_the_weights() {
    let device = Device::flex().autodiff();
    for config in all() {
        let quantised = decoder(&config, &device).quantise(Bits::Four).unwrap();
        let expected = hidden(&quantised);
        let kept = [
            quantised.clone(),
            quantised.valid(),
            quantised.valid().train(),
            quantised.clone().to_device(&Device::flex().autodiff()),
            quantised.clone().freeze(),
        ];
        for kept in kept {
            assert_eq!(kept.quantised(), Some(Bits::Four));
            assert!(worst(&hidden(&kept), &expected) < 1e-6);
        }
        assert!(!quantised.valid().device().is_autodiff());
        assert!(quantised.valid().train().device().is_autodiff());
    }
}

#[test]
fn decoding_reads_the_codes() {
    let device = Device::flex();
    for config in all() {
        for bits in BITS {
            let quantised = decoder(&config, &device).quantise(bits).unwrap();
            let layout = PackedLayout::single(9).unwrap();
            let scale = config.attention_scale();
            for precision in [WeightPrecision::Exact, WeightPrecision::Bf16] {
                let model = DecodingModel::new(&quantised, precision);
                let attend = |_, q, k, v| attention(q, k, v, &layout, scale);
                let streamed =
                    numbers(model.forward_with(upload(&IDS, &device), layout.positions(), attend));
                let difference = worst(&streamed, &hidden(&quantised));
                assert!(difference < 1e-5, "{:?}: {difference}", config.family);
            }
        }
    }
}

/// The gradients of a loss in all parameters, by path.
fn gradients(decoder: &Decoder) -> Vec<(String, Option<Vec<f32>>)> {
    struct All<'a>(&'a Gradients, Vec<(String, Option<Vec<f32>>)>);
    impl ParameterVisitor for All<'_> {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let gradient = parameter.val().grad(self.0).map(numbers);
            self.1.push((path.to_owned(), gradient));
        }
    }
    let device = decoder.device();
    let layout = PackedLayout::single(9).unwrap();
    let states = decoder.forward(upload(&IDS, &device), &layout);
    let logits = states.matmul(decoder.output_embedding().transpose());
    let weights = Tensor::<1, Int>::arange(0..23, &device).float().sin();
    let loss = (logits.powf_scalar(2.0) * weights.unsqueeze::<2>()).mean();
    let gradients = loss.backward();
    let mut all = All(&gradients, Vec::new());
    decoder.visit_parameters(&mut all);
    all.1
}

#[test]
fn gradients_pass_through_to_what_stands_below() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        for config in all() {
            for bits in BITS {
                let quantised = decoder(&config, &device).quantise(bits).unwrap();
                let found = gradients(&quantised);
                let expected: Vec<_> = gradients(&quantised.dequantise())
                    .into_iter()
                    .filter(|(path, _)| !is_projection(path))
                    .collect();
                assert_eq!(found.len(), expected.len());
                for ((path, found), (other, expected)) in found.iter().zip(&expected) {
                    assert_eq!(path, other);
                    let (found, expected) = (found.as_ref().unwrap(), expected.as_ref().unwrap());
                    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                    assert!(largest > 0.0, "{path}");
                    for (found, expected) in found.iter().zip(expected) {
                        assert!((found - expected).abs() <= 1e-5 * largest, "{path}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_adapter_over_quantised_weights_is_all_that_is_trained() {
    let device = Device::flex().autodiff();
    for config in all() {
        for bits in BITS {
            let base = decoder(&config, &device);
            let below = base.quantise(bits).unwrap().with_adapter(&lora(), 5);
            let above = base.with_adapter(&lora(), 5).unwrap().quantise(bits);
            for adapted in [below.unwrap(), above.unwrap()] {
                let found = gradients(&adapted);
                let reached = found.iter().filter(|(_, gradient)| gradient.is_some());
                assert!(reached.clone().all(|(path, _)| is_factor(path)));
                assert_eq!(reached.count(), 28);
                // As over the same weights in f32, which stay frozen there.
                let plain = gradients(&adapted.dequantise());
                let plain: Vec<_> = plain
                    .into_iter()
                    .filter(|(path, _)| !is_projection(path))
                    .collect();
                assert_eq!(plain.len(), found.len());
                for ((path, found), (_, plain)) in found.iter().zip(&plain) {
                    assert_eq!(found.is_some(), plain.is_some(), "{path}");
                    if let (Some(found), Some(plain)) = (found, plain) {
                        assert!(worst(found, plain) < 1e-5, "{path}");
                    }
                }
                let dequantised = gradients(&adapted.dequantise());
                let trained = dequantised
                    .iter()
                    .filter(|(_, gradient)| gradient.is_some());
                assert_eq!(trained.count(), 28);
            }
        }
    }
}

#[test]
fn merging_gives_f32_and_taking_the_adapter_off_gives_the_quantised_base() {
    for config in all() {
        for device in [Device::flex(), Device::flex().autodiff()] {
            let base = decoder(&config, &device).quantise(Bits::Four).unwrap();
            let adapted = base.with_adapter(&lora(), 5).unwrap();
            let merged = adapted.merge_adapter();
            assert!(merged.quantised().is_none() && merged.adapter().is_none());
            assert_eq!(merged.device(), device);
            assert!(worst(&hidden(&merged), &hidden(&adapted)) < 1e-5);
            if device.is_autodiff() {
                assert!(gradients(&merged).iter().all(|(_, found)| found.is_some()));
            }
            let off = adapted.without_adapter();
            assert_eq!(off.quantised(), Some(Bits::Four));
            assert_eq!(hidden(&off), hidden(&base));
        }
    }
}

#[test]
fn a_folder_of_it_is_refused_and_what_is_advised_can_be_saved() {
    let folder = tempfile::tempdir().unwrap();
    let base = decoder(&all()[0], &Device::flex());
    let quantised = base.quantise(Bits::Eight).unwrap();
    let place = folder.path().join("model");
    let refused = quantised.save_folder(&place).unwrap_err().to_string();
    assert!(refused.contains("dequantise()"), "{refused}");
    assert!(!place.exists());

    quantised.dequantise().save_folder(&place).unwrap();
    let loaded = Decoder::load_folder(&place, &Device::flex()).unwrap();
    assert_eq!(parameters(&loaded), parameters(&quantised.dequantise()));

    let adapted = quantised.with_adapter(&lora(), 5).unwrap();
    adapted.save_adapter(folder.path().join("adapter")).unwrap();
    let again = quantised
        .load_adapter(folder.path().join("adapter"))
        .unwrap();
    assert_eq!(hidden(&again), hidden(&adapted));
}

#[test]
fn loading_quantised_is_quantising_what_was_loaded() {
    let folder = tempfile::tempdir().unwrap();
    for config in all() {
        let base = decoder(&config, &Device::flex());
        base.save_folder(folder.path()).unwrap();
        for bits in BITS {
            let loaded =
                Decoder::load_folder_quantised(folder.path(), bits, &Device::flex()).unwrap();
            assert_eq!(loaded.quantised(), Some(bits));
            assert_eq!(hidden(&loaded), hidden(&base.quantise(bits).unwrap()));
        }
    }
}

#[test]
fn quantising_twice_is_refused() {
    let quantised = decoder(&all()[0], &Device::flex())
        .quantise(Bits::Eight)
        .unwrap();
    let refused = quantised.quantise(Bits::Four).unwrap_err().to_string();
    assert!(refused.contains("quantised already"), "{refused}");
}

#[test]
fn a_weight_beyond_f16_is_named() {
    let mut base = decoder(&all()[0], &Device::flex());
    let (_, projection) = projections(&mut base).nth(10).unwrap();
    projection.weight = projection
        .weight
        .take()
        .map(|weight| weight.map(|weight| weight + 70_000.0));
    let refused = base.quantise(Bits::Four).unwrap_err().to_string();
    assert!(
        refused.contains("`model.layers.1.self_attn.o_proj` cannot be quantised")
            && refused.contains("only finite weights up to"),
        "{refused}"
    );
}
