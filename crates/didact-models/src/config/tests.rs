use serde_json::{Value, json};

use super::*;
use crate::testing::configs;

fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128,
        "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
        "num_attention_heads": 4,
    })
}

fn of(family: Family) -> Value {
    let mut config = llama();
    config["model_type"] = family.model_type().into();
    config["architectures"] = json!([family.architecture()]);
    config
}

fn with(mut config: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn read(config: &Value) -> Result<DecoderConfig> {
    DecoderConfig::from_json("folder/config.json", &config.to_string())
}

#[test]
fn what_is_written_is_read_back() {
    for config in configs() {
        let mut options = config.into_options();
        options.pad_token_id = Some(9);
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
            if options.family != Family::Gemma {
                options.hidden_act = activation;
            }
            let config = DecoderConfig::new(options.clone()).unwrap();
            let text = config.to_json();
            assert_eq!(
                DecoderConfig::from_json("config.json", &text).unwrap(),
                config,
                "{text}"
            );
        }
    }
}

#[test]
fn families_have_their_defaults() {
    let options = |family| read(&of(family)).unwrap().into_options();
    let llama = options(Family::Llama);
    assert_eq!((llama.num_key_value_heads, llama.head_dim), (4, 8));
    assert!(!llama.tie_word_embeddings && !llama.has_query_key_value_bias());
    assert_eq!((llama.rope_theta, llama.rms_norm_eps), (10_000.0, 1e-6));
    let with_heads = |family| with(of(family), &json!({ "num_key_value_heads": 2 }));
    let qwen2 = read(&with_heads(Family::Qwen2)).unwrap();
    assert!(qwen2.has_query_key_value_bias() && !qwen2.has_attention_output_bias());
    assert_eq!(qwen2.head_dim, 8);
    let qwen3 = read(&with_heads(Family::Qwen3)).unwrap();
    assert_eq!(qwen3.head_dim, 128);
    let gemma = read(&with_heads(Family::Gemma)).unwrap();
    assert_eq!(
        (gemma.head_dim, gemma.hidden_act),
        (256, Activation::GeluTanh)
    );
    assert!(gemma.tie_word_embeddings);
    assert_eq!(gemma.embedding_scale(), 32_f64.sqrt());
    // Their own number of key/value heads does not fit four query heads.
    for family in [Family::Qwen2, Family::Qwen3, Family::Gemma] {
        assert!(read(&of(family)).is_err(), "{family:?}");
        let null = with(of(family), &json!({ "num_key_value_heads": null }));
        assert_eq!(read(&null).unwrap().num_key_value_heads, 4);
    }
}

#[test]
fn the_family_may_come_from_either_key() {
    for key in ["architectures", "model_type"] {
        let mut config = llama();
        config[key] = Value::Null;
        assert_eq!(read(&config).unwrap().family, Family::Llama);
    }
}

#[test]
fn token_ids_are_kept() {
    let ids = json!({ "bos_token_id": 5, "eos_token_id": [6, 7], "pad_token_id": -1 });
    let config = read(&with(llama(), &ids)).unwrap();
    assert_eq!((config.bos_token_id, config.pad_token_id), (Some(5), None));
    assert_eq!(config.eos_token_ids, [6, 7]);
}

#[test]
fn rotary_options_are_read_in_both_forms() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    });
    let old = json!({ "rope_theta": 5e5, "rope_scaling": scaling });
    let mut nested = scaling;
    nested["rope_theta"] = json!(5e5);
    let new = json!({ "rope_parameters": nested });
    let old = read(&with(llama(), &old)).unwrap();
    assert_eq!(
        old.rope_scaling.unwrap().original_max_position_embeddings,
        16
    );
    assert_eq!(read(&with(llama(), &new)).unwrap(), old);
    let plain = json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 7.0 } });
    assert_eq!(read(&with(llama(), &plain)).unwrap().rope_theta, 7.0);
}

