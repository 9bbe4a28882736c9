//! Hugging Face's `config.json`, read and written.
//!
//! Reading follows what `transformers` makes of the same file, family by family. A key that would
//! change the result and is not built is refused; keys that cannot are passed over (dropout among
//! them: it is never applied). Writing gives a file that `transformers` opens.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::keys::Keys;
use super::{Activation, DecoderConfig, DecoderOptions, Family, Limits, Llama3Scaling};
use crate::error::io;
use crate::{Error, Result};

/// Keys that stand for something the decoder does not have, unless they are null, false, 0 or empty.
const UNSUPPORTED: [&str; 22] = [
    "quantization_config",
    "compression_config",
    "attn_logit_softcapping",
    "attention_logit_softcapping",
    "final_logit_softcapping",
    "query_pre_attn_scalar",
    "attention_chunk_size",
    "use_bidirectional_attention",
    "num_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "n_routed_experts",
    "moe_intermediate_size",
    "no_rope_layers",
    "no_rope_layer_interval",
    "add_cross_attention",
    "is_encoder_decoder",
    "qk_layernorm",
    "use_qk_norm",
    "mlp_bias",
    "pruned_heads",
    "num_nextn_predict_layers",
];

/// Factors that the decoder does not have, unless they are 1.
const FACTORS: [&str; 6] = [
    "partial_rotary_factor",
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "logits_scaling",
    "logit_scale",
];

/// The window of Mistral's models whose `config.json` does not mention one.
const MISTRAL_DEFAULT_WINDOW: u64 = 4096;

impl DecoderConfig {
    /// Reads a `config.json` under the default [`Limits`].
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(io(path))?;
        Self::from_json(&path.display().to_string(), &text)
    }

    /// Reads the text of a `config.json` under the default [`Limits`]; `name` stands for the file in
    /// errors.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn from_json(name: &str, text: &str) -> Result<Self> {
        Self::from_json_within(name, text, &Limits::default())
    }

    /// [`from_json`](Self::from_json) under other `limits`.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn from_json_within(name: &str, text: &str, limits: &Limits) -> Result<Self> {
        let map: Map<String, Value> = serde_json::from_str(text).map_err(|source| Error::Json {
            file: name.to_owned(),
            source,
        })?;
        let keys = Keys {
            file: name,
            prefix: "",
            map: &map,
        };
        Self::within(name, read(&keys)?, limits)
    }

    /// The `config.json` of this decoder.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&Value::Object(write(self)))
            .unwrap_or_else(|_| unreachable!("a JSON value has string keys only"));
        text.push('\n');
        text
    }
}

