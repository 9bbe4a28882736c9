use burn::module::Module;
use burn::tensor::Int;
use didact_core::RandomStream;
use didact_kernels::{PackedLayout, attention};

use super::*;
use crate::testing::{configs, decoder, numbers, options, parameters, upload};
use crate::{
    DecoderConfig, DecodingModel, Family, ParameterMapper, ParameterVisitor, WeightPrecision,
};

const IDS: [i32; 9] = [4, 17, 0, 22, 9, 9, 13, 1, 5];

/// Fills `B`, which is zero at first, so that an adapter does something.
fn shaken(decoder: Decoder) -> Decoder {
    struct Shake;
    impl ParameterMapper for Shake {
        fn map<const D: usize>(&mut self, path: &str, p: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !path.ends_with("lora_B.weight") {
                return p;
            }
            let stream = RandomStream::new(path.len() as u64);
            p.map(|tensor| {
                let count = tensor.dims().iter().product::<usize>() as u64;
                let noise: Vec<f32> = (0..count).map(|i| stream.uniform(i) as f32 - 0.5).collect();
                let (tracked, device) = (tensor.is_require_grad(), tensor.device());
                let noise = Tensor::from_data(TensorData::new(noise, tensor.dims()), &device);
                if tracked { noise.require_grad() } else { noise }
            })
        }
    }
    decoder.map_parameters(&mut Shake)
}

fn hidden(decoder: &Decoder) -> Vec<f32> {
    let layout = PackedLayout::single(IDS.len()).unwrap();
    numbers(decoder.forward(upload(&IDS, &decoder.device()), &layout))
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a
        .iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    differences.fold(0.0, f32::max)
}

fn lora() -> LoraConfig {
    LoraConfig::new(3, 6.0)
}

fn tracked(decoder: &Decoder) -> Vec<String> {
    struct Tracked(Vec<String>);
    impl ParameterVisitor for Tracked {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            if parameter.val().is_require_grad() {
                self.0.push(path.to_owned());
            }
        }
    }
    let mut tracked = Tracked(Vec::new());
    decoder.visit_parameters(&mut tracked);
    tracked.0
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    for config in configs() {
        let base = decoder(&config, &Device::flex());
        let adapted = base.with_adapter(&lora(), 5).unwrap();
        assert_eq!(hidden(&adapted), hidden(&base), "{:?}", config.family);
        assert_ne!(hidden(&shaken(adapted)), hidden(&base));
    }
}

#[test]
fn the_matrices_are_drawn_within_their_bound_by_seed_and_path() {
    let base = decoder(&configs()[0], &Device::flex());
    let of = |seed| parameters(&base.with_adapter(&lora(), seed).unwrap());
    assert_eq!(of(5), of(5));
    let mut widest = 0.0_f32;
    let mut seen = Vec::new();
    for ((path, shape, values), other) in of(5).into_iter().zip(of(6)) {
        if path.ends_with("lora_A.weight") {
            assert_eq!(shape[1], 3, "{path}");
            let bound = 1.0 / (shape[0] as f32).sqrt();
            assert!(values.iter().all(|value| value.abs() <= bound), "{path}");
            widest = values
                .iter()
                .fold(widest, |w, value| w.max(value.abs() / bound));
            assert_ne!(values, other.2, "{path}");
            assert!(!seen.contains(&values), "{path} repeats another");
            seen.push(values);
        } else if path.ends_with("lora_B.weight") {
            assert_eq!(shape[0], 3, "{path}");
            assert!(values.iter().all(|value| *value == 0.0), "{path}");
        } else {
            assert_eq!(values, other.2, "{path}");
        }
    }
    assert_eq!(seen.len(), 14);
    assert!(widest > 0.99, "{widest}");
}

#[test]
fn the_scale_is_alpha_over_the_rank_or_its_root() {
    let config = DecoderConfig::new(options(Family::Llama)).unwrap();
    let scale = |lora: &LoraConfig| lora.resolve(Source::OPTIONS, &config).unwrap()[0].scale;
    let mut lora = LoraConfig::new(4, 6.0);
    assert_eq!(scale(&lora), 1.5);
    lora.rslora = true;
    assert_eq!(scale(&lora), 3.0);
    lora.rank_pattern.insert("q_proj".into(), 9);
    assert_eq!(scale(&lora), 2.0);
    lora.alpha_pattern.insert(r"layers\.0\..*".into(), 9.0);
    assert_eq!(scale(&lora), 3.0);
}