#[test]
fn gemma_means_the_tanh_form() {
    for (changes, accepted) in [
        (json!({ "hidden_act": "gelu" }), true),
        (
            json!({ "hidden_act": "gelu", "hidden_activation": null }),
            true,
        ),
        (json!({ "hidden_activation": "gelu_pytorch_tanh" }), true),
        (
            json!({ "hidden_act": "gelu", "hidden_activation": "gelu" }),
            false,
        ),
        (json!({ "hidden_act": "silu" }), false),
    ] {
        let heads = with(of(Family::Gemma), &json!({ "num_key_value_heads": 1 }));
        match read(&with(heads, &changes)) {
            Ok(config) => assert!(accepted && config.hidden_act == Activation::GeluTanh),
            Err(error) => assert!(
                !accepted && error.to_string().contains("`hidden_act"),
                "{error}"
            ),
        }
    }
    let silu = DecoderOptions {
        hidden_act: Activation::Silu,
        ..DecoderOptions::new(Family::Gemma, 8, 8, 8, 1, 1)
    };
    assert!(DecoderConfig::new(silu).is_err());
}

#[test]
fn options_that_change_nothing_are_passed_over() {
    let heads = json!({ "num_key_value_heads": 2, "max_position_embeddings": 4096 });
    for (family, changes) in [
        (
            Family::Llama,
            json!({ "mlp_bias": false, "attention_dropout": 0.1 }),
        ),
        (
            Family::Llama,
            json!({ "sliding_window": 16, "quantization_config": null }),
        ),
        (
            Family::Llama,
            json!({ "partial_rotary_factor": 1.0, "num_experts": 0 }),
        ),
        (Family::Mistral, json!({})),
        (Family::Mistral, json!({ "sliding_window": null })),
        (Family::Mistral, json!({ "sliding_window": 4096 })),
        (Family::Qwen2, json!({ "sliding_window": 16 })),
        (
            Family::Qwen2,
            json!({ "use_sliding_window": false, "sliding_window": 16 }),
        ),
        (Family::Qwen2, json!({ "attention_bias": false })),
        (
            Family::Qwen2,
            json!({ "use_sliding_window": true, "sliding_window": 16, "max_window_layers": 2 }),
        ),
        (
            Family::Qwen3,
            json!({ "layer_types": ["full_attention", "full_attention"] }),
        ),
    ] {
        let config = with(with(of(family), &heads), &changes);
        assert!(read(&config).is_ok(), "{changes}: {:?}", read(&config));
    }
}

#[test]
fn every_refusal_names_the_file_and_the_key() {
    let heads = json!({ "num_key_value_heads": 2, "max_position_embeddings": 8192 });
    for (family, key, value) in [
        (Family::Llama, "model_type", json!("gpt2")),
        (Family::Llama, "model_type", json!("qwen2")),
        (
            Family::Llama,
            "architectures",
            json!(["LlamaForSequenceClassification"]),
        ),
        (
            Family::Llama,
            "architectures",
            json!(["LlamaForCausalLM", "Other"]),
        ),
        (Family::Llama, "vocab_size", json!(null)),
        (Family::Llama, "vocab_size", json!("many")),
        (Family::Llama, "hidden_size", json!(0)),
        (Family::Llama, "hidden_size", json!(-3)),
        (Family::Llama, "num_hidden_layers", json!(1_000_000_000)),
        (Family::Llama, "num_hidden_layers", json!(u64::MAX)),
        (Family::Llama, "intermediate_size", json!(1e300)),
        (Family::Llama, "num_attention_heads", json!(5)),
        (Family::Llama, "num_attention_heads", json!(0)),
        (Family::Llama, "num_key_value_heads", json!(3)),
        (Family::Llama, "head_dim", json!(7)),
        (Family::Llama, "rms_norm_eps", json!(-1.0)),
        (Family::Llama, "rope_theta", json!(0.0)),
        (Family::Llama, "hidden_act", json!("relu")),
        (Family::Llama, "mlp_bias", json!(true)),
        (Family::Llama, "tie_word_embeddings", json!("yes")),
        (Family::Llama, "attn_logit_softcapping", json!(50.0)),
        (Family::Llama, "final_logit_softcapping", json!(30.0)),
        (Family::Llama, "partial_rotary_factor", json!(0.5)),
        (Family::Llama, "num_experts", json!(8)),
        (Family::Llama, "num_local_experts", json!(8)),
        (
            Family::Llama,
            "quantization_config",
            json!({ "quant_method": "gptq" }),
        ),
        (Family::Llama, "is_causal", json!(false)),
        (Family::Llama, "eos_token_id", json!("</s>")),
        (Family::Llama, "bos_token_id", json!(-2)),
        (Family::Llama, "rope_scaling", json!("linear")),
        (Family::Mistral, "attention_bias", json!(true)),
        (Family::Mistral, "sliding_window", json!(4096)),
        (Family::Gemma, "hidden_activation", json!("relu")),
        (
            Family::Qwen3,
            "layer_types",
            json!(["linear_attention", "full_attention"]),
        ),
    ] {
        let config = with(with(of(family), &heads), &json!({ key: value.clone() }));
        let config = if family == Family::Mistral && key != "sliding_window" {
            with(config, &json!({ "sliding_window": null }))
        } else {
            config
        };
        let error = read(&config)
            .expect_err(&format!("{key}: {value}"))
            .to_string();
        let named = error.starts_with("folder/config.json: ")
            && (error.contains(key)
                || (value == json!("qwen2") && error.contains("architectures")));
        assert!(named, "{key}: {value}: {error}");
    }
}

