//! Low-rank adapters: what projections learn beside their frozen weights.
//!
//! Owns the adapter's numbers and how a decoder gets, loses and merges one; which projections have one is
//! said by [`LoraConfig`], files by `peft`. Knows no optimizer: an adapter's two matrices are parameters like
//! others, and all else is frozen.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::init::stream;
use crate::layer::{Products, Projection};
use crate::{Decoder, Error, Result};

mod config;
mod peft;

pub use config::{LoraConfig, LoraTargets};

pub(crate) use peft::is_factor;

use config::{Placed, Source};

/// `(x·A)·B·scale`, added to what the projection computes (Hu et al., "LoRA: Low-rank adaptation of large
/// language models", 2021).
#[derive(Module, Debug)]
pub(crate) struct Adapter {
    /// `[in, rank]`
    pub(crate) lora_a: Factor,
    /// `[rank, out]`
    pub(crate) lora_b: Factor,
    /// `alpha / rank`, or `alpha / √rank`.
    #[module(skip)]
    pub(crate) scale: f64,
}

/// One of an adapter's two matrices.
#[derive(Module, Debug)]
pub(crate) struct Factor {
    pub(crate) weight: Param<Tensor<2>>,
}

impl Adapter {
    /// `[N, in] → [N, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>, products: Products) -> Tensor<2> {
        let narrow = products.multiply(x, self.lora_a.weight.val());
        products.multiply(narrow * self.scale, self.lora_b.weight.val())
    }

    /// `weight + A·B·scale`, all `[in, out]`, without gradients.
    pub(crate) fn merged(&self, weight: Tensor<2>) -> Tensor<2> {
        let a = self.lora_a.weight.val().without_autodiff();
        let b = self.lora_b.weight.val().without_autodiff();
        weight.without_autodiff() + Products::Whole.multiply(a * self.scale, b)
    }
}

impl Decoder {
    /// The same with a fresh adapter beside its frozen weights, whose memory the two share.
    ///
    /// Only the adapter is trained then: per chosen projection `A` `[in, rank]`, uniform in
    /// `±1/√in` (Kaiming's bound, as PEFT draws it) from a random stream named by `seed` and the tensor's path, and
    /// `B` `[rank, out]`, zero. So the decoder computes what it did before until the first update.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family, LoraConfig};
    ///
    /// let config = DecoderConfig::new(DecoderOptions::new(Family::Llama, 64, 16, 32, 1, 2))?;
    /// let decoder = Decoder::init(&config, 7, &Device::flex());
    /// let mut lora = LoraConfig::new(4, 8.0);
    /// lora.targets = ["q_proj", "v_proj"].into();
    /// let policy = decoder.with_adapter(&lora, 1)?;
    /// assert!(policy.parameter_paths().contains(&"model.layers.0.self_attn.q_proj.lora_A.weight".to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A configuration that means nothing for this decoder, by key; a decoder that has an adapter.
    pub fn with_adapter(&self, config: &LoraConfig, seed: u64) -> Result<Self> {
        self.adapted(config, Source::OPTIONS, &mut |placed, factor| {
            let count = placed.shape(factor).iter().product();
            Ok(match factor {
                Which::B => vec![0.0; count],
                Which::A => {
                    let bound = 1.0 / (placed.inputs as f64).sqrt();
                    let stream = stream(seed, &placed.factor_path(factor));
                    (0..count as u64)
                        .map(|index| ((2.0 * stream.uniform(index) - 1.0) * bound) as f32)
                        .collect()
                }
            })
        })
    }

    /// What the adapter is, `None` without one.
    #[must_use]
    pub const fn adapter(&self) -> Option<&LoraConfig> {
        self.adapter.as_ref()
    }

    /// The decoder below the adapter, whose memory the two share; a clone where there is none.
    ///
    /// Under an adapter this is the model that training began with: the reference policy, or a student that
    /// stays as it is. All its parameters can be trained again.
    #[must_use]
    pub fn without_adapter(&self) -> Self {
        let mut base = self.clone();
        if base.adapter.take().is_none() {
            return base;
        }
        for (_, projection) in projections(&mut base) {
            projection.adapter = None;
        }
        base.unfreeze()
    }

