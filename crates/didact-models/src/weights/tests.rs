use std::collections::HashMap;
use std::path::Path;

use ::safetensors::tensor::TensorView;
use ::safetensors::{Dtype, SafeTensors};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::assemble::{Role, Slot, transpose};
use crate::testing::{configs, decoder, parameters};

/// A checkpoint's tensors: name, shape and numbers.
pub(super) type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// The tensors of a decoder as a checkpoint has them.
pub(super) fn stored(decoder: &Decoder) -> Tensors {
    let convert = |(slot, (path, shape, values)): (Slot, (String, Vec<usize>, Vec<f32>))| {
        let turned = slot.role == Role::Projection;
        let values = if turned {
            transpose(&values, shape[0], shape[1])
        } else {
            values
        };
        (path, slot.shape, values)
    };
    slots(decoder.config())
        .into_iter()
        .zip(parameters(decoder))
        .map(convert)
        .collect()
}

fn write(path: &Path, tensors: &Tensors, kind: Dtype) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| match kind {
            Dtype::F16 => values
                .iter()
                .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
                .collect(),
            Dtype::BF16 => values
                .iter()
                .flat_map(|&v| half::bf16::from_f32(v).to_le_bytes())
                .collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (
            name.clone(),
            TensorView::new(kind, shape.clone(), bytes).unwrap(),
        )
    });
    let bytes = ::safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A folder with the configuration only.
fn folder(config: &DecoderConfig) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_json()).unwrap();
    folder
}

fn load_folder(folder: &TempDir) -> Result<Decoder> {
    Decoder::load_folder(folder.path(), &Device::flex())
}

fn refusal(folder: &TempDir) -> String {
    load_folder(folder)
        .expect_err("should be refused")
        .to_string()
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    for config in configs() {
        for device in [Device::flex(), Device::flex().autodiff()] {
            let decoder = decoder(&config, &device);
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("a/b");
            decoder.save_folder(&place).unwrap();
            // Over an older one too.
            decoder.save_folder(&place).unwrap();
            let loaded = Decoder::load_folder(&place, &device).unwrap();
            assert_eq!(loaded.config(), &config);
            assert!(parameters(&loaded) == parameters(&decoder));
            let mut names: Vec<_> = std::fs::read_dir(&place)
                .unwrap()
                .map(|file| file.unwrap().file_name())
                .collect();
            names.sort();
            assert_eq!(names, ["config.json", "model.safetensors"]);
        }
    }
}

#[test]
fn saved_files_are_what_others_read() {
    let config = &configs()[0];
    let decoder = decoder(config, &Device::flex());
    let folder = tempfile::tempdir().unwrap();
    decoder.save_folder(folder.path()).unwrap();
    let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let tensors = stored(&decoder);
    assert_eq!(file.len(), tensors.len());
    for (name, shape, values) in tensors {
        let view = file.tensor(&name).unwrap();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert_eq!(
            (view.dtype(), view.shape(), view.data()),
            (Dtype::F32, &shape[..], &bytes[..])
        );
    }
}

#[test]
fn half_precision_becomes_f32() {
    let config = &configs()[3];
    let decoder = decoder(config, &Device::flex());
    for kind in [Dtype::F16, Dtype::BF16] {
        let folder = folder(config);
        write(
            &folder.path().join("model.safetensors"),
            &stored(&decoder),
            kind,
        );
        // The test's numbers are multiples of 1/128 below 2: both kinds hold them exactly.
        assert_eq!(
            parameters(&load_folder(&folder).unwrap()),
            parameters(&decoder),
            "{kind:?}"
        );
    }
}

/// Two shards and their index.
fn sharded(config: &DecoderConfig, decoder: &Decoder) -> (TempDir, serde_json::Value) {
    let folder = folder(config);
    let tensors = stored(decoder);
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (name, part) in [
        ("model-1.safetensors", first),
        ("model-2.safetensors", second),
    ] {
        write(&folder.path().join(name), &part.to_vec(), Dtype::F32);
        map.extend(
            part.iter()
                .map(|(tensor, ..)| (tensor.clone(), json!(name))),
        );
    }
    let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    write_index(&folder, &index);
    (folder, index)
}

fn write_index(folder: &TempDir, index: &serde_json::Value) {
    let place = folder.path().join("model.safetensors.index.json");
    std::fs::write(place, index.to_string()).unwrap();
}

