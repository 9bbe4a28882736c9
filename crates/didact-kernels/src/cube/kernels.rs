//! The kernels, in CubeCL's language.
//!
//! They live apart because CubeCL's prelude and burn's tensor types share names. Every kernel reads and writes one
//! float type and counts in f32; each element of a result is summed in an order that depends on shapes and on the
//! device's properties alone.
pub(super) mod adamw;
pub(super) mod attention;
pub(super) mod cache;
pub(super) mod gated;
pub(super) mod linear_kl;
pub(super) mod linear_log_prob;
pub(super) mod norm;
pub(super) mod quantised;
mod reduce;
pub(super) mod rotary;
pub(super) mod sample;
