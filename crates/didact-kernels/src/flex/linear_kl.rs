//! Divergence of two models' distributions on the CPU, in tiles of the vocabulary.
//!
//! As [`linear_log_prob`](super::linear_log_prob): a tile's logits of both models are in small buffers, each row keeps
//! running sums, and backward computes the tiles again.
use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::projection::{Projection, forward_tasks};
use super::vectorised::{LANES, exp, sum_lanes, vectorised};
use super::{WANTED, contiguous, floats, tensor};
use crate::{KlDirection, LinearKlOps};

impl LinearKlOps for Flex {
    fn linear_kl(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> FloatTensor<Self> {
        let [hidden, embedding, other_hidden, other_embedding] =
            [hidden, embedding, other_hidden, other_embedding].map(contiguous);
        let pair = Pair {
            policy: side(&hidden, &rows, &embedding, temperature),
            other: side(&other_hidden, &other_rows, &other_embedding, temperature),
            direction,
        };
        tensor(pair.forward(), [pair.policy.count(), 3])
    }

    fn linear_kl_backward(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [hidden, embedding, other_hidden, other_embedding] =
            [hidden, embedding, other_hidden, other_embedding].map(contiguous);
        let pair = Pair {
            policy: side(&hidden, &rows, &embedding, temperature),
            other: side(&other_hidden, &other_rows, &other_embedding, temperature),
            direction,
        };
        let [of_hidden, of_embedding] = pair.backward(output, gradient, [true, true]);
        (of_hidden.expect(WANTED), of_embedding.expect(WANTED))
    }

    fn linear_kl_backward_hidden(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> FloatTensor<Self> {
        let [hidden, embedding, other_hidden, other_embedding] =
            [hidden, embedding, other_hidden, other_embedding].map(contiguous);
        let pair = Pair {
            policy: side(&hidden, &rows, &embedding, temperature),
            other: side(&other_hidden, &other_rows, &other_embedding, temperature),
            direction,
        };
        let [of_hidden, _] = pair.backward(output, gradient, [true, false]);
        of_hidden.expect(WANTED)
    }
}

fn side<'a>(
    hidden: &'a FloatTensor<Flex>,
    rows: &IntTensor<Flex>,
    embedding: &'a FloatTensor<Flex>,
    temperature: f64,
) -> Projection<'a> {
    Projection::new(hidden, rows, embedding, temperature, "linear_kl's rows")
}

/// The two models' rows on the host.
struct Pair<'a> {
    policy: Projection<'a>,
    other: Projection<'a>,
    direction: KlDirection,
}

/// What one tile tells about one row; `z` are the logits of the distribution that the expectation is of, `y` the
/// other's.
#[derive(Clone, Copy)]
struct TileRow {
    max_z: f32,
    /// Σ exp(z − max z)
    sum_z: f32,
    /// Σ exp(z − max z)·((z − max z) − (y − max y))
    weighted: f32,
    max_y: f32,
    /// Σ exp(y − max y)
    sum_y: f32,
}

impl Pair<'_> {
    fn forward(&self) -> Vec<f32> {
        let (of, from) = match self.direction {
            KlDirection::Forward => (&self.other, &self.policy),
            KlDirection::Reverse => (&self.policy, &self.other),
        };
        let count = self.policy.count();
        let (tiles, block_rows) = self.policy.forward_parts();
        let parts: Vec<Vec<TileRow>> = forward_tasks(count, &tiles, block_rows)
            .into_par_iter()
            .map_init(
                || (Vec::new(), Vec::new()),
                |(first, second), (block, tile)| {
                    let z = of.forward_logits(first, block.clone(), tile);
                    let y = from.forward_logits(second, block.clone(), tile);
                    block
                        .zip(z.chunks_exact(tile.len()).zip(y.chunks_exact(tile.len())))
                        .map(|(_, (z, y))| reduce(z, y))
                        .collect()
                },
            )
            .collect();
        let mut output = vec![0.0; 3 * count];
        for (index, row) in output.chunks_exact_mut(3).enumerate() {
            let first = index / block_rows * tiles.len();
            let of_row = parts[first..first + tiles.len()]
                .iter()
                .map(|part| part[index % block_rows]);
            let [divergence, of, from] = merged(of_row);
            row.copy_from_slice(&match self.direction {
                KlDirection::Forward => [divergence, from, of],
                KlDirection::Reverse => [divergence, of, from],
            });
        }
        output
    }

    /// Gradients of the policy's hidden states and embedding, each if it is wanted. With the policy's logits z and
    /// p = exp(z − lse z), and the other's y and q likewise: dL/dz = g·p·(ln p − ln q − kl) in reverse, g·(p − q)
    /// forward.
    fn backward(
        &self,
        output: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
        wanted: [bool; 2],
    ) -> [Option<FloatTensor<Flex>>; 2] {
        let (output, gradient) = (contiguous(output), contiguous(gradient));
        let (output, gradient) = (floats(&output), floats(&gradient));
        let count = self.policy.count();
        let mut gathered = self.policy.no_gradients(wanted);
        let (tiles, block_rows) = self.policy.backward_parts();
        let widest = tiles.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let mut buffers = [0; 2].map(|_| vec![0.0; count.min(block_rows) * widest]);
        let of_logits = match self.direction {
            KlDirection::Forward => forward_gradients,
            KlDirection::Reverse => reverse_gradients,
        };
        for tile in &tiles {
            for start in (0..count).step_by(block_rows) {
                let block = start..count.min(start + block_rows);
                let [z, y] = buffers
                    .each_mut()
                    .map(|buffer| &mut buffer[..block.len() * tile.len()]);
                for (side, logits) in [(&self.policy, &mut *z), (&self.other, &mut *y)] {
                    side.logits(logits, block.clone(), tile, Parallelism::Rayon(0));
                }
                z.par_chunks_exact_mut(tile.len())
                    .zip(y.par_chunks_exact(tile.len()))
                    .zip(output[3 * block.start..3 * block.end].par_chunks_exact(3))
                    .zip(gradient[3 * block.start..3 * block.end].par_chunks_exact(3))
                    .for_each(|(((z, y), output), gradient)| {
                        of_logits(z, y, output, gradient[0]);
                    });
                self.policy.add_gradients(&mut gathered, z, &block, tile);
            }
        }
        self.policy.gradients(gathered)
    }
}

