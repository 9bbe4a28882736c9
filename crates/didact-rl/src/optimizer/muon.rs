//! Muon: its constants and its update of one matrix.
//!
//! Owns the formula, and which tensors it is for. The matrix products run on the parameter's own device in f32;
//! everything element-wise runs on the host. Knows no model.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::AdamWConfig;
use crate::Result;
use crate::config::{at_least_one, check, not_negative, positive};
use crate::gradients::{CHUNK, mutable, read, sum_of_squares, values};

/// The quintic of Keller Jordan's post: steep at 0, so that five iterations bring any singular value from about
/// 0.01 up to between 0.7 and 1.2, rather than converging to 1.
const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// How far a step of Muon goes for one learning rate, by the matrix's shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MuonScale {
    /// `0.2 · √max(in, out)`: the root mean square of AdamW's steps, so that both take one learning rate.
    /// Source: Liu et al., "Muon is scalable for LLM training", 2025.
    #[default]
    MatchRmsAdamw,
    /// `√max(1, out / in)`, of the original. Its learning rates are some fifty times those of AdamW; see
    /// [`MuonConfig::learning_rate_ratio`].
    Original,
}

impl MuonScale {
    fn of(self, [input, output]: [usize; 2]) -> f64 {
        let (input, output) = (input as f64, output as f64);
        match self {
            Self::MatchRmsAdamw => 0.2 * input.max(output).sqrt(),
            Self::Original => (output / input).max(1.0).sqrt(),
        }
    }
}

/// Momentum whose matrices are made nearly orthogonal before they are applied, and AdamW for the rest.
///
/// With learning rate `η`, gradient `G` and the matrix's scale `s` ([`MuonScale`]):
///
/// ```text
/// M ← μ·M + (1−μ)·G
/// U = μ·M + (1−μ)·G  with Nesterov's momentum, else M
/// X = U / max(‖U‖, ε), then five times: A = X·Xᵀ, X ← 3.4445·X + (−4.775·A + 2.0315·A²)·X
/// W ← W − η·λ·W − η·s·X
/// ```
///
/// Every two-dimensional tensor takes part, factors of low-rank adapters as well, but for the embedding and the
/// output head. Those, norms and biases are updated by AdamW. State is f32, 4 bytes for each entry of a matrix.
///
/// Sources: Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024; the scale and the decoupled
/// decay are of Liu et al., 2025. `torch.optim.Muon` has the same defaults, except for its decay of 0.1 and its
/// scale, and rounds the iteration to bf16.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MuonConfig {
    /// Decay of the momentum per step, in `[0, 1)`. Default 0.95.
    pub momentum: f64,
    /// Whether the update looks one step of momentum ahead. Default true.
    pub nesterov: bool,
    /// Newton–Schulz iterations; at least 1. Default 5.
    pub iterations: u64,
    /// The least norm that a matrix is divided by; above 0. Default 1e-7.
    pub epsilon: f64,
    /// Fraction of a matrix, times the learning rate, that each step takes off. Default 0.
    pub weight_decay: f64,
    /// How far a step goes by the matrix's shape. Default `match_rms_adamw`.
    pub scale: MuonScale,
    /// The matrices' learning rate as a multiple of the schedule's, which is AdamW's; above 0. Default 1.
    pub learning_rate_ratio: f64,
    /// The constants of AdamW for the other tensors.
    pub adamw: AdamWConfig,
}

impl Default for MuonConfig {
    fn default() -> Self {
        Self {
            momentum: 0.95,
            nesterov: true,
            iterations: 5,
            epsilon: 1e-7,
            weight_decay: 0.0,
            scale: MuonScale::MatchRmsAdamw,
            learning_rate_ratio: 1.0,
            adamw: AdamWConfig::default(),
        }
    }
}

