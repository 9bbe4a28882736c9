//! Muon against torch, and laws of single updates.

use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use serde::Deserialize;

use super::muon::MuonStep;
use super::*;

/// What `tests/golden/optimizer.py` writes.
#[derive(Deserialize)]
struct Golden {
    learning_rate: f64,
    weight_decay: f64,
    muon: Vec<MuonCase>,
}

#[derive(Deserialize)]
struct MuonCase {
    shape: [usize; 2],
    nesterov: bool,
    scale: MuonScale,
    start: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    after: Vec<f64>,
}

fn muon(
    config: MuonConfig,
    learning_rate: f64,
    shape: [usize; 2],
    start: &[f32],
    gradients: &[Vec<f32>],
) -> Vec<f32> {
    let mut parameter = TensorData::new(start.to_vec(), shape);
    let mut momentum = vec![0.0; start.len()];
    for gradient in gradients {
        let gradient = TensorData::new(gradient.clone(), shape);
        MuonStep::new(config, learning_rate)
            .update(
                "w",
                &Device::flex(),
                &mut parameter,
                gradient,
                &mut momentum,
            )
            .unwrap();
    }
    parameter.try_to_vec().unwrap()
}

/// The golden values are of float64, ours of f32, whose rounding each iteration multiplies by up to 3.4445. An
/// update moves an entry by about 0.02: 2e-6 is 1e-4 of that. torch's own rounding to bf16 is 1e-3 off.
#[test]
fn muon_is_that_of_torch() {
    let golden = include_str!("../../tests/golden/optimizer.json");
    let golden: Golden = serde_json::from_str(golden).unwrap();
    assert_eq!(golden.muon.len(), 16);
    let mut worst = 0.0_f64;
    for case in &golden.muon {
        let config = MuonConfig {
            nesterov: case.nesterov,
            scale: case.scale,
            weight_decay: golden.weight_decay,
            ..MuonConfig::default()
        };
        let rate = golden.learning_rate;
        let found = muon(config, rate, case.shape, &case.start, &case.gradients);
        for (found, expected) in found.iter().zip(&case.after) {
            worst = worst.max((f64::from(*found) - expected).abs());
        }
    }
    assert!(worst < 2e-6, "{worst:e}");
}

#[test]
fn what_muon_updates_by_its_path() {
    let config = OptimizerConfig::Muon(MuonConfig::default());
    for (path, rank, rule) in [
        ("model.layers.0.mlp.up_proj.weight", 2, Rule::Muon),
        (
            "model.layers.0.self_attn.q_proj.lora_A.weight",
            2,
            Rule::Muon,
        ),
        ("model.layers.0.self_attn.q_proj.bias", 1, Rule::Adamw),
        ("model.layers.0.input_layernorm.weight", 1, Rule::Adamw),
        ("model.embed_tokens.weight", 2, Rule::Adamw),
        ("lm_head.weight", 2, Rule::Adamw),
    ] {
        assert_eq!(config.rule(path, rank), rule, "{path}");
    }
    let adamw = OptimizerConfig::default();
    assert_eq!(
        adamw.rule("model.layers.0.mlp.up_proj.weight", 2),
        Rule::Adamw
    );
}

