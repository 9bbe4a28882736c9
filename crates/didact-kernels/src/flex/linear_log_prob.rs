//! Log-probabilities of targets on the CPU, in tiles of the vocabulary.
//!
//! A tile's logits are one matrix product into a small buffer; each row keeps a running maximum, a sum
//! and a weighted sum. Backward computes the tiles again. Nothing as large as `[R, V]` is ever made.
use std::ops::Range;

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::product::{Destination, Matrix, product};
use super::vectorised::{LANES, exp, sum_lanes, vectorised};
use super::{contiguous, floats, indices, tensor};
use crate::LinearLogProbOps;

/// Least width of a vocabulary tile in the forward pass; tiles are at most twice as wide. A tile of
/// logits for one block of rows stays in a core's second-level cache.
const FORWARD_TILE: usize = 512;
/// Rows that one forward task projects.
const FORWARD_ROWS: usize = 256;
/// Least tile width and rows of a block in the backward pass, where all threads share one tile.
const BACKWARD_TILE: usize = 1024;
const BACKWARD_ROWS: usize = 2048;

impl LinearLogProbOps for Flex {
    fn linear_log_prob(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let (hidden, embedding) = (contiguous(hidden), contiguous(embedding));
        let projection = Projection::new(&hidden, &rows, &embedding, &targets, temperature);
        tensor(projection.forward(), [projection.rows.len(), 3])
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
        let (output, gradient) = (contiguous(output), contiguous(gradient));
        let projection = Projection::new(&hidden, &rows, &embedding, &targets, temperature);
        let mut gathered = projection.hidden_buffer();
        let mut of_embedding = projection.embedding_buffer();
        projection.backward(
            floats(&output),
            floats(&gradient),
            Some(&mut gathered),
            Some(&mut of_embedding),
        );
        (
            projection.scattered(&gathered),
            projection.of_embedding(of_embedding),
        )
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
        let (output, gradient) = (contiguous(output), contiguous(gradient));
        let projection = Projection::new(&hidden, &rows, &embedding, &targets, temperature);
        let mut gathered = projection.hidden_buffer();
        projection.backward(
            floats(&output),
            floats(&gradient),
            Some(&mut gathered),
            None,
        );
        projection.scattered(&gathered)
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
        let (output, gradient) = (contiguous(output), contiguous(gradient));
        let projection = Projection::new(&hidden, &rows, &embedding, &targets, temperature);
        let mut of_embedding = projection.embedding_buffer();
        projection.backward(
            floats(&output),
            floats(&gradient),
            None,
            Some(&mut of_embedding),
        );
        projection.of_embedding(of_embedding)
    }
}

/// The operation's inputs on the host.
struct Projection<'a> {
    embedding: &'a [f32],
    rows: Vec<usize>,
    targets: Vec<usize>,
    /// The projected rows one after the other, with rows of zeros behind them; see [`padded_rows`].
    gathered: Vec<f32>,
    tokens: usize,
    width: usize,
    vocabulary: usize,
    inverse_temperature: f32,
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

impl<'a> Projection<'a> {
    fn new(
        hidden: &'a FloatTensor<Flex>,
        rows: &IntTensor<Flex>,
        embedding: &'a FloatTensor<Flex>,
        targets: &IntTensor<Flex>,
        temperature: f64,
    ) -> Self {
        let (tokens, width) = (hidden.layout().shape()[0], hidden.layout().shape()[1]);
        let vocabulary = embedding.layout().shape()[0];
        let rows = indices(rows, tokens, "linear_log_prob's rows");
        let targets = indices(targets, vocabulary, "linear_log_prob's targets");
        let hidden = floats(hidden);
        let mut gathered = vec![0.0; padded_rows(rows.len(), vocabulary) * width];
        for (to, row) in gathered.chunks_exact_mut(width.max(1)).zip(&rows) {
            to.copy_from_slice(&hidden[row * width..(row + 1) * width]);
        }
        let inverse_temperature = (1.0 / temperature) as f32;
        let embedding = floats(embedding);
        Self {
            embedding,
            rows,
            targets,
            gathered,
            tokens,
            width,
            vocabulary,
            inverse_temperature,
        }
    }

    fn forward(&self) -> Vec<f32> {
        let count = self.rows.len();
        let block_rows = forward_block(self.vocabulary);
        let tiles = tiles(self.vocabulary, FORWARD_TILE);
        let tasks: Vec<(Range<usize>, &Range<usize>)> = (0..count)
            .step_by(block_rows)
            .flat_map(|start| {
                let block = start..count.min(start + block_rows);
                tiles.iter().map(move |tile| (block.clone(), tile))
            })
            .collect();
        let parts: Vec<Vec<TileRow>> = tasks
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
        // The last block may hold rows of padding, which are computed and dropped.
        let last = block.end == self.rows.len();
        let end = if last { self.padded() } else { block.end };
        let rows = end - block.start;
        if buffer.len() < rows * tile.len() {
            buffer.resize(rows * tile.len(), 0.0);
        }
        let logits = &mut buffer[..rows * tile.len()];
        self.logits(logits, block.start..end, tile, Parallelism::None);
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

    /// Logits over the temperature of gathered rows against one tile of the vocabulary.
    fn logits(
        &self,
        out: &mut [f32],
        rows: Range<usize>,
        tile: &Range<usize>,
        parallelism: Parallelism,
    ) {
        let width = self.width;
        product(
            out,
            [rows.len(), tile.len(), width],
            Matrix::rows(&self.gathered[rows.start * width..rows.end * width], width),
            self.embedding_tile(tile).transposed(),
            self.inverse_temperature,
            Destination::Overwrite,
            parallelism,
        );
    }

    fn embedding_tile(&self, tile: &Range<usize>) -> Matrix<'_> {
        let width = self.width;
        Matrix::rows(&self.embedding[tile.start * width..tile.end * width], width)
    }

