//! A hardened reader of the GGUF container: metadata, tensor directory and block dequantisation.
#![forbid(unsafe_code)]
