//! `forward/*/train.json`: losses, gradients, AdamW and policy-gradient steps of tiny models.
//!
//! A folder is a model; `train.json` beside it has the batches and the norms, `train.safetensors` some whole
//! tensors. Everything goes through the training step that real runs take.

mod golden;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use didact::models::{Decoder, ParameterVisitor};
use didact::rl::loss::{Loss, PolicyGradientConfig, SftLoss};
use didact::rl::{
    AdamWConfig, DecayedParameters, Gradients, StepOptions, StepReport, Trainer, TrainingSequence,
};
use safetensors::{Dtype, SafeTensors};

use self::golden::{AdamWSteps, Golden, Grpo, Sft};
use crate::report::{Report, error_to_one, scaled_error, worst_difference};

/// Gradients in f32, relative to the largest entry; norms, relative to themselves.
const GRADIENT_TOLERANCE: f64 = 1e-4;
/// Log-probs, absolute.
const LOG_PROB_TOLERANCE: f64 = 2e-4;
/// Losses, times max(1, |y|).
const LOSS_TOLERANCE: f64 = 1e-4;
/// What two AdamW steps changed, relative: the first steps divide a gradient by its own size, which amplifies
/// the rounding of small entries. Only biases of keys, which attention hardly sees, come near it; every other tensor
/// stays below 3e-6.
const UPDATE_TOLERANCE: f64 = 1e-3;

type Outcome<T> = Result<T, String>;

/// The names of the stored tensors begin with what they are.
const SFT_GRADIENTS: &str = "sft_grad.";
const ADAMW_PARAMETERS: &str = "adamw_after2.";
const GRPO_GRADIENTS: &str = "grpo_grad.";

/// Compares every model under `forward` that has a `train.json`.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    let entries = std::fs::read_dir(fixtures.join("forward"))
        .into_iter()
        .flatten()
        .flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            ["train.json", "train.safetensors"]
                .iter()
                .any(|file| path.join(file).is_file())
        })
        .collect();
    folders.sort();
    for folder in folders {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let label = format!("forward/{name}");
        if !folder.join("train.json").is_file() {
            report.skip(
                &format!("{label} training"),
                "train.safetensors has no train.json",
            );
            continue;
        }
        if let Err(message) = compare(&folder, &label, report) {
            report.fail(&format!("{label} training"), &message);
        }
    }
}

fn compare(folder: &Path, label: &str, report: &mut Report) -> Outcome<()> {
    let golden = crate::golden::read(&folder.join("train.json"))?;
    let golden: Golden = serde_json::from_value(golden).map_err(|e| format!("train.json: {e}"))?;
    let file = folder.join("train.safetensors");
    let bytes = if file.is_file() {
        std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?
    } else {
        Vec::new()
    };
    let tensors = if bytes.is_empty() {
        None
    } else {
        Some(SafeTensors::deserialize(&bytes).map_err(|e| format!("{}: {e}", file.display()))?)
    };
    let Golden {
        sft,
        adamw,
        grpo_rlt,
    } = &golden;
    if sft.is_none() && adamw.is_none() && grpo_rlt.is_none() {
        report.skip(
            &format!("{label} training"),
            "train.json has no part that this check knows",
        );
    }
    let mut known = Vec::new();
    for (there, prefix) in [
        (sft.is_some(), SFT_GRADIENTS),
        (sft.is_some() && adamw.is_some(), ADAMW_PARAMETERS),
        (grpo_rlt.is_some(), GRPO_GRADIENTS),
    ] {
        if there {
            known.push(prefix);
        }
    }
    let mut names = tensors
        .as_ref()
        .map_or_else(Vec::new, |tensors| tensors.names());
    names.sort_unstable();
    for name in names {
        if !known.iter().any(|prefix| name.starts_with(prefix)) {
            report.skip(
                &format!("{label} train.safetensors {name}"),
                "train.json has no part that it belongs to",
            );
        }
    }

    let decoder = Decoder::load_folder(folder, &Device::flex().autodiff()).map_err(text)?;
    let vocabulary = decoder.config().vocab_size;
    if let Some(sft) = sft {
        let sequences = sft.sequences(vocabulary)?;
        compare_sft(&decoder, sft, &sequences, tensors.as_ref(), label, report)?;
        if let Some(adamw) = adamw {
            compare_adamw(&decoder, adamw, &sequences, tensors.as_ref(), label, report)?;
        }
    } else if adamw.is_some() {
        // Its steps are over the batch of `sft`.
        report.skip(&format!("{label} adamw"), "train.json has no sft batch");
    }
    match grpo_rlt {
        Some(grpo) => compare_grpo(&decoder, grpo, tensors.as_ref(), label, report),
        None => Ok(()),
    }
}

