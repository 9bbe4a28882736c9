//! The CubeCL implementations, shared by CUDA, ROCm, Metal, Vulkan and wgpu.
mod adamw;
mod attention;
mod cache;
mod gated;
mod kernels;
mod launch;
mod linear_kl;
mod linear_log_prob;
mod norm;
mod projection;
mod quantised;
mod rotary;
mod sample;
#[cfg(feature = "cuda-sources")]
mod sources;
mod streamed;

pub use launch::limit_tiles;
pub(crate) use quantised::OnDevice;
#[cfg(feature = "cuda-sources")]
pub use sources::{CudaSource, cuda_sources};
