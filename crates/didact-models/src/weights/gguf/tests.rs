use super::*;
use crate::testing::{configs, decoder, options, parameters};
use crate::weights::tests::{Tensors, stored};
use crate::{DecoderOptions, Llama3Scaling, frequencies};

/// A GGUF file, version 3, with tensors of F32.
fn gguf(metadata: &[(&str, Meta<'_>)], tensors: &Tensors) -> Gguf {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    for (key, value) in metadata {
        text(&mut bytes, key);
        match value {
            Meta::Integer(value) => bytes.extend([4_u32, *value].map(u32::to_le_bytes).concat()),
            Meta::Number(value) => {
                bytes.extend(6_u32.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
            Meta::Text(value) => {
                bytes.extend(8_u32.to_le_bytes());
                text(&mut bytes, value);
            }
        }
    }
    let mut offset = 0_u64;
    for (name, shape, values) in tensors {
        text(&mut bytes, name);
        bytes.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            bytes.extend((size as u64).to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset = (offset + 4 * values.len() as u64).next_multiple_of(32);
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    for (_, _, values) in tensors {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    Gguf::from_bytes("tiny.gguf", bytes, &didact_gguf::Limits::default()).unwrap()
}

enum Meta<'a> {
    Integer(u32),
    Number(f32),
    Text(&'a str),
}

/// llama.cpp's order of rows: (head, half, pair) becomes (head, pair, half).
fn permute(values: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    let width = values.len() / (heads * head_dim);
    let mut out = Vec::new();
    for head in 0..heads {
        for pair in 0..head_dim / 2 {
            for half in 0..2 {
                let row = head * head_dim + half * head_dim / 2 + pair;
                out.extend(&values[row * width..(row + 1) * width]);
            }
        }
    }
    out
}

/// The decoder as llama.cpp would convert it.
fn converted(decoder: &Decoder, extra: &[(&str, Meta<'_>)], more: Tensors) -> Gguf {
    let config = decoder.config();
    let architecture = match config.family {
        Family::Mistral => "llama",
        family => family.model_type(),
    };
    let mut tensors: Tensors = stored(decoder)
        .into_iter()
        .map(|(name, shape, mut values)| {
            let heads = if name.contains("q_proj") { 4 } else { 2 };
            if architecture == "llama" && (name.contains("q_proj") || name.contains("k_proj")) {
                values = permute(&values, heads, config.head_dim);
            }
            if config.family == Family::Gemma && name.ends_with("norm.weight") {
                values.iter_mut().for_each(|value| *value += 1.0);
            }
            let mut name = name.replace("model.layers.", "blk.");
            for (from, to) in [
                ("model.embed_tokens", "token_embd"),
                ("model.norm", "output_norm"),
                ("lm_head", "output"),
                ("post_attention_layernorm", "ffn_norm"),
                ("input_layernorm", "attn_norm"),
                ("self_attn.q_norm", "attn_q_norm"),
                ("self_attn.k_norm", "attn_k_norm"),
                ("self_attn.o_proj", "attn_output"),
                ("self_attn.q_proj", "attn_q"),
                ("self_attn.k_proj", "attn_k"),
                ("self_attn.v_proj", "attn_v"),
                ("mlp.gate_proj", "ffn_gate"),
                ("mlp.up_proj", "ffn_up"),
                ("mlp.down_proj", "ffn_down"),
            ] {
                name = name.replace(from, to);
            }
            (name, shape, values)
        })
        .collect();
    tensors.extend(more);
    let own: Vec<(String, Meta<'_>)> = [
        ("block_count", config.num_hidden_layers),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("context_length", config.max_position_embeddings),
    ]
    .into_iter()
    .map(|(key, value)| (format!("{architecture}.{key}"), Meta::Integer(value as u32)))
    .chain([
        (
            format!("{architecture}.attention.layer_norm_rms_epsilon"),
            Meta::Number(1e-6),
        ),
        (
            format!("{architecture}.rope.freq_base"),
            Meta::Number(config.rope_theta as f32),
        ),
        ("general.architecture".into(), Meta::Text(architecture)),
        ("tokenizer.ggml.bos_token_id".into(), Meta::Integer(1)),
        ("tokenizer.ggml.eos_token_id".into(), Meta::Integer(2)),
    ])
    .collect();
    let mut metadata: Vec<(&str, Meta<'_>)> = Vec::new();
    for (key, value) in own
        .iter()
        .map(|(k, v)| (k.as_str(), v))
        .chain(extra.iter().map(|(k, v)| (*k, v)))
    {
        metadata.push((
            key,
            match value {
                Meta::Integer(value) => Meta::Integer(*value),
                Meta::Number(value) => Meta::Number(*value),
                Meta::Text(value) => Meta::Text(value),
            },
        ));
    }
    gguf(&metadata, &tensors)
}

#[test]
fn gguf_files_give_the_decoder_back() {
    for config in configs()
        .into_iter()
        .filter(|config| config.rope_scaling.is_none())
    {
        let decoder = decoder(&config, &Device::flex());
        let file = converted(&decoder, &[], Vec::new());
        let loaded = Decoder::load_gguf(&file, &Device::flex()).unwrap();
        let expected = DecoderOptions {
            family: if config.family == Family::Mistral {
                Family::Llama
            } else {
                config.family
            },
            eos_token_ids: vec![2],
            ..config.clone().into_options()
        };
        assert_eq!(loaded.config().clone().into_options(), expected);
        let numbers = |decoder: &Decoder| {
            parameters(decoder)
                .into_iter()
                .map(|(path, _, n)| (path, n))
                .collect::<Vec<_>>()
        };
        assert!(numbers(&loaded) == numbers(&decoder), "{:?}", config.family);
    }
}

#[test]
fn gguf_factors_are_recognised_as_llama3_scaling() {
    let scaling = Llama3Scaling {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let plain = DecoderOptions {
        rope_theta: 5e5,
        head_dim: 64,
        ..options(Family::Llama)
    };
    let config = DecoderConfig::new(plain.clone()).unwrap();
    let decoder = decoder(&config, &Device::flex());
    let mut factors: Vec<f32> = frequencies(&plain)
        .into_iter()
        .map(|f| (f / scaling.apply(f)) as f32)
        .collect();
    let tensor = |factors: &[f32]| {
        vec![(
            "rope_freqs.weight".to_owned(),
            vec![factors.len()],
            factors.to_vec(),
        )]
    };
    let loaded = Decoder::load_gguf(&converted(&decoder, &[], tensor(&factors)), &Device::flex());
    assert_eq!(loaded.unwrap().config().rope_scaling, Some(scaling));
    factors[20] *= 1.01;
    let error = Decoder::load_gguf(&converted(&decoder, &[], tensor(&factors)), &Device::flex());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("`rope_freqs.weight`")
    );
}

#[test]
fn gguf_refusals_name_the_key() {
    let config = DecoderConfig::new(options(Family::Qwen2)).unwrap();
    let decoder = decoder(&config, &Device::flex());
    for (key, value) in [
        ("qwen2.expert_count", Meta::Integer(8)),
        ("qwen2.rope.scaling.type", Meta::Text("yarn")),
        ("qwen2.rope.dimension_count", Meta::Integer(4)),
        ("qwen2.attention.sliding_window", Meta::Integer(8)),
        ("qwen2.final_logit_softcapping", Meta::Number(30.0)),
    ] {
        let file = converted(&decoder, &[(key, value)], Vec::new());
        let error = Decoder::load_gguf(&file, &Device::flex())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("tiny.gguf") && error.contains(key),
            "{error}"
        );
    }
    let extra = vec![("blk.9.attn_q.weight".to_owned(), vec![2], vec![0.0, 0.0])];
    let error = Decoder::load_gguf(&converted(&decoder, &[], extra), &Device::flex());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("unused `blk.9.attn_q.weight`"), "{error}");
    let gpt2 = gguf(&[("general.architecture", Meta::Text("gpt2"))], &Vec::new());
    let error = Decoder::load_gguf(&gpt2, &Device::flex())
        .unwrap_err()
        .to_string();
    assert!(error.contains("`general.architecture` is gpt2"), "{error}");
}

proptest::proptest! {
    #[test]
    fn unpermuting_undoes_the_permutation(heads in 1_usize..5, half in 1_usize..9, width in 1_usize..4) {
        let rows: Vec<f32> = (0..heads * 2 * half * width).map(|i| i as f32).collect();
        let back = unpermute(&permute(&rows, heads, 2 * half), heads, 2 * half);
        proptest::prop_assert_eq!(back, rows);
    }
}