#[test]
fn shards_are_joined() {
    let config = &configs()[4];
    let decoder = decoder(config, &Device::flex());
    let (folder, _) = sharded(config, &decoder);
    assert_eq!(
        parameters(&load_folder(&folder).unwrap()),
        parameters(&decoder)
    );
}

#[test]
fn an_index_that_lies_is_refused() {
    let config = &configs()[0];
    let decoder = decoder(config, &Device::flex());
    let (folder, index) = sharded(config, &decoder);
    for place in ["../model-1.safetensors", "/etc/passwd", "a/b", "..", ""] {
        let mut outside = index.clone();
        outside["weight_map"]["model.norm.weight"] = place.into();
        write_index(&folder, &outside);
        let error = refusal(&folder);
        assert!(
            error.contains("index.json") && error.contains("the same folder"),
            "{error}"
        );
    }
    let mut absent = index.clone();
    absent["weight_map"]["model.norm.weight"] = "model-3.safetensors".into();
    write_index(&folder, &absent);
    assert!(
        refusal(&folder).contains("model-3.safetensors"),
        "{}",
        refusal(&folder)
    );
    let mut swapped = index.clone();
    swapped["weight_map"]["model.norm.weight"] = "model-1.safetensors".into();
    write_index(&folder, &swapped);
    let error = refusal(&folder);
    assert!(
        error.contains("`model.norm.weight` is not in model-1.safetensors"),
        "{error}"
    );
    write_index(&folder, &json!({ "weight_map": {} }));
    assert!(
        refusal(&folder).contains("weight_map"),
        "{}",
        refusal(&folder)
    );
    write_index(&folder, &index);
    write(
        &folder.path().join("model-1.safetensors"),
        &stored(&decoder),
        Dtype::F32,
    );
    let error = refusal(&folder);
    assert!(
        error.contains("`model.norm.weight` is both in model-1.safetensors and in model-2"),
        "{error}"
    );
}

