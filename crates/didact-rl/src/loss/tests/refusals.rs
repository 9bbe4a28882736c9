//! What is refused, and by which name.

use super::*;

#[test]
fn bad_input_is_named() {
    let loss = PolicyGradientLoss::published();
    let sequence = LossSequence::new("sample 3", vec![-1.0]).with_advantage(1.0);
    let one = Normalisers::of(std::slice::from_ref(&sequence));
    let problem = |loss: &dyn Loss, sequence: LossSequence| {
        loss.evaluate(&[sequence], one).unwrap_err().to_string()
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
    let text = problem(&resolved(clipped()), sequence.clone());
    assert!(text.contains("needs old log-probs"), "{text}");
    let corrected = PolicyGradientConfig {
        correction: Some(Correction::default()),
        ..with_surrogate(SurrogateConfig::OnPolicy)
    };
    let text = problem(&resolved(corrected), sequence.clone());
    assert!(text.contains("needs sampling log-probs"), "{text}");
    let top = PolicyGradientConfig {
        top_entropy: 0.2,
        ..with_surrogate(SurrogateConfig::OnPolicy)
    };
    let text = problem(&resolved(top), sequence);
    assert!(text.contains("high entropy"), "{text}");
    let text = problem(&SftLoss, LossSequence::new("sample 3", vec![-1.0, -1.0]));
    assert!(text.contains("count the whole step"), "{text}");
    let nothing = LossSequence::new("sample 3", vec![-1.0]).with_mask(vec![false]);
    let step = [nothing];
    let error = SftLoss.evaluate(&step, Normalisers::of(&step)).unwrap_err();
    assert!(matches!(error, Error::InvalidRequest { .. }), "{error}");
}

#[test]
fn contradictions_are_rejected_when_resolved_and_name_their_key() {
    let published = PolicyGradientConfig::default();
    let clip = |epsilon, epsilon_high, delta| {
        with_surrogate(SurrogateConfig::Clipped {
            epsilon,
            epsilon_high,
            delta,
        })
    };
    let vespo = with_surrogate(SurrogateConfig::vespo());
    let refused = [
        ("surrogate.epsilon", clip(-0.1, None, None)),
        ("surrogate.epsilon", clip(1.5, None, None)),
        ("surrogate.epsilon_high", clip(0.2, Some(f64::NAN), None)),
        ("surrogate.delta", clip(0.2, None, Some(0.9))),
        ("surrogate.delta", clip(0.2, Some(0.5), Some(1.4))),
        (
            "surrogate.cap",
            with_surrogate(SurrogateConfig::Cispo { cap: 0.2 }),
        ),
        (
            "surrogate.temperature_positive",
            with_surrogate(SurrogateConfig::Sapo {
                temperature_positive: 0.0,
                temperature_negative: 1.0,
            }),
        ),
        (
            "surrogate.negative.lambda",
            with_surrogate(SurrogateConfig::Vespo {
                positive: VespoWeight {
                    k: 2.0,
                    lambda: 3.0,
                },
                negative: VespoWeight {
                    k: 2.0,
                    lambda: 0.0,
                },
            }),
        ),
        (
            "beta",
            PolicyGradientConfig {
                beta: -1.0,
                ..published
            },
        ),
        (
            "unbiased_kl",
            PolicyGradientConfig {
                unbiased_kl: true,
                ..clipped()
            },
        ),
        (
            "kl_estimator",
            PolicyGradientConfig {
                kl_estimator: KlEstimator::K1,
                ..published
            },
        ),
        (
            "ratio",
            PolicyGradientConfig {
                ratio: RatioLevel::Sequence,
                ..published
            },
        ),
        (
            "ratio",
            PolicyGradientConfig {
                ratio: RatioLevel::Product,
                ..vespo
            },
        ),
        (
            "correction.level",
            PolicyGradientConfig {
                correction: Some(Correction::default()),
                ..vespo
            },
        ),
        (
            "correction.max",
            PolicyGradientConfig {
                correction: Some(Correction {
                    max: 0.0,
                    ..Correction::default()
                }),
                ..published
            },
        ),
        (
            "aggregation",
            PolicyGradientConfig {
                ratio: RatioLevel::Product,
                aggregation: AggregationConfig::TokenMean,
                ..clipped()
            },
        ),
        (
            "aggregation.tokens",
            PolicyGradientConfig {
                aggregation: AggregationConfig::Constant { tokens: None },
                ..published
            },
        ),
        (
            "off_policy_threshold",
            PolicyGradientConfig {
                off_policy_threshold: Some(0.0),
                ..published
            },
        ),
        (
            "top_entropy",
            PolicyGradientConfig {
                top_entropy: 1.2,
                ..published
            },
        ),
        (
            "entropy_bonus",
            PolicyGradientConfig {
                entropy_bonus: f64::NAN,
                ..published
            },
        ),
    ];
    for (key, config) in refused {
        let error = config.resolve().unwrap_err().to_string();
        assert!(
            error.contains(&format!("key loss.{key}:")),
            "{key}: {error}"
        );
    }
    let limited = PolicyGradientConfig {
        aggregation: AggregationConfig::Constant { tokens: None },
        ..published
    };
    assert_eq!(
        resolved(limited.with_completion_limit(12)).aggregation(),
        Aggregation::Constant { tokens: 12 }
    );
}

#[test]
fn a_configuration_is_read_with_its_defaults_and_without_unknown_keys() {
    let read = |text: &str| serde_json::from_str::<PolicyGradientConfig>(text);
    let text = r#"{"surrogate": {"kind": "clipped", "epsilon": 0.2}, "beta": 0.0}"#;
    assert_eq!(read(text).unwrap(), clipped());
    let text = r#"{"surrogate": {"kind": "vespo"}, "beta": 0, "correction": {"level": "token"}}"#;
    let expected = PolicyGradientConfig {
        correction: Some(Correction {
            level: CorrectionLevel::Token,
            ..Correction::default()
        }),
        ..with_surrogate(SurrogateConfig::vespo())
    };
    assert_eq!(read(text).unwrap(), expected);
    let text = r#"{"aggregation": {"kind": "constant"}}"#;
    assert_eq!(
        read(text).unwrap().aggregation,
        AggregationConfig::Constant { tokens: None }
    );
    for unknown in [
        r#"{"surrogate": {"kind": "on_policy", "epsilon": 0.2}}"#,
        r#"{"surrogate": {"kind": "on_policy"}, "epsilon": 0.2}"#,
        r#"{"aggregation": {"kind": "median"}}"#,
        r#"{"aggregation": {"kind": "token_mean", "tokens": 9}}"#,
    ] {
        assert!(read(unknown).is_err(), "{unknown}");
    }
}
