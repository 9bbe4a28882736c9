//! Finite differences of every loss, and the laws that micro-batching rests on.

use didact_core::Error;
use proptest::prelude::*;

use super::*;

mod differences;
mod refusals;

fn resolved(config: PolicyGradientConfig) -> PolicyGradientLoss {
    config.resolve().unwrap()
}

fn with_surrogate(surrogate: SurrogateConfig) -> PolicyGradientConfig {
    PolicyGradientConfig {
        surrogate,
        beta: 0.0,
        ..PolicyGradientConfig::default()
    }
}

fn clipped() -> PolicyGradientConfig {
    with_surrogate(SurrogateConfig::clipped(0.2))
}

/// Policy-gradient losses in which every part appears in every form, whose micro-batches add up.
fn policy_gradients() -> Vec<PolicyGradientLoss> {
    let published = PolicyGradientConfig::default();
    let kl = |kl_estimator, unbiased_kl| PolicyGradientConfig {
        beta: 0.3,
        kl_estimator,
        unbiased_kl,
        ..clipped()
    };
    let weights = |level, bounds| PolicyGradientConfig {
        correction: Some(Correction {
            level,
            bounds,
            min: 0.4,
            max: 1.5,
        }),
        beta: 0.1,
        ..clipped()
    };
    let two_sided = SurrogateConfig::Clipped {
        epsilon: 0.1,
        epsilon_high: Some(0.28),
        delta: Some(1.4),
    };
    let mut configs = vec![
        published,
        PolicyGradientConfig {
            beta: 0.0,
            ..published
        },
        PolicyGradientConfig {
            unbiased_kl: true,
            ..published
        },
        clipped(),
        with_surrogate(two_sided),
        with_surrogate(SurrogateConfig::Cispo { cap: 1.1 }),
        with_surrogate(SurrogateConfig::sapo()),
        with_surrogate(SurrogateConfig::vespo()),
        kl(KlEstimator::K1, true),
        kl(KlEstimator::K2, false),
        kl(KlEstimator::K2, true),
        kl(KlEstimator::K3, false),
        kl(KlEstimator::K3, true),
        weights(CorrectionLevel::Token, Bounds::Truncate),
        weights(CorrectionLevel::Token, Bounds::Mask),
        weights(CorrectionLevel::Sequence, Bounds::Truncate),
        weights(CorrectionLevel::Sequence, Bounds::Mask),
        PolicyGradientConfig {
            surrogate: SurrogateConfig::vespo(),
            ..weights(CorrectionLevel::Token, Bounds::Mask)
        },
        PolicyGradientConfig {
            surrogate: SurrogateConfig::OnPolicy,
            ..weights(CorrectionLevel::Token, Bounds::Mask)
        },
        PolicyGradientConfig {
            off_policy_threshold: Some(0.1),
            ..clipped()
        },
        PolicyGradientConfig {
            entropy_bonus: 0.7,
            ..published
        },
        PolicyGradientConfig {
            entropy_bonus: 0.7,
            top_entropy: 0.4,
            ..kl(KlEstimator::K3, true)
        },
    ];
    for ratio in [RatioLevel::Sequence, RatioLevel::Product] {
        for surrogate in [two_sided, SurrogateConfig::sapo(), SurrogateConfig::cispo()] {
            configs.push(PolicyGradientConfig {
                surrogate,
                ratio,
                ..kl(KlEstimator::K3, true)
            });
        }
    }
    for aggregation in [
        AggregationConfig::TokenMean,
        AggregationConfig::SequenceSum,
        AggregationConfig::Constant { tokens: Some(9) },
    ] {
        for ratio in [RatioLevel::Token, RatioLevel::Sequence] {
            configs.push(PolicyGradientConfig {
                aggregation,
                ratio,
                ..kl(KlEstimator::K3, false)
            });
        }
    }
    configs.into_iter().map(resolved).collect()
}

/// Every loss whose micro-batches add up.
fn losses() -> Vec<Box<dyn Loss>> {
    let mut losses: Vec<Box<dyn Loss>> = vec![Box::new(SftLoss)];
    losses.extend(
        policy_gradients()
            .into_iter()
            .map(|l| Box::new(l) as Box<dyn Loss>),
    );
    losses
}

