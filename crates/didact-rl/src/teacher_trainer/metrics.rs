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
    let (mut samples, mut tokens) = (0_usize, 0_usize);
    for group in groups {
        let rewards: Vec<f64> = group.rewards().flatten().collect();
        let deviation = standard_deviation(&rewards);
        means.add("reward_std", deviation);
        means.add("frac_reward_zero_std", flag(deviation == 0.0));
        for sample in &group.samples {
            let length = sample.completion.ids.len();
            (samples, tokens) = (samples + 1, tokens + length);
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
        metrics.set("completions/tokens", tokens as f64);
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

/// Metrics of an update: the step's own, and how far sampling and training disagree.
pub(super) fn update_metrics(sequences: &[&TrainingSequence], report: &StepReport) -> Metrics {
    let mut metrics = report.metrics();
    if let Some(kl) = metrics.get("loss/kl") {
        metrics.set("kl", kl);
    }
    // A surrogate that clips nothing clips a share of 0.
    for (name, of_loss, of_cap) in [
        ("clip_ratio/low_mean", "loss/clip_low", None),
        (
            "clip_ratio/high_mean",
            "loss/clip_high",
            Some("loss/capped"),
        ),
        ("clip_ratio/region_mean", "loss/clip", Some("loss/capped")),
    ] {
        let share = metrics.get(of_loss).or_else(|| metrics.get(of_cap?));
        metrics.set(name, share.unwrap_or(0.0));
    }
    metrics.extend(sampling_metrics(sequences, report));
    metrics
}

/// The gap between sampling and training log-probs, over all trained tokens.
fn sampling_metrics(sequences: &[&TrainingSequence], report: &StepReport) -> Metrics {
    let mut means = Means::new();
    let (mut largest_gap, mut largest_ratio) = (0.0_f64, f64::NEG_INFINITY);
    for (sequence, values) in sequences.iter().zip(&report.values) {
        let Some(sampled) = &sequence.sampling_log_probs else {
            continue;
        };
        let positions = sequence.trained.range();
        for ((sampled, trained), position) in sampled.iter().zip(&values.log_probs).zip(positions) {
            let difference = f64::from(*sampled) - f64::from(*trained);
            let (gap, ratio) = (difference.abs(), (-difference).exp());
            largest_gap = largest_gap.max(gap);
            largest_ratio = largest_ratio.max(ratio);
            means.add("sampling/logp_diff_mean", gap);
            means.add(position_bucket(position), gap);
            means.add("sampling/importance_ratio_mean", ratio);
            means.add("kl_sample_train_v1", difference);
            means.add("kl_sample_train_v2", 0.5 * difference * difference);
        }
    }
    let mut metrics = means.metrics();
    if largest_ratio > 0.0 {
        metrics.set("sampling/logp_diff_max", largest_gap);
        metrics.set("sampling/importance_ratio_max", largest_ratio);
    }
    metrics
}

/// The metric of the gap at `position` of a sequence: powers of two, since a fault of a cache grows with depth.
/// Leading zeros put the names in the order of the positions.
fn position_bucket(position: usize) -> String {
    let first = if position < 16 {
        0
    } else {
        1 << position.ilog2()
    };
    format!("sampling/logp_diff_by_position/{first:06}")
}

/// Adds what the durations of a step make of its tokens.
pub(super) fn add_speed(metrics: &mut Metrics) {
    let get = |name| metrics.get(name).unwrap_or(0.0);
    let (generate, tokens) = (get("time/generate"), get("completions/tokens"));
    let step = generate + get("time/score") + get("time/update");
    metrics.set("time/step", step);
    for (name, seconds) in [
        ("time/tokens_per_second", step),
        ("time/generated_tokens_per_second", generate),
    ] {
        if seconds > 0.0 {
            metrics.set(name, tokens / seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::TokenValues;
    use didact_core::Span;

    #[test]
    fn the_gap_between_sampling_and_training_by_hand() {
        let sequence = TrainingSequence {
            id: "a".to_owned(),
            prefix: vec![1; 31].into(),
            continuation: vec![2, 3],
            trained: Span::new(31, 33),
            advantage: 0.0.into(),
            old_log_probs: None,
            reference_log_probs: None,
            sampling_log_probs: Some(vec![-1.0, -2.0]),
        };
        let report = StepReport {
            loss: 0.0,
            grad_norm: 0.0,
            entropy: 0.0,
            tokens: 2,
            micro_batches: 1,
            loss_metrics: Metrics::new(),
            values: vec![TokenValues {
                log_probs: vec![-0.5, -3.0],
                entropies: Vec::new(),
            }],
        };
        let metrics = update_metrics(&[&sequence], &report);
        let close = |name: &str, expected: f64| {
            let found = metrics.get(name).unwrap();
            assert!((found - expected).abs() < 1e-12, "{name}: {found}");
        };
        close("sampling/logp_diff_mean", 0.75);
        close("sampling/logp_diff_max", 1.0);
        close("sampling/logp_diff_by_position/000016", 0.5);
        close("sampling/logp_diff_by_position/000032", 1.0);
        close("kl_sample_train_v1", (-0.5 + 1.0) / 2.0);
        close("kl_sample_train_v2", (0.125 + 0.5) / 2.0);
        close("sampling/importance_ratio_max", 0.5_f64.exp());
        close(
            "sampling/importance_ratio_mean",
            (0.5_f64.exp() + (-1.0_f64).exp()) / 2.0,
        );
        close("clip_ratio/region_mean", 0.0);
        assert_eq!(position_bucket(0), "sampling/logp_diff_by_position/000000");
        assert_eq!(
            position_bucket(4095),
            "sampling/logp_diff_by_position/002048"
        );
    }

    #[test]
    fn tokens_by_seconds() {
        let mut metrics = Metrics::new();
        for (name, value) in [
            ("time/generate", 1.0),
            ("time/score", 0.5),
            ("time/update", 2.5),
            ("completions/tokens", 80.0),
        ] {
            metrics.set(name, value);
        }
        add_speed(&mut metrics);
        assert_eq!(metrics.get("time/tokens_per_second"), Some(20.0));
        assert_eq!(metrics.get("time/generated_tokens_per_second"), Some(80.0));
    }
}
