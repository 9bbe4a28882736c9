//! Log-probabilities of targets on the CPU, in tiles of the vocabulary.
//!
//! A tile's logits are one matrix product into a small buffer; each row keeps a running maximum, a sum
//! and a weighted sum. Backward computes the tiles again. Nothing as large as `[R, V]` is ever made.
use std::ops::Range;

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::projection::{Projection, forward_tasks};
use super::vectorised::{LANES, exp, sum_lanes, vectorised};
use super::{WANTED, contiguous, floats, indices, tensor};
use crate::LinearLogProbOps;

impl LinearLogProbOps for Flex {
    fn linear_log_prob(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let (hidden, embedding) = (contiguous(hidden), contiguous(embedding));
        let inputs = Inputs::new(&hidden, &rows, &embedding, &targets, temperature);
        tensor(inputs.forward(), [inputs.targets.len(), 3])
    }

    fn linear_log_prob_backward(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (hidden, embedding) = (contiguous(hidden), contiguous(embedding));
        let inputs = Inputs::new(&hidden, &rows, &embedding, &targets, temperature);
        let [of_hidden, of_embedding] = inputs.backward(output, gradient, [true, true]);
        (of_hidden.expect(WANTED), of_embedding.expect(WANTED))
    }

    fn linear_log_prob_backward_hidden(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let (hidden, embedding) = (contiguous(hidden), contiguous(embedding));
        let inputs = Inputs::new(&hidden, &rows, &embedding, &targets, temperature);
        let [of_hidden, _] = inputs.backward(output, gradient, [true, false]);
        of_hidden.expect(WANTED)
    }

    fn linear_log_prob_backward_embedding(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let (hidden, embedding) = (contiguous(hidden), contiguous(embedding));
        let inputs = Inputs::new(&hidden, &rows, &embedding, &targets, temperature);
        let [_, of_embedding] = inputs.backward(output, gradient, [false, true]);
        of_embedding.expect(WANTED)
    }
}

/// The operation's inputs on the host.
struct Inputs<'a> {
    projection: Projection<'a>,
    targets: Vec<usize>,
}

/// What one tile tells about one row.
#[derive(Clone, Copy)]
struct TileRow {
    max: f32,
    /// Σ exp(z − max)
    sum: f32,
    /// Σ exp(z − max)·(z − max)
    weighted: f32,
    /// The target's logit where this tile holds it, else 0.
    target: f32,
}

impl<'a> Inputs<'a> {
    fn new(
        hidden: &'a FloatTensor<Flex>,
        rows: &IntTensor<Flex>,
        embedding: &'a FloatTensor<Flex>,
        targets: &IntTensor<Flex>,
        temperature: f64,
    ) -> Self {
        let what = "linear_log_prob's rows";
        let projection = Projection::new(hidden, rows, embedding, temperature, what);
        let targets = indices(targets, projection.vocabulary, "linear_log_prob's targets");
        Self {
            projection,
            targets,
        }
    }

    fn forward(&self) -> Vec<f32> {
        let count = self.targets.len();
        let (tiles, block_rows) = self.projection.forward_parts();
        let parts: Vec<Vec<TileRow>> = forward_tasks(count, &tiles, block_rows)
            .into_par_iter()
            .map_init(Vec::new, |buffer, (block, tile)| {
                self.forward_tile(buffer, block, tile)
            })
            .collect();
        let mut output = vec![0.0; 3 * count];
        for (index, row) in output.chunks_exact_mut(3).enumerate() {
            let first = index / block_rows * tiles.len();
            let of_row = parts[first..first + tiles.len()]
                .iter()
                .map(|part| part[index % block_rows]);
            row.copy_from_slice(&merged(of_row));
        }
        output
    }

    fn forward_tile(
        &self,
        buffer: &mut Vec<f32>,
        block: Range<usize>,
        tile: &Range<usize>,
    ) -> Vec<TileRow> {
        let logits = self.projection.forward_logits(buffer, block.clone(), tile);
        block
            .zip(logits.chunks_exact(tile.len()))
            .map(|(row, logits)| {
                let [max, sum, weighted] = reduce(logits);
                let target = self.targets[row];
                let target = if tile.contains(&target) {
                    logits[target - tile.start]
                } else {
                    0.0
                };
                TileRow {
                    max,
                    sum,
                    weighted,
                    target,
                }
            })
            .collect()
    }

