//! What a decoder is: its family, sizes and options, checked once.
//!
//! [`DecoderOptions`] is what one may write; [`DecoderConfig`] is the same after every check, so a
//! [`Decoder`](crate::Decoder) built from one cannot fail. The reading and writing of `config.json`
//! and of GGUF metadata stand in the submodules. This module knows no tensors.

mod gguf;
mod json;
mod keys;

use std::fmt::Display;
use std::ops::Deref;

pub use didact_kernels::Activation;

use crate::{Error, Result};

/// The families of decoders, named as Hugging Face's `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Llama 2, 3, 3.1, 3.2, SmolLM, SmolLM2 and others that use the same architecture.
    Llama,
    /// Mistral: Llama with a sliding window, which must be inactive.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on the query, key and value projections.
    Qwen2,
    /// Qwen3: an RMS norm on each head's queries and keys.
    Qwen3,
    /// Gemma (v1): embeddings scaled by √hidden, norm weights stored less 1, GeGLU.
    Gemma,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 5] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma,
    ];

    /// The value of `model_type`.
    #[must_use]
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma => "gemma",
        }
    }

    /// The value of `architectures`.
    #[must_use]
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Gemma => "GemmaForCausalLM",
        }
    }

    /// What an RMS norm adds to its stored weight.
    #[must_use]
    pub const fn norm_offset(self) -> f64 {
        if matches!(self, Self::Gemma) {
            1.0
        } else {
            0.0
        }
    }

    /// Whether queries and keys of each head are normalised before the rotary embedding.
    #[must_use]
    pub const fn has_query_key_norm(self) -> bool {
        matches!(self, Self::Qwen3)
    }
}

/// Llama 3.1's change to the rotary frequencies: long wavelengths are slowed by `factor`, short ones
/// kept, those between interpolated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// How much longer the context is than the original one.
    pub factor: f64,
    /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are slowed fully.
    pub low_freq_factor: f64,
    /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
    pub high_freq_factor: f64,
    /// The context in tokens before the change.
    pub original_max_position_embeddings: usize,
}

/// Sizes and options of a decoder, by the names of Hugging Face's `config.json`.
///
/// [`DecoderOptions::new`] fills in the family's defaults as `transformers` has them; change what
/// differs and make a [`DecoderConfig`] of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderOptions {
    /// The family.
    pub family: Family,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP's gate.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even. Need not be `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// The context in tokens.
    pub max_position_embeddings: usize,
    /// What the RMS norms add to the mean square.
    pub rms_norm_eps: f64,
    /// The base of the rotary wavelengths.
    pub rope_theta: f64,
    /// Llama 3.1's change to them.
    pub rope_scaling: Option<Llama3Scaling>,
    /// The MLP's activation; for Gemma always [`Activation::GeluTanh`].
    pub hidden_act: Activation,
    /// Whether the projections of attention have biases. Llama, Qwen3 and Gemma then have them on
    /// query, key, value and output; Qwen2 always has them on the first three and ignores this;
    /// Mistral has none.
    pub attention_bias: bool,
    /// Whether the output embedding is the input embedding.
    pub tie_word_embeddings: bool,
    /// The token that begins a sequence.
    pub bos_token_id: Option<u32>,
    /// The tokens that end one.
    pub eos_token_ids: Vec<u32>,
    /// The token that pads one.
    pub pad_token_id: Option<u32>,
}