fn read(keys: &Keys<'_>) -> Result<DecoderOptions> {
    let family = read_family(keys)?;
    refuse_unsupported(keys)?;
    let mut options = DecoderOptions::new(
        family,
        keys.required_size("vocab_size")?,
        keys.required_size("hidden_size")?,
        keys.required_size("intermediate_size")?,
        keys.required_size("num_hidden_layers")?,
        keys.required_size("num_attention_heads")?,
    );
    // Without the key each family has its own default; with null all have one head for each query.
    if let Some(heads) = keys.size("num_key_value_heads")? {
        options.num_key_value_heads = heads;
    } else if !keys.map.contains_key("num_key_value_heads") {
        options.num_key_value_heads = match family {
            Family::Llama => options.num_attention_heads,
            Family::Mistral => 8,
            Family::Qwen2 | Family::Qwen3 => 32,
            Family::Gemma => 16,
        };
    }
    let heads_fit = options.num_attention_heads > 0
        && options
            .hidden_size
            .is_multiple_of(options.num_attention_heads);
    match keys.size("head_dim")? {
        Some(head_dim) => options.head_dim = head_dim,
        None if family == Family::Qwen3 && !keys.map.contains_key("head_dim") => {
            options.head_dim = 128;
        }
        None if family == Family::Gemma && !keys.map.contains_key("head_dim") => {
            options.head_dim = 256;
        }
        None if heads_fit => {}
        None => {
            return Err(Error::InvalidKey {
                file: keys.file.to_owned(),
                key: "num_attention_heads".into(),
                found: options.num_attention_heads.to_string(),
                expected: format!(
                    "a divisor of hidden_size ({}), or `head_dim` beside it",
                    options.hidden_size
                ),
            });
        }
    }
    if let Some(positions) = keys.size("max_position_embeddings")? {
        options.max_position_embeddings = positions;
    }
    if let Some(epsilon) = keys.number("rms_norm_eps")? {
        options.rms_norm_eps = epsilon;
    }
    if let Some(bias) = keys.boolean("attention_bias")? {
        // Qwen2 has its biases whatever the key says.
        options.attention_bias = bias && family != Family::Qwen2;
    }
    if let Some(tied) = keys.boolean("tie_word_embeddings")? {
        options.tie_word_embeddings = tied;
    }
    options.hidden_act = read_activation(keys, family)?;
    read_rotary(keys, &mut options)?;
    refuse_window(keys, &options)?;
    options.bos_token_id = keys.tokens("bos_token_id")?.first().copied();
    options.eos_token_ids = keys.tokens("eos_token_id")?;
    options.pad_token_id = keys.tokens("pad_token_id")?.first().copied();
    Ok(options)
}

fn read_family(keys: &Keys<'_>) -> Result<Family> {
    let architecture = match keys.get("architectures") {
        None => None,
        Some(Value::Array(list)) if list.is_empty() => None,
        Some(Value::Array(list)) if list.len() == 1 && list[0].is_string() => list[0].as_str(),
        Some(other) => {
            return Err(keys.invalid("architectures", other, "a list of one class name"));
        }
    };
    let supported = || {
        let names: Vec<_> = Family::ALL
            .iter()
            .map(|family| family.architecture())
            .collect();
        format!("supported are {}", names.join(", "))
    };
    let by_architecture = match architecture {
        None => None,
        Some(name) => {
            let family = Family::ALL
                .into_iter()
                .find(|family| family.architecture() == name);
            Some(family.ok_or_else(|| {
                keys.unsupported("architectures", &Value::from(name), supported())
            })?)
        }
    };
    let by_type = match keys.text("model_type")? {
        None => None,
        Some(name) => {
            let family = Family::ALL
                .into_iter()
                .find(|family| family.model_type() == name);
            Some(family.ok_or_else(|| {
                let names: Vec<_> = Family::ALL
                    .iter()
                    .map(|family| family.model_type())
                    .collect();
                let names = format!("supported are {}", names.join(", "));
                keys.unsupported("model_type", &Value::from(name), names)
            })?)
        }
    };
    match (by_type, by_architecture) {
        (Some(a), Some(b)) if a != b => Err(keys.invalid(
            "architectures",
            &Value::from(b.architecture()),
            format!("{} to go with the model_type", a.architecture()),
        )),
        (Some(family), _) | (None, Some(family)) => Ok(family),
        (None, None) => Err(keys.missing("model_type", "llama, mistral, qwen2, qwen3 or gemma")),
    }
}

fn refuse_unsupported(keys: &Keys<'_>) -> Result<()> {
    for key in UNSUPPORTED {
        let Some(value) = keys.get(key) else { continue };
        let absent = match value {
            Value::Bool(on) => !on,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Null | Value::String(_) => false,
        };
        if !absent {
            return Err(keys.unsupported(key, value, "only models without it can be loaded"));
        }
    }
    for key in FACTORS {
        let Some(value) = keys.get(key) else { continue };
        if value.as_f64() != Some(1.0) {
            return Err(keys.unsupported(key, value, "only 1 is"));
        }
    }
    if let Some(value) = keys.get("is_causal")
        && value.as_bool() != Some(true)
    {
        return Err(keys.unsupported("is_causal", value, "every decoder here is causal"));
    }
    Ok(())
}

