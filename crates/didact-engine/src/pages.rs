//! Who owns which slot of the key/value cache.
//!
//! A slot holds one token's key and value in every layer; a page is a fixed number of consecutive slots, and
//! the unit that is taken and given back. This module is arithmetic on page numbers: it knows no tensor, no
//! id and no sequence.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::ops::Range;

/// The pages of a cache: free, or owned by one [`Table`].
#[derive(Debug)]
pub(crate) struct Pages {
    page_tokens: NonZeroUsize,
    /// The lowest first, so that neighbours are taken together and the end of the cache stays untouched.
    free: BinaryHeap<Reverse<usize>>,
    total: usize,
    peak: usize,
    /// One above the highest page that was ever taken.
    end: usize,
}

impl Pages {
    pub(crate) fn new(total: usize, page_tokens: NonZeroUsize) -> Self {
        Self {
            page_tokens,
            free: (0..total).map(Reverse).collect(),
            total,
            peak: 0,
            end: 0,
        }
    }

    /// Pages that so many tokens take, in a table of their own.
    pub(crate) fn holding(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.page_tokens.get())
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    #[cfg(test)]
    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    /// Slots of all pages.
    pub(crate) const fn most_slots(&self) -> usize {
        self.total * self.page_tokens.get()
    }

    /// One above the highest slot that was ever owned.
    pub(crate) const fn end_slot(&self) -> usize {
        self.end * self.page_tokens.get()
    }

    /// The most pages that were owned at once.
    pub(crate) const fn peak(&self) -> usize {
        self.peak
    }

    /// Lets a table hold `tokens` tokens, or changes nothing where too few pages are free.
    #[must_use]
    pub(crate) fn reserve(&mut self, table: &mut Table, tokens: usize) -> bool {
        let wanted = self.holding(tokens).saturating_sub(table.pages.len());
        if wanted > self.free.len() {
            return false;
        }
        for Reverse(page) in (0..wanted).filter_map(|_| self.free.pop()) {
            self.end = self.end.max(page + 1);
            table.pages.push(page);
        }
        self.peak = self.peak.max(self.total - self.free.len());
        true
    }

    /// Takes all of a table's pages back.
    pub(crate) fn release(&mut self, table: &mut Table) {
        self.free.extend(table.pages.drain(..).map(Reverse));
    }

    /// The slot of a table's token.
    ///
    /// # Panics
    /// Where the table has no page for it.
    pub(crate) fn slot(&self, table: &Table, token: usize) -> usize {
        let size = self.page_tokens.get();
        table.pages[token / size] * size + token % size
    }

    /// Appends the slots of a table's first tokens to `slots`, as few ranges as there can be.
    pub(crate) fn append_slots(&self, slots: &mut Vec<Range<usize>>, table: &Table, tokens: usize) {
        let size = self.page_tokens.get();
        for (index, &page) in table.pages[..self.holding(tokens)].iter().enumerate() {
            let start = page * size;
            let end = start + size.min(tokens - index * size);
            match slots.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => slots.push(start..end),
            }
        }
    }
}

/// The pages of consecutive tokens, in their order. It cannot be copied, so a page has one owner; who shares
/// a prompt shares its table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pages: Vec<usize>,
}

impl Table {
    pub(crate) const fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(crate) const fn pages(&self) -> usize {
        self.pages.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages(total: usize, page_tokens: usize) -> Pages {
        Pages::new(total, NonZeroUsize::new(page_tokens).unwrap())
    }

    fn slots(pages: &Pages, table: &Table, tokens: usize) -> Vec<Range<usize>> {
        let mut slots = Vec::new();
        pages.append_slots(&mut slots, table, tokens);
        slots
    }

    #[test]
    fn pages_that_follow_each_other_are_one_range() {
        let mut pages = pages(5, 4);
        let (mut a, mut b) = (Table::default(), Table::default());
        assert!(pages.reserve(&mut a, 6));
        assert!(pages.reserve(&mut b, 1));
        assert!(pages.reserve(&mut a, 9));
        assert_eq!(slots(&pages, &a, 9), [0..8, 12..13]);
        assert_eq!(slots(&pages, &a, 6), vec![0..6]);
        assert_eq!(slots(&pages, &b, 1), vec![8..9]);
        // One sequence's slots may go on where its prompt's end.
        let mut both = slots(&pages, &a, 8);
        pages.append_slots(&mut both, &b, 1);
        assert_eq!(both, vec![0..9]);

        assert!(
            !pages.reserve(&mut b, 9),
            "one page is left, two are missing"
        );
        assert_eq!((b.pages(), pages.free(), pages.peak()), (1, 1, 4));
        pages.release(&mut a);
        assert_eq!((pages.free(), pages.peak()), (4, 4));
        assert!(pages.reserve(&mut b, 16));
        assert_eq!(slots(&pages, &b, 16), [8..12, 0..8, 12..16]);
    }

    proptest! {
        /// Tables that grow and go, at random.
        #[test]
        fn no_slot_has_two_owners_and_everything_comes_back(
            total in 0usize..12, page_tokens in 1usize..5,
            steps in prop::collection::vec((0usize..4, 0usize..16), 0..60),
        ) {
            let mut pages = pages(total, page_tokens);
            let mut tables: Vec<(Table, usize)> = (0..4).map(|_| (Table::default(), 0)).collect();
            for (which, tokens) in steps {
                let (table, held) = &mut tables[which];
                if tokens == 0 {
                    pages.release(table);
                    *held = 0;
                } else if pages.reserve(table, tokens) {
                    *held = tokens.max(*held);
                }
                let mut owned = Vec::new();
                for (table, held) in &tables {
                    let slots: Vec<usize> =
                        slots(&pages, table, *held).into_iter().flatten().collect();
                    let one_by_one: Vec<usize> =
                        (0..*held).map(|token| pages.slot(table, token)).collect();
                    prop_assert_eq!(&slots, &one_by_one);
                    owned.extend(slots);
                }
                prop_assert!(owned.iter().all(|slot| *slot < pages.end_slot()));
                prop_assert!(pages.end_slot() <= pages.most_slots());
                let count = owned.len();
                owned.sort_unstable();
                owned.dedup();
                prop_assert_eq!(owned.len(), count);
                let taken: usize = tables.iter().map(|(table, _)| table.pages()).sum();
                prop_assert_eq!(taken + pages.free(), total);
                prop_assert!(pages.peak() >= taken);
            }
            for (table, _) in &mut tables {
                pages.release(table);
            }
            prop_assert_eq!(pages.free(), total);
        }
    }
}
