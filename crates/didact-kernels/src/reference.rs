//! Every operation in plain burn tensor operations: the definition that the fast paths are tested
//! against, and the path for devices that have no fast one.
//!
//! The references are differentiable on every backend and in every float precision. They know no
//! backend, and favour being readable over being quick.
mod adamw;
mod attention;
mod cache;
mod gated;
mod linear;
mod linear_kl;
mod linear_log_prob;
mod quantised;
mod rms_norm;
mod rotary;
mod sample;
mod streamed;

pub use adamw::adamw;
pub use attention::attention;
pub use cache::{cached_attention, write_slots};
pub use gated::gated;
pub use linear::linear;
pub use linear_kl::linear_kl;
pub use linear_log_prob::linear_log_prob;
pub use quantised::quantised_linear;
pub use rms_norm::rms_norm;
pub use rotary::rotary;
pub use sample::sample;
pub use streamed::streamed_product;

use burn::tensor::{DType, FloatDType, Tensor};

/// Half precisions are computed in f32; f32 and f64 as they are.
fn widen<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 => tensor.cast(FloatDType::F32),
        _ => tensor,
    }
}
