//! Finite differences of every loss, and the laws that micro-batching rests on.

use didact_core::Error;
use proptest::prelude::*;

use super::*;

fn clipped(epsilon: f64, high: Option<f64>, delta: Option<f64>, beta: f64) -> GrpoConfig {
    GrpoConfig {
        surrogate: SurrogateConfig::Clipped {
            epsilon,
            epsilon_high: high,
            delta,
        },
        beta,
        unbiased_kl: false,
    }
}

/// Every loss that is built, in all its forms.
fn losses() -> Vec<Box<dyn Loss>> {
    let grpo = |config: GrpoConfig| Box::new(config.resolve().unwrap()) as Box<dyn Loss>;
    vec![
        Box::new(SftLoss),
        Box::new(GrpoLoss::published()),
        grpo(GrpoConfig {
            beta: 0.0,
            ..GrpoConfig::default()
        }),
        grpo(GrpoConfig {
            unbiased_kl: true,
            ..GrpoConfig::default()
        }),
        grpo(clipped(0.2, None, None, 0.0)),
        grpo(clipped(0.2, Some(0.28), None, 0.04)),
        grpo(clipped(0.1, None, Some(1.05), 0.5)),
        grpo(GrpoConfig {
            unbiased_kl: true,
            ..clipped(0.2, None, Some(1.4), 0.5)
        }),
    ]
}

/// Ratios below, inside and above the clipping range, each with both signs of the advantage; ragged masks,
/// one of them empty, and garbage where the mask is false.
fn step() -> Vec<LossSequence> {
    let log_ratios = [-0.5, -0.02, 0.03, 0.25, 0.6, -0.25];
    let mut step = Vec::new();
    for (i, advantage) in [0.8, -1.3, 0.5, -0.4].into_iter().enumerate() {
        let log_probs: Vec<f64> = (0..6)
            .map(|t| -0.3 - 0.17 * ((t * 5 + i * 3) % 7) as f64)
            .collect();
        let old = (0..6)
            .map(|t| log_probs[t] - log_ratios[(t + i) % 6])
            .collect();
        let reference = (0..6)
            .map(|t| log_probs[t] + 0.2 * ((t + i) % 5) as f64 - 0.37)
            .collect();
        let sequence = LossSequence::new(format!("sequence {i}"), log_probs)
            .with_advantage(advantage)
            .with_old(old)
            .with_reference(reference);
        step.push(sequence);
    }
    step[1].mask[4..].fill(false);
    step[1].log_probs[5] = f64::NAN;
    step[2].mask.fill(false);
    step[3].mask[0] = false;
    step[3].advantage = Some(Advantage::Token(vec![9.0, -0.4, 0.7, -0.1, 0.2, -0.9]));
    step
}

fn evaluate(loss: &dyn Loss, step: &[LossSequence]) -> LossOutput {
    loss.evaluate(step, Normalisers::of(step)).unwrap()
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    for (index, loss) in losses().iter().enumerate() {
        let step = step();
        let found = evaluate(loss.as_ref(), &step);
        // The strictly on-policy ratio is 1 by definition: its derivative is that of the clipped loss
        // whose old log-probs are the present ones and whose range cannot be left.
        let frozen: Vec<LossSequence> = step
            .iter()
            .map(|s| {
                if loss.needs().old_log_probs {
                    s.clone()
                } else {
                    s.clone().with_old(s.log_probs.clone())
                }
            })
            .collect();
        let reference: Box<dyn Loss> = match index {
            1 => Box::new(clipped(1.0, Some(9.0), None, 0.04).resolve().unwrap()),
            2 => Box::new(clipped(1.0, Some(9.0), None, 0.0).resolve().unwrap()),
            3 => {
                let config = GrpoConfig {
                    unbiased_kl: true,
                    ..clipped(1.0, Some(9.0), None, 0.04)
                };
                Box::new(config.resolve().unwrap())
            }
            _ => losses().swap_remove(index),
        };
        let value = |s: usize, t: usize, step: f64| {
            let mut moved = frozen.clone();
            moved[s].log_probs[t] += step;
            if !reference.needs().old_log_probs {
                moved[s].old_log_probs = None;
            }
            evaluate(reference.as_ref(), &moved).value
        };
        for (s, sequence) in step.iter().enumerate() {
            for t in 0..sequence.log_probs.len() {
                if !sequence.mask[t] {
                    assert_eq!(
                        found.d_log_probs[s][t], 0.0,
                        "loss {index}, token {t} of {s}"
                    );
                    continue;
                }
                let h = 1e-5;
                let difference = (value(s, t, h) - value(s, t, -h)) / (2.0 * h);
                let derivative = found.d_log_probs[s][t];
                assert!(
                    (derivative - difference).abs() < 1e-9,
                    "loss {index}, token {t} of sequence {s}: {derivative} is not {difference}"
                );
            }
        }
    }
}

