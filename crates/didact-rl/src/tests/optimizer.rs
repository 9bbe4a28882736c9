//! AdamW against its plain reference, and the reference policy.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use didact_engine::EngineConfig;
use didact_models::{Decoder, LoraConfig, ParameterVisitor};

use super::{decoder, hash, weights};
use crate::config::{ReferenceMixing, ReferenceRule};
use crate::optimizer::reference_update;
use crate::reference_policy::mix;
use crate::{
    AdamWConfig, DecayedParameters, Gradients, MuonConfig, Optimizer, OptimizerConfig,
    ReferencePolicy,
};

/// A gradient for every parameter, another one each step.
pub(super) fn gradients(decoder: &Decoder, step: usize) -> Gradients {
    struct Fill(Gradients, usize);
    impl ParameterVisitor for Fill {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let shape = parameter.val().shape();
            let count = shape.num_elements();
            let entries: Vec<f32> = (0..count)
                .map(|i| ((i * 7 + 13 * self.1 + path.len()) as f32).sin() * 0.3)
                .collect();
            self.0
                .insert(path, TensorData::new(entries, shape))
                .unwrap();
        }
    }
    let mut fill = Fill(Gradients::new(), step);
    decoder.visit_parameters(&mut fill);
    fill.0
}

fn flat(entries: &[f32]) -> Tensor<1> {
    Tensor::from_data(
        TensorData::new(entries.to_vec(), [entries.len()]),
        &Device::flex(),
    )
}

#[test]
fn the_one_pass_update_is_the_plain_reference() {
    for decayed in [DecayedParameters::All, DecayedParameters::Matrices] {
        let config = AdamWConfig {
            beta2: 0.95,
            weight_decay: 0.1,
            decayed,
            ..AdamWConfig::default()
        };
        let undecayed = AdamWConfig {
            weight_decay: 0.0,
            ..config
        };
        let mut model = decoder(1);
        let mut optimizer = Optimizer::new(config);
        let mut expected: Vec<(String, [Tensor<1>; 3])> = weights(&model)
            .into_iter()
            .map(|(path, values)| {
                let zero = flat(&vec![0.0; values.len()]);
                (path, [flat(&values), zero.clone(), zero])
            })
            .collect();
        for step in 1..=4_usize {
            let all = gradients(&model, step);
            for (path, state) in &mut expected {
                let data = all.read(path).unwrap();
                let decays = decayed == DecayedParameters::All || data.rank() > 1;
                let config = if decays { &config } else { &undecayed };
                let gradient = flat(&data.iter::<f32>().collect::<Vec<_>>());
                let [parameter, first, second] = state.clone();
                *state = reference_update(
                    config,
                    step as u64,
                    0.01,
                    [parameter, gradient, first, second],
                );
            }
            model = optimizer.update(model, all, 0.01).unwrap();
        }
        for ((path, found), (_, [parameter, ..])) in weights(&model).into_iter().zip(&expected) {
            let parameter: Vec<f32> = parameter.clone().into_data().iter::<f32>().collect();
            for (a, b) in found.iter().zip(&parameter) {
                assert!(
                    (a - b).abs() <= 2e-6 * b.abs().max(1.0),
                    "{path}: {a} and {b}"
                );
            }
        }
        assert_eq!(optimizer.state_bytes(), 8 * model.num_params());
    }
}

#[test]
fn ids_and_tracking_stay_and_snapshots_are_not_touched() {
    struct Ids(Vec<(String, bool)>);
    impl ParameterVisitor for Ids {
        fn visit<const D: usize>(&mut self, _: &str, parameter: &Param<Tensor<D>>) {
            self.0
                .push((parameter.id.to_string(), parameter.val().is_require_grad()));
        }
    }
    let ids = |model: &Decoder| {
        let mut ids = Ids(Vec::new());
        model.visit_parameters(&mut ids);
        ids.0
    };
    let model = decoder(1);
    let (before, snapshot) = (ids(&model), model.valid());
    let old = hash(&snapshot);
    let all = gradients(&model, 1);
    let updated = Optimizer::new(AdamWConfig::default())
        .update(model, all, 0.1)
        .unwrap();
    assert_eq!(ids(&updated), before);
    assert!(before.iter().all(|(_, tracked)| *tracked));
    assert_eq!(hash(&snapshot), old);
    assert_ne!(hash(&updated), old);
}

