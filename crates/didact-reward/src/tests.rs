//! Worked values, laws and refusals of whole rewards.

use didact_core::{
    Error as CoreError, GroupScores, Outcome, Problem, Refusal, Reward, SampleScores, TokenLogProbs,
};
use proptest::prelude::*;

use crate::{Error, KlEstimator, Reduction, RltConfig, TeacherReward, Transform, rlt};

/// Scores in the order of [`RltConfig`]'s requests: solution, teacher's and student's explanation.
fn sample(solution: &[f32], teacher: &[f32], student: &[f32], closed: bool) -> SampleScores {
    let score = |first, values: &[f32]| {
        (!values.is_empty()).then(|| TokenLogProbs::new(first, values.to_vec()))
    };
    SampleScores {
        id: "problem 3, sample 1".to_owned(),
        scores: vec![score(9, solution), score(4, teacher), score(4, student)],
        closed,
        truncated: !closed,
        explanation: String::new(),
        answered: None,
        completion_tokens: teacher.len(),
    }
}

fn published() -> TeacherReward {
    rlt().resolve().unwrap()
}

fn scored(reward: &TeacherReward, sample: &SampleScores) -> (f64, Outcome) {
    let outcome = reward.evaluate_sample(sample).unwrap();
    (outcome.reward().expect("scored"), outcome)
}

#[test]
fn the_published_run_by_hand() {
    let (reward, outcome) = scored(
        &published(),
        &sample(&[-1.0, -3.0], &[-0.5, -2.0], &[-1.0, -1.0], false),
    );
    let r_ss = -2.0 + 0.01 * -3.0;
    let r_kl = -(3.0 * -0.25 + 0.03 * 0.5);
    let no_entropy = -(3.0 * 1.0 + 0.03 * 1.0);
    for (name, expected) in [
        ("reward/solution_log_prob", r_ss),
        ("reward/kl", r_kl),
        ("reward/kl/max", 0.5),
        ("reward/student_surprisal", no_entropy),
        ("raw/kl/min", -1.0),
        ("raw/solution_log_prob/sum", -4.0),
        ("penalty/missing_tag", -1.0),
        ("total/with_entropy", r_ss + r_kl - 1.0),
        ("total/without_entropy", r_ss + no_entropy - 1.0),
    ] {
        let found = outcome
            .term(name)
            .unwrap_or_else(|| panic!("{name} is not logged"));
        assert!(
            (found - expected).abs() < 1e-12,
            "{name}: {found} is not {expected}"
        );
    }
    assert!((reward - (r_ss + r_kl - 1.0)).abs() < 1e-12);
}

#[test]
fn leaving_out_the_teachers_entropy_swaps_the_totals() {
    let config = RltConfig {
        include_teacher_entropy: false,
        ..RltConfig::default()
    };
    let scores = sample(&[-1.0, -3.0], &[-0.5, -2.0], &[-1.0, -1.0], true);
    let (reward, outcome) = scored(&config.resolve().unwrap(), &scores);
    assert_eq!(Some(reward), outcome.term("total/without_entropy"));
    let (_, other) = scored(&published(), &scores);
    assert_eq!(outcome.term("total/with_entropy"), other.reward());
}

#[test]
fn single_tokens_have_their_share_of_the_kl() {
    let reward = published();
    assert_eq!(reward.token_terms(), ["kl"]);
    let sample = sample(&[-1.0], &[-0.5, -2.0], &[-1.0, -1.5], true);
    let found = reward.token_term("kl", &sample).unwrap().unwrap();
    assert_eq!((found.mean, found.sum), (-3.0, 0.0));
    assert_eq!(found.values, [0.5, -0.5]);
    // What is left of the term is the maximum's part.
    let mean = found.values.iter().sum::<f64>() / 2.0;
    let term = scored(&reward, &sample).1.term("reward/kl").unwrap();
    assert!((term - found.mean * mean - (-0.03 * 0.5)).abs() < 1e-12);
    let error = reward.token_term("student_surprisal", &sample).unwrap_err();
    assert!(error.to_string().contains("these terms: kl"), "{error}");

    let without_entropy = RltConfig {
        include_teacher_entropy: false,
        ..RltConfig::default()
    };
    let other = without_entropy.resolve().unwrap();
    assert_eq!(other.token_terms(), ["student_surprisal"]);
}

#[test]
fn clips_act_after_the_transform() {
    let config = RltConfig {
        solution_transform: Transform::Exp,
        solution_floor: Some(0.25),
        kl_transform: Transform::ExpNorm,
        kl_ceiling: Some(0.5),
        ..RltConfig::default()
    };
    let scores = sample(&[-4.0, -0.5], &[-1.0, -1.0], &[-3.0, -1.0], true);
    let (_, outcome) = scored(&config.resolve().unwrap(), &scores);
    assert_eq!(outcome.term("reward/solution_log_prob/min"), Some(0.25));
    let mean = (0.25 + (-0.5f64).exp()) / 2.0;
    assert!((outcome.term("reward/solution_log_prob/mean").unwrap() - mean).abs() < 1e-12);
    assert_eq!(outcome.term("reward/kl/max"), Some(0.5));
    assert_eq!(outcome.term("reward/kl/mean"), Some(0.25));
}