impl DecoderOptions {
    /// The family's defaults for a decoder of these sizes, with as many key/value heads as query
    /// heads and heads of `hidden_size / num_attention_heads`.
    #[must_use]
    pub fn new(
        family: Family,
        vocab_size: usize,
        hidden_size: usize,
        intermediate_size: usize,
        num_hidden_layers: usize,
        num_attention_heads: usize,
    ) -> Self {
        Self {
            family,
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: num_attention_heads,
            head_dim: hidden_size.checked_div(num_attention_heads).unwrap_or(0),
            max_position_embeddings: match family {
                Family::Llama => 2048,
                Family::Mistral => 131_072,
                Family::Qwen2 | Family::Qwen3 => 32_768,
                Family::Gemma => 8192,
            },
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_scaling: None,
            hidden_act: if family == Family::Gemma {
                Activation::GeluTanh
            } else {
                Activation::Silu
            },
            attention_bias: false,
            tie_word_embeddings: family == Family::Gemma,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }

    /// Whether the query, key and value projections have biases.
    #[must_use]
    pub const fn has_query_key_value_bias(&self) -> bool {
        self.attention_bias || matches!(self.family, Family::Qwen2)
    }

    /// Whether the output projection of attention has a bias.
    #[must_use]
    pub const fn has_attention_output_bias(&self) -> bool {
        self.attention_bias && !matches!(self.family, Family::Qwen2)
    }

    /// What the embeddings are multiplied by before the first layer.
    #[must_use]
    pub fn embedding_scale(&self) -> f64 {
        if self.family == Family::Gemma {
            (self.hidden_size as f64).sqrt()
        } else {
            1.0
        }
    }

    /// What a query's product with a key is multiplied by: 1/√`head_dim`.
    #[must_use]
    pub fn attention_scale(&self) -> f64 {
        (self.head_dim as f64).powf(-0.5)
    }

    /// How many numbers the parameters hold; `None` where that does not fit into 64 bits.
    #[must_use]
    pub fn parameter_count(&self) -> Option<u64> {
        let product = |a: usize, b: usize| (a as u64).checked_mul(b as u64);
        let hidden = self.hidden_size;
        let queries = self.num_attention_heads.checked_mul(self.head_dim)?;
        let keys = self.num_key_value_heads.checked_mul(self.head_dim)?;
        let embedding = product(self.vocab_size, hidden)?;
        let mut layer = product(queries, hidden)?.checked_mul(2)?;
        layer = layer.checked_add(product(keys, hidden)?.checked_mul(2)?)?;
        layer = layer.checked_add(product(self.intermediate_size, hidden)?.checked_mul(3)?)?;
        layer = layer.checked_add(product(2, hidden)?)?;
        if self.has_query_key_value_bias() {
            layer = layer.checked_add(product(2, keys)?.checked_add(queries as u64)?)?;
        }
        if self.has_attention_output_bias() {
            layer = layer.checked_add(hidden as u64)?;
        }
        if self.family.has_query_key_norm() {
            layer = layer.checked_add(product(2, self.head_dim)?)?;
        }
        let mut total = layer.checked_mul(self.num_hidden_layers as u64)?;
        total = total.checked_add(embedding)?.checked_add(hidden as u64)?;
        if self.tie_word_embeddings {
            Some(total)
        } else {
            total.checked_add(embedding)
        }
    }
}

/// The largest sizes that a configuration may ask for, so that a damaged or hostile file is refused
/// before memory is taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Layers. Default: 1024.
    pub layers: u64,
    /// Any one size: vocabulary, hidden, intermediate, heads, head size. Default: 2²⁴.
    pub size: u64,
    /// The context in tokens. Default: 2²⁸.
    pub positions: u64,
    /// Numbers in all the parameters. Default: 2⁴⁰.
    pub parameters: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 1024,
            size: 1 << 24,
            positions: 1 << 28,
            parameters: 1 << 40,
        }
    }
}

/// [`DecoderOptions`] that passed every check. Read its fields as those of the options.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    options: DecoderOptions,
}

impl Deref for DecoderConfig {
    type Target = DecoderOptions;

    fn deref(&self) -> &DecoderOptions {
        &self.options
    }
}

impl DecoderConfig {
    /// Checks `options` under the default [`Limits`].
    ///
    /// # Errors
    /// Names the first option that means nothing or exceeds a limit.
    pub fn new(options: DecoderOptions) -> Result<Self> {
        Self::within("decoder options", options, &Limits::default())
    }