fn read_activation(keys: &Keys<'_>, family: Family) -> Result<Activation> {
    let parse = |key: &str, name: &str| match name {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "gelu" => Ok(Activation::Gelu),
        _ => Err(keys.unsupported(
            key,
            &Value::from(name),
            "supported are silu, gelu_pytorch_tanh and gelu",
        )),
    };
    if family == Family::Gemma {
        // The first Gemma files say `hidden_act: gelu` and mean the tanh form, which the later key
        // `hidden_activation` says. Versions of `transformers` differ in which key counts, so only
        // files on which they agree are read.
        for (key, legacy) in [("hidden_act", Some("gelu")), ("hidden_activation", None)] {
            let name = keys.text(key)?;
            if let Some(name) = name
                && name != "gelu_pytorch_tanh"
                && Some(name) != legacy
            {
                let supported = "only gelu_pytorch_tanh is for Gemma";
                return Err(keys.unsupported(key, &Value::from(name), supported));
            }
        }
        return Ok(Activation::GeluTanh);
    }
    keys.text("hidden_act")?
        .map_or(Ok(Activation::Silu), |name| parse("hidden_act", name))
}

/// `rope_theta` and `rope_scaling`, or the newer `rope_parameters` that holds both.
fn read_rotary(keys: &Keys<'_>, options: &mut DecoderOptions) -> Result<()> {
    let top = keys.number("rope_theta")?;
    let parameters = keys.object("rope_parameters", "rope_parameters.")?;
    let scaling = keys.object("rope_scaling", "rope_scaling.")?;
    let nested = match &parameters {
        Some(parameters) => parameters.number("rope_theta")?,
        None => None,
    };
    if let (Some(top), Some(nested), Some(parameters)) = (top, nested, &parameters)
        && top != nested
    {
        return Err(parameters.invalid(
            "rope_theta",
            &Value::from(nested),
            format!("the same number as `rope_theta` ({top})"),
        ));
    }
    if let Some(theta) = nested.or(top) {
        options.rope_theta = theta;
    }
    let from_parameters = parameters.as_ref().map(read_scaling).transpose()?;
    let from_scaling = scaling.as_ref().map(read_scaling).transpose()?;
    options.rope_scaling = match (from_parameters, from_scaling) {
        (Some(a), Some(b)) if a != b => {
            return Err(keys.invalid(
                "rope_scaling",
                keys.map.get("rope_scaling").unwrap_or(&Value::Null),
                "the same scaling as in `rope_parameters`",
            ));
        }
        (Some(a), _) => a,
        (None, b) => b.flatten(),
    };
    Ok(())
}

fn read_scaling(keys: &Keys<'_>) -> Result<Option<Llama3Scaling>> {
    let kind = match keys.text("rope_type")? {
        Some(kind) => Some(("rope_type", kind)),
        None => keys.text("type")?.map(|kind| ("type", kind)),
    };
    if let Some(value) = keys.get("partial_rotary_factor")
        && value.as_f64() != Some(1.0)
    {
        return Err(keys.unsupported("partial_rotary_factor", value, "only 1 is"));
    }
    match kind {
        Some((_, "default")) => Ok(None),
        Some((_, "llama3")) => Ok(Some(Llama3Scaling {
            factor: keys.required_number("factor")?,
            low_freq_factor: keys.required_number("low_freq_factor")?,
            high_freq_factor: keys.required_number("high_freq_factor")?,
            original_max_position_embeddings: keys
                .required_size("original_max_position_embeddings")?,
        })),
        Some((key, other)) => {
            Err(keys.unsupported(key, &Value::from(other), "supported are default and llama3"))
        }
        None if keys.get("factor").is_some() => Err(keys.missing("rope_type", "default or llama3")),
        // Nested objects, one for each type of layer, would be another model.
        None => match keys.map.iter().find(|(_, value)| value.is_object()) {
            Some((key, value)) => {
                Err(keys.unsupported(key, value, "only one set for all layers is"))
            }
            None => Ok(None),
        },
    }
}

