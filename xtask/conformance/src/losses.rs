//! Losses with their gradients, advantages and token log-probs, from `grpo_public.json` and
//! `grpo_off_policy.json`.

use std::path::Path;

use didact::rl::advantage::{
    AdvantageConfig, AdvantageScale, Baseline, RewardMixing, advantages, advantages_of_several,
};
use didact::rl::loss::{Loss as _, LossOutput, LossSequence, Normalisers};
use serde_json::{Map, Value};

mod variant;

use self::variant::Variant;

use crate::golden::{list, member, number, numbers, read, rows, text};
use crate::report::{Report, worst_difference};

/// Relative to the largest entry.
const TOLERANCE: f64 = 1e-9;
/// TRL logs its metrics in float32.
const METRIC_TOLERANCE: f64 = 1e-6;

/// Checks `fixtures/grpo_public.json` and `fixtures/grpo_off_policy.json`.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    for (file, kind) in [
        ("grpo_public.json", "loss"),
        ("grpo_off_policy.json", "off-policy loss"),
    ] {
        let file = fixtures.join(file);
        if !file.exists() {
            continue;
        }
        let checked = read(&file).and_then(|golden| {
            for (index, case) in list(member(&golden, "cases")?)?.iter().enumerate() {
                let name = format!("{kind} case {index}");
                if let Err(message) = check_case(&name, case, report) {
                    report.fail(&name, &message);
                }
            }
            match golden.get("token_logps") {
                Some(golden) => check_token_log_probs(golden, report),
                None => Ok(()),
            }
        });
        if let Err(message) = checked {
            report.fail(kind, &message);
        }
    }
}

/// The tensors of a case, one row a sequence.
struct Case {
    log_probs: Vec<Vec<f64>>,
    old: Vec<Vec<f64>>,
    reference: Vec<Vec<f64>>,
    sampling: Option<Vec<Vec<f64>>>,
    entropies: Option<Vec<Vec<f64>>>,
    mask: Vec<Vec<bool>>,
    /// By group.
    rewards: Vec<Vec<Option<f64>>>,
    /// By function and group.
    several: Vec<Vec<Vec<Option<f64>>>>,
}

impl Case {
    fn read(case: &Value) -> Result<Self, String> {
        let size = number(member(case, "group_size")?)? as usize;
        let grouped = |rewards: Vec<f64>| -> Vec<Vec<Option<f64>>> {
            rewards
                .chunks(size.max(1))
                .map(|g| g.iter().copied().map(Some).collect())
                .collect()
        };
        let optional = |key: &str| case.get(key).map(rows).transpose();
        let by_sample = optional("rewards_two_funcs")?.unwrap_or_default();
        let functions = by_sample.first().map_or(0, Vec::len);
        let of_function = |f: usize| -> Result<Vec<f64>, String> {
            let missing = || "a sample lacks a reward".to_owned();
            by_sample
                .iter()
                .map(|row| row.get(f).copied().ok_or_else(missing))
                .collect()
        };
        Ok(Self {
            log_probs: rows(member(case, "logps")?)?,
            old: rows(member(case, "old_logps")?)?,
            reference: rows(member(case, "ref_logps")?)?,
            sampling: optional("sampling_logps")?,
            entropies: optional("entropies")?,
            mask: rows(member(case, "mask")?)?
                .iter()
                .map(|row| row.iter().map(|&m| m != 0.0).collect())
                .collect(),
            rewards: grouped(numbers(member(case, "rewards")?)?),
            several: (0..functions)
                .map(|f| Ok(grouped(of_function(f)?)))
                .collect::<Result<_, String>>()?,
        })
    }

    fn sequences(&self, advantages: &[f64], on_policy: bool) -> Result<Vec<LossSequence>, String> {
        let count = self.log_probs.len();
        let rows = |list: &Option<Vec<Vec<f64>>>| list.as_ref().map_or(count, Vec::len);
        let counts = [
            self.old.len(),
            self.reference.len(),
            rows(&self.sampling),
            rows(&self.entropies),
            self.mask.len(),
            advantages.len(),
        ];
        if counts.iter().any(|&other| other != count) {
            return Err(format!(
                "{count} sequences, but other lists have {counts:?} rows"
            ));
        }
        let old = if on_policy {
            &self.log_probs
        } else {
            &self.old
        };
        let sequence = |i: usize| {
            let mut sequence =
                LossSequence::new(format!("sequence {i}"), self.log_probs[i].clone())
                    .with_old(old[i].clone())
                    .with_reference(self.reference[i].clone())
                    .with_mask(self.mask[i].clone())
                    .with_advantage(advantages[i]);
            // Where the sampler is not said, it was the old policy.
            let sampling = self.sampling.as_ref().unwrap_or(old);
            sequence.sampling_log_probs = Some(sampling[i].clone());
            sequence.entropies = self.entropies.as_ref().map(|all| all[i].clone());
            sequence
        };
        Ok((0..count).map(sequence).collect())
    }
}