    /// Gradients of the hidden states and of the embedding, each if it is wanted: with p = exp(z − lse),
    /// dL/dz = g₀·[v = target] + p·(g₁ − g₀ − g₂·(z − lse + entropy)).
    fn backward(
        &self,
        output: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
        wanted: [bool; 2],
    ) -> [Option<FloatTensor<Flex>>; 2] {
        let (output, gradient) = (contiguous(output), contiguous(gradient));
        let (output, gradient) = (floats(&output), floats(&gradient));
        let count = self.targets.len();
        let mut gathered = self.projection.no_gradients(wanted);
        let (tiles, block_rows) = self.projection.backward_parts();
        let widest = tiles.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let mut buffer = vec![0.0; count.min(block_rows) * widest];
        for tile in &tiles {
            for start in (0..count).step_by(block_rows) {
                let block = start..count.min(start + block_rows);
                let logits = &mut buffer[..block.len() * tile.len()];
                let parallelism = Parallelism::Rayon(0);
                self.projection
                    .logits(logits, block.clone(), tile, parallelism);
                logits
                    .par_chunks_exact_mut(tile.len())
                    .zip(output[3 * block.start..3 * block.end].par_chunks_exact(3))
                    .zip(gradient[3 * block.start..3 * block.end].par_chunks_exact(3))
                    .zip(self.targets[block.clone()].par_iter())
                    .for_each(|(((logits, output), gradient), target)| {
                        logit_gradients(logits, output, gradient);
                        if tile.contains(target) {
                            logits[target - tile.start] += gradient[0];
                        }
                    });
                self.projection
                    .add_gradients(&mut gathered, logits, &block, tile);
            }
        }
        self.projection.gradients(gathered)
    }
}

/// One row's outputs from its tiles, merged in order.
fn merged(tiles: impl Iterator<Item = TileRow>) -> [f32; 3] {
    let (mut max, mut sum, mut weighted, mut target) = (f64::NEG_INFINITY, 0.0, 0.0, 0.0f64);
    for tile in tiles {
        let [tile_max, tile_sum, tile_weighted] =
            [tile.max, tile.sum, tile.weighted].map(f64::from);
        if tile_max > max {
            // Σ e·(z − new) = (Σ e·(z − old) + (old − new)·Σ e)·exp(old − new); the first tile finds
            // nothing to rescale, and old is not finite there.
            if sum > 0.0 {
                let shift = max - tile_max;
                weighted = (weighted + shift * sum) * shift.exp();
                sum *= shift.exp();
            }
            max = tile_max;
            sum += tile_sum;
            weighted += tile_weighted;
        } else {
            let shift = tile_max - max;
            sum += tile_sum * shift.exp();
            weighted += (tile_weighted + shift * tile_sum) * shift.exp();
        }
        target += f64::from(tile.target);
    }
    let log_sum_exp = max + sum.ln();
    [target - log_sum_exp, log_sum_exp, sum.ln() - weighted / sum].map(|value| value as f32)
}

vectorised! {
    /// Maximum m, Σ exp(z − m) and Σ exp(z − m)·(z − m) of a row.
    fn reduce(logits: &[f32]) -> [f32; 3] {
        let mut max = [f32::NEG_INFINITY; LANES];
        let chunks = logits.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks.clone() {
            for lane in 0..LANES {
                max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
            }
        }
        for lane in 0..rest.len() {
            max[lane] = if rest[lane] > max[lane] { rest[lane] } else { max[lane] };
        }
        let max = max.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0; LANES];
        let mut weighted = [0.0; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                let below = chunk[lane] - max;
                let e = exp(below);
                sums[lane] += e;
                weighted[lane] += e * below;
            }
        }
        for lane in 0..rest.len() {
            let below = rest[lane] - max;
            let e = exp(below);
            sums[lane] += e;
            weighted[lane] += e * below;
        }
        [max, sum_lanes(sums), sum_lanes(weighted)]
    }
}

vectorised! {
    /// Turns a tile of a row's logits into the gradient that passes through the probabilities.
    fn logit_gradients(logits: &mut [f32], output: &[f32], gradient: &[f32]) {
        let (log_sum_exp, entropy) = (output[1], output[2]);
        let constant = gradient[1] - gradient[0];
        for logit in logits {
            let log_prob = *logit - log_sum_exp;
            *logit = exp(log_prob) * (constant - gradient[2] * (log_prob + entropy));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_tiles_is_reducing_the_whole_row() {
        let logits: Vec<f32> = (0..300)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.3)
            .collect();
        let part = |logits: &[f32]| {
            let [max, sum, weighted] = reduce(logits);
            TileRow {
                max,
                sum,
                weighted,
                target: 0.0,
            }
        };
        let whole = merged([part(&logits)].into_iter());
        for cut in [1, 17, 150, 299] {
            let (left, right) = logits.split_at(cut);
            for order in [[left, right], [right, left]] {
                let halves = merged(order.map(part).into_iter());
                for (whole, halves) in whole.iter().zip(halves) {
                    assert!(
                        (whole - halves).abs() < 1e-5,
                        "{whole} {halves} cut at {cut}"
                    );
                }
            }
        }
    }
}