#[test]
fn empty_spans_are_refused() {
    let refusal = |sample: &SampleScores| published().evaluate_sample(sample).unwrap();
    let thought = Outcome::Refused(Refusal::EmptyThought);
    let solution = Outcome::Refused(Refusal::EmptySolution);
    assert_eq!(refusal(&sample(&[-1.0], &[], &[], true)), thought);
    assert_eq!(refusal(&sample(&[], &[-1.0], &[-1.0], true)), solution);
    assert_eq!(refusal(&sample(&[], &[], &[], true)), solution);
}

#[test]
fn a_score_that_is_not_finite_names_its_sample_and_token() {
    let error = published()
        .evaluate_sample(&sample(&[-1.0, f32::NAN], &[-1.0], &[-1.0], true))
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, CoreError::NonFiniteSample { .. }), "{text}");
    assert!(
        text.contains("token 10 ") && text.contains("of problem 3, sample 1"),
        "{text}"
    );
}

#[test]
fn an_overflow_in_a_transform_is_an_error() {
    let config = RltConfig {
        kl_transform: Transform::ExpNorm,
        ..RltConfig::default()
    };
    let scores = sample(&[-1.0], &[-1000.0], &[-1.0], true);
    let error = config
        .resolve()
        .unwrap()
        .evaluate_sample(&scores)
        .unwrap_err();
    assert!(
        error.to_string().contains("reward/kl/mean of problem 3"),
        "{error}"
    );
}

#[test]
fn mismatched_scores_are_errors() {
    let error = published()
        .evaluate_sample(&sample(&[-1.0], &[-1.0, -1.0], &[-1.0], true))
        .unwrap_err();
    assert!(
        matches!(error, CoreError::MismatchedScores { .. }),
        "{error}"
    );
    let mut short = sample(&[-1.0], &[-1.0], &[-1.0], true);
    short.scores.pop();
    let error = published().evaluate_sample(&short).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("2 scores were given, but the reward asked for 3")
    );
}

#[test]
fn contradictions_are_rejected_when_resolved() {
    let rejects = |change: fn(&mut RltConfig)| {
        let mut config = RltConfig::default();
        change(&mut config);
        config.resolve().unwrap_err()
    };
    let error = rejects(|c| c.kl_coefficients = vec![3.0]);
    assert_eq!(
        error.to_string(),
        "reward term `kl` has 2 reductions but 1 coefficients; give one coefficient a reduction"
    );
    assert!(matches!(
        rejects(|c| c.solution_coefficients[1] = f64::NAN),
        Error::OutOfRange {
            setting: "coefficients",
            ..
        }
    ));
    assert!(matches!(
        rejects(|c| c.student_temperature = 0.0),
        Error::OutOfRange {
            setting: "temperature",
            ..
        }
    ));
    assert!(matches!(
        rejects(|c| c.missing_tag_penalty = 1.0),
        Error::OutOfRange {
            setting: "missing_tag_penalty",
            ..
        }
    ));
    assert!(matches!(
        rejects(|c| c.kl_reductions = vec![Reduction::Mean, Reduction::Mean]),
        Error::RepeatedReduction { .. }
    ));
    assert!(matches!(
        rejects(|c| {
            c.kl_reductions.clear();
            c.kl_coefficients.clear();
        }),
        Error::NoReduction { .. }
    ));
    assert!(matches!(
        rejects(|c| c.kl_ceiling = Some(f64::NAN)),
        Error::OutOfRange { .. }
    ));

    let mut config = rlt();
    config.terms[0].ceiling = Some(-5.0);
    config.terms[0].floor = Some(-1.0);
    assert!(matches!(
        config.resolve().unwrap_err(),
        Error::CrossedClips { .. }
    ));
    let mut config = rlt();
    config.totals[1].terms[0] = "entropy".to_owned();
    assert!(matches!(
        config.resolve().unwrap_err(),
        Error::UnknownTerm { .. }
    ));
    let mut config = rlt();
    config.terms[1].name = "solution_log_prob".to_owned();
    assert!(matches!(
        config.resolve().unwrap_err(),
        Error::RepeatedName { .. }
    ));
    let mut config = rlt();
    config.terms.clear();
    assert!(matches!(config.resolve().unwrap_err(), Error::Empty { .. }));
}

