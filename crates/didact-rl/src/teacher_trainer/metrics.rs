//! What a step of a teacher's training logs.
//!
//! Owns names and means. Knows no model.

use didact_core::Outcome;

use crate::metrics::{Means, Metrics};
use crate::rollout::Group;
use crate::step::{StepReport, TrainingSequence};

pub(super) fn rollout_metrics<'a>(groups: impl Iterator<Item = &'a Group>) -> Metrics {
    let mut means = Means::new();
    let flag = |holds: bool| f64::from(u8::from(holds));
    let (mut shortest, mut longest) = (usize::MAX, 0);
    let mut refusals = std::collections::BTreeMap::<String, usize>::new();
    let mut samples = 0_usize;
    for group in groups {
        let rewards: Vec<f64> = group.rewards().flatten().collect();
        let deviation = standard_deviation(&rewards);
        means.add("reward_std", deviation);
        means.add("frac_reward_zero_std", flag(deviation == 0.0));
        for sample in &group.samples {
            samples += 1;
            let length = sample.completion.ids.len();
            (shortest, longest) = (shortest.min(length), longest.max(length));
            means.add("completions/mean_length", length as f64);
            means.add(
                "completions/clipped_ratio",
                flag(sample.completion.stop.is_truncated()),
            );
            means.add("completions/straddling", sample.explained.straddling as f64);
            means.add("missing_tag_ratio", flag(!sample.explained.closed));
            match &sample.outcome {
                Some(Outcome::Scored { reward, terms }) => {
                    means.add("refused/ratio", 0.0);
                    means.add("reward", *reward);
                    for term in terms {
                        means.add(term.name.clone(), term.value);
                    }
                }
                Some(Outcome::Refused(refusal)) => {
                    means.add("refused/ratio", 1.0);
                    let name = serde_json::to_value(refusal).ok();
                    let name = name.as_ref().and_then(|n| n.as_str()).unwrap_or("other");
                    *refusals.entry(name.to_owned()).or_default() += 1;
                }
                None => {}
            }
        }
    }
    let mut metrics = means.metrics();
    if samples > 0 {
        metrics.set("completions/min_length", shortest as f64);
        metrics.set("completions/max_length", longest as f64);
    }
    for (refusal, count) in refusals {
        metrics.set(format!("refused/{refusal}"), count as f64 / samples as f64);
    }
    metrics
}

/// With Bessel's correction; 0 for fewer than two values.
fn standard_deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

pub(super) fn update_metrics(sequences: &[TrainingSequence], report: &StepReport) -> Metrics {
    let mut metrics = report.metrics();
    if let Some(kl) = metrics.get("loss/kl") {
        metrics.set("kl", kl);
    }
    let (mut sum, mut largest, mut count) = (0.0_f64, 0.0_f64, 0_usize);
    for (sequence, values) in sequences.iter().zip(&report.values) {
        let Some(sampled) = &sequence.sampling_log_probs else {
            continue;
        };
        for (sampled, trained) in sampled.iter().zip(&values.log_probs) {
            let gap = (f64::from(*sampled) - f64::from(*trained)).abs();
            (sum, largest, count) = (sum + gap, largest.max(gap), count + 1);
        }
    }
    if count > 0 {
        metrics.set("sampling/logp_diff_mean", sum / count as f64);
        metrics.set("sampling/logp_diff_max", largest);
    }
    metrics
}
