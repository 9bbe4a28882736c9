//! The parts of a decoder layer: projections, norms, attention and the gated MLP.
//!
//! Field names are those of Hugging Face's tensors, so that a parameter's path in the module is its
//! name in a checkpoint. Activations are packed, `[N, width]`. How attention reaches its keys is the
//! caller's matter.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use didact_kernels::{
    QuantisedMatrix, gated, linear, quantised_linear, rms_norm, rotary, streamed_product,
    streamed_quantised_product,
};

use crate::DecoderConfig;
use crate::adapter::Adapter;
use crate::rotary::RotaryTables;

/// What all layers of one forward pass share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a DecoderConfig,
    pub(crate) tables: &'a RotaryTables,
    pub(crate) products: Products,
}

/// How rows are multiplied with a projection's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Products {
    /// Many rows at once; has gradients.
    Whole,
    /// Few rows, weights of either precision; has none.
    Streamed,
}

impl Products {
    /// `x·W`.
    pub(crate) fn multiply(self, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Whole => linear(x, weight),
            Self::Streamed => streamed_product(x, weight),
        }
    }

    /// `x·Ŵ`.
    fn multiply_quantised(self, x: Tensor<2>, weight: &QuantisedMatrix) -> Tensor<2> {
        match self {
            Self::Whole => quantised_linear(x, weight),
            Self::Streamed => streamed_quantised_product(x, weight),
        }
    }
}

/// A table of one row for each token, `[vocabulary, hidden]`.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    pub(crate) weight: Param<Tensor<2>>,
}

/// `x·W + b` with `W` kept `[in, out]`, the transpose of what checkpoints hold, plus what an adapter adds.
///
/// `W` is a parameter or quantised and frozen, never both.
#[derive(Module, Debug)]
pub(crate) struct Projection {
    pub(crate) weight: Option<Param<Tensor<2>>>,
    #[module(skip)]
    pub(crate) quantised: Option<QuantisedMatrix>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
    pub(crate) adapter: Option<Adapter>,
}

impl Projection {
    /// `[N, in] → [N, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>, products: Products) -> Tensor<2> {
        let added = self
            .adapter
            .as_ref()
            .map(|adapter| adapter.forward(x.clone(), products));
        let mut output = match (&self.quantised, &self.weight) {
            (Some(weight), _) => products.multiply_quantised(x, weight),
            (None, Some(weight)) => products.multiply(x, weight.val()),
            (None, None) => unreachable!("a projection has a weight"),
        };
        if let Some(bias) = &self.bias {
            // Decoding has rows of f32 whatever the weights are.
            output = output.clone() + bias.val().unsqueeze().cast(output.dtype());
        }
        match added {
            Some(added) => output + added,
            None => output,
        }
    }
}

/// Root-mean-square normalisation with the family's weight offset.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Param<Tensor<1>>,
}

impl Norm {
    /// `[N, width] → [N, width]`.
    pub(crate) fn forward(&self, x: Tensor<2>, config: &DecoderConfig) -> Tensor<2> {
        let mut weight = self.weight.val();
        if weight.dtype() != x.dtype() {
            // Decoding has rows of f32 whatever the weights are, and the operation one type.
            weight = weight.cast(x.dtype());
        }
        rms_norm(x, weight, config.rms_norm_eps, config.family.norm_offset())
    }

    /// Each head of `[N, heads, head_dim]` by itself.
    fn forward_heads(&self, x: Tensor<3>, config: &DecoderConfig) -> Tensor<3> {
        let [tokens, heads, width] = x.dims();
        self.forward(x.reshape([tokens * heads, width]), config)
            .reshape([tokens, heads, width])
    }
}

/// Grouped-query attention around an injected `attend`.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    pub(crate) q_proj: Projection,
    pub(crate) k_proj: Projection,
    pub(crate) v_proj: Projection,
    pub(crate) o_proj: Projection,
    pub(crate) q_norm: Option<Norm>,
    pub(crate) k_norm: Option<Norm>,
}

impl Attention {
    /// `[N, hidden] → [N, hidden]`; `attend` maps queries `[N, heads, D]`, keys and values
    /// `[N, kv heads, D]` to `[N, heads, D]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        pass: Pass<'_>,
        attend: impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<2> {
        let Pass {
            config,
            tables,
            products,
        } = pass;
        let [tokens, _] = x.dims();
        let width = config.head_dim;
        let heads = |x: Tensor<2>, count: usize| x.reshape([tokens, count, width]);
        let mut q = heads(
            self.q_proj.forward(x.clone(), products),
            config.num_attention_heads,
        );
        let mut k = heads(
            self.k_proj.forward(x.clone(), products),
            config.num_key_value_heads,
        );
        let v = heads(self.v_proj.forward(x, products), config.num_key_value_heads);
        if let Some(norm) = &self.q_norm {
            q = norm.forward_heads(q, config);
        }
        if let Some(norm) = &self.k_norm {
            k = norm.forward_heads(k, config);
        }
        let q = rotary(q, tables.cos.clone(), tables.sin.clone());
        let k = rotary(k, tables.cos.clone(), tables.sin.clone());
        let mixed = attend(q, k, v).reshape([tokens, config.num_attention_heads * width]);
        self.o_proj.forward(mixed, products)
    }
}

/// `down(activation(gate(x)) ⊙ up(x))`.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(crate) gate_proj: Projection,
    pub(crate) up_proj: Projection,
    pub(crate) down_proj: Projection,
}

impl Mlp {
    /// `[N, hidden] → [N, hidden]`.
    pub(crate) fn forward(&self, x: Tensor<2>, pass: Pass<'_>) -> Tensor<2> {
        let products = pass.products;
        let gate = self.gate_proj.forward(x.clone(), products);
        let up = self.up_proj.forward(x, products);
        let activated = gated(gate, up, pass.config.hidden_act);
        self.down_proj.forward(activated, products)
    }
}

/// One layer: attention and MLP, each behind a norm and added to the residual stream.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    pub(crate) input_layernorm: Norm,
    pub(crate) self_attn: Attention,
    pub(crate) post_attention_layernorm: Norm,
    pub(crate) mlp: Mlp,
}

impl Layer {
    /// `[N, hidden] → [N, hidden]`.
    pub(crate) fn forward(
        &self,
        hidden: Tensor<2>,
        pass: Pass<'_>,
        attend: impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<2> {
        let normed = self.input_layernorm.forward(hidden.clone(), pass.config);
        let hidden = hidden + self.self_attn.forward(normed, pass, attend);
        let normed = self
            .post_attention_layernorm
            .forward(hidden.clone(), pass.config);
        hidden + self.mlp.forward(normed, pass)
    }
}
