//! Rows of hidden states against an output embedding on the CPU, a tile of the vocabulary at a time.
//!
//! Owns the gathered rows, the products of a tile, and where the gradients of a tile go. It knows neither targets nor
//! what is done with logits.
use std::ops::Range;

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use gemm::Parallelism;

use super::product::{Destination, Matrix, product};
use super::{floats, indices, tensor};

/// Least width of a vocabulary tile in the forward pass; tiles are at most twice as wide. A tile of
/// logits for one block of rows stays in a core's second-level cache.
const FORWARD_TILE: usize = 512;
/// Rows that one forward task projects.
const FORWARD_ROWS: usize = 256;
/// Least tile width and rows of a block in the backward pass, where all threads share one tile.
const BACKWARD_TILE: usize = 1024;
const BACKWARD_ROWS: usize = 2048;

/// The rows and the embedding of an operation.
pub(super) struct Projection<'a> {
    embedding: &'a [f32],
    rows: Vec<usize>,
    /// The projected rows one after the other, with rows of zeros behind them; see [`padded_rows`].
    gathered: Vec<f32>,
    tokens: usize,
    width: usize,
    pub(super) vocabulary: usize,
    inverse_temperature: f32,
}

/// Gradients of the gathered rows and of the embedding as tiles add to them, each where it is wanted.
pub(super) struct Gathered {
    of_rows: Option<Vec<f32>>,
    of_embedding: Option<Vec<f32>>,
}

impl<'a> Projection<'a> {
    /// `what` names the operation where a row is out of range.
    pub(super) fn new(
        hidden: &'a FloatTensor<Flex>,
        rows: &IntTensor<Flex>,
        embedding: &'a FloatTensor<Flex>,
        temperature: f64,
        what: &str,
    ) -> Self {
        let (tokens, width) = (hidden.layout().shape()[0], hidden.layout().shape()[1]);
        let vocabulary = embedding.layout().shape()[0];
        let rows = indices(rows, tokens, what);
        let hidden = floats(hidden);
        let mut gathered = vec![0.0; padded_rows(rows.len(), vocabulary) * width];
        for (to, row) in gathered.chunks_exact_mut(width.max(1)).zip(&rows) {
            to.copy_from_slice(&hidden[row * width..(row + 1) * width]);
        }
        Self {
            embedding: floats(embedding),
            rows,
            gathered,
            tokens,
            width,
            vocabulary,
            inverse_temperature: (1.0 / temperature) as f32,
        }
    }

    /// Number of projected rows.
    pub(super) const fn count(&self) -> usize {
        self.rows.len()
    }

    /// Tiles of the vocabulary and blocks of rows of the forward pass.
    pub(super) fn forward_parts(&self) -> (Vec<Range<usize>>, usize) {
        let tiles = tiles(self.vocabulary, FORWARD_TILE);
        (tiles, forward_block(self.vocabulary))
    }

    /// Tiles of the vocabulary and blocks of rows of the backward pass.
    pub(super) fn backward_parts(&self) -> (Vec<Range<usize>>, usize) {
        (tiles(self.vocabulary, BACKWARD_TILE), BACKWARD_ROWS)
    }

    /// Logits of a forward block against a tile into `buffer`, with those of rows of padding behind the last block.
    pub(super) fn forward_logits<'b>(
        &self,
        buffer: &'b mut Vec<f32>,
        block: Range<usize>,
        tile: &Range<usize>,
    ) -> &'b [f32] {
        let end = if block.end == self.count() {
            padded_rows(self.count(), self.vocabulary)
        } else {
            block.end
        };
        let rows = end - block.start;
        if buffer.len() < rows * tile.len() {
            buffer.resize(rows * tile.len(), 0.0);
        }
        let logits = &mut buffer[..rows * tile.len()];
        self.logits(logits, block.start..end, tile, Parallelism::None);
        logits
    }

    /// Logits over the temperature of gathered rows against one tile of the vocabulary.
    pub(super) fn logits(
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

    /// No gradient yet of the rows and of the embedding, each if it is wanted.
    pub(super) fn no_gradients(&self, [rows, embedding]: [bool; 2]) -> Gathered {
        Gathered {
            of_rows: rows.then(|| vec![0.0; self.count() * self.width]),
            of_embedding: embedding.then(|| vec![0.0; self.vocabulary * self.width]),
        }
    }

    /// Adds what a block's gradients by the logits of a tile come to. Blocks of one tile come in order.
    pub(super) fn add_gradients(
        &self,
        gathered: &mut Gathered,
        of_logits: &[f32],
        block: &Range<usize>,
        tile: &Range<usize>,
    ) {
        let width = self.width;
        if let Some(of_rows) = &mut gathered.of_rows {
            product(
                &mut of_rows[block.start * width..block.end * width],
                [block.len(), width, tile.len()],
                Matrix::rows(of_logits, tile.len()),
                self.embedding_tile(tile),
                self.inverse_temperature,
                Destination::Add,
                Parallelism::Rayon(0),
            );
        }
        if let Some(of_embedding) = &mut gathered.of_embedding {
            product(
                &mut of_embedding[tile.start * width..tile.end * width],
                [tile.len(), width, block.len()],
                Matrix::rows(of_logits, tile.len()).transposed(),
                Matrix::rows(&self.gathered[block.start * width..], width),
                self.inverse_temperature,
                if block.start == 0 {
                    Destination::Overwrite
                } else {
                    Destination::Add
                },
                Parallelism::Rayon(0),
            );
        }
    }

    /// The gradients of the hidden states and of the embedding that were wanted; the rows' are added to the hidden
    /// rows they came from, in the order of the list.
    pub(super) fn gradients(&self, gathered: Gathered) -> [Option<FloatTensor<Flex>>; 2] {
        let of_hidden = gathered.of_rows.map(|of_rows| {
            let mut of_hidden = vec![0.0; self.tokens * self.width];
            for (from, row) in of_rows.chunks_exact(self.width.max(1)).zip(&self.rows) {
                let to = &mut of_hidden[row * self.width..(row + 1) * self.width];
                for (to, from) in to.iter_mut().zip(from) {
                    *to += from;
                }
            }
            tensor(of_hidden, [self.tokens, self.width])
        });
        let of_embedding = gathered
            .of_embedding
            .map(|values| tensor(values, [self.vocabulary, self.width]));
        [of_hidden, of_embedding]
    }
}

/// Every forward block beside every tile: all tiles of the first block, then of the second.
pub(super) fn forward_tasks(
    count: usize,
    tiles: &[Range<usize>],
    block_rows: usize,
) -> Vec<(Range<usize>, &Range<usize>)> {
    (0..count)
        .step_by(block_rows)
        .flat_map(|start| {
            let block = start..count.min(start + block_rows);
            tiles.iter().map(move |tile| (block.clone(), tile))
        })
        .collect()
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
}
