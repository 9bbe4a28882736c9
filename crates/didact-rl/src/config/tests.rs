//! What is refused by which key, and what presets are.

use super::*;
use crate::advantage::Baseline;
use crate::loss::{Aggregation, RatioLevel};
use crate::{AdamWConfig, MuonConfig};

fn small() -> TeacherConfig {
    TeacherConfig {
        max_completion_tokens: 16,
        ..TeacherConfig::published()
    }
}

#[test]
fn every_bad_value_is_refused_by_its_key() {
    let bad: [(&str, fn(&mut TeacherConfig)); 18] = [
        ("steps", |c| c.steps = 0),
        ("group_size", |c| c.group_size = 1),
        ("temperature", |c| c.temperature = 0.0),
        ("learning_rate", |c| c.learning_rate = f64::NAN),
        ("loss.beta", |c| c.loss.beta = -0.1),
        ("loss.ratio", |c| c.loss.ratio = RatioLevel::Sequence),
        ("advantage.scale", |c| c.advantage.baseline = Baseline::None),
        ("advantage.refused_margin", |c| {
            c.advantage.refused_margin = 0.0
        }),
        ("credit.gamma", |c| {
            c.credit = CreditConfig::ToGo {
                gamma: -0.5,
                terms: Vec::new(),
            };
        }),
        ("dynamic_sampling.max_rounds", |c| {
            c.dynamic_sampling = Some(DynamicSampling {
                max_rounds: 0,
                ..DynamicSampling::default()
            });
        }),
        ("top_p", |c| c.top_p = 0.0),
        ("min_p", |c| c.min_p = 1.0),
        ("warmup_steps", |c| c.warmup_steps = 125),
        ("optimizer.beta2", |c| {
            c.optimizer = OptimizerConfig::Adamw(AdamWConfig {
                beta2: 1.0,
                ..AdamWConfig::default()
            });
        }),
        ("optimizer.momentum", |c| {
            c.optimizer = OptimizerConfig::Muon(MuonConfig {
                momentum: 1.0,
                ..MuonConfig::default()
            });
        }),
        ("reference_mixing.alpha", |c| {
            c.reference_mixing = Some(ReferenceMixing {
                every: 1,
                alpha: 1.5,
            });
        }),
        ("max_completion_tokens", |c| c.max_completion_tokens = 64),
        ("max_prompt_tokens", |c| c.max_prompt_tokens = Some(49)),
    ];
    assert!(small().resolve(64, &[2], "</e>").is_ok());
    for (key, spoil) in bad {
        let mut config = small();
        spoil(&mut config);
        let error = config.resolve(64, &[2], "</e>").unwrap_err().to_string();
        assert!(error.contains(&format!("key {key}:")), "{key}: {error}");
    }
}

#[test]
fn what_was_left_open_is_filled_in() {
    let config = TeacherConfig {
        stop_at_end_tag: true,
        ..small()
    };
    let resolved = config.resolve(64, &[2], "</e>").unwrap();
    assert_eq!(resolved.max_prompt_tokens, 48);
    assert_eq!(resolved.sampling.stop_tokens, [2]);
    assert_eq!(resolved.sampling.stop_strings, ["</e>"]);
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    let error = serde_json::from_str::<TeacherConfig>(r#"{"learning_rat": 1.0}"#).unwrap_err();
    assert!(error.to_string().contains("learning_rat"), "{error}");
    let few: TeacherConfig = serde_json::from_str(r#"{"group_size": 8}"#).unwrap();
    assert_eq!(
        few,
        TeacherConfig {
            group_size: 8,
            ..TeacherConfig::published()
        }
    );
}

#[test]
fn every_algorithm_resolves_within_a_teachers_configuration() {
    for (name, preset) in Algorithm::ALL {
        let config = small().with_algorithm(preset());
        let resolved = config.resolve(64, &[2], "</e>").unwrap();
        if name == "dr_grpo" {
            let limit = Aggregation::Constant { tokens: 16 };
            assert_eq!(
                resolved.loss.aggregation(),
                limit,
                "the limit of a completion"
            );
        }
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<TeacherConfig>(&text).unwrap(),
            config,
            "{name}"
        );
    }
    let trl = TeacherConfig::trl_1_16();
    trl.resolve(1024, &[2], "</e>").unwrap();
    assert_eq!(
        (trl.group_size, trl.loss.beta, trl.temperature),
        (8, 0.0, 1.0)
    );
    assert_eq!(
        TeacherConfig::published().with_algorithm(crate::algorithm::published_rlt()),
        TeacherConfig::published()
    );
}
