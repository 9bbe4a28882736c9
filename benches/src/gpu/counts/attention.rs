//! Attention, which multiplies on ordinary units and reads every operand of a product from shared memory.
use std::collections::BTreeSet;
use std::ops::Range;

use didact_kernels::{CacheLayout, PackedLayout};

use super::{Counts, Demand, EXPONENTIAL, F32};

/// Query rows times the heads of their group in a block, and keys in a tile: what heads of up to 128 numbers get where a
/// cube may have 57 KiB of shared memory.
const EDGE: usize = 32;
/// Units that share a slot in the forward pass.
const FORWARD_LANES: f64 = 8.0;
/// Numbers of a head for each unit that shares a slot or a key in the two backward kernels.
const QUERY_LANE: f64 = 64.0;
const KEY_LANE: f64 = 32.0;

/// Heads of attention.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Heads {
    pub(in super::super) query: usize,
    pub(in super::super) key: usize,
    pub(in super::super) size: usize,
}

impl Heads {
    /// Query rows of a block.
    fn rows(self) -> usize {
        let group = self.query / self.key;
        EDGE.max(group.next_power_of_two()) / group
    }

    /// Numbers of all query heads, of all key heads.
    fn widths(self) -> [f64; 2] {
        [self.query, self.key].map(|heads| (heads * self.size) as f64)
    }
}

/// Blocks of queries of one kind of layout.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Blocks {
    /// Pairs of a row and a key that it sees.
    seen: f64,
    /// Pairs of a row and a key that the last row of its block sees.
    worked: f64,
    /// Keys that a block reads, over all blocks.
    read: f64,
}

impl Blocks {
    /// Consecutive rows, of which the last sees `keys`.
    fn add(&mut self, length: usize, keys: usize, rows: usize) {
        for begin in (0..length).step_by(rows) {
            let here = rows.min(length - begin);
            let last = keys - (length - begin - here);
            self.seen += (0..here).map(|row| (last - row) as f64).sum::<f64>();
            self.worked += (here * last) as f64;
            self.read += last as f64;
        }
    }
}

fn total(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(ExactSizeIterator::len).sum()
}

/// The forward kernel for `N` rows: with `P` pairs worked on for each query head, `4·size` operations a pair for the two
/// products, and the exponential, which each of the eight units of a slot makes; `3·size` reads for the products (two
/// operands of the scores, one of the values; the other is in a register) and two scores for each of the eight.
///
/// Each block reads its keys and values anew; a key is read once for all heads of its group.
fn forward(rows: usize, blocks: Blocks, heads: Heads, float: f64) -> Demand {
    let [queries, keys] = heads.widths();
    let (rows, size) = (rows as f64, heads.size as f64);
    let pairs = blocks.worked * heads.query as f64;
    Demand {
        bytes: 2.0 * float * rows * queries
            + F32 * rows * heads.query as f64
            + 2.0 * float * blocks.read * keys,
        ordinary: pairs * (4.0 * size + FORWARD_LANES * (EXPONENTIAL + 3.0)),
        reads: pairs * (3.0 * size + 2.0 * FORWARD_LANES),
        ..Demand::default()
    }
}

/// [`didact_kernels::attention()`].
#[derive(Debug)]
pub(in super::super) struct PackedAttention<'a> {
    pub(in super::super) layout: &'a PackedLayout,
    pub(in super::super) heads: Heads,
    pub(in super::super) float: f64,
}

