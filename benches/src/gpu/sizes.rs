//! What the operations are timed with.
use didact_kernels::{CacheLayout, CachedRun, PackedLayout, Segment};

use super::counts::Heads;

/// A decoder, a batch that trains it and one that it decodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) heads: Heads,
    pub(super) mlp: usize,
    pub(super) vocabulary: usize,
    /// Prompts of a training batch, each with so many completions.
    pub(super) prompts: usize,
    pub(super) completions: usize,
    pub(super) prompt: usize,
    pub(super) completion: usize,
    /// Rows of a decoding step.
    pub(super) batch: usize,
    /// Tokens that each of them sees in the cache.
    pub(super) cached: usize,
    /// How many rows share the first half of those, where rows share.
    pub(super) group: usize,
}

impl Sizes {
    /// A decoder of 7 billion weights (Qwen2.5's), 8192 packed tokens, and 64 rows over 1024 tokens.
    pub(super) const LARGE: Self = Self {
        hidden: 3584,
        heads: Heads {
            query: 28,
            key: 4,
            size: 128,
        },
        mlp: 18_944,
        vocabulary: 152_064,
        prompts: 4,
        completions: 8,
        prompt: 256,
        completion: 224,
        batch: 64,
        cached: 1024,
        group: 8,
    };

    /// The same in small, for devices on which the others would take hours.
    pub(super) const SMALL: Self = Self {
        hidden: 96,
        heads: Heads {
            query: 14,
            key: 2,
            size: 16,
        },
        mlp: 256,
        vocabulary: 1500,
        prompts: 2,
        completions: 4,
        prompt: 24,
        completion: 10,
        batch: 12,
        cached: 32,
        group: 4,
    };

    /// Packed tokens of the training batch.
    pub(super) fn tokens(&self) -> usize {
        self.prompts * (self.prompt + self.projected_per_prompt())
    }

    /// Of them, those of completions, whose log-probabilities are wanted.
    pub(super) fn projected(&self) -> usize {
        self.prompts * self.projected_per_prompt()
    }

    fn projected_per_prompt(&self) -> usize {
        self.completions * self.completion
    }

    /// The training batch.
    pub(super) fn packed(&self) -> PackedLayout {
        let segments: Vec<Segment> = (0..self.prompts)
            .flat_map(|prompt| {
                let root = prompt * (self.completions + 1);
                let child = Segment::child(self.completion, root);
                std::iter::once(Segment::root(self.prompt))
                    .chain(std::iter::repeat_n(child, self.completions))
            })
            .collect();
        PackedLayout::new(&segments).expect("children stand behind their prompts")
    }

    /// The decoding step's cache: every row with all of its slots to itself, or with the first half shared by its group.
    pub(super) fn cache(&self, shared: bool) -> CacheLayout {
        let half = self.cached / 2;
        let runs = (0..self.batch).map(|row| {
            let first = row / self.group * half;
            let own = self.batch * half + row * half;
            let first = if shared {
                first..first + half
            } else {
                row * half..(row + 1) * half
            };
            CachedRun {
                rows: 1,
                slots: vec![first, own..own + half],
            }
        });
        CacheLayout::new(runs.collect()).expect("every row has its slots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_have_what_the_sizes_say() {
        for sizes in [Sizes::LARGE, Sizes::SMALL] {
            let packed = sizes.packed();
            assert_eq!(packed.tokens(), sizes.tokens());
            let last = packed.segments().len() - 1;
            assert_eq!(packed.segments()[last].length, sizes.completion);
            let seen: usize = packed
                .key_ranges(last)
                .iter()
                .map(ExactSizeIterator::len)
                .sum();
            assert_eq!(seen, sizes.prompt + sizes.completion);
            for shared in [false, true] {
                let cache = sizes.cache(shared);
                assert_eq!(cache.rows(), sizes.batch);
                assert_eq!(cache.end(), sizes.batch * sizes.cached);
            }
            assert_eq!(
                sizes.cache(true).runs()[1].slots[0],
                sizes.cache(true).runs()[0].slots[0]
            );
            assert_ne!(
                sizes.cache(false).runs()[1].slots[0],
                sizes.cache(false).runs()[0].slots[0]
            );
        }
        assert_eq!(Sizes::LARGE.tokens(), 8192);
    }
}
