//! Which tensors a decoder has, and how it is put together from them.
//!
//! One list, [`slots`], says the names and shapes of a checkpoint; one function, [`assemble`], asks
//! for each of them in turn, wherever the numbers come from. Nothing is allocated for a tensor before
//! it is asked for.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use didact_kernels::QuantisedMatrix;

use crate::decoder::{Backbone, Decoder};
use crate::layer::{Attention, Embedding, Layer, Mlp, Norm, Projection};
use crate::{Bits, DecoderConfig, Error, Result};

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `[vocabulary, hidden]`, in memory as in the checkpoint.
    Embedding,
    /// `[out, in]` in the checkpoint, `[in, out]` in memory.
    Projection,
    /// `[out]`.
    Bias,
    /// `[width]`.
    Norm,
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) path: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) role: Role,
}

/// The tensors of a checkpoint of this decoder.
pub(crate) fn slots(config: &DecoderConfig) -> Vec<Slot> {
    let hidden = config.hidden_size;
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let mut slots = Vec::new();
    let mut add = |path: String, shape: &[usize], role| {
        slots.push(Slot {
            path,
            shape: shape.to_vec(),
            role,
        });
    };
    add(
        "model.embed_tokens.weight".into(),
        &[config.vocab_size, hidden],
        Role::Embedding,
    );
    for layer in 0..config.num_hidden_layers {
        let path = |name: &str| format!("model.layers.{layer}.{name}");
        add(path("input_layernorm.weight"), &[hidden], Role::Norm);
        for (name, out, width, biased) in [
            ("q_proj", queries, hidden, config.has_query_key_value_bias()),
            ("k_proj", keys, hidden, config.has_query_key_value_bias()),
            ("v_proj", keys, hidden, config.has_query_key_value_bias()),
            (
                "o_proj",
                hidden,
                queries,
                config.has_attention_output_bias(),
            ),
        ] {
            add(
                path(&format!("self_attn.{name}.weight")),
                &[out, width],
                Role::Projection,
            );
            if biased {
                add(path(&format!("self_attn.{name}.bias")), &[out], Role::Bias);
            }
        }
        if config.family.has_query_key_norm() {
            add(
                path("self_attn.q_norm.weight"),
                &[config.head_dim],
                Role::Norm,
            );
            add(
                path("self_attn.k_norm.weight"),
                &[config.head_dim],
                Role::Norm,
            );
        }
        add(
            path("post_attention_layernorm.weight"),
            &[hidden],
            Role::Norm,
        );
        let inner = config.intermediate_size;
        add(
            path("mlp.gate_proj.weight"),
            &[inner, hidden],
            Role::Projection,
        );
        add(
            path("mlp.up_proj.weight"),
            &[inner, hidden],
            Role::Projection,
        );
        add(
            path("mlp.down_proj.weight"),
            &[hidden, inner],
            Role::Projection,
        );
    }
    add("model.norm.weight".into(), &[hidden], Role::Norm);
    if !config.tie_word_embeddings {
        add(
            "lm_head.weight".into(),
            &[config.vocab_size, hidden],
            Role::Embedding,
        );
    }
    slots
}

/// Builds the decoder; `fill` gives the numbers of each slot, row-major in the checkpoint's shape. With
/// `bits`, the weights of projections are quantised as they come.
///
/// # Errors
/// The first one of `fill`, or a weight that cannot be quantised.
pub(crate) fn assemble(
    config: &DecoderConfig,
    device: &Device,
    bits: Option<Bits>,
    fill: &mut dyn FnMut(&Slot) -> Result<Vec<f32>>,
) -> Result<Decoder> {
    let mut source = Source {
        slots: slots(config).into_iter(),
        device,
        bits,
        fill,
    };
    let embed_tokens = Embedding {
        weight: source.take()?,
    };
    let mut layers = Vec::with_capacity(config.num_hidden_layers);
    for _ in 0..config.num_hidden_layers {
        layers.push(source.layer(config)?);
    }
    let norm = Norm {
        weight: source.take()?,
    };
    let lm_head = if config.tie_word_embeddings {
        None
    } else {
        Some(Embedding {
            weight: source.take()?,
        })
    };
    debug_assert!(
        source.slots.next().is_none(),
        "the list and the module differ"
    );
    Ok(Decoder {
        model: Backbone {
            embed_tokens,
            layers,
            norm,
        },
        lm_head,
        config: config.clone(),
        adapter: None,
    })
}

