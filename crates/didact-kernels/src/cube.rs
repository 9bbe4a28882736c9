//! The CubeCL implementations, shared by CUDA, ROCm, Metal, Vulkan and wgpu.
mod attention;
mod cache;
mod gated;
mod kernels;
mod launch;
mod linear_log_prob;
mod norm;
mod quantised;
mod rotary;
#[cfg(feature = "cuda-sources")]
mod sources;

pub(crate) use quantised::OnDevice;
#[cfg(feature = "cuda-sources")]
pub use sources::{CudaSource, cuda_sources};