fn check_case(name: &str, golden: &Value, report: &mut Report) -> Result<(), String> {
    let case = Case::read(golden)?;
    let weights = expected_weights(golden);
    let expected = object(member(golden, "advantages")?)?;
    for (key, expected) in expected {
        let line = format!("{name} advantages {key}");
        match advantages_called(key, &weights, &case) {
            Ok(Some(found)) => {
                let expected = numbers(expected)?;
                report.check(&line, relative(&found, &expected), TOLERANCE);
            }
            Ok(None) => report.skip(&line, "not built yet"),
            Err(message) => report.fail(&line, &message),
        }
    }
    for (index, entry) in list(member(golden, "losses")?)?.iter().enumerate() {
        let variant = object(member(entry, "variant")?)?;
        let source = text(member(entry, "source")?)?;
        let scale = text(member(entry, "scale_rewards")?)?;
        let options = Value::Object(variant.clone());
        let line = format!("{name} loss {index} {source} {scale} {options}");
        let width = case.mask.first().map_or(0, Vec::len);
        match Variant::read(variant, width) {
            Ok(variant) => {
                if let Err(message) = check_loss(&line, &variant, scale, &case, entry, report) {
                    report.fail(&line, &message);
                }
            }
            Err(reason) => report.skip(&line, &reason),
        }
    }
    Ok(())
}