    /// The adapter added to the weights, `W + A·B·scale`: a decoder like any other, all of whose parameters can
    /// be trained; a clone where there is none.
    ///
    /// It computes the same up to the rounding of the sum. Weights that the adapter does not touch are
    /// shared, but for quantised ones: all of them become f32, as [`dequantise`](Self::dequantise) says.
    #[must_use]
    pub fn merge_adapter(&self) -> Self {
        if self.adapter.is_none() {
            return self.clone();
        }
        let mut merged = self.dequantise();
        merged.adapter = None;
        for (_, projection) in projections(&mut merged) {
            let Some(adapter) = projection.adapter.take() else {
                continue;
            };
            projection.weight = projection.weight.take().map(|weight| {
                let tracked = weight.base().is_autodiff();
                weight.map(|weight| {
                    let sum = adapter.merged(weight);
                    if tracked {
                        Tensor::from_inner(sum)
                    } else {
                        sum
                    }
                })
            });
        }
        merged.unfreeze()
    }

    /// An adapter of `config` whose numbers `fill` gives, row-major in the shape that PEFT stores.
    fn adapted(
        &self,
        config: &LoraConfig,
        source: Source<'_>,
        fill: &mut dyn FnMut(&Placed, Which) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        if self.adapter.is_some() {
            return Err(Error::Adapter {
                problem: "the decoder has an adapter; take `without_adapter()` or `merge_adapter()` of it \
                          before it gets another"
                    .to_owned(),
            });
        }
        let mut placed = config
            .resolve(source, self.config())?
            .into_iter()
            .peekable();
        let device = self.device();
        let mut adapted = self.clone().freeze();
        for (path, projection) in projections(&mut adapted) {
            let Some(placed) = placed.next_if(|placed| placed.path == path) else {
                continue;
            };
            projection.adapter = Some(Adapter {
                lora_a: factor(&placed, Which::A, &device, fill)?,
                lora_b: factor(&placed, Which::B, &device, fill)?,
                scale: placed.scale,
            });
        }
        debug_assert!(placed.next().is_none(), "a projection is not in the module");
        adapted.adapter = Some(config.clone());
        Ok(adapted)
    }
}

/// `A` or `B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    A,
    B,
}

/// A trained parameter, from numbers in PEFT's shape.
fn factor(
    placed: &Placed,
    which: Which,
    device: &Device,
    fill: &mut dyn FnMut(&Placed, Which) -> Result<Vec<f32>>,
) -> Result<Factor> {
    let [rows, columns] = placed.shape(which);
    let values = crate::assemble::transpose(&fill(placed, which)?, rows, columns);
    let data = TensorData::new(values, [columns, rows]);
    Ok(Factor {
        weight: Param::from_tensor(Tensor::from_data(data, (device, DType::F32))),
    })
}

impl Decoder {
    /// The adapters by their projection's path; the memory is shared.
    pub(crate) fn adapters(&self) -> BTreeMap<String, Adapter> {
        let mut decoder = self.clone();
        projections(&mut decoder)
            .filter_map(|(path, projection)| Some((path, projection.adapter.take()?)))
            .collect()
    }
}

/// All projections by path, in the order of the parameters.
pub(crate) fn projections(
    decoder: &mut Decoder,
) -> impl Iterator<Item = (String, &mut Projection)> {
    decoder
        .model
        .layers
        .iter_mut()
        .enumerate()
        .flat_map(|(index, layer)| {
            let (attention, mlp) = (&mut layer.self_attn, &mut layer.mlp);
            [
                ("self_attn.q_proj", &mut attention.q_proj),
                ("self_attn.k_proj", &mut attention.k_proj),
                ("self_attn.v_proj", &mut attention.v_proj),
                ("self_attn.o_proj", &mut attention.o_proj),
                ("mlp.gate_proj", &mut mlp.gate_proj),
                ("mlp.up_proj", &mut mlp.up_proj),
                ("mlp.down_proj", &mut mlp.down_proj),
            ]
            .map(|(name, projection)| (format!("model.layers.{index}.{name}"), projection))
        })
}
#[cfg(test)]
mod tests;