/// Refuses a sliding window that could hide a token from another within the context.
fn refuse_window(keys: &Keys<'_>, options: &DecoderOptions) -> Result<()> {
    let context = options.max_position_embeddings as u64;
    let family = options.family;
    let window = match keys.integer("sliding_window")? {
        None if family == Family::Mistral && !keys.map.contains_key("sliding_window") => {
            MISTRAL_DEFAULT_WINDOW
        }
        None => u64::MAX,
        Some(window) => window,
    };
    let sliding = |name: &Value| name.as_str() == Some("sliding_attention");
    let listed = match keys.get("layer_types") {
        None => None,
        Some(Value::Array(types)) => {
            let full = |name: &Value| name.as_str() == Some("full_attention");
            if let Some(other) = types.iter().find(|name| !full(name) && !sliding(name)) {
                return Err(keys.unsupported("layer_types", other, "only full_attention is"));
            }
            Some(types.iter().any(sliding))
        }
        Some(other) => return Err(keys.invalid("layer_types", other, "a list of names")),
    };
    let switch = keys.boolean("use_sliding_window")?;
    let used = match (switch, listed) {
        // Mistral's configuration knows neither the switch nor the list: a window that is set is used.
        _ if family == Family::Mistral => true,
        (Some(false), _) => false,
        (_, Some(listed)) => listed,
        // Without a list, the first `max_window_layers` layers of Qwen see everything.
        (Some(true), None) => {
            let full = keys.integer("max_window_layers")?;
            full.is_none_or(|full| full < options.num_hidden_layers as u64)
        }
        (None, None) => false,
    };
    if used && window < context {
        let fix = format!(
            "a window is only where it covers the context: set `max_position_embeddings` to at \
             most {window} to use the model within its window"
        );
        return Err(keys.unsupported("sliding_window", &Value::from(window), fix));
    }
    Ok(())
}

fn write(config: &DecoderConfig) -> Map<String, Value> {
    let family = config.family;
    let activation = super::activation_name(config.hidden_act);
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    };
    let scaling = config.rope_scaling.map_or(Value::Null, |scaling| {
        json!({
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_position_embeddings,
        })
    });
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    set("architectures", json!([family.architecture()]));
    set("model_type", json!(family.model_type()));
    set("vocab_size", json!(config.vocab_size));
    set("hidden_size", json!(config.hidden_size));
    set("intermediate_size", json!(config.intermediate_size));
    set("num_hidden_layers", json!(config.num_hidden_layers));
    set("num_attention_heads", json!(config.num_attention_heads));
    set("num_key_value_heads", json!(config.num_key_value_heads));
    set("head_dim", json!(config.head_dim));
    set(
        "max_position_embeddings",
        json!(config.max_position_embeddings),
    );
    set("rms_norm_eps", json!(config.rms_norm_eps));
    set("rope_theta", json!(config.rope_theta));
    set("rope_scaling", scaling);
    set("hidden_act", json!(activation));
    match family {
        Family::Llama => {
            set("attention_bias", json!(config.attention_bias));
            set("mlp_bias", json!(false));
        }
        Family::Mistral => set("sliding_window", Value::Null),
        Family::Qwen2 => set("use_sliding_window", json!(false)),
        Family::Qwen3 => {
            set("attention_bias", json!(config.attention_bias));
            set("use_sliding_window", json!(false));
        }
        Family::Gemma => {
            set("hidden_activation", json!(activation));
            set("attention_bias", json!(config.attention_bias));
        }
    }
    set("attention_dropout", json!(0.0));
    set("tie_word_embeddings", json!(config.tie_word_embeddings));
    set("bos_token_id", json!(config.bos_token_id));
    set("eos_token_id", eos);
    set("pad_token_id", json!(config.pad_token_id));
    set("torch_dtype", json!("float32"));
    set("use_cache", json!(true));
    map
}
