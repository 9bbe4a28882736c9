//! Products of a few rows with a matrix that is read once from memory: decoding.
//!
//! This module owns the operation's contract. No gradient passes here.
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};

use crate::{device, reference};

/// `x·W`, `[R, K]·[K, N] → [R, N]`, for few rows.
///
/// `weight` is f32 or bf16, sums are f32. It may be a transposed view of a matrix `[N, K]`: both orders are
/// read as they lie in memory, once for all rows. Each output is summed in an order that depends on neither
/// the number of rows nor the number of threads.
///
/// # Panics
/// When the shapes do not belong together, or `x` is not f32.
pub fn streamed_product(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    assert!(
        x.dims()[1] == weight.dims()[0],
        "streamed_product: rows {:?} and weight {:?} differ in width",
        x.dims(),
        weight.dims()
    );
    assert!(
        x.dtype() == DType::F32,
        "streamed_product: rows must be F32, not {:?}",
        x.dtype()
    );
    let known = [DType::F32, DType::BF16].contains(&weight.dtype());
    if !known || !device::is_flex_without_gradients(&x.device()) {
        return reference::streamed_product(x, weight);
    }
    Tensor::from_dispatch(<Dispatch as StreamedOps>::streamed_product(
        x.into_dispatch(),
        weight.into_dispatch(),
    ))
}

/// The backend family behind [`streamed_product`]: f32 rows, an f32 or bf16 weight, no gradients.
#[backend_extension(Flex)]
pub trait StreamedOps: Backend {
    /// The products.
    fn streamed_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}