#[test]
fn a_gradient_of_no_parameter_is_an_error() {
    let model = decoder(1);
    let mut all = gradients(&model, 1);
    all.insert("model.layers.9.mlp", TensorData::new(vec![1.0_f32], [1]))
        .unwrap();
    let error = Optimizer::new(AdamWConfig::default())
        .update(model, all, 0.1)
        .unwrap_err();
    assert!(error.to_string().contains("model.layers.9.mlp"), "{error}");
}

#[test]
fn the_reference_is_mixed_when_its_rule_says_so() {
    let (policy, initial) = (decoder(2), decoder(1));
    let mixing = ReferenceMixing {
        every: 2,
        alpha: 0.9,
    };
    let mut reference = ReferencePolicy::new(
        &initial,
        ReferenceRule::Mixed(mixing),
        EngineConfig::default(),
    )
    .unwrap();
    let old = hash(&initial);
    for updates in [0, 1, 3] {
        assert!(!reference.follow(&policy, updates).unwrap());
        assert_eq!(hash(reference.decoder()), old);
    }
    assert!(reference.follow(&policy, 2).unwrap());
    let triples = weights(reference.decoder())
        .into_iter()
        .zip(weights(&policy))
        .zip(weights(&initial));
    for (((path, mixed), (_, new)), (_, old)) in triples {
        for ((mixed, new), old) in mixed.iter().zip(&new).zip(&old) {
            let expected = 0.9 * f64::from(*new) + 0.1 * f64::from(*old);
            assert!((f64::from(*mixed) - expected).abs() < 1e-6, "{path}");
        }
    }
    assert_eq!(hash(&initial), old, "the initial policy is not touched");
    let engine = EngineConfig::default();
    let mut fixed = ReferencePolicy::new(&initial, ReferenceRule::Fixed, engine).unwrap();
    assert!(!fixed.follow(&policy, 2).unwrap());
    assert_eq!(hash(&mix(&policy, initial, 1.0).unwrap()), hash(&policy));
}

#[test]
fn restored_state_goes_on_as_if_nothing_had_happened() {
    for config in [
        OptimizerConfig::default(),
        OptimizerConfig::Muon(MuonConfig::default()),
    ] {
        let mut model = decoder(1);
        let mut optimizer = Optimizer::new(config);
        for step in 1..=2 {
            let all = gradients(&model, step);
            model = optimizer.update(model, all, 0.01).unwrap();
        }
        let (state, halfway) = (optimizer.state().unwrap(), model.clone());
        for step in 3..=4 {
            let all = gradients(&model, step);
            model = optimizer.update(model, all, 0.01).unwrap();
        }
        let mut restored = Optimizer::new(config);
        restored.restore(state, &halfway).unwrap();
        let mut again = halfway;
        for step in 3..=4 {
            let all = gradients(&again, step);
            again = restored.update(again, all, 0.01).unwrap();
        }
        assert_eq!(hash(&again), hash(&model));
        assert_eq!(restored.state().unwrap(), optimizer.state().unwrap());
    }
}