#[test]
fn a_configuration_survives_serde_and_refuses_unknown_keys() {
    let config = rlt();
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::TeacherRewardConfig>(&text).unwrap(),
        config
    );
    let options: RltConfig = serde_json::from_str(r#"{"kl_estimator": "k3"}"#).unwrap();
    assert_eq!(
        options,
        RltConfig {
            kl_estimator: KlEstimator::K3,
            ..RltConfig::default()
        }
    );
    assert!(serde_json::from_str::<RltConfig>(r#"{"kl_estimater": "k3"}"#).is_err());
}

fn log_probs(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-20.0f32..0.0, len)
}

/// Teacher's and student's log-probs of one explanation.
fn thoughts() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1usize..12).prop_flat_map(|len| (log_probs(len), log_probs(len)))
}

proptest! {
    #[test]
    fn a_likelier_solution_is_never_worth_less(
        solution in log_probs(1..12), (teacher, student) in thoughts(), shift in 0.01f32..5.0,
        reduction in prop::sample::select(&Reduction::ALL[..]),
        transform in prop::sample::select(&[Transform::None, Transform::Exp, Transform::ExpNorm][..]),
    ) {
        let config = RltConfig {
            solution_coefficients: vec![1.0],
            solution_reductions: vec![reduction],
            solution_transform: transform,
            ..RltConfig::default()
        };
        let reward = config.resolve().unwrap();
        let shifted: Vec<f32> = solution.iter().map(|a| a + shift).collect();
        let (before, _) = scored(&reward, &sample(&solution, &teacher, &student, true));
        let (after, _) = scored(&reward, &sample(&shifted, &teacher, &student, true));
        prop_assert!(after > before - 1e-9 * before.abs(), "{before} then {after}");
    }

    #[test]
    fn a_shift_of_the_solution_moves_the_published_reward_by_itself(
        solution in log_probs(1..12), (teacher, student) in thoughts(), steps in 1u8..40,
    ) {
        // Sixteenths, so that f32 adds them exactly enough.
        let shift = f32::from(steps) / 16.0;
        let shifted: Vec<f32> = solution.iter().map(|a| a + shift).collect();
        let (before, _) = scored(&published(), &sample(&solution, &teacher, &student, true));
        let (after, _) = scored(&published(), &sample(&shifted, &teacher, &student, true));
        prop_assert!((after - before - 1.01 * f64::from(shift)).abs() < 1e-5);
    }

    #[test]
    fn equal_models_have_no_kl(
        solution in log_probs(1..12), thought in log_probs(1..12),
        estimator in prop::sample::select(&[KlEstimator::K1, KlEstimator::K3][..]),
        transform in prop::sample::select(&[Transform::None, Transform::ExpNorm][..]),
    ) {
        let config = RltConfig {
            kl_estimator: estimator,
            kl_transform: transform,
            ..RltConfig::default()
        };
        let (_, outcome) =
            scored(&config.resolve().unwrap(), &sample(&solution, &thought, &thought, true));
        prop_assert_eq!(outcome.term("reward/kl"), Some(0.0));
    }

    #[test]
    fn k3_only_ever_costs(solution in log_probs(1..12), (teacher, student) in thoughts()) {
        let config = RltConfig { kl_estimator: KlEstimator::K3, ..RltConfig::default() };
        let (_, outcome) =
            scored(&config.resolve().unwrap(), &sample(&solution, &teacher, &student, true));
        prop_assert!(outcome.term("raw/kl/min").unwrap() >= 0.0);
        prop_assert!(outcome.term("reward/kl").unwrap() <= 0.0);
    }

    #[test]
    fn the_penalty_is_added(
        solution in log_probs(1..12), (teacher, student) in thoughts(), penalty in -9.0f64..0.0,
    ) {
        let config = RltConfig { missing_tag_penalty: penalty, ..RltConfig::default() };
        let reward = config.resolve().unwrap();
        let (closed, _) = scored(&reward, &sample(&solution, &teacher, &student, true));
        let (open, _) = scored(&reward, &sample(&solution, &teacher, &student, false));
        prop_assert!((open - closed - penalty).abs() < 1e-9 * closed.abs().max(1.0));
    }

    #[test]
    fn permuting_the_samples_permutes_the_outcomes(
        samples in prop::collection::vec((log_probs(0..4), thoughts()), 1..6), rotation in 0usize..6,
    ) {
        let problem = Problem {
            id: "3".to_owned(),
            question: String::new(),
            solution: String::new(),
            answer: None,
            reasoning_trace: None,
            domain: None,
        };
        let mut samples: Vec<SampleScores> = samples
            .iter()
            .map(|(solution, (teacher, student))| sample(solution, teacher, student, true))
            .collect();
        let evaluate = |samples: &[SampleScores]| {
            let group = GroupScores { problem: &problem, step: 0, samples: samples.to_vec() };
            published().evaluate(&group).unwrap()
        };
        let mut expected = evaluate(&samples);
        let rotation = rotation % samples.len();
        samples.rotate_left(rotation);
        expected.rotate_left(rotation);
        prop_assert_eq!(evaluate(&samples), expected);
    }
}