#[test]
fn every_difference_is_listed_at_once() {
    let config = &configs()[2];
    let decoder = decoder(config, &Device::flex());
    let mut tensors = stored(&decoder);
    tensors.retain(|(name, ..)| name != "model.layers.1.self_attn.k_proj.bias");
    tensors[0].1.reverse();
    tensors.push(("model.extra.weight".into(), vec![1], vec![0.0]));
    let folder = folder(config);
    write(
        &folder.path().join("model.safetensors"),
        &tensors,
        Dtype::F32,
    );
    let error = refusal(&folder);
    for part in [
        "missing `model.layers.1.self_attn.k_proj.bias` [12]",
        "unused `model.extra.weight` [1] in model.safetensors",
        "`model.embed_tokens.weight` is [16, 23] in model.safetensors, [23, 16] by the configuration",
        folder.path().to_str().unwrap(),
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn integers_are_no_weights() {
    let config = &configs()[2];
    let folder = folder(config);
    let tensors = stored(&decoder(config, &Device::flex()));
    let bytes = vec![0; 4 * 23 * 16];
    let mut views: HashMap<_, _> = HashMap::new();
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| vec![0; 4 * values.len()])
        .collect();
    for ((name, shape, _), bytes) in tensors.iter().zip(&data) {
        views.insert(
            name.clone(),
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        );
    }
    let integers = TensorView::new(Dtype::I32, vec![23, 16], &bytes).unwrap();
    views.insert("model.embed_tokens.weight".into(), integers);
    let bytes = ::safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let error = refusal(&folder);
    assert!(
        error.contains("`model.embed_tokens.weight` holds I32"),
        "{error}"
    );
}

#[test]
fn copies_of_the_tied_head_and_old_buffers_are_passed_over() {
    let config = configs().pop().unwrap();
    assert!(config.tie_word_embeddings);
    let decoder = decoder(&config, &Device::flex());
    let mut tensors = stored(&decoder);
    let (_, shape, values) = tensors[0].clone();
    tensors.push(("lm_head.weight".into(), shape, values));
    let buffer = "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned();
    tensors.push((buffer, vec![3], vec![0.0; 3]));
    let folder = folder(&config);
    write(
        &folder.path().join("model.safetensors"),
        &tensors,
        Dtype::F32,
    );
    assert_eq!(
        parameters(&load_folder(&folder).unwrap()),
        parameters(&decoder)
    );
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    for value in [f32::NAN, f32::INFINITY] {
        let config = &configs()[0];
        let mut tensors = stored(&decoder(config, &Device::flex()));
        tensors[3].2[5] = value;
        let folder = folder(config);
        write(
            &folder.path().join("model.safetensors"),
            &tensors,
            Dtype::F32,
        );
        let error = refusal(&folder);
        assert!(
            error.contains(&tensors[3].0) && error.contains("element 5"),
            "{error}"
        );
    }
}

/// A file with this header in front of so many bytes.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn malformed_files_are_refused_by_name() {
    let entry = |dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
    let cases = [
        (Vec::new(), "too few"),
        (vec![9, 0, 0], "too few"),
        (u64::MAX.to_le_bytes().to_vec(), "above the limit"),
        (99_000_000_u64.to_le_bytes().to_vec(), "is it truncated"),
        (raw("not json", 0), "header cannot be read"),
        (raw("[1, 2]", 0), "header cannot be read"),
        (raw(r#"{"a": 3}"#, 0), "`a`: cannot be read"),
        (
            raw(
                r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
                4,
            ),
            "`a`: cannot be",
        ),
        (
            raw(
                &two(entry("F32", "[2]", 0, 8), entry("F32", "[2]", 4, 12)),
                12,
            ),
            "`b`: its offsets 4..12 overlap those of `a`",
        ),
        (
            raw(
                &two(entry("F32", "[2]", 0, 8), entry("F32", "[2]", 12, 20)),
                20,
            ),
            "`b`: its offsets 12..20 leave a hole",
        ),
        (
            raw(
                &two(entry("F32", "[2]", 0, 8), entry("F32", "[2]", 8, 16)),
                12,
            ),
            "`b`: its offsets 8..16 reach beyond the 12",
        ),
        (
            raw(
                &two(entry("F32", "[2]", 0, 8), entry("F32", "[2]", 8, 16)),
                20,
            ),
            "4 bytes behind the last tensor",
        ),
        (
            raw(&format!(r#"{{"a":{}}}"#, entry("F32", "[3]", 0, 8)), 8),
            "`a`: F32 [3] needs 12 bytes",
        ),
        (
            raw(&format!(r#"{{"a":{}}}"#, entry("F32", "[2]", 8, 0)), 8),
            "`a`: its offsets 8..0 run backwards",
        ),
        (
            raw(&format!(r#"{{"a":{}}}"#, entry("F33", "[2]", 0, 8)), 8),
            "`a`: its element type `F33`",
        ),
        (
            raw(
                &format!(
                    r#"{{"a":{}}}"#,
                    entry("F32", "[4294967296,4294967296,2]", 0, 8)
                ),
                8,
            ),
            "`a`: F32 [4294967296, 4294967296, 2] needs uncountable bytes",
        ),
        (
            raw(
                &format!(r#"{{"a":{0},"a":{0}}}"#, entry("F32", "[2]", 0, 8)),
                8,
            ),
            "`a`: its name is there twice",
        ),
    ];
    let folder = folder(&configs()[0]);
    for (bytes, expected) in cases {
        std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let error = refusal(&folder);
        assert!(error.contains("model.safetensors: "), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let config = &configs()[1];
    let decoder = decoder(config, &Device::flex());
    let folder = folder(config);
    decoder.save_folder(folder.path()).unwrap();
    let place = folder.path().join("model.safetensors");
    let whole = std::fs::read(&place).unwrap();
    for cut in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        std::fs::write(&place, &whole[..cut]).unwrap();
        assert!(refusal(&folder).contains("model.safetensors"));
    }
}

#[test]
fn a_folder_without_weights_is_named() {
    let folder = folder(&configs()[0]);
    assert!(
        refusal(&folder).contains("model.safetensors"),
        "{}",
        refusal(&folder)
    );
    let nowhere = Decoder::load_folder("no/such/folder", &Device::flex())
        .unwrap_err()
        .to_string();
    assert!(nowhere.contains("no/such/folder/config.json"), "{nowhere}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever bytes are changed, a folder loads or is refused; it never panics.
    #[test]
    fn damaged_files_never_panic(
        changes in proptest::collection::vec((0_usize..4000, proptest::prelude::any::<u8>()), 1..6),
    ) {
        let config = &configs()[1];
        let folder = folder(config);
        decoder(config, &Device::flex()).save_folder(folder.path()).unwrap();
        for name in ["model.safetensors", "config.json"] {
            let place = folder.path().join(name);
            let whole = std::fs::read(&place).unwrap();
            let mut damaged = whole.clone();
            for &(at, byte) in &changes {
                let at = at % damaged.len();
                damaged[at] = byte;
            }
            std::fs::write(&place, damaged).unwrap();
            let _ = load_folder(&folder);
            std::fs::write(&place, whole).unwrap();
        }
    }
}