/// The gradients and what the step says of them.
fn gradients(
    decoder: &Decoder,
    sequences: &[TrainingSequence],
    loss: &dyn Loss,
    temperature: f64,
) -> Outcome<(Gradients, StepReport)> {
    let options = StepOptions {
        temperature,
        max_grad_norm: 1.0,
        micro_batch_tokens: 1 << 20,
        recompute_layers: false,
    };
    let trainer = Trainer::new(decoder.clone(), AdamWConfig::default(), options).map_err(text)?;
    let sequences: Vec<&TrainingSequence> = sequences.iter().collect();
    trainer.gradients(&sequences, loss).map_err(text)
}

fn compare_sft(
    decoder: &Decoder,
    golden: &Sft,
    sequences: &[TrainingSequence],
    tensors: Option<&SafeTensors<'_>>,
    label: &str,
    report: &mut Report,
) -> Outcome<()> {
    let (gradients, found) = gradients(decoder, sequences, &SftLoss, 1.0)?;
    report.check(
        &format!("{label} sft loss"),
        error_to_one(found.loss, golden.loss),
        LOSS_TOLERANCE,
    );
    compare_norms(
        &gradients,
        &golden.grad_norms,
        &format!("{label} sft"),
        report,
    )?;
    let total = relative(found.grad_norm, golden.grad_norm_total);
    report.check(
        &format!("{label} sft gradient norm"),
        total,
        GRADIENT_TOLERANCE,
    );
    compare_tensors(
        tensors,
        SFT_GRADIENTS,
        &format!("{label} sft gradients"),
        report,
        |path| {
            gradients
                .read(path)
                .ok()
                .map(|data| (data.shape().to_vec(), data.iter::<f64>().collect()))
        },
    )
}

fn compare_adamw(
    decoder: &Decoder,
    golden: &AdamWSteps,
    sequences: &[TrainingSequence],
    tensors: Option<&SafeTensors<'_>>,
    label: &str,
    report: &mut Report,
) -> Outcome<()> {
    if golden.grad_norms_before_clip.is_empty() {
        return Err("adamw: grad_norms_before_clip holds no step".to_owned());
    }
    let all = golden.decay_applied_to.starts_with("all");
    let config = AdamWConfig {
        beta1: golden.betas[0],
        beta2: golden.betas[1],
        epsilon: golden.eps,
        weight_decay: golden.weight_decay,
        decayed: if all {
            DecayedParameters::All
        } else {
            DecayedParameters::Matrices
        },
    };
    let options = StepOptions {
        temperature: 1.0,
        max_grad_norm: golden.max_grad_norm,
        micro_batch_tokens: 1 << 20,
        recompute_layers: false,
    };
    let before = parameters(decoder)?;
    let mut trainer = Trainer::new(decoder.clone(), config, options).map_err(text)?;
    let sequences: Vec<&TrainingSequence> = sequences.iter().collect();
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for _ in 0..golden.grad_norms_before_clip.len() {
        let found = trainer
            .step(&sequences, &SftLoss, golden.lr)
            .map_err(text)?;
        losses.push(found.loss);
        norms.push(found.grad_norm);
    }
    losses.push(
        trainer
            .gradients(&sequences, &SftLoss)
            .map_err(text)?
            .1
            .loss,
    );
    let expected = &golden.losses_before_step_1_2_and_after;
    report.check(
        &format!("{label} adamw losses"),
        worst(&losses, expected, error_to_one),
        LOSS_TOLERANCE,
    );
    let expected = &golden.grad_norms_before_clip;
    let worst_norm = worst(&norms, expected, relative);
    report.check(
        &format!("{label} adamw gradient norms"),
        worst_norm,
        GRADIENT_TOLERANCE,
    );

    let after = parameters(trainer.policy().map_err(text)?)?;
    let mut worst_delta = 0.0_f64;
    for (path, expected) in &golden.param_delta_norms {
        let (Some((_, old)), Some((_, new))) = (before.get(path), after.get(path)) else {
            return Err(format!("the model has no tensor {path}"));
        };
        let squares: f64 = old.iter().zip(new).map(|(a, b)| (a - b).powi(2)).sum();
        worst_delta = worst_delta.max(relative(squares.sqrt(), *expected));
    }
    let name = format!("{label} adamw updates");
    if golden.param_delta_norms.is_empty() {
        report.skip(&name, "param_delta_norms is empty");
    } else {
        report.check(&name, worst_delta, UPDATE_TOLERANCE);
    }
    compare_tensors(
        tensors,
        ADAMW_PARAMETERS,
        &format!("{label} adamw parameters"),
        report,
        |path| after.get(path).cloned(),
    )
}

