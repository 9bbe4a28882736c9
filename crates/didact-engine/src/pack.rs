//! Packs sequences that share prefixes into one, and splits long lists of them by a token budget.
//!
//! It knows ids and layouts, no model and no tensor; scoring, generation and training all pack here.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use didact_core::{Error, Result, TokenId};
use didact_kernels::{PackedLayout, Segment};

/// Several sequences packed one after the other, each prefix stored once.
///
/// ```
/// use std::sync::Arc;
/// use didact_engine::PackedBatch;
///
/// let prompt: Arc<[u32]> = Arc::from([7, 8, 9]);
/// let batch = PackedBatch::new(&[(prompt.clone(), &[1, 2][..]), (prompt, &[3][..])])?;
/// assert_eq!(batch.ids(), [7, 8, 9, 1, 2, 3]);
/// assert_eq!(batch.layout().positions(), [0, 1, 2, 3, 4, 3]);
/// // The first token after the prompt is predicted from the prompt's last row, in both sequences.
/// assert_eq!(batch.predicting_row(0, 3), 2);
/// assert_eq!(batch.predicting_row(1, 3), 2);
/// assert_eq!(batch.predicting_row(0, 4), 3);
/// # Ok::<(), didact_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PackedBatch {
    ids: Vec<TokenId>,
    layout: PackedLayout,
    sequences: Vec<Sequence>,
}

/// Where one sequence lies: packed rows of its two parts.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    prefix_start: usize,
    prefix_length: usize,
    continuation_start: usize,
    length: usize,
}

impl PackedBatch {
    /// Packs sequences given as (prefix, continuation), in their order.
    ///
    /// Equal prefixes become one segment, which stands before the first sequence that holds it; a
    /// prefix is never merged with its continuation, so that a row's numbers do not depend on what else
    /// is in the batch. One of the two parts may be empty.
    ///
    /// # Errors
    /// No sequences, a sequence without tokens, or more tokens than a layout can hold.
    pub fn new(sequences: &[(Arc<[TokenId]>, &[TokenId])]) -> Result<Self> {
        let mut ids = Vec::new();
        let mut segments = Vec::new();
        let mut packed = Vec::with_capacity(sequences.len());
        // Of each distinct prefix its segment and first row.
        let mut prefixes: Vec<(usize, usize)> = Vec::new();
        let mut index = PrefixIndex::default();
        for (position, (prefix, continuation)) in sequences.iter().enumerate() {
            let length = prefix.len() + continuation.len();
            if length == 0 {
                return Err(Error::InvalidRequest {
                    what: format!("sequence {position}"),
                    problem: "holds no token".to_owned(),
                });
            }
            let parent = if prefix.is_empty() {
                None
            } else {
                let distinct = index.of(prefix);
                if distinct == prefixes.len() {
                    prefixes.push((segments.len(), ids.len()));
                    segments.push(Segment::root(prefix.len()));
                    ids.extend_from_slice(prefix);
                }
                Some(prefixes[distinct])
            };
            let continuation_start = ids.len();
            if !continuation.is_empty() {
                segments.push(Segment {
                    length: continuation.len(),
                    parent: parent.map(|(segment, _)| segment),
                });
                ids.extend_from_slice(continuation);
            }
            packed.push(Sequence {
                prefix_start: parent.map_or(0, |(_, start)| start),
                prefix_length: prefix.len(),
                continuation_start,
                length,
            });
        }
        let layout = PackedLayout::new(&segments).map_err(|error| Error::Other(error.into()))?;
        Ok(Self {
            ids,
            layout,
            sequences: packed,
        })
    }

    /// The packed ids.
    #[must_use]
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// The segments of the packed ids.
    #[must_use]
    pub const fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// The number of sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// The packed row of the token at `position` of a sequence.
    ///
    /// # Panics
    /// When there is no such sequence or it has no such position.
    #[must_use]
    pub fn row(&self, sequence: usize, position: usize) -> usize {
        let found = self.sequences[sequence];
        assert!(
            position < found.length,
            "sequence {sequence} has {} tokens, no position {position}",
            found.length
        );
        if position < found.prefix_length {
            found.prefix_start + position
        } else {
            found.continuation_start + position - found.prefix_length
        }
    }

