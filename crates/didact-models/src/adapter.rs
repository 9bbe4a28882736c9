//! Low-rank adapters: what a projection learns beside its frozen weight.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::layer::Products;

/// `(x·A)·B·scale`, added to what the projection computes.
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
}
