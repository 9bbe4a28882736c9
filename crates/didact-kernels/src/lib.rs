//! Fused language-model operations behind one backend trait, each beside its plain reference, for burn on CPU, CUDA and wgpu.
