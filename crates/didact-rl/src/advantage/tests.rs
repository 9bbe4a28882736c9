//! Advantages by hand, and their laws.

use proptest::prelude::*;

use super::*;

fn scored(groups: &[&[f64]]) -> Vec<Vec<Option<f64>>> {
    groups
        .iter()
        .map(|group| group.iter().copied().map(Some).collect())
        .collect()
}

fn with_scale(scale: AdvantageScale) -> AdvantageConfig {
    AdvantageConfig {
        scale,
        ..AdvantageConfig::default()
    }
}

#[test]
fn the_three_scales_by_hand() {
    let rewards = scored(&[&[1.0, 3.0], &[0.0, 4.0]]);
    let found = |scale| advantages(&rewards, &with_scale(scale)).unwrap();
    let by_two = 2.0_f64.sqrt() + EPSILON;
    let by_eight = 8.0_f64.sqrt() + EPSILON;
    // Variance of 1, 3, 0, 4 around 2 with divisor 3.
    let batch = (10.0_f64 / 3.0).sqrt() + EPSILON;
    let close = |found: Vec<Vec<f64>>, expected: [[f64; 2]; 2]| {
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!(
                (found - expected).abs() < 1e-12,
                "{found} is not {expected}"
            );
        }
    };
    close(
        found(AdvantageScale::Group),
        [
            [-1.0 / by_two, 1.0 / by_two],
            [-2.0 / by_eight, 2.0 / by_eight],
        ],
    );
    close(
        found(AdvantageScale::Batch),
        [[-1.0 / batch, 1.0 / batch], [-2.0 / batch, 2.0 / batch]],
    );
    close(found(AdvantageScale::None), [[-1.0, 1.0], [-2.0, 2.0]]);
}

#[test]
fn a_refused_sample_is_its_groups_worst() {
    let rewards = vec![vec![Some(-3.0), None, Some(-2.0)]];
    let config = AdvantageConfig {
        scale: AdvantageScale::None,
        refused_margin: 0.5,
        ..AdvantageConfig::default()
    };
    let found = advantages(&rewards, &config).unwrap();
    let mean = (-3.0 - 3.5 - 2.0) / 3.0;
    for (found, placed) in found[0].iter().zip([-3.0, -3.5, -2.0]) {
        assert!((found - (placed - mean)).abs() < 1e-12);
    }
}

#[test]
fn a_group_refused_as_a_whole_teaches_nothing() {
    let rewards = vec![vec![None, None], vec![Some(1.0), Some(3.0)]];
    let alone = advantages(&rewards[1..], &with_scale(AdvantageScale::Batch)).unwrap();
    let found = advantages(&rewards, &with_scale(AdvantageScale::Batch)).unwrap();
    assert_eq!(found, [vec![0.0, 0.0], alone[0].clone()]);
}

#[test]
fn one_sample_has_no_advantage() {
    for scale in [
        AdvantageScale::Group,
        AdvantageScale::Batch,
        AdvantageScale::None,
    ] {
        assert_eq!(
            advantages(&scored(&[&[7.0]]), &with_scale(scale)).unwrap(),
            [[0.0]]
        );
    }
}

#[test]
fn a_sample_that_one_reward_refused_is_refused() {
    let rewards = [
        vec![vec![Some(1.0), Some(2.0)]],
        vec![vec![Some(4.0), None]],
    ];
    assert_eq!(
        weighted_sum(&rewards, &[1.0, 0.5]).unwrap(),
        [[Some(3.0), None]]
    );
    for mixing in [
        RewardMixing::SumThenNormalise,
        RewardMixing::NormaliseThenSum,
    ] {
        let config = AdvantageConfig::default();
        let found = advantages_of_several(&rewards, &[1.0, 0.5], mixing, &config).unwrap();
        assert!(found[0][1] < found[0][0], "{mixing:?}: {found:?}");
    }
}