/// The normalisers of a whole step, with what the loss asks for.
fn normalisers(loss: &dyn Loss, step: &[LossSequence]) -> Normalisers {
    let counts = Normalisers::of(step);
    match loss.needs().top_entropy {
        Some(fraction) => counts.with_top_entropy(fraction, step).unwrap(),
        None => counts,
    }
}

fn evaluate(loss: &dyn Loss, step: &[LossSequence]) -> LossOutput {
    loss.evaluate(step, normalisers(loss, step)).unwrap()
}

/// Ratios below, inside and above the clipping range, each with both signs of the advantage; ragged masks,
/// one of them empty, and garbage where the mask is false.
fn step() -> Vec<LossSequence> {
    let log_ratios = [-0.5, -0.02, 0.03, 0.24, 0.6, -0.25];
    let mut step = Vec::new();
    for (i, advantage) in [0.8, -1.3, 0.5, -0.4].into_iter().enumerate() {
        let list = |f: &dyn Fn(usize) -> f64| (0..6).map(f).collect::<Vec<f64>>();
        let log_probs = list(&|t| -0.3 - 0.17 * ((t * 5 + i * 3) % 7) as f64);
        let sequence = LossSequence::new(format!("sequence {i}"), log_probs.clone())
            .with_advantage(advantage)
            .with_old(list(&|t| log_probs[t] - log_ratios[(t + i) % 6]))
            .with_reference(list(&|t| log_probs[t] + 0.2 * ((t + i) % 5) as f64 - 0.37))
            .with_sampling(list(&|t| {
                log_probs[t] + 0.31 * ((t * 3 + i) % 4) as f64 - 0.3
            }))
            .with_entropies(list(&|t| 0.1 + 0.23 * ((t * 5 + i) % 11) as f64));
        step.push(sequence);
    }
    step[1].mask[4..].fill(false);
    step[1].log_probs[5] = f64::NAN;
    step[2].mask.fill(false);
    step[3].mask[0] = false;
    step[3].advantage = Some(vec![9.0, -0.4, 0.7, -0.1, 0.2, -0.9].into());
    step
}

#[test]
fn the_published_loss_by_hand() {
    let step = [
        LossSequence::new("a", vec![-1.0, -2.0])
            .with_advantage(1.5)
            .with_reference(vec![-1.0, -1.5]),
        LossSequence::new("b", vec![-0.5])
            .with_advantage(-1.0)
            .with_reference(vec![-0.7]),
    ];
    let output = evaluate(&PolicyGradientLoss::published(), &step);
    let (k_a, k_b) = (0.5_f64.exp() - 1.5, (-0.2_f64).exp() - 0.8);
    let expected = ((-1.5 + 0.04 * k_a / 2.0) + (1.0 + 0.04 * k_b)) / 2.0;
    assert!((output.value - expected).abs() < 1e-12);
    assert!((output.metric("loss/kl").unwrap() - (k_a + k_b) / 3.0).abs() < 1e-12);
    assert!(
        (output.metric("loss/kl_sequence_mean").unwrap() - (k_a / 2.0 + k_b) / 2.0).abs() < 1e-12
    );
    assert_eq!(
        PolicyGradientLoss::published(),
        resolved(PolicyGradientConfig::default())
    );
}

#[test]
fn a_supervised_token_weighs_the_same_everywhere() {
    let step = [
        LossSequence::new("a", vec![-1.0, -2.0, -9.0]).with_mask(vec![true, true, false]),
        LossSequence::new("b", vec![-4.0]),
    ];
    let output = evaluate(&SftLoss, &step);
    assert!((output.value - 7.0 / 3.0).abs() < 1e-12);
    let third = -1.0 / 3.0;
    assert_eq!(output.d_log_probs, [vec![third, third, 0.0], vec![third]]);
}

