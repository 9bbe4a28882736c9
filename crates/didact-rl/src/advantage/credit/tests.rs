//! Credit by hand, and what it promises.

use proptest::prelude::*;

use super::super::{AdvantageScale, advantages};
use super::*;

fn sample(tokens: usize, mean: f64, sum: f64, values: &[f64]) -> Option<CreditedSample> {
    let values = values.to_vec();
    Some(CreditedSample {
        tokens,
        first: 0,
        terms: vec![TokenTerm { mean, sum, values }],
    })
}

fn config(baseline: Baseline, scale: AdvantageScale) -> AdvantageConfig {
    AdvantageConfig {
        baseline,
        scale,
        ..AdvantageConfig::default()
    }
}

fn tokens(advantage: &Advantage) -> &[f64] {
    match advantage {
        Advantage::Token(advantages) => advantages,
        Advantage::Sequence(_) => panic!("one number for all tokens"),
    }
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-12,
            "{found} is not {expected}"
        );
    }
}

/// Two samples; the credited term is −3 times the mean. Rewards 1 and −1: mean 0, deviation √2.
fn hand(gamma: f64) -> (f64, Vec<Vec<f64>>) {
    // Means 0.5 and 1, so X is 0.75; both completions end with a token outside the explanation.
    let group = vec![
        sample(3, -3.0, 0.0, &[0.2, 0.8]),
        sample(4, -3.0, 0.0, &[1.5, 0.0, 1.5]),
    ];
    let rewards = [vec![Some(1.0), Some(-1.0)]];
    let found = token_advantages(&rewards, &[group], gamma, &AdvantageConfig::default()).unwrap();
    let divisor = 2.0_f64.sqrt() + super::super::EPSILON;
    (
        divisor,
        found[0].iter().map(|a| tokens(a).to_vec()).collect(),
    )
}

#[test]
fn a_token_of_its_own_by_hand() {
    let (d, found) = hand(0.0);
    // A_i less the sequence's own −3·(mean − 0.75), plus the token's −3·(x − 0.75).
    assert_close(
        &found[0],
        &[(1.0 + 0.9) / d, (1.0 - 0.9) / d, (1.0 - 0.75) / d],
    );
    assert_close(
        &found[1],
        &[
            (-1.0 - 1.5) / d,
            (-1.0 + 3.0) / d,
            (-1.0 - 1.5) / d,
            (-1.0 + 0.75) / d,
        ],
    );
}

#[test]
fn rewards_to_go_by_hand() {
    // γ = ½: h is 3/2 and 7/4; G and H from the back.
    let (d, found) = hand(0.5);
    let first = |g: f64, h: f64| (1.0 - 0.75 - 3.0 / 1.5 * (g - 0.75 * h)) / d;
    assert_close(
        &found[0],
        &[first(0.6, 1.5), first(0.8, 1.0), first(0.0, 0.0)],
    );
    let second = |g: f64, h: f64| (-1.0 + 0.75 - 3.0 / 1.75 * (g - 0.75 * h)) / d;
    assert_close(
        &found[1],
        &[
            second(1.875, 1.75),
            second(0.75, 1.5),
            second(1.5, 1.0),
            second(0.0, 0.0),
        ],
    );
    // γ = 1: the first token answers for everything, so that its advantage is the sequence's.
    let (d, found) = hand(1.0);
    assert!((found[0][0] - 1.0 / d).abs() < 1e-12 && (found[1][0] + 1.0 / d).abs() < 1e-12);
    assert!((found[0][1] - (0.25 - 1.5 * (0.8 - 0.75)) / d).abs() < 1e-12);
}

#[test]
fn a_sum_is_not_divided_by_its_length() {
    let group = vec![
        sample(2, 0.0, -1.0, &[0.5, 1.5]),
        sample(1, 0.0, -1.0, &[3.0]),
    ];
    let rewards = [vec![Some(-2.0), Some(-3.0)]];
    let none = config(Baseline::Group, AdvantageScale::None);
    // Sums 2 and 3, Y = 2.5; means 1 and 3, X = 2; advantages ½ and −½ are all of this term.
    let found = token_advantages(&rewards, std::slice::from_ref(&group), 0.0, &none).unwrap();
    assert_close(tokens(&found[0][0]), &[1.5, 0.5]);
    assert_close(tokens(&found[0][1]), &[-1.0]);
    let to_go = token_advantages(&rewards, &[group], 1.0, &none).unwrap();
    assert_close(tokens(&to_go[0][0]), &[-(2.0 - 4.0), -(1.5 - 2.0)]);
}

#[test]
fn refused_samples_and_groups_without_a_difference_keep_the_sequences_credit() {
    let samples = vec![
        vec![sample(2, -3.0, 0.0, &[1.0, 2.0]), None],
        vec![
            sample(2, -3.0, 0.0, &[1.0, 2.0]),
            sample(1, -3.0, 0.0, &[0.5]),
        ],
    ];
    let rewards = vec![vec![Some(1.0), None], vec![Some(2.0), Some(2.0 + 1e-9)]];
    let plain = advantages(&rewards, &AdvantageConfig::default()).unwrap();
    let found = token_advantages(&rewards, &samples, 0.0, &AdvantageConfig::default()).unwrap();
    assert_eq!(found[0][1], Advantage::Sequence(plain[0][1]));
    assert_eq!(found[1][0], Advantage::Sequence(plain[1][0]));
    assert_eq!(found[1][1], Advantage::Sequence(plain[1][1]));
    assert_eq!(tokens(&found[0][0]).len(), 2);
}