#[test]
fn both_branches_are_reached_with_both_signs() {
    let loss = clipped(0.2, None, None, 0.0).resolve().unwrap();
    let one = |log_ratio: f64, advantage: f64| {
        let step = [LossSequence::new("one", vec![-1.0])
            .with_old(vec![-1.0 - log_ratio])
            .with_advantage(advantage)];
        let output = evaluate(&loss, &step);
        (
            output.d_log_probs[0][0] != 0.0,
            output.metric("loss/clip_low"),
            output.metric("loss/clip_high"),
        )
    };
    assert_eq!(one(0.5, 1.0), (false, Some(0.0), Some(1.0)));
    assert_eq!(one(0.5, -1.0), (true, Some(0.0), Some(0.0)));
    assert_eq!(one(-0.5, 1.0), (true, Some(0.0), Some(0.0)));
    assert_eq!(one(-0.5, -1.0), (false, Some(1.0), Some(0.0)));
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
    let output = evaluate(&GrpoLoss::published(), &step);
    let (k_a, k_b) = (0.5_f64.exp() - 1.5, (-0.2_f64).exp() - 0.8);
    let expected = ((-1.5 + 0.04 * k_a / 2.0) + (1.0 + 0.04 * k_b)) / 2.0;
    assert!((output.value - expected).abs() < 1e-12);
    assert!((output.metric("loss/kl").unwrap() - (k_a + k_b) / 3.0).abs() < 1e-12);
    assert!(
        (output.metric("loss/kl_sequence_mean").unwrap() - (k_a / 2.0 + k_b) / 2.0).abs() < 1e-12
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
fn bad_input_is_named() {
    let normalisers = Normalisers {
        sequences: 1,
        tokens: 1,
    };
    let loss = GrpoLoss::published();
    let sequence = LossSequence::new("sample 3", vec![-1.0]).with_advantage(1.0);
    let problem = |loss: &dyn Loss, sequence: LossSequence| {
        loss.evaluate(&[sequence], normalisers)
            .unwrap_err()
            .to_string()
    };
    let text = problem(&loss, sequence.clone());
    assert_eq!(
        text,
        "loss of sample 3: this loss needs reference log-probs, which are not given"
    );
    let text = problem(&loss, sequence.clone().with_reference(vec![f64::NAN]));
    assert_eq!(text, "the reference log-prob of token 0 of sample 3 is NaN");
    let text = problem(&loss, sequence.clone().with_reference(vec![900.0]));
    assert_eq!(text, "the loss of token 0 of sample 3 is inf");
    let text = problem(&loss, sequence.clone().with_reference(vec![-1.0, -1.0]));
    assert_eq!(
        text,
        "loss of sample 3: 2 entries of reference log-prob for a mask of 1 tokens"
    );
    let text = problem(
        &loss,
        LossSequence::new("sample 3", vec![-1.0]).with_reference(vec![-1.0]),
    );
    assert!(text.contains("needs an advantage"), "{text}");
    let text = problem(&clipped(0.2, None, None, 0.0).resolve().unwrap(), sequence);
    assert!(text.contains("needs old log-probs"), "{text}");
    let text = problem(&SftLoss, LossSequence::new("sample 3", vec![-1.0, -1.0]));
    assert!(text.contains("count the whole step"), "{text}");
    let nothing = LossSequence::new("sample 3", vec![-1.0]).with_mask(vec![false]);
    let step = [nothing];
    let error = SftLoss.evaluate(&step, Normalisers::of(&step)).unwrap_err();
    assert!(matches!(error, Error::InvalidRequest { .. }), "{error}");
}

#[test]
fn contradictions_are_rejected_when_resolved() {
    for config in [
        clipped(-0.1, None, None, 0.0),
        clipped(1.5, None, None, 0.0),
        clipped(0.2, Some(f64::NAN), None, 0.0),
        clipped(0.2, None, Some(0.9), 0.0),
        clipped(0.2, None, None, -1.0),
        GrpoConfig {
            unbiased_kl: true,
            beta: 0.0,
            ..GrpoConfig::default()
        },
    ] {
        assert!(config.resolve().is_err(), "{config:?}");
    }
    let text = r#"{"surrogate": {"kind": "clipped", "epsilon": 0.2}, "beta": 0.0}"#;
    assert_eq!(
        serde_json::from_str::<GrpoConfig>(text).unwrap(),
        clipped(0.2, None, None, 0.0)
    );
    let text = r#"{"surrogate": {"kind": "on_policy"}, "epsilon": 0.2}"#;
    assert!(serde_json::from_str::<GrpoConfig>(text).is_err());
}

fn sequences() -> impl Strategy<Value = Vec<LossSequence>> {
    let token = (-5.0f64..0.0, -1.0f64..1.0, -1.0f64..1.0, any::<bool>());
    let sequence = (prop::collection::vec(token, 1..8), -2.0f64..2.0);
    prop::collection::vec(sequence, 1..7).prop_map(|step| {
        let make = |(i, (tokens, advantage)): (usize, (Vec<(f64, f64, f64, bool)>, f64))| {
            let mask = tokens
                .iter()
                .enumerate()
                .map(|(t, x)| x.3 || (i == 0 && t == 0))
                .collect();
            LossSequence::new(format!("{i}"), tokens.iter().map(|x| x.0).collect())
                .with_old(tokens.iter().map(|x| x.0 + x.1).collect())
                .with_reference(tokens.iter().map(|x| x.0 + x.2).collect())
                .with_mask(mask)
                .with_advantage(advantage)
        };
        step.into_iter().enumerate().map(make).collect()
    })
}

proptest! {
    #[test]
    fn micro_batches_add_up_to_the_step(step in sequences(), size in 1usize..4) {
        let normalisers = Normalisers::of(&step);
        for loss in losses() {
            let whole = loss.evaluate(&step, normalisers).unwrap();
            let mut parts = LossOutput::default();
            for part in step.chunks(size) {
                parts.append(loss.evaluate(part, normalisers).unwrap());
            }
            prop_assert!((whole.value - parts.value).abs() < 1e-12);
            prop_assert_eq!(&whole.d_log_probs, &parts.d_log_probs);
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
        let output = evaluate(&GrpoLoss::published(), &same);
        prop_assert_eq!(output.metric("loss/kl"), Some(0.0));
    }
}