#[test]
fn a_configuration_is_named_by_its_kind_and_refuses_unknown_keys() {
    let read = |json: &str| serde_json::from_str::<OptimizerConfig>(json);
    assert_eq!(
        read(r#"{"kind": "adamw", "beta2": 0.95}"#).unwrap(),
        OptimizerConfig::Adamw(AdamWConfig {
            beta2: 0.95,
            ..AdamWConfig::default()
        })
    );
    let muon = OptimizerConfig::Muon(MuonConfig {
        scale: MuonScale::Original,
        adamw: AdamWConfig {
            weight_decay: 1.0,
            ..AdamWConfig::default()
        },
        ..MuonConfig::default()
    });
    let text = r#"{"kind": "muon", "scale": "original", "adamw": {"weight_decay": 1}}"#;
    assert_eq!(read(text).unwrap(), muon);
    assert_eq!(read(&serde_json::to_string(&muon).unwrap()).unwrap(), muon);
    for (text, named) in [
        (r#"{"kind": "adamw", "momentum": 0.9}"#, "momentum"),
        (r#"{"kind": "muon", "adamw": {"beta3": 0.9}}"#, "beta3"),
        (r#"{"kind": "adam"}"#, "adam"),
        (r#"{"beta2": 0.9}"#, "kind"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

fn in_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(work)
}

fn noise(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 37 + seed * 101) as f32 * 0.7).sin())
        .collect()
}

/// Large enough for burn's products to be cut among threads, and for several chunks.
#[test]
fn muon_does_not_depend_on_the_number_of_threads() {
    let shape = [320, 448];
    let count = shape[0] * shape[1];
    let gradients = [noise(count, 1), noise(count, 2)];
    let of = |threads| {
        in_threads(threads, || {
            muon(
                MuonConfig::default(),
                0.01,
                shape,
                &noise(count, 3),
                &gradients,
            )
        })
    };
    let one = of(1);
    assert!(one.iter().all(|v| v.is_finite()));
    for threads in [2, 3, 5] {
        assert!(of(threads) == one, "{threads} threads");
    }
}

#[test]
fn adamw_does_not_depend_on_the_number_of_threads() {
    let count = 5 * crate::gradients::CHUNK + 77;
    let config = AdamWConfig {
        weight_decay: 0.1,
        ..AdamWConfig::default()
    };
    let of = |threads| {
        in_threads(threads, || {
            let mut arrays = [noise(count, 1), vec![0.0; count], vec![0.0; count]];
            for step in 1..=3 {
                let [parameter, first, second] = &mut arrays;
                let gradient = noise(count, 1 + step as usize);
                let moments = [first.as_mut_slice(), second.as_mut_slice()];
                let step = AdamWUpdate::new(&config, step, 0.01).of_rank(2);
                adamw_in_place(step, parameter, &gradient, moments);
            }
            arrays
        })
    };
    let one = of(1);
    for threads in [2, 3, 5] {
        assert!(of(threads) == one, "{threads} threads");
    }
}

/// In f64 and by loops.
fn plain(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let transposed: Vec<f64> = (0..rows * columns)
        .map(|i| matrix[(i % rows) * columns + i / rows])
        .collect();
    if rows > columns {
        let found = plain(&transposed, columns, rows);
        return (0..rows * columns)
            .map(|i| found[(i % columns) * rows + i / columns])
            .collect();
    }
    let product = |a: &[f64], b: &[f64], m: usize, k: usize, n: usize| -> Vec<f64> {
        (0..m * n)
            .map(|i| (0..k).map(|l| a[i / n * k + l] * b[l * n + i % n]).sum())
            .collect()
    };
    let gram = product(matrix, &transposed, rows, columns, rows);
    let square = product(&gram, &gram, rows, rows, rows);
    let polynomial: Vec<f64> = gram
        .iter()
        .zip(&square)
        .map(|(a, b)| -4.7750 * a + 2.0315 * b)
        .collect();
    product(&polynomial, matrix, rows, rows, columns)
        .iter()
        .zip(matrix)
        .map(|(p, x)| p + 3.4445 * x)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_iteration_is_the_plain_one(rows in 1_usize..9, columns in 1_usize..9, seed in 0_usize..1000) {
        let entries = noise(rows * columns, seed);
        let norm = entries.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-7);
        let entries: Vec<f32> = entries.iter().map(|v| v / norm).collect();
        let data = TensorData::new(entries.clone(), [rows, columns]);
        let found = orthogonalise(Tensor::from_data(data, &Device::flex()), 5);
        let mut expected: Vec<f64> = entries.iter().map(|&v| f64::from(v)).collect();
        for _ in 0..5 {
            expected = plain(&expected, rows, columns);
        }
        for (found, expected) in found.into_data().iter::<f32>().zip(&expected) {
            prop_assert!((f64::from(found) - expected).abs() < 2e-4, "{found} and {expected}");
        }
    }

    /// Scaling a gradient changes nothing of Muon's step, as long as its norm is above epsilon.
    #[test]
    fn muon_ignores_the_size_of_gradients(rows in 2_usize..9, columns in 2_usize..9, power in -4_i32..5) {
        let gradient = noise(rows * columns, rows);
        let start = noise(rows * columns, columns);
        let scaled = gradient.iter().map(|g| g * 2.0_f32.powi(power)).collect();
        let of = |gradient| muon(MuonConfig::default(), 0.1, [rows, columns], &start, &[gradient]);
        for (a, b) in of(gradient).iter().zip(&of(scaled)) {
            prop_assert!((a - b).abs() < 1e-6);
        }
    }

    /// Clipping leaves directions, never raises a norm, and meets the maximum where it scales.
    #[test]
    fn clipping_keeps_directions(size in 0.01_f32..100.0, maximum in 0.01_f64..10.0, count in 1_usize..200) {
        let entries: Vec<f32> = noise(count, 5).iter().map(|g| (g + 0.01) * size).collect();
        let mut gradients = Gradients::new();
        gradients.insert("a", TensorData::new(entries.clone(), [count])).unwrap();
        let norm = gradients.clip(maximum).unwrap();
        let after = gradients.global_norm().unwrap();
        prop_assert!(after <= maximum.min(norm) * (1.0 + 1e-6));
        let factor = (maximum / (norm + 1e-6)).min(1.0);
        prop_assert!((after - norm * factor).abs() <= 1e-6 * norm);
        for (g, before) in gradients.read("a").unwrap().iter::<f32>().zip(&entries) {
            prop_assert!((f64::from(g) - f64::from(*before) * factor).abs() <= 1e-6 * f64::from(before.abs()));
        }
    }
}
