//! Every preset against its formula, spelt out anew on one step.

use super::*;
use crate::advantage::advantages;
use crate::loss::{Loss as _, LossSequence, Normalisers};

/// Two groups of two completions.
struct Step {
    log_probs: [&'static [f64]; 4],
    old: [&'static [f64]; 4],
    reference: [&'static [f64]; 4],
    rewards: [f64; 4],
}

const STEP: Step = Step {
    log_probs: [&[-1.0, -0.5, -2.0], &[-0.3, -0.9], &[-1.5], &[-0.2, -0.4]],
    old: [
        &[-1.4, -0.45, -1.6],
        &[-0.6, -0.89],
        &[-1.45],
        &[-0.25, -0.1],
    ],
    reference: [&[-1.1, -0.5, -1.0], &[-0.4, -1.2], &[-1.5], &[-0.3, -0.3]],
    rewards: [1.0, -1.0, 0.5, 2.5],
};
const LIMIT: usize = 7;

/// The preset's loss on the step.
fn found(algorithm: Algorithm) -> f64 {
    let rewards: Vec<Vec<Option<f64>>> = STEP
        .rewards
        .chunks(2)
        .map(|group| group.iter().copied().map(Some).collect())
        .collect();
    let advantages = advantages(&rewards, &algorithm.advantage).unwrap().concat();
    let sequences: Vec<LossSequence> = (0..4)
        .map(|i| {
            LossSequence::new(format!("{i}"), STEP.log_probs[i].to_vec())
                .with_old(STEP.old[i].to_vec())
                .with_reference(STEP.reference[i].to_vec())
                .with_advantage(advantages[i])
        })
        .collect();
    let loss = algorithm
        .loss
        .with_completion_limit(LIMIT)
        .resolve()
        .unwrap();
    let output = loss.evaluate(&sequences, Normalisers::of(&sequences));
    output.unwrap().value
}

const GROUP: [f64; 4] = [1.0, -1.0, -1.0, 1.0];

/// `(r − mean_g)/(std_g + 1e-4)`: the differences are ±1, both deviations √2.
fn by_group() -> [f64; 4] {
    GROUP.map(|a| a / (2.0_f64.sqrt() + 1e-4))
}

/// `Σ_s weight(L) · Σ_t term(sequence, token)`.
fn sum(weight: impl Fn(f64) -> f64, term: impl Fn(usize, usize) -> f64) -> f64 {
    let of_sequence = |s: usize| {
        let length = STEP.log_probs[s].len();
        weight(length as f64) * (0..length).map(|t| term(s, t)).sum::<f64>()
    };
    (0..4).map(of_sequence).sum()
}

fn token_ratio(s: usize, t: usize) -> f64 {
    (STEP.log_probs[s][t] - STEP.old[s][t]).exp()
}

fn log_ratio(s: usize) -> f64 {
    let pairs = STEP.log_probs[s].iter().zip(STEP.old[s]);
    pairs.map(|(lp, old)| lp - old).sum()
}

fn sequence_ratio(s: usize) -> f64 {
    (log_ratio(s) / STEP.log_probs[s].len() as f64).exp()
}

fn clip(ratio: f64, advantage: f64, low: f64, high: f64) -> f64 {
    -(ratio * advantage).min(ratio.max(1.0 - low).min(1.0 + high) * advantage)
}

fn k3(s: usize, t: usize) -> f64 {
    let d = STEP.reference[s][t] - STEP.log_probs[s][t];
    d.exp() - d - 1.0
}

fn k2(s: usize, t: usize) -> f64 {
    (STEP.reference[s][t] - STEP.log_probs[s][t]).powi(2) / 2.0
}

fn assert_close(name: &str, found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-12,
        "{name}: {found} is not {expected}"
    );
}

#[test]
fn each_preset_is_the_formula_of_its_documentation() {
    let a = by_group();
    let (sequences, tokens) = (4.0, 8.0);
    let mean = |length: f64| 1.0 / (sequences * length);
    let per_token = |_: f64| 1.0 / tokens;
    let clipped = |s: usize, t: usize| clip(token_ratio(s, t), a[s], 0.2, 0.2);
    let whitened = |s: usize| {
        // Rewards 1, −1, ½, 2½ around ¾: squares add up to 6¼.
        (STEP.rewards[s] - 0.75) / ((6.25_f64 / 3.0).sqrt() + 1e-4)
    };
    let expected: [(&str, f64); 14] = [
        ("published_rlt", sum(mean, |s, t| -a[s] + 0.04 * k3(s, t))),
        ("trl_1_16", sum(per_token, clipped)),
        ("grpo", sum(mean, |s, t| clipped(s, t) + 0.04 * k3(s, t))),
        (
            "dr_grpo",
            sum(
                |_| 1.0 / (sequences * LIMIT as f64),
                |s, t| clip(token_ratio(s, t), GROUP[s], 0.2, 0.2),
            ),
        ),
        (
            "dapo",
            sum(per_token, |s, t| clip(token_ratio(s, t), a[s], 0.2, 0.28)),
        ),
        ("bnpo", sum(per_token, clipped)),
        (
            "gspo",
            sum(mean, |s, _| clip(sequence_ratio(s), a[s], 3e-4, 4e-4)),
        ),
        (
            "cispo",
            sum(per_token, |s, t| {
                -token_ratio(s, t).min(5.0) * a[s] * STEP.log_probs[s][t]
            }),
        ),
        (
            "sapo",
            sum(mean, |s, t| {
                let tau = if a[s] > 0.0 { 1.0 } else { 1.05 };
                let gate = 1.0 / (1.0 + (-tau * (token_ratio(s, t) - 1.0)).exp());
                -a[s] * 4.0 / tau * gate
            }),
        ),
        (
            "vespo",
            sum(per_token, |s, t| {
                let (k, lambda) = if a[s] >= 0.0 { (2.0, 3.0) } else { (3.0, 2.0) };
                let w = log_ratio(s).exp();
                -w.powf(k) * (lambda * (1.0 - w)).exp() * a[s] * STEP.log_probs[s][t]
            }),
        ),
        (
            "luspo",
            sum(
                |_| 1.0 / sequences,
                |s, _| clip(sequence_ratio(s), a[s], 2e-3, 2.5e-3),
            ),
        ),
        // The other sample of a group of two: twice the distance from the mean.
        (
            "rloo",
            sum(
                |_| 1.0 / sequences,
                |s, t| -2.0 * GROUP[s] + 0.05 * k2(s, t),
            ),
        ),
        (
            "reinforce_plus_plus",
            sum(per_token, |s, t| {
                clip(token_ratio(s, t), whitened(s), 0.2, 0.2) + 0.01 * k2(s, t)
            }),
        ),
        (
            "reinforce_plus_plus_baseline",
            sum(per_token, |s, t| {
                let advantage = GROUP[s] / ((4.0_f64 / 3.0).sqrt() + 1e-4);
                clip(token_ratio(s, t), advantage, 0.2, 0.2) + 0.01 * k2(s, t)
            }),
        ),
    ];
    assert_eq!(expected.len(), Algorithm::ALL.len());
    for (name, expected) in expected {
        assert_close(name, found(Algorithm::named(name).unwrap()), expected);
    }
    assert!(Algorithm::named("ppo").is_none());
}

#[test]
fn presets_survive_serde_and_differ() {
    for (name, preset) in Algorithm::ALL {
        let text = serde_json::to_string(&preset()).unwrap();
        let read: Algorithm = serde_json::from_str(&text).unwrap();
        assert_eq!(read, preset(), "{name}");
        preset().advantage.validate().unwrap();
        let others = Algorithm::ALL
            .iter()
            .filter(|(_, other)| other() == preset());
        assert_eq!(others.count(), 1, "{name}");
    }
    assert!(dapo().mask_truncated && dapo().dynamic_sampling.is_some());
}