    /// The packed row whose hidden state predicts the token at `position` of a sequence: that of the
    /// token before it, which for a continuation's first token is the prefix's last row.
    ///
    /// # Panics
    /// When there is no such sequence, it has no such position, or `position` is 0, which nothing
    /// predicts.
    #[must_use]
    pub fn predicting_row(&self, sequence: usize, position: usize) -> usize {
        assert!(position > 0, "nothing predicts a sequence's first token");
        let length = self.sequences[sequence].length;
        assert!(
            position < length,
            "sequence {sequence} has {length} tokens, no position {position}"
        );
        self.row(sequence, position - 1)
    }
}

/// Splits sequences, given as (prefix, length of the continuation), into micro-batches of at most
/// `max_tokens` packed tokens, and returns the indices of each micro-batch's sequences.
///
/// Sequences with equal prefixes are kept together, in the order in which each prefix first appears: a
/// group starts a micro-batch of its own where it would not fit into the one begun but fits into an
/// empty one. A larger group is cut, and its prefix computed once in each part. A single sequence
/// above the budget is a micro-batch of its own.
#[must_use]
pub fn micro_batches(sequences: &[(Arc<[TokenId]>, usize)], max_tokens: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut index = PrefixIndex::default();
    for (position, (prefix, _)) in sequences.iter().enumerate() {
        // An empty prefix is not shared: its sequences need not stay together.
        let group = if prefix.is_empty() {
            groups.len()
        } else {
            index.of_group(prefix, groups.len())
        };
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(position);
    }

    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut current: Vec<usize> = Vec::new();
    let mut tokens = 0;
    for group in groups {
        let prefix = sequences[group[0]].0.len();
        let whole: usize = prefix + group.iter().map(|&s| sequences[s].1).sum::<usize>();
        if !current.is_empty() && tokens + whole > max_tokens && whole <= max_tokens {
            batches.push(std::mem::take(&mut current));
            tokens = 0;
        }
        let mut prefix_is_in = false;
        for sequence in group {
            let own = sequences[sequence].1;
            let cost = own + if prefix_is_in { 0 } else { prefix };
            if !current.is_empty() && tokens + cost > max_tokens {
                batches.push(std::mem::take(&mut current));
                tokens = prefix + own;
            } else {
                tokens += cost;
            }
            prefix_is_in = true;
            current.push(sequence);
        }
    }
    if !current.is_empty() {
        batches.push(current);
    }
    batches
}

/// Numbers distinct prefixes: found by pointer first, else by content.
#[derive(Debug, Default)]
pub(crate) struct PrefixIndex<'a> {
    by_pointer: HashMap<Pointer, usize>,
    by_content: HashMap<&'a [TokenId], usize>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Pointer {
    address: usize,
    length: usize,
}

impl<'a> PrefixIndex<'a> {
    /// The number of this prefix; that of a new one is the count of those before.
    pub(crate) fn of(&mut self, prefix: &'a Arc<[TokenId]>) -> usize {
        let next = self.by_content.len();
        self.of_group(prefix, next)
    }