#[test]
fn terms_are_those_of_the_reward() {
    let available = ["kl".to_owned(), "length".to_owned()];
    let token = |terms: &[&str]| CreditConfig::Token {
        terms: terms.iter().map(|&t| t.to_owned()).collect(),
    };
    let named = |config: CreditConfig| config.with_terms_of(&available);
    assert_eq!(named(token(&[])).unwrap().terms(), available);
    assert_eq!(named(token(&["kl"])).unwrap().terms(), &available[..1]);
    for refused in [token(&["entropy"]), token(&["kl", "kl"])] {
        let error = named(refused).unwrap_err().to_string();
        assert!(
            error.contains("credit.terms") && error.contains("kl, length"),
            "{error}"
        );
    }
    assert!(token(&[]).with_terms_of(&[]).is_err());
    assert_eq!(
        CreditConfig::Sequence.with_terms_of(&[]).unwrap(),
        CreditConfig::Sequence
    );
    let beyond = CreditConfig::ToGo {
        gamma: 1.1,
        terms: Vec::new(),
    };
    assert!(
        beyond
            .validate()
            .unwrap_err()
            .to_string()
            .contains("credit.gamma")
    );
    let text = r#"{"kind": "to_go", "gamma": 0.9}"#;
    let read: CreditConfig = serde_json::from_str(text).unwrap();
    assert_eq!(read.gamma(), Some(0.9));
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let rewards = [vec![Some(0.0), Some(1.0)]];
    let refused = |samples: Vec<Vec<Option<CreditedSample>>>| {
        token_advantages(&rewards, &samples, 0.0, &AdvantageConfig::default()).is_err()
    };
    let fine = || sample(2, -1.0, 0.0, &[0.0, 1.0]);
    assert!(!refused(vec![vec![fine(), fine()]]));
    assert!(refused(vec![vec![fine()]]));
    assert!(refused(vec![vec![
        fine(),
        sample(1, -1.0, 0.0, &[0.0, 1.0])
    ]]));
    assert!(refused(vec![vec![
        fine(),
        sample(1, -1.0, 0.0, &[f64::NAN])
    ]]));
}

/// A policy of two tokens, each drawn from two, all of whose gradients can be added up.
#[test]
fn what_is_to_go_has_the_expected_gradient_of_the_sequence() {
    let (p, q) = ([0.7_f64, 0.4], [0.5_f64, 0.8]);
    let of = |probability: f64, token: usize| {
        if token == 0 {
            probability
        } else {
            1.0 - probability
        }
    };
    let mut gradients = [[0.0; 2]; 3];
    for outcome in 0..4_usize {
        let drawn = [outcome & 1, outcome >> 1];
        let probability = of(p[0], drawn[0]) * of(p[1], drawn[1]);
        let x: Vec<f64> = (0..2)
            .map(|t| (of(p[t], drawn[t]) / of(q[t], drawn[t])).ln())
            .collect();
        let reward = -3.0 * (x[0] + x[1]) / 2.0;
        let plain = config(Baseline::None, AdvantageScale::None);
        for (credit, gamma) in [(0, 1.0), (1, 0.0)] {
            let samples = [vec![sample(2, -3.0, 0.0, &x)]];
            let found = token_advantages(&[vec![Some(reward)]], &samples, gamma, &plain).unwrap();
            for (t, advantage) in tokens(&found[0][0]).iter().enumerate() {
                // d log p / d logit.
                let slope = of(1.0, drawn[t]) - p[t];
                gradients[credit][t] += probability * advantage * slope;
            }
        }
        for t in 0..2 {
            gradients[2][t] += probability * reward * (of(1.0, drawn[t]) - p[t]);
        }
    }
    assert_close(&gradients[0], &gradients[2]);
    // A token's own value alone is twice its half of the mean here, since tokens do not depend on each other.
    assert_close(&gradients[1], &gradients[2].map(|g| 2.0 * g));
}

proptest! {
    #[test]
    fn a_mean_is_only_distributed_over_its_tokens(
        group in prop::collection::vec((prop::collection::vec(-2.0f64..2.0, 1..6), -1.0f64..1.0), 2..5),
    ) {
        let samples = vec![group.iter().map(|(x, _)| sample(x.len(), -3.0, 0.0, x)).collect::<Vec<_>>()];
        let rewards = vec![group.iter().map(|(x, rest)| Some(rest - 3.0 * mean(x))).collect::<Vec<_>>()];
        for baseline in [Baseline::Group, Baseline::LeaveOneOut] {
            for scale in [AdvantageScale::Group, AdvantageScale::Batch, AdvantageScale::None, AdvantageScale::Whitened] {
                let config = config(baseline, scale);
                let plain = advantages(&rewards, &config).unwrap();
                let found = token_advantages(&rewards, &samples, 0.0, &config).unwrap();
                for (found, plain) in found[0].iter().zip(&plain[0]) {
                    if let Advantage::Token(found) = found {
                        prop_assert!((mean(found) - plain).abs() < 1e-6, "{found:?} around {plain}");
                    }
                }
                let to_go = token_advantages(&rewards, &samples, 1.0, &config).unwrap();
                for (found, plain) in to_go[0].iter().zip(&plain[0]) {
                    if let Advantage::Token(found) = found {
                        prop_assert!((found[0] - plain).abs() < 1e-6, "{found:?} begins with {plain}");
                    }
                }
            }
        }
    }
}
