//! The layout of a packed sequence: which token belongs to which segment, and which keys it sees.
//!
//! This module owns the host-side bookkeeping of shared prefixes. It knows no tensor: it is numbers
//! and ranges only.
use std::ops::Range;
use std::sync::Arc;

use crate::Error;

/// Token counts fit burn's 32-bit signed indices.
const MOST_TOKENS: usize = i32::MAX as usize;

/// One run of consecutive tokens that stand behind a common prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Number of tokens, at least one.
    pub length: usize,
    /// Index of the segment that this one continues, which must stand before it; none for a root.
    pub parent: Option<usize>,
}

impl Segment {
    /// A segment that starts a sequence.
    pub fn root(length: usize) -> Self {
        Self {
            length,
            parent: None,
        }
    }

    /// A segment that continues the segment at index `parent`.
    pub fn child(length: usize, parent: usize) -> Self {
        Self {
            length,
            parent: Some(parent),
        }
    }
}

/// Several sequences packed one after the other, prefixes shared and no padding.
///
/// A segment's tokens see all tokens of its ancestors, and those of its own that stand before them.
/// A child's positions continue its parent's. Children may have children. Cloning is cheap.
///
/// ```
/// use didact_kernels::{PackedLayout, Segment};
///
/// // One prompt of three tokens with two completions of two and of one token.
/// let layout =
///     PackedLayout::new(&[Segment::root(3), Segment::child(2, 0), Segment::child(1, 0)])?;
/// assert_eq!(layout.tokens(), 6);
/// assert_eq!(layout.positions(), &[0, 1, 2, 3, 4, 3]);
/// assert_eq!(layout.key_ranges(2), &[0..3, 5..6]);
/// # Ok::<(), didact_kernels::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLayout {
    inner: Arc<Inner>,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    segments: Vec<Segment>,
    starts: Vec<usize>,
    positions: Vec<u32>,
    key_ranges: Vec<Vec<Range<usize>>>,
}

impl PackedLayout {
    /// Lays the segments out in the order given.
    ///
    /// # Errors
    /// No segments, a segment without tokens, a parent that does not stand before its child, or
    /// more than 2³¹ − 1 tokens (or positions) in all.
    pub fn new(segments: &[Segment]) -> Result<Self, Error> {
        if segments.is_empty() {
            return Err(Error::NoSegments);
        }
        let mut starts = Vec::with_capacity(segments.len());
        let mut key_ranges: Vec<Vec<Range<usize>>> = Vec::with_capacity(segments.len());
        let mut tokens = 0usize;
        // The lengths are checked before anything as long as they are is allocated.
        for (index, segment) in segments.iter().enumerate() {
            if segment.length == 0 {
                return Err(Error::EmptySegment { segment: index });
            }
            let end = tokens
                .checked_add(segment.length)
                .filter(|end| *end <= MOST_TOKENS)
                .ok_or(Error::TooLong {
                    segment: index,
                    limit: MOST_TOKENS,
                })?;
            let mut ranges = match segment.parent {
                None => Vec::with_capacity(1),
                Some(parent) if parent < index => key_ranges[parent].clone(),
                Some(parent) => {
                    return Err(Error::ParentNotBefore {
                        segment: index,
                        parent,
                    });
                }
            };
            ranges.push(tokens..end);
            starts.push(tokens);
            key_ranges.push(ranges);
            tokens = end;
        }
        let mut positions = Vec::with_capacity(tokens);
        for (segment, ranges) in segments.iter().zip(&key_ranges) {
            let before: usize = ranges[..ranges.len() - 1]
                .iter()
                .map(ExactSizeIterator::len)
                .sum();
            // The ancestors are disjoint parts of at most MOST_TOKENS tokens, so this fits.
            positions.extend(before as u32..(before + segment.length) as u32);
        }
        let segments = segments.to_vec();
        Ok(Self {
            inner: Arc::new(Inner {
                segments,
                starts,
                positions,
                key_ranges,
            }),
        })
    }

    /// One root segment: an ordinary causal sequence.
    ///
    /// # Errors
    /// As [`PackedLayout::new`].
    pub fn single(length: usize) -> Result<Self, Error> {
        Self::new(&[Segment::root(length)])
    }

    /// Number of packed tokens.
    pub fn tokens(&self) -> usize {
        self.inner.positions.len()
    }

    /// The segments, in packed order.
    pub fn segments(&self) -> &[Segment] {
        &self.inner.segments
    }

