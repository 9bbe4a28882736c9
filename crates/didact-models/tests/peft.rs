//! Adapters in and out of PEFT's folders, against PEFT's own numbers; `peft/make.py` made them.

use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use didact_core::RandomStream;
use didact_kernels::PackedLayout;
use didact_models::{
    Decoder, Error, LoraConfig, LoraTargets, ParameterMapper, ParameterVisitor, TensorProblem,
};
use serde_json::{Value, json};

const IDS: [i32; 9] = [4, 17, 0, 22, 9, 9, 13, 1, 5];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peft")
        .join(name)
}

fn base() -> Decoder {
    Decoder::load_folder(fixture("base"), &Device::flex()).unwrap()
}

fn hidden(decoder: &Decoder) -> Vec<f32> {
    let ids = TensorData::new(IDS.to_vec(), [IDS.len()]);
    let ids = Tensor::<1, Int>::from_data(ids, &decoder.device());
    let layout = PackedLayout::single(IDS.len()).unwrap();
    decoder.forward(ids, &layout).try_into_vec_as().unwrap()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn parameters(decoder: &Decoder) -> Vec<(String, Vec<f32>)> {
    struct All(Vec<(String, Vec<f32>)>);
    impl ParameterVisitor for All {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let values = parameter.val().try_into_vec_as().unwrap();
            self.0.push((path.to_owned(), values));
        }
    }
    let mut all = All(Vec::new());
    decoder.visit_parameters(&mut all);
    all.0
}

/// An adapter whose `B` is not zero.
fn shaken(lora: &LoraConfig) -> Decoder {
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
                Tensor::from_data(TensorData::new(noise, tensor.dims()), &tensor.device())
            })
        }
    }
    base()
        .with_adapter(lora, 9)
        .unwrap()
        .map_parameters(&mut Shake)
}