impl PackedAttention<'_> {
    fn blocks(&self) -> Blocks {
        let mut blocks = Blocks::default();
        for (index, segment) in self.layout.segments().iter().enumerate() {
            let keys = total(self.layout.key_ranges(index));
            blocks.add(segment.length, keys, self.heads.rows());
        }
        blocks
    }

    /// Pairs of a key and a query of the tiles that a block of keys works through, and the queries that blocks read: of
    /// the block's own segment those from its first key on, and all of the segment's descendants.
    fn key_blocks(&self) -> [f64; 2] {
        let segments = self.layout.segments();
        let mut below = vec![0; segments.len()];
        for segment in segments {
            let mut ancestor = segment.parent;
            while let Some(index) = ancestor {
                below[index] += segment.length;
                ancestor = segments[index].parent;
            }
        }
        let [mut worked, mut read] = [0.0; 2];
        for (segment, below) in segments.iter().zip(below) {
            for begin in (0..segment.length).step_by(EDGE) {
                let queries = (segment.length - begin + below) as f64;
                worked += EDGE.min(segment.length - begin) as f64 * queries;
                read += queries;
            }
        }
        [worked, read]
    }

    /// At least queries, keys, values and output once, and `4·size` operations for each query head and pair of a token
    /// and a key that it sees.
    pub(in super::super) fn forward(&self) -> Counts {
        let tokens = self.layout.tokens();
        let [queries, keys] = self.heads.widths();
        let blocks = self.blocks();
        let least = Demand {
            bytes: 2.0 * self.float * tokens as f64 * (queries + keys),
            matrix: 4.0 * queries * blocks.seen,
            ..Demand::default()
        };
        Counts {
            least,
            launches: vec![forward(tokens, blocks, self.heads, self.float)],
        }
    }

    /// At least queries, keys, values, output and its gradient and the log-sum-exp read, three gradients written, and
    /// five products: `10·size` operations a pair, since the weights are not kept.
    ///
    /// Ours makes the scores and the weights' gradients twice, for the gradient of queries (`6·size` operations and
    /// `5·size` reads a pair) and for those of keys and values (`8·size` and `6·size`). A block of 32 keys reads its
    /// queries twice and their gradients once.
    pub(in super::super) fn backward(&self) -> Counts {
        let float = self.float;
        let [queries, keys] = self.heads.widths();
        let blocks = self.blocks();
        let [key_pairs, queries_read] = self.key_blocks();
        let (tokens, heads) = (self.layout.tokens() as f64, self.heads.query as f64);
        let size = self.heads.size as f64;
        let one_a_head = F32 * tokens * heads;
        let least = Demand {
            bytes: 4.0 * float * tokens * (queries + keys) + one_a_head,
            matrix: 10.0 * queries * blocks.seen,
            ..Demand::default()
        };
        let products = Demand {
            bytes: 2.0 * float * tokens * queries + one_a_head,
            ordinary: 2.0 * tokens * queries,
            ..Demand::default()
        };
        let lanes = (size / QUERY_LANE).max(1.0);
        let pairs = blocks.worked * heads;
        let of_queries = Demand {
            bytes: 3.0 * float * tokens * queries
                + 2.0 * one_a_head
                + 2.0 * float * blocks.read * keys,
            ordinary: pairs * (6.0 * size + EXPONENTIAL + 4.0),
            reads: pairs * (5.0 * size + 1.0 + lanes),
            ..Demand::default()
        };
        let lanes = (size / KEY_LANE).max(1.0);
        let pairs = key_pairs * heads;
        let of_keys = Demand {
            bytes: 4.0 * float * tokens * keys + 3.0 * float * queries_read * queries,
            ordinary: pairs * (8.0 * size + EXPONENTIAL + 5.0),
            reads: pairs * (6.0 * size + 3.0 + 2.0 * lanes),
            ..Demand::default()
        };
        Counts {
            least,
            launches: vec![products, of_queries, of_keys],
        }
    }
}

/// [`didact_kernels::cached_attention`].
#[derive(Debug)]
pub(in super::super) struct CachedAttention<'a> {
    pub(in super::super) layout: &'a CacheLayout,
    pub(in super::super) heads: Heads,
    pub(in super::super) float: f64,
}

