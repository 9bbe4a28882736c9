//! Drawing tokens where their logits lie.
//!
//! This module owns the operation's contract. It knows no request and no random stream: each row comes with the uniform
//! number that decides it.
#[cfg(feature = "cube")]
use std::sync::Arc;

#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
#[cfg(feature = "cube")]
use burn::backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::Tensor;
#[cfg(feature = "cube")]
use burn::tensor::{DType, FloatDType};

use crate::{device, reference};

/// How one row's token is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// What logits are divided by; 0 takes the likeliest token.
    pub temperature: f64,
    /// Only the so many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Only the likeliest tokens that first sum to this share, in `(0, 1]`.
    pub top_p: f64,
    /// Only tokens of at least this share of the likeliest one's probability, in `[0, 1]`.
    pub min_p: f64,
    /// In `[0, 1)`.
    pub uniform: f64,
}

impl Draw {
    /// Whether every one of so many tokens may be drawn.
    pub(crate) fn keeps_all(&self, vocabulary: usize) -> bool {
        !self.counts(vocabulary) && self.top_p >= 1.0 && self.min_p <= 0.0
    }

    /// Whether `top_k` cuts some of so many tokens off.
    pub(crate) const fn counts(&self, vocabulary: usize) -> bool {
        self.top_k > 0 && self.top_k < vocabulary
    }
}

/// One token of each row of logits `[R, V]`: its id and its log-probability, `[R, 2]` in f32.
///
/// With weights `wᵢ = exp((xᵢ − max x) / temperature)`, top-k, top-p and min-p cut the candidates down, in this order,
/// each to the likeliest (of equal logits the lower ids). The token drawn is the first whose running sum of weights
/// exceeds `uniform` times the sum of all kept weights; the sum runs by id where nothing is cut off, by falling logit
/// otherwise. The log-probability is that of the full softmax at the temperature, at temperature 1 where the likeliest
/// token is taken. On GPUs sums are f32: a uniform number within rounding of the border of two tokens may draw either.
///
/// A row with a logit that is not finite gives the id −1. Ids are exact up to 2²⁴. Of logits that keep a gradient tape the
/// numbers alone are read.
///
/// # Panics
/// When there is not one draw a row.
#[must_use]
pub fn sample(logits: Tensor<2>, draws: &[Draw]) -> Tensor<2> {
    let [rows, _] = logits.dims();
    assert!(
        rows == draws.len(),
        "sample: {rows} rows of logits but {} draws",
        draws.len()
    );
    let logits = if device::is_autodiff(&logits.device()) {
        logits.inner()
    } else {
        logits
    };
    #[cfg(feature = "cube")]
    if device::is_cube(&logits.device()) && rows > 0 {
        let logits = if logits.dtype() == DType::F32 {
            logits
        } else {
            logits.cast(FloatDType::F32)
        };
        return Tensor::from_dispatch(<Dispatch as SampleOps>::sample(
            logits.into_dispatch(),
            Arc::from(draws),
        ));
    }
    reference::sample(logits, draws)
}

/// The backend family behind [`sample()`]: f32 logits of at least one row; no gradients. The CPU draws on the host.
#[cfg(feature = "cube")]
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Cube,
)]
pub trait SampleOps: Backend {
    /// Id and log-probability of each row's token, `[R, 2]`.
    #[fusion(meta = |logits, _| TensorSpec::new(burn::tensor::Shape::from([logits.shape[0], 2]), DType::F32))]
    fn sample(logits: FloatTensor<Self>, draws: Arc<[Draw]>) -> FloatTensor<Self>;
}
