//! Quantised weights on SmolLM2-135M-Instruct, whose file holds its projections as Q4_1.
//!
//! Skipped, by name, where the file is not there: `cargo xtask fetch smollm2` puts it into `models/`, and
//! `DIDACT_SMOLLM2` names another place.

use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use didact_gguf::Gguf;
use didact_kernels::{PackedLayout, QuantisedMatrix, linear_log_prob, projected_rows};
use didact_models::{Bits, Decoder, ParameterMapper, ParameterVisitor};

/// Texts of the golden cases and what the model says to them.
fn texts() -> Vec<Vec<u32>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("xtask/conformance/fixtures/smollm2_135m.json");
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let ids = |prompt: &serde_json::Value, key: &str| -> Vec<u32> {
        serde_json::from_value(prompt[key].clone()).unwrap()
    };
    let prompts = file["prompts"].as_array().unwrap();
    let texts: Vec<_> = prompts
        .iter()
        .map(|prompt| [ids(prompt, "ids"), ids(prompt, "greedy_ids")].concat())
        .collect();
    assert!(!texts.is_empty());
    texts
}

/// The log-prob of every token but the first of each text.
fn log_probs(decoder: &Decoder) -> Vec<f32> {
    let device = decoder.device();
    let mut all = Vec::new();
    for ids in texts() {
        let count = ids.len();
        let tokens: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let tokens = Tensor::<1, Int>::from_data(TensorData::new(tokens, [count]), &device);
        let hidden = decoder.forward(tokens, &PackedLayout::single(count).unwrap());
        let rows: Vec<usize> = (0..count - 1).collect();
        let embedding = decoder.output_embedding();
        let (rows, targets) =
            projected_rows(&rows, &ids[1..], count, embedding.dims()[0], &device).unwrap();
        let columns = linear_log_prob(hidden, rows, embedding, targets, 1.0);
        let found: Vec<f32> = columns.narrow(1, 0, 1).try_into_vec_as().unwrap();
        all.extend(found);
    }
    all
}

fn mean_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

/// The projections' weights, bit for bit.
fn projections(decoder: &Decoder) -> Vec<Vec<u32>> {
    struct All(Vec<Vec<u32>>);
    impl ParameterVisitor for All {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            if path.ends_with("_proj.weight") {
                let values: Vec<f32> = parameter.val().try_into_vec_as().unwrap();
                self.0.push(values.into_iter().map(f32::to_bits).collect());
            }
        }
    }
    let mut all = All(Vec::new());
    decoder.visit_parameters(&mut all);
    all.0
}

/// Quantises along the outputs: other blocks than those of the file, so that 4 bits move the weights.
struct Across(Bits);

impl ParameterMapper for Across {
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !path.ends_with("_proj.weight") {
            return parameter;
        }
        parameter.map(|weight| {
            let shape = weight.dims();
            let values: Vec<f32> = weight.clone().try_into_vec_as().unwrap();
            let matrix = QuantisedMatrix::quantise_rows(&values, [shape[0], shape[1]], self.0);
            let values = matrix.unwrap().dequantise_rows();
            Tensor::from_data(TensorData::new(values, shape), &weight.device())
        })
    }
}

#[test]
fn log_probs_survive_quantising() {
    let default = || {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/SmolLM2-135M-Instruct.Q4_1.gguf")
    };
    let path = std::env::var_os("DIDACT_SMOLLM2").map_or_else(default, PathBuf::from);
    if !path.exists() {
        println!("skipped: no {}", path.display());
        return;
    }
    let gguf = Gguf::open(path).unwrap();
    let device = Device::flex();
    let exact = Decoder::load_gguf(&gguf, &device).unwrap();
    let expected = log_probs(&exact);

    let four = Decoder::load_gguf_quantised(&gguf, Bits::Four, &device).unwrap();
    let same = mean_difference(&log_probs(&four), &expected);
    assert!(
        projections(&four.dequantise()) == projections(&exact),
        "Q4_1 is kept"
    );
    drop(four);
    let eight = exact.quantise(Bits::Eight).unwrap();
    let eight = mean_difference(&log_probs(&eight), &expected);
    let [eight_across, four_across] = [Bits::Eight, Bits::Four].map(|bits| {
        let moved = exact.clone().map_parameters(&mut Across(bits));
        mean_difference(&log_probs(&moved), &expected)
    });
    println!(
        "mean |difference of log-probs| over {} tokens: 4 bits {same:.1e}, 8 bits {eight:.4}; in blocks across \
         the file's, 4 bits {four_across:.4}, 8 bits {eight_across:.4}",
        expected.len()
    );
    assert!(same < 1e-4 && eight < 0.02 && eight_across < 0.06 && four_across < 1.0);
    assert!(eight_across < four_across / 4.0);
}