#[test]
fn every_tensor_of_a_state_that_does_not_fit_is_named_and_nothing_changes() {
    let model = decoder(1);
    let all = gradients(&model, 1);
    let mut optimizer = Optimizer::new(OptimizerConfig::default());
    let model = optimizer.update(model, all, 0.01).unwrap();
    let good = optimizer.state().unwrap();
    let (missing, wrong, wide, spoilt) = (
        "model.norm.weight.first_moment",
        "model.norm.weight.second_moment",
        "model.embed_tokens.weight.first_moment",
        "model.embed_tokens.weight.second_moment",
    );
    let mut state = good.clone();
    let shape = state.tensors[wide].shape().clone();
    let mut put = |name: &str, data: TensorData| {
        state.tensors.insert(name.to_owned(), Arc::new(data));
    };
    put(wrong, TensorData::zeros::<f32, _>([3]));
    put(wide, TensorData::zeros::<f64, _>(shape.clone()));
    put(spoilt, TensorData::full(shape, f32::NAN));
    put(
        "model.layers.7.first_moment",
        TensorData::zeros::<f32, _>([3]),
    );
    state.tensors.remove(missing);
    let error = optimizer.restore(state, &model).unwrap_err().to_string();
    for name in [missing, wrong, wide, spoilt, "model.layers.7.first_moment"] {
        assert!(error.contains(name), "{name}: {error}");
    }
    assert_eq!(optimizer.state().unwrap(), good);

    // Another kind of optimizer has other tensors; before the first update there are none.
    let mut muon = Optimizer::new(MuonConfig::default());
    let error = muon.restore(good.clone(), &model).unwrap_err().to_string();
    assert!(
        error.contains("q_proj.weight.momentum is missing"),
        "{error}"
    );
    let untouched = muon.state().unwrap();
    assert!(untouched.tensors.is_empty());
    optimizer.restore(untouched, &model).unwrap();
    assert_eq!(optimizer.updates(), 0);
    // Bytes as they come from a file, wherever they start.
    let mut shifted = good.clone();
    for data in shifted.tensors.values_mut() {
        let bytes = data.as_bytes().to_vec();
        *data = Arc::new(TensorData::from_bytes_vec(
            bytes,
            data.shape().clone(),
            data.dtype(),
        ));
    }
    optimizer.restore(shifted, &model).unwrap();
    assert_eq!(optimizer.state().unwrap(), good);
}

#[test]
fn only_an_adapter_has_state() {
    let base = decoder(1);
    let frozen = weights(&base);
    let config = LoraConfig::new(4, 8.0);
    for optimizer in [
        OptimizerConfig::default(),
        OptimizerConfig::Muon(MuonConfig::default()),
    ] {
        let kind = optimizer;
        let mut model = base.with_adapter(&config, 3).unwrap();
        let paths: Vec<String> = model
            .parameter_paths()
            .into_iter()
            .filter(|path| path.contains("lora_"))
            .collect();
        assert!(!paths.is_empty());
        let mut optimizer = Optimizer::new(optimizer);
        let error = optimizer
            .update(model.clone(), gradients(&model, 1), 0.01)
            .unwrap_err();
        assert!(error.to_string().contains("does not train"), "{error}");
        assert_eq!(optimizer.updates(), 0);
        for step in 1..=2 {
            let all = gradients(&model, step);
            let mut of_adapter = Gradients::new();
            for path in &paths {
                of_adapter.insert(path, all.read(path).unwrap()).unwrap();
            }
            model = optimizer.update(model, of_adapter, 0.01).unwrap();
        }
        let state = optimizer.state().unwrap();
        assert!(state.tensors.keys().all(|name| name.contains("lora_")));
        for path in &paths {
            assert!(
                state.tensors.keys().any(|name| name.starts_with(path)),
                "{path}"
            );
        }
        let old: std::collections::BTreeMap<_, _> = frozen.iter().cloned().collect();
        for (path, values) in weights(&model) {
            if let Some(before) = old.get(&path) {
                assert_eq!(&values, before, "{path}");
            }
        }
        let mut restored = Optimizer::new(kind);
        restored.restore(state.clone(), &model).unwrap();
        assert!(restored.restore(state, &base).is_err());
    }
}