#[test]
fn targets_choose_as_peft_does() {
    let config = DecoderConfig::new(options(Family::Llama)).unwrap();
    let chosen = |targets: LoraTargets, layers: &[usize]| {
        let mut lora = lora();
        (lora.targets, lora.layers) = (targets, layers.to_vec());
        let placed = lora.resolve(Source::OPTIONS, &config);
        placed.map(|placed| placed.into_iter().map(|p| p.path).collect::<Vec<_>>())
    };
    assert_eq!(chosen(LoraTargets::All, &[]).unwrap().len(), 14);
    assert_eq!(chosen(LoraTargets::All, &[1]).unwrap().len(), 7);
    let q = |layer| format!("model.layers.{layer}.self_attn.q_proj");
    assert_eq!(chosen(["q_proj"].into(), &[]).unwrap(), [q(0), q(1)]);
    assert_eq!(chosen(["self_attn.q_proj"].into(), &[1]).unwrap(), [q(1)]);
    // A whole path counts whatever the layers are.
    assert_eq!(chosen([q(0).as_str()].into(), &[1]).unwrap(), [q(0)]);
    let pattern = LoraTargets::Pattern(r".*\.1\.self_attn\.[qk]_proj".into());
    assert_eq!(chosen(pattern, &[]).unwrap().len(), 2);
    for (targets, layers, key) in [
        (LoraTargets::from(["proj"]), &[][..], "targets"),
        (["lm_head"].into(), &[], "targets"),
        ([].into(), &[], "targets"),
        (LoraTargets::Pattern("q_proj".into()), &[], "targets"),
        (LoraTargets::Pattern("(".into()), &[], "targets"),
        (LoraTargets::All, &[2], "layers"),
    ] {
        let error = chosen(targets, layers).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("LoraConfig: `{key}`")),
            "{error}"
        );
    }
}

#[test]
fn a_configuration_that_means_nothing_is_refused_by_key() {
    let config = DecoderConfig::new(options(Family::Llama)).unwrap();
    let refused = |change: fn(&mut LoraConfig)| {
        let mut lora = lora();
        change(&mut lora);
        lora.validate(&config).unwrap_err().to_string()
    };
    assert!(refused(|lora| lora.rank = 0).contains("`rank`"));
    assert!(refused(|lora| lora.alpha = 0.0).contains("`alpha`"));
    assert!(refused(|lora| lora.alpha = f64::NAN).contains("`alpha`"));
    let error = refused(|lora| {
        lora.rank_pattern.insert("q_proj".into(), 0);
    });
    assert!(error.contains("`rank_pattern.q_proj`"), "{error}");
    let error = refused(|lora| {
        lora.rank_pattern.insert("q_proj".into(), 1);
        lora.rank_pattern.insert("self_attn.*".into(), 2);
    });
    assert!(error.contains("ambiguous"), "{error}");
    let text = r#"{"rank": 2, "alpha": 4, "targets": ["q_proj"], "drop": 1}"#;
    assert!(
        serde_json::from_str::<LoraConfig>(text)
            .unwrap_err()
            .to_string()
            .contains("drop")
    );
    let text = r#"{"rank": 2, "alpha": 4, "targets": "all-linear"}"#;
    let read: LoraConfig = serde_json::from_str(text).unwrap();
    assert_eq!(read, LoraConfig::new(2, 4.0));
    let again = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<LoraConfig>(&again).unwrap(), read);
}

#[test]
fn only_the_adapter_is_trained_wherever_it_came_from() {
    let config = &configs()[0];
    for device in [Device::flex(), Device::flex().autodiff()] {
        let adapted = decoder(config, &device).with_adapter(&lora(), 1).unwrap();
        for trained in [adapted.clone().train(), adapted.valid().train()] {
            let tracked = tracked(&trained);
            assert_eq!(tracked.len(), 28);
            assert!(tracked.iter().all(|path| is_factor(path)), "{tracked:?}");
        }
        assert!(tracked(&adapted.valid()).is_empty());
        let all = decoder(config, &device).parameter_paths();
        assert_eq!(tracked(&adapted.without_adapter().train()), all);
        assert_eq!(tracked(&adapted.merge_adapter().train()), all);
    }
}