fn compare_grpo(
    decoder: &Decoder,
    golden: &Grpo,
    tensors: Option<&SafeTensors<'_>>,
    label: &str,
    report: &mut Report,
) -> Outcome<()> {
    let sequences = golden.sequences(decoder.config().vocab_size)?;
    let config = PolicyGradientConfig {
        beta: golden.beta,
        ..PolicyGradientConfig::default()
    };
    let loss = config.resolve().map_err(text)?;
    let (gradients, found) = gradients(decoder, &sequences, &loss, golden.temperature)?;

    if found.values.len() != sequences.len() {
        let (values, count) = (found.values.len(), sequences.len());
        return Err(format!("grpo: log-probs of {values} rows of {count}"));
    }
    let mut worst_log_prob = 0.0_f64;
    let rows = found.values.iter().zip(&sequences);
    for ((values, sequence), expected) in rows.zip(&golden.policy_logps) {
        let log_probs: Vec<f64> = values.log_probs.iter().map(|&v| f64::from(v)).collect();
        // Behind the completion stands padding.
        let expected = expected
            .get(..sequence.trained.len())
            .ok_or("grpo: policy_logps is too short")?;
        worst_log_prob = worst_log_prob.max(worst_difference(&log_probs, expected));
    }
    report.check(
        &format!("{label} grpo log-probs"),
        worst_log_prob,
        LOG_PROB_TOLERANCE,
    );
    report.check(
        &format!("{label} grpo loss"),
        error_to_one(found.loss, golden.loss),
        LOSS_TOLERANCE,
    );
    // Which mean the golden value is depends on who wrote it: over tokens or over sequences first.
    let kls: Vec<f64> = ["loss/kl", "loss/kl_sequence_mean"]
        .into_iter()
        .filter_map(|name| found.loss_metrics.get(name))
        .collect();
    let kl = if kls.iter().any(|kl| kl.is_nan()) {
        // The other mean may still fit, but no mean of this batch is NaN.
        f64::INFINITY
    } else {
        kls.iter()
            .map(|&kl| error_to_one(kl, golden.mean_kl))
            .fold(f64::INFINITY, f64::min)
    };
    report.check(&format!("{label} grpo mean kl"), kl, LOSS_TOLERANCE);
    compare_norms(
        &gradients,
        &golden.grad_norms,
        &format!("{label} grpo"),
        report,
    )?;
    let total = relative(found.grad_norm, golden.grad_norm_total);
    report.check(
        &format!("{label} grpo gradient norm"),
        total,
        GRADIENT_TOLERANCE,
    );
    compare_tensors(
        tensors,
        GRPO_GRADIENTS,
        &format!("{label} grpo gradients"),
        report,
        |path| {
            gradients
                .read(path)
                .ok()
                .map(|data| (data.shape().to_vec(), data.iter::<f64>().collect()))
        },
    )
}

