//! Causal attention over packed segments with shared prefixes and grouped key heads.
//!
//! This module owns the operation's contract and its shape checks. It knows no cache and no
//! projection: rotated queries, keys and values come in.
use burn::tensor::{Shape, Tensor};

use crate::{PackedLayout, reference};

/// Causal attention over a packed sequence, `[N, Hq, D]`.
///
/// For query head `h` of a token, over the keys `j` that the layout lets it see (all of its
/// segment's ancestors, its own segment up to itself), with key head `h / (Hq / Hkv)`:
///
/// `out = Σⱼ softmaxⱼ(scale · q·kⱼ) · vⱼ`
///
/// Shapes: `q` `[N, Hq, D]`, `k` and `v` `[N, Hkv, D]` with `Hq` a multiple of `Hkv`, and `N` the
/// layout's token count. `scale` is 1/√D in most models. Keys are not repeated for grouped heads.
///
/// # Panics
/// When the shapes do not belong together or to the layout.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    layout: &PackedLayout,
    scale: f64,
) -> Tensor<3> {
    reference::attention(q, k, v, layout, scale)
}

pub(crate) fn check_shapes(q: &Shape, k: &Shape, v: &Shape, layout: &PackedLayout) {
    assert!(
        k == v,
        "attention: keys {k:?} and values {v:?} differ in shape"
    );
    assert!(
        q[0] == layout.tokens() && k[0] == layout.tokens(),
        "attention: the layout has {} tokens, but queries are {q:?} and keys {k:?}",
        layout.tokens()
    );
    assert!(
        q[2] == k[2] && k[1] > 0 && q[1].is_multiple_of(k[1]),
        "attention: query heads {q:?} cannot be grouped over key heads {k:?}"
    );
}