#[test]
fn active_windows_and_unknown_scalings_are_refused() {
    let long = json!({ "num_key_value_heads": 2, "max_position_embeddings": 8192 });
    let active =
        json!({ "use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 1 });
    let error = read(&with(with(of(Family::Qwen2), &long), &active))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`sliding_window` is 4096"), "{error}");
    // Mistral slides by default.
    let error = read(&with(of(Family::Mistral), &long))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`sliding_window` is 4096"), "{error}");
    for (scaling, key) in [
        (
            json!({ "type": "linear", "factor": 2.0 }),
            "rope_scaling.type",
        ),
        (
            json!({ "rope_type": "yarn", "factor": 2.0 }),
            "rope_scaling.rope_type",
        ),
        (
            json!({ "rope_type": "llama3", "factor": 2.0 }),
            "rope_scaling.low_freq_factor",
        ),
        (json!({ "factor": 2.0 }), "rope_scaling.rope_type"),
    ] {
        let config = with(llama(), &json!({ "rope_scaling": scaling }));
        let error = read(&config).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
    let both = json!({ "rope_theta": 1e4, "rope_parameters": { "rope_theta": 1e6 } });
    let error = read(&with(llama(), &both)).unwrap_err().to_string();
    assert!(error.contains("`rope_parameters.rope_theta`"), "{error}");
}

#[test]
fn sizes_are_refused_before_anything_is_allocated() {
    let huge = json!({
        "vocab_size": 16_000_000, "hidden_size": 16_000_000, "intermediate_size": 16_000_000,
        "num_attention_heads": 1, "head_dim": 16_000_000, "num_hidden_layers": 1000,
    });
    let error = read(&with(llama(), &huge)).unwrap_err();
    assert!(matches!(error, Error::AboveLimit { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("the number of parameters"), "{error}");
    let limits = Limits {
        layers: 1,
        ..Limits::default()
    };
    let text = llama().to_string();
    let error = DecoderConfig::from_json_within("config.json", &text, &limits).unwrap_err();
    assert!(error.to_string().contains("`Limits`"), "{error}");
    // What does not fit into 64 bits is above every limit.
    let mut options = DecoderOptions::new(Family::Llama, 1 << 40, 1 << 40, 1, 1, 1);
    assert_eq!(options.parameter_count(), None);
    options.vocab_size = 1;
    let limits = Limits {
        size: u64::MAX,
        parameters: u64::MAX,
        ..Limits::default()
    };
    assert!(DecoderConfig::within("x", options, &limits).is_err());
}

#[test]
fn broken_files_are_named() {
    let error = DecoderConfig::from_json("config.json", "{\"a\": ")
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("config.json: not valid JSON"), "{error}");
    assert!(DecoderConfig::from_json("config.json", "[]").is_err());
    let error = DecoderConfig::from_file("no/such/config.json")
        .unwrap_err()
        .to_string();
    assert!(error.contains("no/such/config.json"), "{error}");
}