    /// With p = exp(z − lse), dL/dz = g₀·[v = target] + p·(g₁ − g₀ − g₂·(z − lse + entropy)).
    ///
    /// `of_rows` receives the gradient of the gathered rows and must come as zeros.
    fn backward(
        &self,
        output: &[f32],
        gradient: &[f32],
        mut of_rows: Option<&mut Vec<f32>>,
        mut of_embedding: Option<&mut Vec<f32>>,
    ) {
        let (count, width) = (self.rows.len(), self.width);
        let tiles = tiles(self.vocabulary, BACKWARD_TILE);
        let widest = tiles.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let mut buffer = vec![0.0; count.min(BACKWARD_ROWS) * widest];
        for tile in &tiles {
            for start in (0..count).step_by(BACKWARD_ROWS) {
                let block = start..count.min(start + BACKWARD_ROWS);
                let logits = &mut buffer[..block.len() * tile.len()];
                self.logits(logits, block.clone(), tile, Parallelism::Rayon(0));
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
                if let Some(of_rows) = of_rows.as_deref_mut() {
                    product(
                        &mut of_rows[block.start * width..block.end * width],
                        [block.len(), width, tile.len()],
                        Matrix::rows(logits, tile.len()),
                        self.embedding_tile(tile),
                        self.inverse_temperature,
                        Destination::Add,
                        Parallelism::Rayon(0),
                    );
                }
                if let Some(of_embedding) = of_embedding.as_deref_mut() {
                    product(
                        &mut of_embedding[tile.start * width..tile.end * width],
                        [tile.len(), width, block.len()],
                        Matrix::rows(logits, tile.len()).transposed(),
                        Matrix::rows(&self.gathered[block.start * width..], width),
                        self.inverse_temperature,
                        if start == 0 {
                            Destination::Overwrite
                        } else {
                            Destination::Add
                        },
                        Parallelism::Rayon(0),
                    );
                }
            }
        }
    }

    fn padded(&self) -> usize {
        padded_rows(self.rows.len(), self.vocabulary)
    }

    fn hidden_buffer(&self) -> Vec<f32> {
        vec![0.0; self.rows.len() * self.width]
    }

    fn embedding_buffer(&self) -> Vec<f32> {
        vec![0.0; self.vocabulary * self.width]
    }

    /// Adds the gathered rows' gradients to the hidden rows they came from, in the order of the list.
    fn scattered(&self, gathered: &[f32]) -> FloatTensor<Flex> {
        let mut of_hidden = vec![0.0; self.tokens * self.width];
        for (from, row) in gathered.chunks_exact(self.width.max(1)).zip(&self.rows) {
            let to = &mut of_hidden[row * self.width..(row + 1) * self.width];
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        }
        tensor(of_hidden, [self.tokens, self.width])
    }

    fn of_embedding(&self, values: Vec<f32>) -> FloatTensor<Flex> {
        tensor(values, [self.vocabulary, self.width])
    }
}

/// Cuts the vocabulary into tiles of nearly equal width, at least `least` where there are so many.
fn tiles(vocabulary: usize, least: usize) -> Vec<Range<usize>> {
    let count = (vocabulary / least).max(1);
    (0..count)
        .map(|tile| tile * vocabulary / count..(tile + 1) * vocabulary / count)
        .collect()
}

/// Fewest rows that a forward block projects.
///
/// gemm sums in another order for a single row, and for outputs of up to 256 elements. Rows of zeros
/// behind a small last block keep it on the path that large ones take: a row's result must not depend
/// on how many others are projected with it.
fn least_rows(vocabulary: usize) -> usize {
    let narrowest = vocabulary.clamp(1, FORWARD_TILE);
    (256 / narrowest + 1).max(2)
}

/// Rows of one forward block.
///
/// gemm also cuts the sum over the width differently where both sides are at most 64. So the blocks of
/// a vocabulary that small either all have more rows than that, or none has.
fn forward_block(vocabulary: usize) -> usize {
    if vocabulary <= 64 && least_rows(vocabulary) <= 64 {
        64
    } else {
        FORWARD_ROWS.max(least_rows(vocabulary))
    }
}

/// Number of rows to gather for `count` projected ones, those of zeros included.
fn padded_rows(count: usize, vocabulary: usize) -> usize {
    if count == 0 {
        return 0;
    }
    let last = (count - 1) % forward_block(vocabulary) + 1;
    count - last + last.max(least_rows(vocabulary))
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
    fn tiles_cover_the_vocabulary_once() {
        for vocabulary in [1, 2, 64, 511, 512, 513, 1023, 1024, 1025, 49_152, 151_936] {
            let tiles = tiles(vocabulary, 512);
            assert_eq!(tiles[0].start, 0);
            assert_eq!(tiles.last().unwrap().end, vocabulary);
            assert!(tiles.windows(2).all(|pair| pair[0].end == pair[1].start));
            let least = vocabulary.min(512);
            assert!(
                tiles
                    .iter()
                    .all(|tile| (least..2 * least.max(512)).contains(&tile.len()))
            );
        }
    }

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