impl CachedAttention<'_> {
    /// At least queries and output once and every slot once that somebody sees. The kernel is that of the packed
    /// sequence: slots that several runs see are read by each.
    pub(in super::super) fn counts(&self) -> Counts {
        let mut blocks = Blocks::default();
        let mut slots = BTreeSet::new();
        for run in self.layout.runs() {
            blocks.add(run.rows, total(&run.slots), self.heads.rows());
            slots.extend(run.slots.iter().cloned().flatten());
        }
        let rows = self.layout.rows();
        let [queries, keys] = self.heads.widths();
        let least = Demand {
            bytes: 2.0 * self.float * (rows as f64 * queries + slots.len() as f64 * keys),
            matrix: 4.0 * queries * blocks.seen,
            ..Demand::default()
        };
        Counts {
            least,
            launches: vec![forward(rows, blocks, self.heads, self.float)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use didact_kernels::{CachedRun, Segment};

    /// Two query heads to each of two key heads, so 16 rows a block.
    const HEADS: Heads = Heads {
        query: 4,
        key: 2,
        size: 8,
    };

    #[test]
    fn a_block_holds_the_rows_of_whole_groups() {
        let group = |query| {
            let heads = Heads {
                query,
                key: 1,
                size: 8,
            };
            heads.rows()
        };
        assert_eq!([1, 2, 7, 32, 33].map(group), [32, 16, 4, 1, 1]);
    }

    #[test]
    fn a_prompt_of_three_with_completions_of_two_and_of_one() {
        let segments = [Segment::root(3), Segment::child(2, 0), Segment::child(1, 0)];
        let layout = PackedLayout::new(&segments).expect("well-formed");
        let attention = PackedAttention {
            layout: &layout,
            heads: HEADS,
            float: 2.0,
        };
        // 1 + 2 + 3, 4 + 5 and 4 keys seen; the last rows of the three blocks see 3, 5 and 4.
        let expected = Blocks {
            seen: 19.0,
            worked: 9.0 + 10.0 + 4.0,
            read: 12.0,
        };
        assert_eq!(attention.blocks(), expected);
        // The prompt's keys meet all six queries, the others their own segment's.
        assert_eq!(attention.key_blocks(), [18.0 + 4.0 + 1.0, 9.0]);
        let forward = attention.forward();
        assert_eq!(forward.least.bytes, 2.0 * 6.0 * (32.0 + 16.0 + 16.0 + 32.0));
        assert_eq!(forward.least.matrix, 19.0 * 4.0 * 4.0 * 8.0);
        let kernel = forward.ours();
        assert_eq!(
            kernel.bytes,
            2.0 * 6.0 * (32.0 + 32.0) + 4.0 * 6.0 * 4.0 + 2.0 * 12.0 * (16.0 + 16.0)
        );
        assert_eq!(kernel.reads, 23.0 * 4.0 * (24.0 + 16.0));
        let backward = attention.backward();
        assert_eq!(
            backward.least.bytes,
            2.0 * 6.0 * (4.0 * 32.0 + 4.0 * 16.0) + 4.0 * 6.0 * 4.0
        );
        assert_eq!(backward.least.matrix, 19.0 * 4.0 * 80.0);
        let of_keys = backward.launches[2];
        assert_eq!(
            of_keys.bytes,
            2.0 * 6.0 * (4.0 * 16.0) + 2.0 * 9.0 * (3.0 * 32.0)
        );
        assert_eq!(of_keys.reads, 23.0 * 4.0 * (48.0 + 3.0 + 2.0));
    }

    #[test]
    fn long_segments_have_several_blocks() {
        let layout = PackedLayout::single(33).expect("well-formed");
        let attention = PackedAttention {
            layout: &layout,
            heads: HEADS,
            float: 4.0,
        };
        // Blocks of 16, 16 and 1 rows that read 16, 32 and 33 keys.
        assert_eq!(attention.blocks().read, 81.0);
        assert_eq!(attention.blocks().worked, 256.0 + 512.0 + 33.0);
        assert_eq!(attention.blocks().seen, 33.0 * 34.0 / 2.0);
        // Blocks of 32 keys and of one.
        assert_eq!(attention.key_blocks(), [32.0 * 33.0 + 1.0, 34.0]);
    }

    #[test]
    fn a_slot_that_two_runs_share_is_needed_once_and_read_twice() {
        let run = |own: Range<usize>| CachedRun {
            rows: 1,
            slots: vec![0..5, own],
        };
        let layout = CacheLayout::new(vec![run(8..10), run(12..13)]).expect("well-formed");
        let counts = CachedAttention {
            layout: &layout,
            heads: HEADS,
            float: 2.0,
        }
        .counts();
        assert_eq!(counts.least.bytes, 2.0 * 2.0 * (2.0 * 32.0 + 8.0 * 16.0));
        assert_eq!(counts.least.matrix, 13.0 * 4.0 * 32.0);
        let read = 2.0 * 2.0 * 13.0 * 16.0;
        assert_eq!(counts.ours().bytes, 2.0 * 2.0 * 2.0 * 32.0 + 32.0 + read);
    }
}