/// A copy of a fixture's adapter, to be spoiled.
fn copied(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(fixture(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// What loading says of a configuration with one key changed.
fn with_key(key: &str, value: Value) -> Result<Decoder, Error> {
    let folder = copied("all");
    let place = folder.path().join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(&place, config.to_string()).unwrap();
    base().load_adapter(folder.path())
}

#[test]
fn adapters_of_peft_compute_what_peft_computes() {
    for name in ["all", "some", "pattern"] {
        let adapted = base().load_adapter(fixture(name)).unwrap();
        let text = std::fs::read(fixture(name).join("hidden.json")).unwrap();
        let expected: Vec<Vec<f32>> = serde_json::from_slice(&text).unwrap();
        let expected = expected.concat();
        let difference = worst(&hidden(&adapted), &expected);
        assert!(difference < 1e-5, "{name}: {difference}");
        let merged = worst(&hidden(&adapted.merge_adapter()), &expected);
        assert!(merged < 1e-5, "{name}: {merged}");
        assert!(
            worst(&hidden(&base()), &expected) > 1e-2,
            "{name} does nothing"
        );
    }
}

#[test]
fn the_configuration_is_read_whole() {
    let of = |name| {
        base()
            .load_adapter(fixture(name))
            .unwrap()
            .adapter()
            .cloned()
            .unwrap()
    };
    // PEFT writes "all-linear" as the paths of all of them.
    let all = of("all");
    assert_eq!((all.rank, all.alpha), (2, 3.0));
    assert!(matches!(&all.targets, LoraTargets::Names(names) if names.len() == 14));
    let mut some = LoraConfig::new(2, 4.0);
    some.targets = ["mlp.down_proj", "q_proj"].into();
    (some.rslora, some.layers) = (true, vec![1]);
    some.rank_pattern.insert(r"layers\.1\.mlp\..*".into(), 3);
    some.alpha_pattern.insert("q_proj".into(), 5.0);
    assert_eq!(of("some"), some);
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let mut some = LoraConfig::new(3, 4.5);
    some.targets = ["down_proj", "q_proj"].into();
    (some.rslora, some.layers) = (true, vec![0]);
    some.rank_pattern.insert("q_proj".into(), 1);
    some.alpha_pattern.insert(r"mlp\..*".into(), 0.5);
    let mut pattern = LoraConfig::new(1, 1.0);
    pattern.targets = LoraTargets::Pattern(r".*\.mlp\..*".into());
    for lora in [LoraConfig::new(2, 8.0), some, pattern] {
        let folder = tempfile::tempdir().unwrap();
        let adapted = shaken(&lora);
        adapted.save_adapter(folder.path()).unwrap();
        let loaded = base().load_adapter(folder.path()).unwrap();
        assert_eq!(loaded.adapter(), Some(&lora));
        assert_eq!(parameters(&loaded), parameters(&adapted));
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "nothing is left beside them");
    }
}

#[test]
fn every_difference_of_the_tensors_is_listed_at_once() {
    // Of rank 2, beside a configuration of rank 3 that leaves half of it out.
    let folder = copied("all");
    let place = folder.path().join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
    config["target_modules"] = json!(["model.layers.0.self_attn.q_proj"]);
    config["r"] = json!(3);
    std::fs::write(&place, config.to_string()).unwrap();
    let error = base().load_adapter(folder.path()).unwrap_err();
    let Error::MismatchedWeights { place, problems } = &error else {
        panic!("{error}");
    };
    assert!(place.ends_with("adapter_model.safetensors"));
    let of = |is: fn(&TensorProblem) -> bool| problems.iter().filter(|p| is(p)).count();
    assert_eq!(of(|p| matches!(p, TensorProblem::Misshapen { .. })), 2);
    assert_eq!(of(|p| matches!(p, TensorProblem::Unused { .. })), 26);
    let text = error.to_string();
    let name = "`base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` is [2, 8]";
    assert!(text.contains(name), "{text}");

    let folder = copied("pattern");
    std::fs::copy(
        fixture("all").join("adapter_config.json"),
        folder.path().join("adapter_config.json"),
    )
    .unwrap();
    let error = base().load_adapter(folder.path()).unwrap_err();
    let Error::MismatchedWeights { problems, .. } = &error else {
        panic!("{error}");
    };
    let missing = |p: &&TensorProblem| matches!(p, TensorProblem::Missing { .. });
    assert_eq!(problems.iter().filter(missing).count(), 24);
}

#[test]
fn keys_that_would_change_the_numbers_are_refused_by_name() {
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("task_type", json!("SEQ_CLS")),
        ("bias", json!("all")),
        ("use_dora", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("lora_dropout", json!(0.05)),
        ("lora_bias", json!(true)),
        ("init_lora_weights", json!("pissa")),
        ("layers_pattern", json!("blocks")),
        ("exclude_modules", json!(["q_proj"])),
        ("target_parameters", json!(["x"])),
        ("trainable_token_indices", json!([3])),
        ("layer_replication", json!([[0, 2]])),
        ("a_key_of_tomorrow", json!(7)),
    ] {
        let error = with_key(key, value).unwrap_err();
        assert!(matches!(&error, Error::UnsupportedOption { .. }), "{error}");
        assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
    }
    for (key, value) in [
        ("r", json!(0)),
        ("r", json!(-2)),
        ("r", json!(1e18)),
        ("lora_alpha", json!(0)),
        ("lora_alpha", json!("much")),
        ("target_modules", json!(["lm_head"])),
        ("target_modules", json!("(")),
        ("target_modules", json!(3)),
        ("layers_to_transform", json!([9])),
        ("rank_pattern", json!({"q_proj": 0})),
        ("rank_pattern", json!({"(": 1})),
        ("use_rslora", json!("yes")),
    ] {
        let error = with_key(key, value).unwrap_err();
        assert!(matches!(&error, Error::InvalidKey { .. }), "{error}");
        assert!(error.to_string().contains(&format!("`{key}")), "{error}");
    }
    let error = with_key("target_modules", Value::Null).unwrap_err();
    assert!(matches!(&error, Error::MissingKey { key, .. } if key == "target_modules"));
    // What an adapter of PEFT may say and what changes nothing.
    for (key, value) in [
        ("init_lora_weights", json!("gaussian")),
        ("layers_pattern", json!(["layers"])),
        ("base_model_name_or_path", json!("some/where")),
        ("a_key_of_tomorrow", json!(false)),
    ] {
        assert!(with_key(key, value).is_ok(), "{key}");
    }
}

#[test]
fn folders_that_are_not_adapters_are_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = base().load_adapter(empty.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_config.json"), "{error}");
    let half = copied("all");
    std::fs::remove_file(half.path().join("adapter_model.safetensors")).unwrap();
    let error = base().load_adapter(half.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_model.safetensors"), "{error}");
    let error = base().save_adapter(empty.path()).unwrap_err().to_string();
    assert!(error.contains("save_folder"), "{error}");
}

#[test]
#[ignore = "needs Python with torch, transformers and peft; DIDACT_PYTHON names it"]
fn peft_opens_what_is_saved() {
    let python = std::env::var("DIDACT_PYTHON").expect("DIDACT_PYTHON names a Python with PEFT");
    let mut some = LoraConfig::new(3, 4.5);
    some.targets = ["down_proj", "q_proj"].into();
    (some.rslora, some.layers) = (true, vec![0]);
    some.alpha_pattern.insert(r"mlp\..*".into(), 0.5);
    for lora in [LoraConfig::new(2, 8.0), some] {
        let folder = tempfile::tempdir().unwrap();
        let adapted = shaken(&lora);
        base().save_folder(folder.path().join("base")).unwrap();
        adapted.save_adapter(folder.path().join("adapter")).unwrap();
        let rows: Vec<Vec<f32>> = hidden(&adapted).chunks(8).map(<[f32]>::to_vec).collect();
        std::fs::write(folder.path().join("hidden.json"), json!(rows).to_string()).unwrap();
        let status = std::process::Command::new(&python)
            .arg(fixture("make.py"))
            .arg("check")
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}