#[test]
fn what_a_micro_batch_is_matters_to_its_own_token_mean_alone() {
    let step = step();
    let of = |aggregation| {
        let config = PolicyGradientConfig {
            aggregation,
            ..clipped()
        };
        resolved(config)
    };
    let bnpo = of(AggregationConfig::MicroBatchTokenMean);
    let whole = evaluate(&bnpo, &step);
    let plain = evaluate(&of(AggregationConfig::TokenMean), &step);
    assert!((whole.value - plain.value).abs() < 1e-15);
    let counts = Normalisers {
        micro_batches: 2,
        ..Normalisers::of(&step)
    };
    let mut halves = bnpo.evaluate(&step[..1], counts).unwrap();
    halves.append(bnpo.evaluate(&step[1..], counts).unwrap());
    // Six tokens, and nine: each part is the mean of its own, halved.
    let alone = |part: &[LossSequence]| evaluate(&of(AggregationConfig::TokenMean), part).value;
    let expected = 0.5 * (alone(&step[..1]) + alone(&step[1..]));
    assert!((halves.value - expected).abs() < 1e-15);
    assert!((halves.value - whole.value).abs() > 1e-3);
}

#[test]
fn dropped_tokens_may_hold_anything_and_keep_their_kl() {
    let sequence = LossSequence::new("far", vec![-1000.0, -1.0])
        .with_old(vec![-1.0, -900.0])
        .with_sampling(vec![-1.0, -1.0])
        .with_reference(vec![-1000.0, -1.5])
        .with_advantage(-1.0);
    let config = PolicyGradientConfig {
        off_policy_threshold: Some(0.5),
        beta: 0.04,
        ..clipped()
    };
    let output = evaluate(&resolved(config), &[sequence]);
    let k3 = (-0.5_f64).exp() - 0.5;
    assert!(
        (output.value - 0.04 * k3 / 2.0).abs() < 1e-15,
        "{}",
        output.value
    );
    assert_eq!(output.metric("loss/off_policy_dropped"), Some(1.0));
}

#[test]
fn the_entropy_bonus_is_the_mean_over_the_tokens_that_are_kept() {
    let step = [
        LossSequence::new("a", vec![-1.0; 3])
            .with_entropies(vec![3.0, 0.0, 1.0])
            .with_advantage(1.0),
        LossSequence::new("b", vec![-1.0; 2])
            .with_entropies(vec![4.0, 2.0])
            .with_advantage(1.0),
    ];
    let config = |top_entropy| PolicyGradientConfig {
        entropy_bonus: 0.5,
        top_entropy,
        aggregation: AggregationConfig::TokenMean,
        ..with_surrogate(SurrogateConfig::OnPolicy)
    };
    let all = evaluate(&resolved(config(1.0)), &step);
    assert!((all.value - (-1.0 - 0.5 * 2.0)).abs() < 1e-15);
    assert_eq!(all.d_entropies.unwrap()[1], [-0.1, -0.1]);
    // The threshold is 2.4: tokens with 3 and 4 stay, and the policy term is still a mean over all five.
    let top = evaluate(&resolved(config(0.4)), &step);
    assert!(
        (top.value - (-2.0 / 5.0 - 0.5 * 3.5)).abs() < 1e-12,
        "{}",
        top.value
    );
    assert_eq!(
        top.d_entropies.unwrap(),
        [vec![-0.25, 0.0, 0.0], vec![-0.25, 0.0]]
    );
    assert_eq!(top.d_log_probs, [vec![-0.2, 0.0, 0.0], vec![-0.2, 0.0]]);
    assert!(
        top.metrics
            .iter()
            .any(|m| m.name == "loss/entropy_kept" && m.value == 0.4)
    );
}

#[test]
fn a_masked_sequence_counts_in_means_over_sequences_alone() {
    let trained = LossSequence::new("a", vec![-1.0, -2.0]).with_advantage(1.0);
    let masked = LossSequence::new("b", Vec::new()).with_advantage(-1.0);
    let value = |aggregation, step: &[LossSequence]| {
        let config = PolicyGradientConfig {
            aggregation,
            ..with_surrogate(SurrogateConfig::OnPolicy)
        };
        evaluate(&resolved(config), step).value
    };
    let both = [trained.clone(), masked];
    let alone = [trained];
    assert_eq!(value(AggregationConfig::TokenMean, &both), -1.0);
    assert_eq!(value(AggregationConfig::TokenMean, &alone), -1.0);
    assert_eq!(value(AggregationConfig::SequenceMean, &both), -0.5);
    assert_eq!(value(AggregationConfig::SequenceMean, &alone), -1.0);
}