/// The weights in a name such as `two_funcs_weights_1_0.5_group`, which all its siblings use.
fn expected_weights(golden: &Value) -> Vec<f64> {
    let names = golden.get("advantages").and_then(Value::as_object);
    names
        .into_iter()
        .flat_map(Map::keys)
        .find_map(|key| key.strip_prefix("two_funcs_weights_"))
        .map(|rest| {
            rest.split('_')
                .map_while(|part| part.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

/// Our advantages under a golden name; `None` for a name that means something else.
fn advantages_called(key: &str, weights: &[f64], case: &Case) -> Result<Option<Vec<f64>>, String> {
    let several =
        |mixing, config: &_| advantages_of_several(&case.several, weights, mixing, config);
    let found = if key == "two_funcs_normalize_then_sum" {
        several(RewardMixing::NormaliseThenSum, &AdvantageConfig::default())
    } else if let Some(rest) = key.strip_prefix("two_funcs_weights_") {
        let Some(config) = rest.rsplit('_').next().and_then(config_called) else {
            return Ok(None);
        };
        several(RewardMixing::SumThenNormalise, &config)
    } else {
        let Some(config) = config_called(key) else {
            return Ok(None);
        };
        advantages(&case.rewards, &config)
    };
    Ok(Some(
        found
            .map_err(|e| e.to_string())?
            .into_iter()
            .flatten()
            .collect(),
    ))
}

fn config_called(name: &str) -> Option<AdvantageConfig> {
    let (baseline, scale) = match name {
        "group" => (Baseline::Group, AdvantageScale::Group),
        "batch" => (Baseline::Group, AdvantageScale::Batch),
        "none" => (Baseline::Group, AdvantageScale::None),
        "leave_one_out" => (Baseline::LeaveOneOut, AdvantageScale::None),
        "leave_one_out_whitened" => (Baseline::LeaveOneOut, AdvantageScale::Whitened),
        _ => return None,
    };
    Some(AdvantageConfig {
        baseline,
        scale,
        ..AdvantageConfig::default()
    })
}

fn check_loss(
    line: &str,
    variant: &Variant,
    scale: &str,
    case: &Case,
    entry: &Value,
    report: &mut Report,
) -> Result<(), String> {
    let config = config_called(scale).ok_or_else(|| format!("unknown scale {scale}"))?;
    let advantages: Vec<f64> = advantages(&case.rewards, &config)
        .map_err(|e| e.to_string())?
        .into_iter()
        .flatten()
        .collect();
    let step = case.sequences(&advantages, variant.on_policy)?;
    let evaluate = |sequences: &[LossSequence], normalisers: Normalisers| {
        variant
            .loss
            .evaluate(sequences, normalisers)
            .map_err(|e| e.to_string())
    };
    let mut one = Normalisers::of(&step);
    if let Some(fraction) = variant.loss.needs().top_entropy {
        one = one
            .with_top_entropy(fraction, &step)
            .map_err(|e| e.to_string())?;
    }
    let output = evaluate(&step, variant.normalisers(one))?;
    // One list, so that a loss that cancels to 0 is measured by the gradients' size.
    let mut expected = vec![number(member(entry, "loss")?)?];
    expected.extend(rows(member(entry, "grad_logps")?)?.into_iter().flatten());
    let mut found = vec![output.value];
    found.extend(output.d_log_probs.iter().flatten());
    if let Some(golden) = entry.get("grad_entropies") {
        let golden = rows(golden)?;
        let none = || golden.iter().map(|row| vec![0.0; row.len()]).collect();
        found.extend(
            output
                .d_entropies
                .unwrap_or_else(none)
                .into_iter()
                .flatten(),
        );
        expected.extend(golden.into_iter().flatten());
    }
    report.check(line, relative(&found, &expected), TOLERANCE);

    let whole = evaluate(&step, one)?;
    let metrics = object(member(entry, "metrics")?)?;
    let mut worst: f64 = 0.0;
    for (key, expected) in metrics {
        if key == "per_sequence_loss" {
            let expected = numbers(expected)?;
            let alone = step
                .iter()
                .map(|s| Ok(evaluate(std::slice::from_ref(s), alone(s))?.value))
                .collect::<Result<Vec<_>, String>>()?;
            worst = worst.max(relative(&alone, &expected));
        } else if let Some(found) = our_metric(key, variant.published, &whole) {
            worst = worst.max(relative(&[found], &[number(expected)?]));
        } else {
            worst = f64::INFINITY;
        }
    }
    if !metrics.is_empty() {
        report.check(&format!("{line} metrics"), worst, METRIC_TOLERANCE);
    }
    Ok(())
}

/// The normalisers of a step of one sequence.
fn alone(sequence: &LossSequence) -> Normalisers {
    Normalisers::of(std::slice::from_ref(sequence))
}

fn our_metric(golden: &str, published: bool, output: &LossOutput) -> Option<f64> {
    output.metric(match golden {
        "kl" if published => "loss/kl_sequence_mean",
        "kl" => "loss/kl",
        "cispo_clip_ratio" => "loss/capped",
        "clip_ratio/low_mean" => "loss/clip_low",
        "clip_ratio/high_mean" => "loss/clip_high",
        "clip_ratio/region_mean" => "loss/clip",
        _ => return None,
    })
}

/// Checks the log-softmax of a token and the entropy, as the loss's inputs are defined.
fn check_token_log_probs(golden: &Value, report: &mut Report) -> Result<(), String> {
    let logits: Vec<Vec<Vec<f64>>> = list(member(golden, "logits")?)?
        .iter()
        .map(rows)
        .collect::<Result<_, _>>()?;
    let ids = rows(member(golden, "ids")?)?;
    for (temperature, expected) in object(member(golden, "by_temperature")?)? {
        let line = format!("loss token log-probs at temperature {temperature}");
        let temperature: f64 = temperature
            .parse()
            .map_err(|_| format!("{temperature} is no temperature"))?;
        let mut found = Vec::new();
        for (logits, ids) in logits.iter().zip(&ids) {
            for (logits, &id) in logits.iter().zip(ids) {
                let log_probs = log_softmax(logits, temperature);
                found.push(log_probs.get(id as usize).copied().unwrap_or(f64::NAN));
            }
        }
        let expected: Vec<f64> = rows(expected)?.into_iter().flatten().collect();
        report.check(&line, relative(&found, &expected), TOLERANCE);
    }
    if let Some(expected) = golden.get("entropy_T1") {
        let entropy = |logits: &Vec<f64>| -> f64 {
            log_softmax(logits, 1.0)
                .iter()
                .map(|lp| -lp.exp() * lp)
                .sum()
        };
        let found: Vec<f64> = logits.iter().flatten().map(entropy).collect();
        let expected: Vec<f64> = rows(expected)?.into_iter().flatten().collect();
        report.check(
            "loss token entropies",
            relative(&found, &expected),
            TOLERANCE,
        );
    }
    Ok(())
}

fn log_softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = logits.iter().map(|logit| logit / temperature).collect();
    let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scaled.iter().map(|logit| (logit - largest).exp()).sum();
    scaled
        .iter()
        .map(|logit| logit - largest - sum.ln())
        .collect()
}

/// The worst difference relative to the largest expected entry.
fn relative(found: &[f64], expected: &[f64]) -> f64 {
    let largest = expected
        .iter()
        .fold(0.0_f64, |largest, x| largest.max(x.abs()));
    let worst = worst_difference(found, expected);
    if largest > 0.0 {
        worst / largest
    } else {
        worst
    }
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("{value} is not an object"))
}