/// Divergence and both log-sum-exps of one row from its tiles, merged in order.
fn merged(tiles: impl Iterator<Item = TileRow>) -> [f32; 3] {
    let wide = tiles.map(|tile| {
        let TileRow {
            max_z,
            sum_z,
            weighted,
            max_y,
            sum_y,
        } = tile;
        [max_z, sum_z, weighted, max_y, sum_y].map(f64::from)
    });
    let merge = |a: [f64; 5], b: [f64; 5]| {
        let (z, y) = (a[0].max(b[0]), a[3].max(b[3]));
        // What a part holds, measured from the new maxima.
        let moved = |[max_z, sum_z, weighted, max_y, sum_y]: [f64; 5]| {
            let (shift_z, shift_y) = (max_z - z, max_y - y);
            let factor = shift_z.exp();
            let weighted = (weighted + (shift_z - shift_y) * sum_z) * factor;
            [sum_z * factor, weighted, sum_y * shift_y.exp()]
        };
        let (a, b) = (moved(a), moved(b));
        [z, a[0] + b[0], a[1] + b[1], y, a[2] + b[2]]
    };
    let [max_z, sum_z, weighted, max_y, sum_y] = wide
        .reduce(merge)
        .expect("a vocabulary has at least one tile");
    let divergence = weighted / sum_z - sum_z.ln() + sum_y.ln();
    [divergence, max_z + sum_z.ln(), max_y + sum_y.ln()].map(|value| value as f32)
}

vectorised! {
    /// Maximum of a row.
    fn largest(logits: &[f32]) -> f32 {
        let mut max = [f32::NEG_INFINITY; LANES];
        let chunks = logits.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
            }
        }
        for lane in 0..rest.len() {
            max[lane] = if rest[lane] > max[lane] { rest[lane] } else { max[lane] };
        }
        max.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

vectorised! {
    /// What a tile tells about a row of logits `z` and `y`.
    fn reduce(z: &[f32], y: &[f32]) -> TileRow {
        let (max_z, max_y) = (largest(z), largest(y));
        let mut sums_z = [0.0; LANES];
        let mut sums_y = [0.0; LANES];
        let mut weighted = [0.0; LANES];
        let (z, y) = (z.chunks_exact(LANES), y.chunks_exact(LANES));
        let (rest_z, rest_y) = (z.remainder(), y.remainder());
        for (z, y) in z.zip(y) {
            for lane in 0..LANES {
                let (below_z, below_y) = (z[lane] - max_z, y[lane] - max_y);
                let e = exp(below_z);
                sums_z[lane] += e;
                sums_y[lane] += exp(below_y);
                weighted[lane] += e * (below_z - below_y);
            }
        }
        for lane in 0..rest_z.len() {
            let (below_z, below_y) = (rest_z[lane] - max_z, rest_y[lane] - max_y);
            let e = exp(below_z);
            sums_z[lane] += e;
            sums_y[lane] += exp(below_y);
            weighted[lane] += e * (below_z - below_y);
        }
        TileRow {
            max_z,
            sum_z: sum_lanes(sums_z),
            weighted: sum_lanes(weighted),
            max_y,
            sum_y: sum_lanes(sums_y),
        }
    }
}

vectorised! {
    /// Turns a tile of a row's logits into the gradient of `KL(other ‖ policy)`.
    fn forward_gradients(z: &mut [f32], y: &[f32], output: &[f32], gradient: f32) {
        for (z, y) in z.iter_mut().zip(y) {
            *z = gradient * (exp(*z - output[1]) - exp(*y - output[2]));
        }
    }
}

vectorised! {
    /// Turns a tile of a row's logits into the gradient of `KL(policy ‖ other)`.
    fn reverse_gradients(z: &mut [f32], y: &[f32], output: &[f32], gradient: f32) {
        for (z, y) in z.iter_mut().zip(y) {
            let log_prob = *z - output[1];
            *z = gradient * exp(log_prob) * (log_prob - (*y - output[2]) - output[0]);
        }
    }
}