fn sequences() -> impl Strategy<Value = Vec<LossSequence>> {
    let difference = || -1.0f64..1.0;
    let token = (
        (-5.0f64..0.0, difference(), difference(), difference()),
        (0.0f64..3.0, any::<bool>(), -2.0f64..2.0),
    );
    let sequence = (
        prop::collection::vec(token, 1..7),
        -2.0f64..2.0,
        any::<bool>(),
    );
    prop::collection::vec(sequence, 1..6).prop_map(|step| {
        let make = |(i, (tokens, advantage, by_token)): (usize, (Vec<_>, f64, bool))| {
            let list = |f: &dyn Fn(&((f64, f64, f64, f64), (f64, bool, f64))) -> f64| {
                tokens.iter().map(f).collect::<Vec<f64>>()
            };
            let mask = tokens
                .iter()
                .enumerate()
                .map(|(t, x)| x.1.1 || (i == 0 && t == 0))
                .collect();
            let sequence = LossSequence::new(format!("{i}"), list(&|x| x.0.0))
                .with_old(list(&|x| x.0.0 + x.0.1))
                .with_reference(list(&|x| x.0.0 + x.0.2))
                .with_sampling(list(&|x| x.0.0 + 0.5 * x.0.3))
                .with_entropies(list(&|x| x.1.0))
                .with_mask(mask);
            if by_token {
                sequence.with_advantage(list(&|x| x.1.2))
            } else {
                sequence.with_advantage(advantage)
            }
        };
        step.into_iter().enumerate().map(make).collect()
    })
}

proptest! {
    #[test]
    fn micro_batches_add_up_to_the_step(step in sequences(), size in 1usize..4) {
        for loss in losses() {
            let mut counts = normalisers(loss.as_ref(), &step);
            let whole = loss.evaluate(&step, counts).unwrap();
            counts.micro_batches = step.len().div_ceil(size);
            let mut parts = LossOutput::default();
            for part in step.chunks(size) {
                parts.append(loss.evaluate(part, counts).unwrap());
            }
            prop_assert!((whole.value - parts.value).abs() < 1e-12);
            prop_assert_eq!(&whole.d_log_probs, &parts.d_log_probs);
            prop_assert_eq!(&whole.d_entropies, &parts.d_entropies);
            prop_assert_eq!(whole.metrics.len(), parts.metrics.len());
            for metric in &whole.metrics {
                let found = parts.metric(&metric.name).unwrap();
                prop_assert!((found - metric.value).abs() < 1e-12, "{}", metric.name);
            }
        }
    }

    #[test]
    fn a_policy_that_is_its_own_reference_has_no_kl(step in sequences()) {
        let same: Vec<LossSequence> =
            step.into_iter().map(|s| { let lp = s.log_probs.clone(); s.with_reference(lp) }).collect();
        for loss in policy_gradients() {
            prop_assert_eq!(evaluate(&loss, &same).metric("loss/kl"), Some(0.0));
        }
    }

    /// Before the first update, with samples of one's own, clips and weights do nothing.
    #[test]
    fn fresh_samples_have_one_gradient_for_every_surrogate(step in sequences()) {
        let fresh: Vec<LossSequence> = step
            .into_iter()
            .map(|s| { let lp = s.log_probs.clone(); s.with_old(lp.clone()).with_sampling(lp) })
            .collect();
        let gradient = |config| evaluate(&resolved(config), &fresh).d_log_probs;
        let plain = gradient(with_surrogate(SurrogateConfig::OnPolicy));
        for surrogate in [
            SurrogateConfig::clipped(0.2),
            SurrogateConfig::cispo(),
            SurrogateConfig::sapo(),
            SurrogateConfig::vespo(),
        ] {
            let correction = Some(Correction { level: CorrectionLevel::Token, ..Correction::default() });
            let found = gradient(PolicyGradientConfig { correction, ..with_surrogate(surrogate) });
            for (found, plain) in found.iter().flatten().zip(plain.iter().flatten()) {
                prop_assert!((found - plain).abs() < 1e-12, "{surrogate:?}: {found} is not {plain}");
            }
        }
    }
}
