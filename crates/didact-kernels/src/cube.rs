//! The CubeCL implementations, shared by CUDA, ROCm, Metal, Vulkan and wgpu.
mod kernel;
mod linear_log_prob;