impl MuonConfig {
    /// Checks the ranges; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`](crate::Error::Configuration) names the key.
    pub fn validate(&self, key: &str) -> Result<()> {
        let of = |name: &str| format!("{key}.{name}");
        check(&of("momentum"), (0.0..1.0).contains(&self.momentum), || {
            format!("{} is not in [0, 1)", self.momentum)
        })?;
        at_least_one(&of("iterations"), self.iterations)?;
        positive(&of("epsilon"), self.epsilon)?;
        not_negative(&of("weight_decay"), self.weight_decay)?;
        positive(&of("learning_rate_ratio"), self.learning_rate_ratio)?;
        self.adamw.validate(&of("adamw"))
    }

    /// Whether Muon updates the tensor called `path`.
    pub(super) fn updates(path: &str, rank: usize) -> bool {
        let embeds = path.ends_with("embed_tokens.weight") || path == "lm_head.weight";
        rank == 2 && !embeds
    }
}

/// One step of Muon, for any matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct MuonStep {
    config: MuonConfig,
    learning_rate: f64,
}

impl MuonStep {
    pub(super) fn new(config: MuonConfig, learning_rate: f64) -> Self {
        Self {
            config,
            learning_rate: learning_rate * config.learning_rate_ratio,
        }
    }

    /// Updates `parameter` `[in, out]` and its momentum; the gradient's buffer is used up.
    pub(super) fn update(
        self,
        path: &str,
        device: &Device,
        parameter: &mut TensorData,
        mut gradient: TensorData,
        momentum: &mut [f32],
    ) -> Result<()> {
        let shape = [parameter.shape()[0], parameter.shape()[1]];
        self.advance(mutable(path, &mut gradient)?, momentum);
        let norm = sum_of_squares(path, &gradient)?.sqrt();
        let factor = (1.0 / norm.max(self.config.epsilon)) as f32;
        mutable(path, &mut gradient)?
            .par_chunks_mut(CHUNK)
            .for_each(|chunk| chunk.iter_mut().for_each(|u| *u *= factor));
        let direction = Tensor::<2>::from_data(gradient, device);
        let direction = read(path, orthogonalise(direction, self.config.iterations))?;

        let keep = (1.0 - self.learning_rate * self.config.weight_decay) as f32;
        let size = (self.learning_rate * self.config.scale.of(shape)) as f32;
        mutable(path, parameter)?
            .par_chunks_mut(CHUNK)
            .zip(values(path, &direction)?.par_chunks(CHUNK))
            .for_each(|(parameter, direction)| {
                for (p, x) in parameter.iter_mut().zip(direction) {
                    *p = *p * keep - size * x;
                }
            });
        Ok(())
    }

    /// Moves the momentum, and makes of the gradient the direction that is to be made orthogonal.
    fn advance(self, gradient: &mut [f32], momentum: &mut [f32]) {
        let keep = self.config.momentum as f32;
        let rest = (1.0 - self.config.momentum) as f32;
        let nesterov = self.config.nesterov;
        gradient
            .par_chunks_mut(CHUNK)
            .zip(momentum.par_chunks_mut(CHUNK))
            .for_each(|(gradient, momentum)| {
                for (g, m) in gradient.iter_mut().zip(momentum) {
                    *m = keep * *m + rest * *g;
                    *g = if nesterov { keep * *m + rest * *g } else { *m };
                }
            });
    }
}

/// Brings the singular values of `matrix`, at most 1, near 1 and leaves its singular vectors: `iterations` times
/// `X ← a·X + (b·A + c·A²)·X` with `A = X·Xᵀ`, on the matrix or its transpose, whichever has fewer rows.
///
/// burn's matrix products give the same bits for any number of threads.
#[must_use]
pub fn orthogonalise(matrix: Tensor<2>, iterations: u64) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    let tall = rows > columns;
    let mut x = if tall { matrix.transpose() } else { matrix };
    let [a, b, c] = QUINTIC;
    for _ in 0..iterations {
        let gram = x.clone().matmul(x.clone().transpose());
        let polynomial = gram.clone().matmul(gram.clone()) * c + gram * b;
        x = polynomial.matmul(x.clone()) + x * a;
    }
    if tall { x.transpose() } else { x }
}