#[test]
fn a_gradient_reaches_the_adapter_and_nothing_else() {
    struct Reached<'a>(&'a burn::tensor::Gradients, usize);
    impl ParameterVisitor for Reached<'_> {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let gradient = parameter.val().grad(self.0);
            assert_eq!(gradient.is_some(), is_factor(path), "{path}");
            if let Some(gradient) = gradient {
                let gradient = numbers(gradient);
                assert!(gradient.iter().all(|value| value.is_finite()), "{path}");
                assert!(gradient.iter().any(|value| value.abs() > 1e-9), "{path}");
                self.1 += 1;
            }
        }
    }
    let device = Device::flex().autodiff();
    for config in configs() {
        let adapted = shaken(decoder(&config, &device).with_adapter(&lora(), 1).unwrap());
        let layout = PackedLayout::single(9).unwrap();
        let hidden = adapted.forward(upload(&IDS, &device), &layout);
        let logits = hidden.matmul(adapted.output_embedding().transpose());
        let weights = Tensor::<1, Int>::arange(0..23, &device).float().sin();
        let loss = (logits.powf_scalar(2.0) * weights.unsqueeze::<2>()).mean();
        let gradients = loss.backward();
        let mut reached = Reached(&gradients, 0);
        adapted.visit_parameters(&mut reached);
        assert_eq!(reached.1, 28, "{:?}", config.family);
    }
}

#[test]
fn merging_computes_the_same_and_taking_it_off_gives_the_base() {
    for config in configs() {
        for device in [Device::flex(), Device::flex().autodiff()] {
            let base = decoder(&config, &device);
            let adapted = shaken(base.with_adapter(&lora(), 5).unwrap());
            let merged = adapted.merge_adapter();
            assert_eq!(merged.parameter_paths(), base.parameter_paths());
            assert!(merged.adapter().is_none());
            let difference = worst(&hidden(&merged), &hidden(&adapted));
            assert!(difference < 1e-5, "{:?}: {difference}", config.family);
            assert!(worst(&hidden(&merged), &hidden(&base)) > 1e-3);
            assert_eq!(merged.device(), base.device());

            let off = adapted.without_adapter();
            assert!(off.adapter().is_none());
            assert_eq!(parameters(&off), parameters(&base));
        }
    }
}

#[test]
fn a_second_adapter_is_refused() {
    let base = decoder(&configs()[0], &Device::flex());
    let adapted = base.with_adapter(&lora(), 5).unwrap();
    let error = adapted.with_adapter(&lora(), 5).unwrap_err().to_string();
    assert!(error.contains("merge_adapter"), "{error}");
}

#[test]
fn decoding_carries_the_adapter() {
    let device = Device::flex();
    for config in configs() {
        let adapted = shaken(decoder(&config, &device).with_adapter(&lora(), 5).unwrap());
        let layout = PackedLayout::single(9).unwrap();
        let scale = config.attention_scale();
        let streamed = |precision| {
            let model = DecodingModel::new(&adapted, precision);
            let attend = |_, q, k, v| attention(q, k, v, &layout, scale);
            numbers(model.forward_with(upload(&IDS, &device), layout.positions(), attend))
        };
        let exact = worst(&streamed(WeightPrecision::Exact), &hidden(&adapted));
        assert!(exact < 1e-5, "{:?}: {exact}", config.family);
        // The weights of these decoders are exact in bf16; so the adapter's must not have been rounded.
        let rounded = worst(&streamed(WeightPrecision::Bf16), &hidden(&adapted));
        assert!(rounded < 1e-5, "{:?}: {rounded}", config.family);
    }
}

#[test]
fn a_saved_decoder_is_the_merged_one() {
    let folder = tempfile::tempdir().unwrap();
    for config in configs() {
        let adapted = shaken(
            decoder(&config, &Device::flex())
                .with_adapter(&lora(), 5)
                .unwrap(),
        );
        adapted.save_folder(folder.path()).unwrap();
        let loaded = Decoder::load_folder(folder.path(), &Device::flex()).unwrap();
        assert_eq!(parameters(&loaded), parameters(&adapted.merge_adapter()));
    }
}
