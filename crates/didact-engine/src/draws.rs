//! Draws from rows of logits where they lie: on the host for the CPU, on the device for GPUs.
//!
//! It knows tensors and settings, no request and no sequence.

use burn::tensor::Tensor;
use didact_core::{Result, Sampling, TokenId};
use didact_kernels::{Draw, is_cpu};
use rayon::prelude::*;

use crate::engine::{other, upload};
use crate::sample::{Drawn, NonFiniteLogit, draw};

/// What was drawn of a row.
type Row = std::result::Result<Drawn, NonFiniteLogit>;

/// One draw of each entry: a row of `logits` (rows may repeat), the settings and a uniform number. An entry with a logit
/// that is not finite gives that logit.
///
/// On a GPU the draws are [`didact_kernels::sample`]'s, and two numbers a row are read back.
///
/// # Errors
/// Logits that cannot be read from the device.
pub(crate) fn draw_rows(logits: Tensor<2>, draws: &[(usize, &Sampling, f64)]) -> Result<Vec<Row>> {
    let [rows, vocabulary] = logits.dims();
    if !is_cpu(&logits.device()) {
        return on_device(logits, rows, draws);
    }
    let logits = logits.try_into_vec_as::<f32>().map_err(other)?;
    // Each draw is a function of its own row, so the threads' order does not matter.
    let drawn = draws.par_iter().map(|&(row, sampling, uniform)| {
        draw(&logits[row * vocabulary..][..vocabulary], sampling, uniform)
    });
    Ok(drawn.collect())
}

fn on_device(
    logits: Tensor<2>,
    rows: usize,
    draws: &[(usize, &Sampling, f64)],
) -> Result<Vec<Row>> {
    let one_each = draws.len() == rows && draws.iter().enumerate().all(|(i, draw)| draw.0 == i);
    let picked = if one_each {
        logits
    } else {
        let device = logits.device();
        logits.select(0, upload(draws.iter().map(|draw| draw.0), &device))
    };
    let settings: Vec<Draw> = draws
        .iter()
        .map(|&(_, sampling, uniform)| Draw {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            uniform,
        })
        .collect();
    let found = didact_kernels::sample(picked.clone(), &settings)
        .try_into_vec_as::<f32>()
        .map_err(other)?;
    let mut drawn = Vec::with_capacity(draws.len());
    for (row, pair) in found.chunks_exact(2).enumerate() {
        drawn.push(if pair[0] >= 0.0 {
            Ok(Drawn {
                id: pair[0] as TokenId,
                log_prob: pair[1],
            })
        } else {
            let row = picked
                .clone()
                .narrow(0, row, 1)
                .try_into_vec_as::<f32>()
                .map_err(other)?;
            let bad = row.iter().position(|value| !value.is_finite());
            let id = bad.unwrap_or(0);
            Err(NonFiniteLogit {
                id: id as TokenId,
                value: row[id],
            })
        });
    }
    Ok(drawn)
}