struct Source<'a> {
    slots: std::vec::IntoIter<Slot>,
    device: &'a Device,
    bits: Option<Bits>,
    fill: &'a mut dyn FnMut(&Slot) -> Result<Vec<f32>>,
}

impl Source<'_> {
    /// The next slot and its numbers.
    fn next(&mut self) -> Result<(Slot, Vec<f32>)> {
        let slot = self
            .slots
            .next()
            .unwrap_or_else(|| unreachable!("the list is too short"));
        let values = (self.fill)(&slot)?;
        debug_assert_eq!(
            values.len(),
            slot.shape.iter().product::<usize>(),
            "{}",
            slot.path
        );
        Ok((slot, values))
    }

    /// The next slot as a parameter.
    fn take<const D: usize>(&mut self) -> Result<Param<Tensor<D>>> {
        let (slot, values) = self.next()?;
        let data = if slot.role == Role::Projection {
            let [rows, columns] = [slot.shape[0], slot.shape[1]];
            TensorData::new(transpose(&values, rows, columns), [columns, rows])
        } else {
            TensorData::new(values, slot.shape)
        };
        Ok(Param::from_tensor(Tensor::from_data(
            data,
            (self.device, DType::F32),
        )))
    }

    fn projection(&mut self, biased: bool) -> Result<Projection> {
        let (weight, quantised) = match self.bits {
            None => (Some(self.take()?), None),
            Some(bits) => {
                let (slot, values) = self.next()?;
                let shape = [slot.shape[0], slot.shape[1]];
                let matrix = QuantisedMatrix::quantise_rows(&values, shape, bits);
                (
                    None,
                    Some(matrix.map_err(Error::not_quantisable(&slot.path))?),
                )
            }
        };
        let bias = if biased { Some(self.take()?) } else { None };
        Ok(Projection {
            weight,
            quantised,
            bias,
            adapter: None,
        })
    }

    fn head_norm(&mut self, config: &DecoderConfig) -> Result<Option<Norm>> {
        let normed = config.family.has_query_key_norm();
        if normed {
            Ok(Some(Norm {
                weight: self.take()?,
            }))
        } else {
            Ok(None)
        }
    }

    fn layer(&mut self, config: &DecoderConfig) -> Result<Layer> {
        let biased = config.has_query_key_value_bias();
        Ok(Layer {
            input_layernorm: Norm {
                weight: self.take()?,
            },
            self_attn: Attention {
                q_proj: self.projection(biased)?,
                k_proj: self.projection(biased)?,
                v_proj: self.projection(biased)?,
                o_proj: self.projection(config.has_attention_output_bias())?,
                q_norm: self.head_norm(config)?,
                k_norm: self.head_norm(config)?,
            },
            post_attention_layernorm: Norm {
                weight: self.take()?,
            },
            mlp: Mlp {
                gate_proj: self.projection(false)?,
                up_proj: self.projection(false)?,
                down_proj: self.projection(false)?,
            },
        })
    }
}

/// The transpose of a row-major `[rows, columns]` matrix, in blocks that stay in the cache.
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let mut out = vec![0.0; values.len()];
    for top in (0..rows).step_by(BLOCK) {
        for left in (0..columns).step_by(BLOCK) {
            for row in top..rows.min(top + BLOCK) {
                for column in left..columns.min(left + BLOCK) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_the_matrix_back() {
        let (rows, columns) = (37, 65);
        let matrix: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let turned = transpose(&matrix, rows, columns);
        assert_eq!(turned[1], columns as f32);
        assert_eq!(transpose(&turned, columns, rows), matrix);
    }
}