    /// The number of this prefix; a new one gets `next`.
    fn of_group(&mut self, prefix: &'a Arc<[TokenId]>, next: usize) -> usize {
        let pointer = Pointer {
            address: prefix.as_ptr().addr(),
            length: prefix.len(),
        };
        if let Some(&found) = self.by_pointer.get(&pointer) {
            return found;
        }
        let number = *self.by_content.entry(prefix).or_insert(next);
        self.by_pointer.insert(pointer, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arc(ids: &[TokenId]) -> Arc<[TokenId]> {
        Arc::from(ids)
    }

    #[test]
    fn equal_prefixes_are_one_segment_whoever_made_them() {
        let shared = arc(&[1, 2]);
        let batch = PackedBatch::new(&[
            (shared.clone(), &[5][..]),
            (arc(&[9]), &[6][..]),
            (arc(&[1, 2]), &[7, 8][..]),
            (shared, &[][..]),
        ])
        .unwrap();
        assert_eq!(batch.ids(), [1, 2, 5, 9, 6, 7, 8]);
        assert_eq!(batch.layout().positions(), [0, 1, 2, 0, 1, 2, 3]);
        assert_eq!(batch.predicting_row(2, 2), 1);
        assert_eq!(batch.predicting_row(2, 3), 5);
        assert_eq!(batch.predicting_row(3, 1), 0);
    }

    #[test]
    fn a_part_may_be_empty_but_not_both() {
        let batch = PackedBatch::new(&[(arc(&[]), &[4, 5][..]), (arc(&[6]), &[][..])]).unwrap();
        assert_eq!(batch.ids(), [4, 5, 6]);
        assert_eq!(batch.layout().segments().len(), 2);
        assert_eq!(batch.predicting_row(0, 1), 0);
        assert!(PackedBatch::new(&[(arc(&[]), &[][..])]).is_err());
        assert!(PackedBatch::new(&[]).is_err());
    }

    fn sequences() -> impl Strategy<Value = Vec<(Arc<[TokenId]>, Vec<TokenId>)>> {
        prop::collection::vec(
            (
                prop::collection::vec(0u32..3, 0..4),
                prop::collection::vec(0u32..9, 0..5),
            ),
            1..12,
        )
        .prop_map(|all| {
            all.into_iter()
                .filter(|(prefix, continuation)| prefix.len() + continuation.len() > 0)
                .map(|(prefix, continuation)| (Arc::from(prefix), continuation))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_token_has_a_row_that_sees_exactly_what_stands_before_it(all in sequences()) {
            prop_assume!(!all.is_empty());
            let views: Vec<_> = all.iter().map(|(p, c)| (p.clone(), &c[..])).collect();
            let batch = PackedBatch::new(&views).unwrap();
            for (sequence, (prefix, continuation)) in all.iter().enumerate() {
                let ids: Vec<TokenId> = prefix.iter().chain(continuation).copied().collect();
                for (position, &id) in ids.iter().enumerate() {
                    let row = batch.row(sequence, position);
                    prop_assert_eq!(batch.ids()[row], id);
                    prop_assert_eq!(batch.layout().positions()[row] as usize, position);
                    let segment = (0..batch.layout().segments().len())
                        .find(|&s| batch.layout().own_range(s).contains(&row))
                        .unwrap();
                    let seen: Vec<TokenId> = batch
                        .layout()
                        .key_ranges(segment)
                        .iter()
                        .cloned()
                        .flatten()
                        .take(position + 1)
                        .map(|key| batch.ids()[key])
                        .collect();
                    prop_assert_eq!(&seen[..], &ids[..=position]);
                }
            }
        }

        #[test]
        fn micro_batches_hold_everything_once_within_the_budget(
            all in sequences(), max_tokens in 1usize..30,
        ) {
            let lengths: Vec<_> = all.iter().map(|(p, c)| (p.clone(), c.len())).collect();
            let batches = micro_batches(&lengths, max_tokens);
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..all.len()).collect::<Vec<_>>());
            for batch in &batches {
                let views: Vec<_> =
                    batch.iter().map(|&s| (all[s].0.clone(), &all[s].1[..])).collect();
                let tokens = PackedBatch::new(&views).unwrap().ids().len();
                prop_assert!(tokens <= max_tokens || batch.len() == 1);
            }
        }
    }

    #[test]
    fn a_group_that_fits_is_not_cut() {
        let (a, b) = (arc(&[1; 10]), arc(&[2; 10]));
        let all = [(a.clone(), 5), (b.clone(), 5), (a, 5), (b, 5)];
        assert_eq!(micro_batches(&all, 30), [vec![0, 2], vec![1, 3]]);
        assert_eq!(micro_batches(&all, 40), [vec![0, 2, 1, 3]]);
        assert_eq!(
            micro_batches(&all, 15),
            [vec![0], vec![2], vec![1], vec![3]]
        );
    }
}
