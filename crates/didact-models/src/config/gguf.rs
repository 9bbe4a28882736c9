//! A decoder's configuration from GGUF metadata, by the keys of llama.cpp.

use didact_gguf::Gguf;

use super::{DecoderConfig, DecoderOptions, Family, Limits, Llama3Scaling};
use crate::weights::ROTARY_FACTORS;
use crate::{Error, Result, frequencies};

/// The context that Llama 3.1 and later extend; GGUF files do not say it.
const LLAMA3_ORIGINAL_CONTEXT: usize = 8192;

impl DecoderConfig {
    /// Reads the configuration of a GGUF file whose `general.architecture` is `llama`, `qwen2`,
    /// `qwen3` or `gemma`, under the default [`Limits`].
    ///
    /// A file without `output.weight` has a tied head. Llama 3.1's rotary scaling, which GGUF stores
    /// as a tensor of factors, is recognised from them.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let file = gguf.path().display().to_string();
        let options = Metadata { gguf, file: &file }.read()?;
        Self::within(&file, options, &Limits::default())
    }
}

struct Metadata<'a> {
    gguf: &'a Gguf,
    file: &'a str,
}

impl Metadata<'_> {
    fn unsupported(&self, key: &str, found: String, supported: &str) -> Error {
        Error::UnsupportedOption {
            file: self.file.to_owned(),
            key: key.to_owned(),
            found,
            supported: supported.to_owned(),
        }
    }

    fn read(&self) -> Result<DecoderOptions> {
        let gguf = self.gguf;
        let architecture: &str = gguf.get("general.architecture")?;
        let family = match architecture {
            "llama" => Family::Llama,
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            "gemma" => Family::Gemma,
            other => {
                return Err(self.unsupported(
                    "general.architecture",
                    other.to_owned(),
                    "supported are llama, qwen2, qwen3 and gemma",
                ));
            }
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let embedding = gguf
            .tensor("token_embd.weight")
            .ok_or_else(|| Error::MissingKey {
                file: self.file.to_owned(),
                key: "token_embd.weight".into(),
                expected: "the tensor of input embeddings",
            })?;
        let mut options = DecoderOptions::new(
            family,
            embedding.shape().first().copied().unwrap_or(0),
            gguf.get(&key("embedding_length"))?,
            gguf.get(&key("feed_forward_length"))?,
            gguf.get(&key("block_count"))?,
            gguf.get(&key("attention.head_count"))?,
        );
        if let Some(heads) = gguf.find(&key("attention.head_count_kv"))? {
            options.num_key_value_heads = heads;
        }
        if let Some(width) = gguf.find(&key("attention.key_length"))? {
            options.head_dim = width;
        }
        for name in ["attention.value_length", "rope.dimension_count"] {
            let width: Option<usize> = gguf.find(&key(name))?;
            if let Some(width) = width
                && width != options.head_dim
            {
                let supported = format!("only the size of a head ({}) is", options.head_dim);
                return Err(self.unsupported(&key(name), width.to_string(), &supported));
            }
        }
        options.max_position_embeddings = gguf.get(&key("context_length"))?;
        options.rms_norm_eps = f64_of(gguf.get(&key("attention.layer_norm_rms_epsilon"))?);
        if let Some(theta) = gguf.find::<f32>(&key("rope.freq_base"))? {
            options.rope_theta = f64_of(theta);
        }
        self.refuse_unsupported(&key, options.max_position_embeddings)?;
        // Biases and the head are there or not; the metadata do not say.
        options.attention_bias =
            family != Family::Qwen2 && gguf.tensor("blk.0.attn_q.bias").is_some();
        options.tie_word_embeddings = gguf.tensor("output.weight").is_none();
        options.rope_scaling = self.rotary_scaling(&options)?;
        options.bos_token_id = gguf.find("tokenizer.ggml.bos_token_id")?;
        options.eos_token_ids = gguf
            .find::<u32>("tokenizer.ggml.eos_token_id")?
            .into_iter()
            .collect();
        options.pad_token_id = gguf.find("tokenizer.ggml.padding_token_id")?;
        Ok(options)
    }

    fn refuse_unsupported(&self, key: &dyn Fn(&str) -> String, context: usize) -> Result<()> {
        let experts = key("expert_count");
        if let Some(count) = self.gguf.find::<usize>(&experts)?
            && count > 0
        {
            return Err(self.unsupported(&experts, count.to_string(), "only dense models are"));
        }
        let scaling = key("rope.scaling.type");
        if let Some(kind) = self.gguf.find::<&str>(&scaling)?
            && kind != "none"
        {
            return Err(self.unsupported(&scaling, kind.to_owned(), "only none is"));
        }
        // Without a type, a factor means linear scaling to other readers of the format.
        if self.gguf.find::<&str>(&scaling)?.is_none() {
            for name in ["rope.scaling.factor", "rope.scale_linear"] {
                if let Some(factor) = self.gguf.find::<f32>(&key(name))?
                    && factor != 0.0
                    && factor != 1.0
                {
                    return Err(self.unsupported(&key(name), factor.to_string(), "only 1 is"));
                }
            }
        }
        let sliding = key("attention.sliding_window");
        if let Some(window) = self.gguf.find::<usize>(&sliding)?
            && window > 0
            && window < context
        {
            let supported = "a window is only where it covers the context";
            return Err(self.unsupported(&sliding, window.to_string(), supported));
        }
        for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if let Some(cap) = self.gguf.find::<f32>(&key(name))? {
                return Err(self.unsupported(&key(name), cap.to_string(), "no cap is"));
            }
        }
        Ok(())
    }

    /// Recognises Llama 3.1's scaling: the largest factor is that of the longest wavelengths, and the
    /// others must follow from it.
    fn rotary_scaling(&self, options: &DecoderOptions) -> Result<Option<Llama3Scaling>> {
        if self.gguf.tensor(ROTARY_FACTORS).is_none() {
            return Ok(None);
        }
        let factors = self.gguf.dequantise(ROTARY_FACTORS)?;
        let scaling = Llama3Scaling {
            factor: factors.iter().copied().map(f64_of).fold(1.0, f64::max),
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: LLAMA3_ORIGINAL_CONTEXT,
        };
        // The length is compared first: the head's size is unchecked and may be absurd.
        let fits = factors.len() == options.head_dim / 2
            && factors
                .iter()
                .zip(frequencies(options))
                .all(|(&factor, frequency)| {
                    let expected = frequency / scaling.apply(frequency);
                    (f64_of(factor) - expected).abs() <= 1e-4 * expected
                });
        if fits {
            return Ok(Some(scaling));
        }
        Err(self.unsupported(
            ROTARY_FACTORS,
            format!("a tensor of {} factors", factors.len()),
            "those of Llama 3.1 and later are; otherwise load the Hugging Face folder",
        ))
    }
}

/// A number that was written as f32, with the digits that were meant: 1e-5 rather than the nearest
/// f32 to it.
fn f64_of(value: f32) -> f64 {
    value
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(value))
}
