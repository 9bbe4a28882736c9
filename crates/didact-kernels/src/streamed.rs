//! Products of a few rows with a matrix that is read once from memory: decoding.
//!
//! This module owns the operation's contract. No gradient passes here.
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};

use crate::{device, reference};

/// `x·W`, `[R, K]·[K, N] → [R, N]`, for few rows.
///
/// `weight` is f32 or bf16, sums are f32. It may be a transposed view of a matrix `[N, K]`: both orders are
/// read as they lie in memory, once for all rows. On the CPU each output is summed in an order that depends on neither
/// the number of rows nor the number of threads. On GPUs the weight may be f16 too; the rows are rounded to the type of
/// a half-precision weight, since matrix units multiply one type, and the result is not. A type that
/// the device cannot compute with goes through the reference.
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
    let on_cpu = device::is_flex_without_gradients(&x.device())
        && [DType::F32, DType::BF16].contains(&weight.dtype());
    let on_gpu = device::is_cube_without_gradients(&x.device())
        && [DType::F32, DType::F16, DType::BF16].contains(&weight.dtype())
        && x.device().supports_dtype(weight.dtype());
    if !(on_cpu || on_gpu) || x.dims()[0] == 0 {
        return reference::streamed_product(x, weight);
    }
    Tensor::from_dispatch(<Dispatch as StreamedOps>::streamed_product(
        x.into_dispatch(),
        weight.into_dispatch(),
    ))
}

/// The backend family behind [`streamed_product`]: f32 rows, at least one, an f32 or bf16 weight, on GPUs f16 too; no
/// gradients.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
)]
pub trait StreamedOps: Backend {
    /// The products.
    #[fusion(meta = |x, weight| TensorSpec::new(burn::tensor::Shape::from([x.shape[0], weight.shape[1]]), DType::F32))]
    fn streamed_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}