fn compare_norms(
    gradients: &Gradients,
    golden: &BTreeMap<String, f64>,
    label: &str,
    report: &mut Report,
) -> Outcome<()> {
    let mut worst = 0.0_f64;
    for (path, expected) in golden {
        let found = gradients
            .norm_of(path)
            .map_err(text)?
            .ok_or_else(|| format!("{label}: no gradient of {path}"))?;
        worst = worst.max(relative(found, *expected));
    }
    let name = format!("{label} gradient norm of each tensor");
    if golden.is_empty() {
        report.skip(&name, "grad_norms is empty");
    } else {
        report.check(&name, worst, GRADIENT_TOLERANCE);
    }
    Ok(())
}

/// Compares the golden tensors whose names begin with `prefix`, each relative to its largest entry.
fn compare_tensors(
    golden: Option<&SafeTensors<'_>>,
    prefix: &str,
    label: &str,
    report: &mut Report,
    find: impl Fn(&str) -> Option<(Vec<usize>, Vec<f64>)>,
) -> Outcome<()> {
    // Most models have their norms only.
    let Some(golden) = golden else { return Ok(()) };
    let mut names = golden.names();
    names.sort_unstable();
    let mut compared = 0;
    let mut worst = 0.0_f64;
    for (name, path) in names
        .iter()
        .filter_map(|n| Some((n, n.strip_prefix(prefix)?)))
    {
        let view = golden.tensor(name).map_err(text)?;
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name} holds {:?}, not F32", view.dtype()));
        }
        let words = view.data().as_chunks().0.iter();
        let expected: Vec<f64> = words.map(|&b| f64::from(f32::from_le_bytes(b))).collect();
        // Against an infinite largest entry every error would be 0.
        if expected.iter().any(|value| !value.is_finite()) {
            return Err(format!("{name} holds a value that is not finite"));
        }
        let (shape, found) = find(path).ok_or_else(|| format!("{label}: no tensor {path}"))?;
        let (shape, found) = as_stored(path, shape, found);
        if shape != view.shape() {
            return Err(format!("{name} is {:?}, found {shape:?}", view.shape()));
        }
        let largest = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let error = worst_difference(&found, &expected) / largest.max(f64::MIN_POSITIVE);
        worst = worst.max(error);
        compared += 1;
    }
    if compared > 0 {
        report.check(label, worst, GRADIENT_TOLERANCE);
    }
    Ok(())
}

/// Projections are `[in, out]` in memory and `[out, in]` in files.
fn as_stored(path: &str, shape: Vec<usize>, values: Vec<f64>) -> (Vec<usize>, Vec<f64>) {
    let &[inputs, outputs] = shape.as_slice() else {
        return (shape, values);
    };
    if !path.ends_with("_proj.weight") {
        return (shape, values);
    }
    let transposed = (0..outputs)
        .flat_map(|out| (0..inputs).map(move |input| input * outputs + out))
        .map(|index| values[index])
        .collect();
    (vec![outputs, inputs], transposed)
}

/// Shapes and values of all parameters.
fn parameters(decoder: &Decoder) -> Outcome<BTreeMap<String, (Vec<usize>, Vec<f64>)>> {
    struct Read(Outcome<BTreeMap<String, (Vec<usize>, Vec<f64>)>>);
    impl ParameterVisitor for Read {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let Ok(found) = &mut self.0 else { return };
            let tensor = parameter.val();
            let shape = tensor.dims().to_vec();
            match tensor.inner().try_into_data() {
                Ok(data) => {
                    found.insert(path.to_owned(), (shape, data.iter::<f64>().collect()));
                }
                Err(error) => self.0 = Err(format!("{path}: {error}")),
            }
        }
    }
    let mut read = Read(Ok(BTreeMap::new()));
    decoder.visit_parameters(&mut read);
    read.0
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// `|x − y| / |y|`.
fn relative(found: f64, expected: f64) -> f64 {
    scaled_error(found, expected, expected.abs().max(f64::MIN_POSITIVE))
}

fn worst(found: &[f64], expected: &[f64], error: fn(f64, f64) -> f64) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| error(*a, *b))
        .fold(0.0, f64::max)
}
