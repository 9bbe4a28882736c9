//! The decoder: embedding, layers, final norm, and the embedding of the output.
//!
//! It maps packed token ids to hidden states. It never makes logits: whoever needs log-probabilities
//! projects the rows that matter onto [`Decoder::output_embedding`].

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use didact_kernels::{PackedLayout, attention};

use crate::layer::{Embedding, Layer, Norm, Pass, Products};
use crate::rotary::RotaryTables;
use crate::{DecoderConfig, LoraConfig};

/// The part of a decoder below its head; its name is the first part of the tensors' names.
#[derive(Module, Debug)]
pub(crate) struct Backbone {
    pub(crate) embed_tokens: Embedding,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Norm,
}

/// A decoder language model of any [`Family`](crate::Family).
///
/// The device decides about gradients: on `device.autodiff()` every parameter requires one, and
/// `valid()` (of burn's `Module`) gives a snapshot without.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use didact_kernels::PackedLayout;
/// use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family};
///
/// let config = DecoderConfig::new(DecoderOptions::new(Family::Llama, 64, 16, 32, 2, 2))?;
/// let device = Device::flex();
/// let decoder = Decoder::init(&config, 7, &device);
/// let ids = Tensor::<1, Int>::from_data([1, 2, 3, 4], &device);
/// let hidden = decoder.forward(ids, &PackedLayout::single(4)?);
/// assert_eq!(hidden.dims(), [4, 16]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct Decoder {
    pub(crate) model: Backbone,
    pub(crate) lm_head: Option<Embedding>,
    #[module(skip)]
    pub(crate) config: DecoderConfig,
    #[module(skip)]
    pub(crate) adapter: Option<LoraConfig>,
}

impl Decoder {
    /// What this decoder is.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The device that holds the parameters.
    #[must_use]
    pub fn device(&self) -> Device {
        self.model.embed_tokens.weight.val().device()
    }

    /// The embedding that hidden states are projected onto, `[vocabulary, hidden]`: the input
    /// embedding where the two are tied.
    #[must_use]
    pub fn output_embedding(&self) -> Tensor<2> {
        self.lm_head
            .as_ref()
            .unwrap_or(&self.model.embed_tokens)
            .weight
            .val()
    }

    /// Hidden states `[N, hidden]` after the final norm, for the packed tokens `ids`.
    ///
    /// Row `i` is what the token after token `i` is predicted from.
    ///
    /// # Panics
    /// Where `ids` and `layout` differ in length.
    #[must_use]
    pub fn forward(&self, ids: Tensor<1, Int>, layout: &PackedLayout) -> Tensor<2> {
        let scale = self.config.attention_scale();
        self.forward_with(ids, layout.positions(), |_, q, k, v| {
            attention(q, k, v, layout, scale)
        })
    }

    /// [`forward`](Self::forward) with an attention of the caller's, such as one over a key/value
    /// cache.
    ///
    /// `attend` gets the layer's index, its queries `[N, heads, head_dim]`, keys and values
    /// `[N, key/value heads, head_dim]`, queries and keys already normalised and rotated by
    /// `positions`, and returns `[N, heads, head_dim]`. It multiplies the products by
    /// [`attention_scale`](crate::DecoderOptions::attention_scale).
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
        let tables = self.rotary_tables(positions);
        self.layers_with(self.embed(ids), self.pass(&tables, Products::Whole), attend)
    }

    /// All layers and the final norm.
    pub(crate) fn layers_with(
        &self,
        mut hidden: Tensor<2>,
        pass: Pass<'_>,
        mut attend: impl FnMut(usize, Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<2> {
        for (index, layer) in self.model.layers.iter().enumerate() {
            hidden = layer.forward(hidden, pass, |q, k, v| attend(index, q, k, v));
        }
        self.normalise(hidden)
    }

    pub(crate) fn pass<'a>(&'a self, tables: &'a RotaryTables, products: Products) -> Pass<'a> {
        Pass {
            config: &self.config,
            tables,
            products,
        }
    }

    /// The rotary tables that the layers need for tokens at `positions`.
    #[must_use]
    pub fn rotary_tables(&self, positions: &[u32]) -> RotaryTables {
        RotaryTables::new(&self.config, positions, &self.device())
    }

    /// The first step of [`forward`](Self::forward): rows of the input embedding, scaled as the
    /// family wants them.
    #[must_use]
    pub fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        let rows = self.model.embed_tokens.weight.val().select(0, ids);
        let scale = self.config.embedding_scale();
        if scale == 1.0 { rows } else { rows * scale }
    }

    /// One layer of [`forward`](Self::forward), `[N, hidden] → [N, hidden]`.
    ///
    /// # Panics
    /// Where there is no such layer.
    #[must_use]
    pub fn forward_layer(
        &self,
        layer: usize,
        hidden: Tensor<2>,
        tables: &RotaryTables,
        attend: impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<2> {
        self.model.layers[layer].forward(hidden, self.pass(tables, Products::Whole), attend)
    }

    /// The last step of [`forward`](Self::forward): the final norm.
    #[must_use]
    pub fn normalise(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.model.norm.forward(hidden, &self.config)
    }
}

#[cfg(test)]
mod tests;
