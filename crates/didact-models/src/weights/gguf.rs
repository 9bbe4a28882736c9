//! Decoders in GGUF files, by the tensor names of llama.cpp.
//!
//! llama.cpp stores some numbers otherwise than Hugging Face: where `general.architecture` is `llama`
//! the rows of the query and key projections are reordered for a rotation of neighbouring pairs, and
//! Gemma's norm weights have their offset of 1 added. Both are undone here.

use std::collections::BTreeMap;

use burn::tensor::Device;
use didact_gguf::Gguf;

use super::{Checkpoint, Described, load};
use crate::{Bits, Decoder, DecoderConfig, Family, Result};

/// The rotary frequencies' factors, which the configuration already accounts for.
pub(crate) const ROTARY_FACTORS: &str = "rope_freqs.weight";

impl Decoder {
    /// Loads a GGUF file onto `device`, dequantised to f32.
    ///
    /// # Errors
    /// Names the file and the key or tensor; tensors that are missing, unused or of another shape
    /// are listed together.
    pub fn load_gguf(gguf: &Gguf, device: &Device) -> Result<Self> {
        load_gguf(gguf, None, device)
    }

    /// [`load_gguf`](Self::load_gguf) with every projection [quantised](Self::quantise) as it is read, so
    /// that its f32 weights are in memory one at a time only.
    ///
    /// With [`Bits::Four`], weights that the file holds as Q4_1 keep exactly its numbers: the blocks are the
    /// same, and Q4_1's use their least and their largest code. Those of other types are
    /// quantised again, to half a scale.
    ///
    /// # Errors
    /// Those of [`load_gguf`](Self::load_gguf) and [`quantise`](Self::quantise).
    pub fn load_gguf_quantised(gguf: &Gguf, bits: Bits, device: &Device) -> Result<Self> {
        load_gguf(gguf, Some(bits), device)
    }
}

fn load_gguf(gguf: &Gguf, bits: Option<Bits>, device: &Device) -> Result<Decoder> {
    let config = DecoderConfig::from_gguf(gguf)?;
    let mut container = Container {
        gguf,
        config: &config,
    };
    load(&config, device, bits, &mut container)
}

struct Container<'a> {
    gguf: &'a Gguf,
    config: &'a DecoderConfig,
}

impl Checkpoint for Container<'_> {
    fn place(&self) -> String {
        self.gguf.path().display().to_string()
    }

    fn name_of(&self, path: &str) -> String {
        gguf_name(path)
    }

    fn may_ignore(&self, name: &str) -> bool {
        name == ROTARY_FACTORS
    }

    fn tensors(&self) -> BTreeMap<String, Described> {
        let describe = |tensor: &didact_gguf::TensorInfo| {
            let described = Described {
                shape: tensor.shape().to_vec(),
                file: self.place(),
                unreadable: None,
            };
            (tensor.name().to_owned(), described)
        };
        self.gguf.tensors().iter().map(describe).collect()
    }

    fn read(&mut self, path: &str) -> Result<Vec<f32>> {
        let mut values = self.gguf.dequantise(&gguf_name(path))?;
        let family = self.config.family;
        if family == Family::Llama {
            let heads = if path.contains("self_attn.q_proj.") {
                Some(self.config.num_attention_heads)
            } else if path.contains("self_attn.k_proj.") {
                Some(self.config.num_key_value_heads)
            } else {
                None
            };
            if let Some(heads) = heads {
                values = unpermute(&values, heads, self.config.head_dim);
            }
        }
        if family.norm_offset() != 0.0 && path.ends_with("norm.weight") {
            values
                .iter_mut()
                .for_each(|value| *value -= family.norm_offset() as f32);
        }
        Ok(values)
    }
}

/// llama.cpp's name for Hugging Face's `path`.
fn gguf_name(path: &str) -> String {
    match path {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let inner = path
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split_once('.'));
    let Some((layer, name)) = inner else {
        return path.to_owned();
    };
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, "weight"));
    let stem = match stem {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => other,
    };
    format!("blk.{layer}.{stem}.{kind}")
}

/// Undoes llama.cpp's order of the rows `[heads · head_dim, …]`: its row `2i + j` of a head is row
/// `j · head_dim/2 + i` of Hugging Face's.
fn unpermute(values: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    let width = values.len() / (heads * head_dim);
    let mut out = Vec::with_capacity(values.len());
    for head in 0..heads {
        for j in 0..2 {
            for i in 0..head_dim / 2 {
                let row = head * head_dim + 2 * i + j;
                out.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
