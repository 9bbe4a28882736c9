//! Random draws that depend on what is sampled, not on when or beside what.

/// Names a random stream: the same key gives the same draws on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The run's seed.
    pub run_seed: u64,
    /// The training step, or any number that names another use.
    pub step: u64,
    /// The problem's index.
    pub problem: u64,
    /// The sample's index in its group.
    pub sample: u64,
}

impl StreamKey {
    /// The stream of this key.
    #[must_use]
    pub const fn stream(self) -> RandomStream {
        let mut state = mix(self.run_seed ^ 0x5eed_0fd1_dac7);
        state = mix(state ^ self.step);
        state = mix(state ^ self.problem);
        RandomStream {
            state: mix(state ^ self.sample),
        }
    }
}

/// A counter-based random stream: draw `i` is a hash of the stream's state and `i`.
///
/// The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
/// number generators", 2014). It is for sampling, not for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomStream {
    state: u64,
}

impl RandomStream {
    /// The stream of a bare seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    /// The 64 random bits of draw `index`.
    #[must_use]
    pub const fn bits(&self, index: u64) -> u64 {
        mix(self
            .state
            .wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Draw `index` as a number in `[0, 1)`, a multiple of 2⁻⁵³.
    #[must_use]
    pub fn uniform(&self, index: u64) -> f64 {
        (self.bits(index) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Draw `index` as a number below `bound`, which must be above 0. The bias is below `bound`·2⁻⁶⁴.
    #[must_use]
    pub fn below(&self, index: u64, bound: usize) -> usize {
        ((u128::from(self.bits(index)) * bound as u128) >> 64) as usize
    }

    /// A permutation of `0..len` (Fisher and Yates), from the draws `0..len`.
    #[must_use]
    pub fn permutation(&self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for i in (1..len).rev() {
            order.swap(i, self.below(i as u64, i + 1));
        }
        order
    }
}

const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn draws_are_uniform_enough() {
        let stream = StreamKey {
            run_seed: 7,
            step: 1,
            problem: 2,
            sample: 3,
        }
        .stream();
        let n = 100_000;
        let mut counts = [0u32; 10];
        for i in 0..n {
            counts[(stream.uniform(i) * 10.0) as usize] += 1;
        }
        // Standard deviation of each count is 95: five of them.
        assert!(
            counts.iter().all(|&c| c.abs_diff(n as u32 / 10) < 475),
            "{counts:?}"
        );
    }

    #[test]
    fn every_part_of_a_key_matters() {
        let key = StreamKey {
            run_seed: 0,
            step: 0,
            problem: 0,
            sample: 0,
        };
        let others = [
            StreamKey { run_seed: 1, ..key },
            StreamKey { step: 1, ..key },
            StreamKey { problem: 1, ..key },
            StreamKey { sample: 1, ..key },
        ];
        for other in others {
            assert_ne!(key.stream().bits(0), other.stream().bits(0), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn a_permutation_holds_every_index_once(seed: u64, len in 0usize..50) {
            let mut order = RandomStream::new(seed).permutation(len);
            order.sort_unstable();
            prop_assert_eq!(order, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn below_stays_below(seed: u64, index: u64, bound in 1usize..1000) {
            prop_assert!(RandomStream::new(seed).below(index, bound) < bound);
        }
    }
}