    /// Index of a segment's first token in the packed sequence.
    ///
    /// # Panics
    /// When there is no such segment.
    pub fn start(&self, segment: usize) -> usize {
        self.inner.starts[segment]
    }

    /// Indices of a segment's own tokens in the packed sequence.
    ///
    /// # Panics
    /// When there is no such segment.
    pub fn own_range(&self, segment: usize) -> Range<usize> {
        let start = self.inner.starts[segment];
        start..start + self.inner.segments[segment].length
    }

    /// Position of every packed token within its own sequence, from 0 at the root's first token.
    pub fn positions(&self) -> &[u32] {
        &self.inner.positions
    }

    /// The packed tokens whose keys a segment sees: its ancestors, oldest first, and itself last.
    ///
    /// All tokens of the ancestors are seen by each of the segment's tokens; of the last range a
    /// token sees those before it and itself.
    ///
    /// # Panics
    /// When there is no such segment.
    pub fn key_ranges(&self, segment: usize) -> &[Range<usize>] {
        &self.inner.key_ranges[segment]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_cannot_be_laid_out() {
        assert_eq!(PackedLayout::new(&[]), Err(Error::NoSegments));
        assert_eq!(
            PackedLayout::new(&[Segment::root(2), Segment::root(0)]),
            Err(Error::EmptySegment { segment: 1 })
        );
        for parent in [1, 7] {
            assert_eq!(
                PackedLayout::new(&[Segment::root(2), Segment::child(1, parent)]),
                Err(Error::ParentNotBefore { segment: 1, parent })
            );
        }
        for lengths in [[usize::MAX, 2], [MOST_TOKENS, 1], [1, MOST_TOKENS]] {
            let segments = lengths.map(Segment::root);
            assert!(matches!(
                PackedLayout::new(&segments),
                Err(Error::TooLong { .. })
            ));
        }
    }

    #[test]
    fn grandchildren_see_their_whole_line() {
        let layout = PackedLayout::new(&[
            Segment::root(2),
            Segment::child(3, 0),
            Segment::root(1),
            Segment::child(2, 1),
        ])
        .unwrap();
        assert_eq!(layout.key_ranges(3), &[0..2, 2..5, 6..8]);
        assert_eq!(layout.positions(), &[0, 1, 2, 3, 4, 0, 5, 6]);
        assert_eq!(layout.own_range(3), 6..8);
    }

    fn segments() -> impl Strategy<Value = Vec<Segment>> {
        prop::collection::vec(
            (1usize..6, any::<prop::sample::Index>(), any::<bool>()),
            1..12,
        )
        .prop_map(|drawn| {
            drawn
                .into_iter()
                .enumerate()
                .map(|(index, (length, parent, root))| {
                    let parent = (index > 0 && !root).then(|| parent.index(index));
                    Segment { length, parent }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_token_is_in_exactly_one_segment(segments in segments()) {
            let layout = PackedLayout::new(&segments).unwrap();
            let mut owners = vec![0; layout.tokens()];
            for segment in 0..segments.len() {
                for token in layout.own_range(segment) {
                    owners[token] += 1;
                }
            }
            prop_assert!(owners.iter().all(|count| *count == 1));
        }

        #[test]
        fn positions_continue_the_parents(segments in segments()) {
            let layout = PackedLayout::new(&segments).unwrap();
            for (index, segment) in segments.iter().enumerate() {
                let own = &layout.positions()[layout.own_range(index)];
                let first = segment
                    .parent
                    .map_or(0, |parent| layout.positions()[layout.own_range(parent).end - 1] + 1);
                for (offset, position) in own.iter().enumerate() {
                    prop_assert_eq!(*position, first + offset as u32);
                }
            }
        }

        #[test]
        fn keys_are_the_ancestors_and_the_own_tokens(segments in segments()) {
            let layout = PackedLayout::new(&segments).unwrap();
            for (index, segment) in segments.iter().enumerate() {
                let mut line = vec![layout.own_range(index)];
                let mut parent = segment.parent;
                while let Some(ancestor) = parent {
                    line.insert(0, layout.own_range(ancestor));
                    parent = segments[ancestor].parent;
                }
                prop_assert_eq!(layout.key_ranges(index), &line[..]);
                // What a token sees is one key for each position up to its own, in order.
                let seen: Vec<u32> = line
                    .into_iter()
                    .flatten()
                    .map(|token| layout.positions()[token])
                    .collect();
                prop_assert_eq!(seen, (0..layout.key_ranges(index).iter().map(|r| r.len() as u32).sum()).collect::<Vec<_>>());
            }
        }
    }
}
