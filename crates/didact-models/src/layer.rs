//! The parts of a decoder layer: projections, norms, attention and the gated MLP.
//!
//! Field names are those of Hugging Face's tensors, so that a parameter's path in the module is its
//! name in a checkpoint. Activations are packed, `[N, width]`. How attention reaches its keys is the
//! caller's matter.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::linear;
use didact_kernels::{gated, rms_norm, rotary};

use crate::DecoderConfig;
use crate::rotary::RotaryTables;

/// A table of one row for each token, `[vocabulary, hidden]`.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    pub(crate) weight: Param<Tensor<2>>,
}

/// `x·W + b` with `W` kept `[in, out]`, the transpose of what checkpoints hold.
#[derive(Module, Debug)]
pub(crate) struct Projection {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Projection {
    /// `[N, in] → [N, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
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
        rms_norm(
            x,
            self.weight.val(),
            config.rms_norm_eps,
            config.family.norm_offset(),
        )
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
        tables: &RotaryTables,
        config: &DecoderConfig,
        attend: impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<2> {
        let [tokens, _] = x.dims();
        let width = config.head_dim;
        let heads = |x: Tensor<2>, count: usize| x.reshape([tokens, count, width]);
        let mut q = heads(self.q_proj.forward(x.clone()), config.num_attention_heads);
        let mut k = heads(self.k_proj.forward(x.clone()), config.num_key_value_heads);
        let v = heads(self.v_proj.forward(x), config.num_key_value_heads);
        if let Some(norm) = &self.q_norm {
            q = norm.forward_heads(q, config);
        }
        if let Some(norm) = &self.k_norm {
            k = norm.forward_heads(k, config);
        }
        let q = rotary(q, tables.cos.clone(), tables.sin.clone());
        let k = rotary(k, tables.cos.clone(), tables.sin.clone());
        let mixed = attend(q, k, v).reshape([tokens, config.num_attention_heads * width]);
        self.o_proj.forward(mixed)
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
    pub(crate) fn forward(&self, x: Tensor<2>, config: &DecoderConfig) -> Tensor<2> {
        let gate = self.gate_proj.forward(x.clone());
        let up = self.up_proj.forward(x);
        self.down_proj.forward(gated(gate, up, config.hidden_act))
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
        tables: &RotaryTables,
        config: &DecoderConfig,
        attend: impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<2> {
        let normed = self.input_layernorm.forward(hidden.clone(), config);
        let hidden = hidden + self.self_attn.forward(normed, tables, config, attend);
        let normed = self
            .post_attention_layernorm
            .forward(hidden.clone(), config);
        hidden + self.mlp.forward(normed, config)
    }
}
