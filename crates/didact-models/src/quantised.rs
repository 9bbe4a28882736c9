//! Decoders whose projections' weights are frozen in 8 or 4 bits.
//!
//! Owns how a decoder's weights become quantised and f32 again. Blocks, codes and products are the matter of
//! [`didact_kernels::QuantisedMatrix`]; loading straight into it is that of the files.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use didact_kernels::QuantisedMatrix;

use crate::adapter::projections;
use crate::assemble::transpose;
use crate::{Bits, Decoder, Error, Result};

impl Decoder {
    /// The same with the weights of all projections frozen in `bits`: with [`Bits::Eight`] 1.125 bytes a weight
    /// and with [`Bits::Four`] 0.625, where f32 takes 4.
    ///
    /// Each weight moves by at most half the scale of its block, as
    /// [`QuantisedMatrix`] says. Embeddings (the output
    /// embedding too, whether tied or not), norms and biases stay what they are, and so does an adapter: the
    /// memory is shared. Quantised weights are no parameters:
    /// [`visit_parameters`](Self::visit_parameters) does not show them, burn's records leave them out, and
    /// gradients pass through them to what stands below.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use didact_models::{Bits, Decoder, DecoderConfig, DecoderOptions, Family, LoraConfig};
    ///
    /// let config = DecoderConfig::new(DecoderOptions::new(Family::Llama, 64, 32, 64, 1, 2))?;
    /// let decoder = Decoder::init(&config, 7, &Device::flex());
    /// let policy = decoder.quantise(Bits::Four)?.with_adapter(&LoraConfig::new(4, 8.0), 1)?;
    /// assert_eq!(policy.quantised(), Some(Bits::Four));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A decoder that is quantised already; a weight that is not finite or beyond ±65 504.
    pub fn quantise(&self, bits: Bits) -> Result<Self> {
        if self.quantised().is_some() {
            return Err(Error::Quantised {
                problem: "the decoder's weights are quantised already; quantise the one that they were made \
                          from, or what `dequantise()` gives"
                    .to_owned(),
            });
        }
        let mut quantised = self.clone();
        for (path, projection) in projections(&mut quantised) {
            if let Some(weight) = projection.weight.take() {
                let matrix = QuantisedMatrix::quantise(weight.val(), bits);
                let named = Error::not_quantisable(&path);
                projection.quantised = Some(matrix.map_err(named)?);
            }
        }
        Ok(quantised)
    }

    /// How many bits the projections' weights are frozen in, `None` where they are parameters.
    #[must_use]
    pub fn quantised(&self) -> Option<Bits> {
        let first = self.model.layers.first()?;
        let weight = first.self_attn.q_proj.quantised.as_ref()?;
        Some(weight.bits())
    }

    /// Shows `visit` every quantised weight by its path, in the order of the model: what
    /// [`visit_parameters`](Self::visit_parameters) leaves out.
    pub fn visit_quantised(&self, visit: &mut dyn FnMut(&str, &QuantisedMatrix)) {
        // Clones share the weights.
        let mut decoder = self.clone();
        for (path, projection) in projections(&mut decoder) {
            if let Some(weight) = &projection.quantised {
                visit(&path, weight);
            }
        }
    }

    /// Gives up what devices hold of quantised weights, for all that share them; the next product on a device
    /// uploads them again. Nothing else changes.
    pub fn free_uploads(&self) {
        let mut decoder = self.clone();
        for (_, projection) in projections(&mut decoder) {
            if let Some(weight) = &projection.quantised {
                weight.free_uploads();
            }
        }
    }

    /// The same with quantised weights as parameters, in the precision and on the device of the others; a clone
    /// where none is quantised.
    ///
    /// In f32 they keep the values that quantising gave them. They can be trained, unless there is an adapter:
    /// below one they stay frozen.
    #[must_use]
    pub fn dequantise(&self) -> Self {
        let device = self.device();
        let dtype = self.model.embed_tokens.weight.val().dtype();
        let frozen = self.adapter.is_some();
        let mut dequantised = self.clone();
        for (_, projection) in projections(&mut dequantised) {
            if let Some(weight) = projection.quantised.take() {
                let weight = parameter(&weight, dtype, &device);
                projection.weight = Some(if frozen { weight.freeze() } else { weight });
            }
        }
        dequantised
    }
}

fn parameter(weight: &QuantisedMatrix, dtype: DType, device: &Device) -> Param<Tensor<2>> {
    let [inputs, outputs] = weight.shape();
    let values = transpose(&weight.dequantise_rows(), outputs, inputs);
    let data = TensorData::new(values, [inputs, outputs]);
    Param::from_tensor(Tensor::from_data(data, (device, dtype)))
}

#[cfg(test)]
mod tests;