    /// Checks `options`, which came from the file named `file`, under `limits`.
    ///
    /// # Errors
    /// Names the first option that means nothing or exceeds a limit.
    pub fn within(file: &str, options: DecoderOptions, limits: &Limits) -> Result<Self> {
        let checks = Checks { file };
        let o = &options;
        for (key, value, limit) in [
            ("vocab_size", o.vocab_size, limits.size),
            ("hidden_size", o.hidden_size, limits.size),
            ("intermediate_size", o.intermediate_size, limits.size),
            ("num_hidden_layers", o.num_hidden_layers, limits.layers),
            ("num_attention_heads", o.num_attention_heads, limits.size),
            ("num_key_value_heads", o.num_key_value_heads, limits.size),
            ("head_dim", o.head_dim, limits.size),
            (
                "max_position_embeddings",
                o.max_position_embeddings,
                limits.positions,
            ),
        ] {
            checks.require(value > 0, key, value, "a number above 0")?;
            checks.limit(key, Some(value as u64), limit)?;
        }
        checks.limit(
            "the number of parameters",
            o.parameter_count(),
            limits.parameters,
        )?;
        checks.require(
            o.num_attention_heads.is_multiple_of(o.num_key_value_heads),
            "num_key_value_heads",
            o.num_key_value_heads,
            &format!(
                "a divisor of num_attention_heads ({})",
                o.num_attention_heads
            ),
        )?;
        checks.require(
            o.head_dim.is_multiple_of(2),
            "head_dim",
            o.head_dim,
            "an even number (by default hidden_size / num_attention_heads)",
        )?;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        checks.require(
            o.rms_norm_eps.is_finite() && o.rms_norm_eps >= 0.0,
            "rms_norm_eps",
            o.rms_norm_eps,
            "a finite number of at least 0",
        )?;
        checks.require(
            positive(o.rope_theta),
            "rope_theta",
            o.rope_theta,
            "a finite number above 0",
        )?;
        if let Some(scaling) = &o.rope_scaling {
            for (key, value) in [
                ("rope_scaling.factor", scaling.factor),
                ("rope_scaling.low_freq_factor", scaling.low_freq_factor),
                ("rope_scaling.high_freq_factor", scaling.high_freq_factor),
            ] {
                checks.require(positive(value), key, value, "a finite number above 0")?;
            }
            checks.require(
                scaling.high_freq_factor > scaling.low_freq_factor,
                "rope_scaling.high_freq_factor",
                scaling.high_freq_factor,
                &format!(
                    "a number above low_freq_factor ({})",
                    scaling.low_freq_factor
                ),
            )?;
            checks.require(
                scaling.original_max_position_embeddings > 0,
                "rope_scaling.original_max_position_embeddings",
                scaling.original_max_position_embeddings,
                "a number above 0",
            )?;
        }
        let fits = match o.family {
            Family::Gemma => o.hidden_act == Activation::GeluTanh,
            _ => activation_name(o.hidden_act).is_some(),
        };
        if !fits {
            return Err(Error::UnsupportedOption {
                file: file.to_owned(),
                key: "hidden_act".into(),
                found: format!("{:?}", o.hidden_act),
                supported: "supported are silu, gelu_pytorch_tanh and gelu; for Gemma only \
                            gelu_pytorch_tanh"
                    .into(),
            });
        }
        if o.family == Family::Mistral && o.attention_bias {
            return Err(Error::UnsupportedOption {
                file: file.to_owned(),
                key: "attention_bias".into(),
                found: "true".into(),
                supported: "Mistral's projections have no biases".into(),
            });
        }
        Ok(Self { options })
    }

    /// The options, to change some and check them again.
    #[must_use]
    pub fn into_options(self) -> DecoderOptions {
        self.options
    }
}

/// Hugging Face's name of an activation.
fn activation_name(activation: Activation) -> Option<&'static str> {
    match activation {
        Activation::Silu => Some("silu"),
        Activation::GeluTanh => Some("gelu_pytorch_tanh"),
        Activation::Gelu => Some("gelu"),
        _ => None,
    }
}

struct Checks<'a> {
    file: &'a str,
}

impl Checks<'_> {
    fn require(&self, holds: bool, key: &str, found: impl Display, expected: &str) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(Error::InvalidKey {
            file: self.file.to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            expected: expected.to_owned(),
        })
    }

    fn limit(&self, what: &str, found: Option<u64>, limit: u64) -> Result<()> {
        if found.is_some_and(|found| found <= limit) {
            return Ok(());
        }
        Err(Error::AboveLimit {
            file: self.file.to_owned(),
            what: what.to_owned(),
            found: found.map_or_else(|| "overflow".into(), |found| found.to_string()),
            limit,
        })
    }
}

#[cfg(test)]
mod tests;