#[test]
fn bad_input_is_named() {
    let config = AdvantageConfig::default();
    let error = advantages(&scored(&[&[0.0], &[1.0, f64::NAN]]), &config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the reward of sample 1 of group 1 is NaN"
    );
    let none = AdvantageConfig {
        refused_margin: 0.0,
        ..config
    };
    assert!(advantages(&scored(&[&[0.0]]), &none).is_err());
    let two = [scored(&[&[0.0, 1.0]]), scored(&[&[0.0]])];
    assert!(weighted_sum(&two, &[1.0, 1.0]).is_err());
    assert!(weighted_sum(&two[..1], &[1.0, 1.0]).is_err());
    assert!(weighted_sum(&[], &[]).is_err());
}

fn groups() -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec(-10.0f64..10.0, 1..8), 1..5)
}

proptest! {
    #[test]
    fn a_groups_advantages_sum_to_zero(groups in groups(), shift in -100.0f64..100.0) {
        for scale in [AdvantageScale::Group, AdvantageScale::Batch, AdvantageScale::None] {
            let rewards: Vec<Vec<Option<f64>>> =
                groups.iter().map(|g| g.iter().copied().map(Some).collect()).collect();
            let found = advantages(&rewards, &with_scale(scale)).unwrap();
            for group in &found {
                prop_assert!(group.iter().sum::<f64>().abs() < 1e-6);
            }
            let shifted: Vec<Vec<Option<f64>>> = rewards
                .iter()
                .map(|g| g.iter().map(|r| r.map(|r| r + shift)).collect())
                .collect();
            let other = advantages(&shifted, &with_scale(scale)).unwrap();
            for (a, b) in found.iter().flatten().zip(other.iter().flatten()) {
                prop_assert!((a - b).abs() < 1e-6, "{scale:?}: {a} then {b}");
            }
        }
    }

    #[test]
    fn a_better_reward_has_a_better_advantage(group in prop::collection::vec(-10.0f64..10.0, 2..8)) {
        let rewards = vec![group.iter().copied().map(Some).collect()];
        let found = &advantages(&rewards, &AdvantageConfig::default()).unwrap()[0];
        for i in 1..group.len() {
            let same_order = (group[i] - group[0]) * (found[i] - found[0]) >= 0.0;
            prop_assert!(same_order);
        }
    }
}

#[test]
fn leaving_the_sample_out_by_hand() {
    let config = AdvantageConfig {
        baseline: Baseline::LeaveOneOut,
        scale: AdvantageScale::None,
        ..AdvantageConfig::default()
    };
    let rewards = scored(&[&[1.0, 3.0, 5.0], &[7.0]]);
    // Means of the others: 4, 3, 2; and none.
    assert_eq!(
        advantages(&rewards, &config).unwrap(),
        [vec![-3.0, 0.0, 3.0], vec![0.0]]
    );
}

#[test]
fn whitening_centres_and_scales_the_step() {
    let config = |baseline| AdvantageConfig {
        baseline,
        scale: AdvantageScale::Whitened,
        ..AdvantageConfig::default()
    };
    let rewards = scored(&[&[1.0, 3.0], &[0.0, 4.0]]);
    let found = |baseline| advantages(&rewards, &config(baseline)).unwrap().concat();
    let close = |found: Vec<f64>, expected: [f64; 4], spread: f64| {
        for (found, expected) in found.iter().zip(expected) {
            let expected = expected / (spread.sqrt() + EPSILON);
            assert!(
                (found - expected).abs() < 1e-12,
                "{found} is not {expected}"
            );
        }
    };
    // REINFORCE++: the step's mean 2 and variance 10/3. With a baseline: −1, 1, −2, 2, whose mean is 0.
    close(found(Baseline::None), [-1.0, 1.0, -2.0, 2.0], 10.0 / 3.0);
    close(found(Baseline::Group), [-1.0, 1.0, -2.0, 2.0], 10.0 / 3.0);
    // Left out: −2, 2, −4, 4.
    close(
        found(Baseline::LeaveOneOut),
        [-2.0, 2.0, -4.0, 4.0],
        40.0 / 3.0,
    );
}

#[test]
fn a_scale_needs_something_subtracted() {
    for scale in [AdvantageScale::Group, AdvantageScale::Batch] {
        let config = AdvantageConfig {
            baseline: Baseline::None,
            scale,
            ..AdvantageConfig::default()
        };
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("advantage.scale"), "{error}");
    }
}
