//! A decoder as decoding runs it: a few rows at a time, so that reading the weights is most of the time.
//!
//! It owns the weights in the precision that decoding reads them in. It knows no cache and no sampling.

use burn::module::{Module, Param};
use burn::tensor::{DType, FloatDType, Int, Tensor, TensorData};
use half::bf16;
use serde::{Deserialize, Serialize};

use crate::adapter::is_factor;
use crate::layer::Products;
use crate::{Decoder, ParameterMapper};

/// In which precision decoding reads the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightPrecision {
    /// As the decoder keeps them; the memory is shared.
    #[default]
    Exact,
    /// Matrices rounded to bf16, in a copy of half their size: half the memory traffic a token, and
    /// log-probs that differ from the decoder's by its rounding, of 2⁻⁹ a weight. An adapter stays as it
    /// is.
    Bf16,
}

/// A [`Decoder`] for a few rows at a time, without gradients.
///
/// A row's numbers depend on the row alone, however many are computed with it.
#[derive(Debug, Clone)]
pub struct DecodingModel {
    decoder: Decoder,
}

impl DecodingModel {
    /// Decodes with `decoder`'s weights as they are now.
    #[must_use]
    pub fn new(decoder: &Decoder, precision: WeightPrecision) -> Self {
        let decoder = decoder.valid();
        Self {
            decoder: match precision {
                WeightPrecision::Exact => decoder,
                WeightPrecision::Bf16 => decoder.map_parameters(&mut Rounding),
            },
        }
    }

    /// Hidden states `[N, hidden]` after the final norm, as
    /// [`Decoder::forward_with`] computes them.
    ///
    /// # Panics
    /// Where `ids` and `positions` differ in length.
    #[must_use]
    pub fn forward_with(
        &self,
        ids: Tensor<1, Int>,
        positions: &[u32],
        attend: impl FnMut(usize, Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<2> {
        let [tokens] = ids.dims();
        assert!(
            tokens == positions.len(),
            "{tokens} token ids, but positions for {}",
            positions.len()
        );
        let tables = self.decoder.rotary_tables(positions);
        let hidden = self.decoder.embed(ids).cast(FloatDType::F32);
        let pass = self.decoder.pass(&tables, Products::Streamed);
        self.decoder.layers_with(hidden, pass, attend)
    }

    /// Logits `[N, vocabulary]` of hidden states `[N, hidden]`.
    #[must_use]
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let embedding = self.decoder.output_embedding();
        // Prompts are read in the weights' precision, and logits are f32.
        let hidden = hidden.cast(FloatDType::F32);
        didact_kernels::streamed_product(hidden, embedding.transpose())
    }
}

/// Rounds matrices to the nearest bf16.
struct Rounding;

impl ParameterMapper for Rounding {
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // What an adapter learns is small beside the weights, and would drown in their rounding.
        if D != 2 || is_factor(path) {
            return parameter;
        }
        let (id, tensor, mapper) = parameter.consume();
        let (device, shape) = (tensor.device(), tensor.dims());
        // burn's own conversion goes number by number on one thread, and rounds the same way.
        let rounded = match tensor.clone().into_data().as_slice::<f32>() {
            Ok(values) => {
                let values: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
                Tensor::from_data(TensorData::new(values, shape), (&device, DType::BF16))
            }
            Err(_) => tensor.cast(FloatDType::BF16),
        };
        Param::from_mapped_value(id, rounded, mapper)
    }
}
