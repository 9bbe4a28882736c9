//! The weights that a token is drawn by, and running sums of them.
//!
//! A vocabulary is long and a draw is made at every token, so all loops go over blocks of one width that a
//! compiler turns into vectors; the order of every sum is fixed by that width.

use didact_core::TokenId;

use super::NonFiniteLogit;

const BLOCK: usize = 64;
const LANES: usize = 16;

/// `w_i = exp((x_i − max x) / temperature)`, in f32, and their sums, in f64.
#[derive(Debug)]
pub(super) struct Weights {
    values: Vec<f32>,
    /// The sum of each block of values.
    sums: Vec<f64>,
    total: f64,
}

impl Weights {
    /// Of finite logits whose largest is `max`, at a temperature above 0.
    pub(super) fn new(logits: &[f32], max: f32, temperature: f64) -> Self {
        // A temperature too small for its inverse leaves weight to the largest alone, and no NaN.
        let inverse = ((1.0 / temperature) as f32).min(f32::MAX);
        let mut values = vec![0.0; logits.len()];
        let mut sums = Vec::with_capacity(logits.len().div_ceil(BLOCK));
        for (values, logits) in values.chunks_mut(BLOCK).zip(logits.chunks(BLOCK)) {
            for (value, logit) in values.iter_mut().zip(logits) {
                *value = exp((logit - max) * inverse);
            }
            sums.push(f64::from(sum(values)));
        }
        let total = sums.iter().sum();
        Self {
            values,
            sums,
            total,
        }
    }

    /// The weight of a token.
    pub(super) fn of(&self, id: usize) -> f64 {
        f64::from(self.values[id])
    }

    pub(super) const fn total(&self) -> f64 {
        self.total
    }

    /// The first token at which the sum of the weights up to it exceeds `target`, else the last of positive
    /// weight.
    pub(super) fn pick(&self, target: f64) -> Option<usize> {
        let mut sum = 0.0;
        let mut last = None;
        for (block, (values, &block_sum)) in self.values.chunks(BLOCK).zip(&self.sums).enumerate() {
            if block_sum > 0.0 {
                last = Some((block, values));
            }
            if sum + block_sum <= target {
                sum += block_sum;
                continue;
            }
            for (place, &value) in values.iter().enumerate() {
                sum += f64::from(value);
                if sum > target {
                    return Some(block * BLOCK + place);
                }
            }
            // The block's own sum was rounded up past the target: the next token of any weight is it.
        }
        let (block, values) = last?;
        let place = values.iter().rposition(|&value| value > 0.0)?;
        Some(block * BLOCK + place)
    }
}

/// The first largest logit, once all are known to be finite.
pub(super) fn likeliest(logits: &[f32]) -> Result<(usize, f32), NonFiniteLogit> {
    let mut best = (0, f32::NEG_INFINITY);
    for (block, values) in logits.chunks(BLOCK).enumerate() {
        let finite = values
            .iter()
            .fold(true, |all, value| all & value.is_finite());
        if !finite {
            let place = values.iter().position(|value| !value.is_finite());
            let place = place.unwrap_or(0);
            return Err(NonFiniteLogit {
                id: (block * BLOCK + place) as TokenId,
                value: values[place],
            });
        }
        let largest = largest(values);
        if largest > best.1 {
            best = (block, largest);
        }
    }
    let (block, largest) = best;
    let first = block * BLOCK;
    let place = logits[first..].iter().position(|&value| value == largest);
    Ok((first + place.unwrap_or(0), largest))
}

fn largest(values: &[f32]) -> f32 {
    let (rows, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for row in rows {
        for (lane, &value) in lanes.iter_mut().zip(row) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

fn sum(values: &[f32]) -> f32 {
    let (rows, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for row in rows {
        for (lane, &value) in lanes.iter_mut().zip(row) {
            *lane += value;
        }
    }
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    rest.iter().fold(lanes[0], |sum, value| sum + value)
}

/// `eˣ` for `x ≤ 0`, to a relative error of 3·10⁻⁷; 0 below −87, where f32 begins to lose digits.
///
/// `x = n·ln 2 + r` with the nearest whole `n`, and `eʳ` by its series up to `r⁶/6!`. No step is a branch or a
/// call, so a loop over it becomes vectors.
#[inline]
fn exp(x: f32) -> f32 {
    /// Adding it leaves a whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with few enough bits for exact products.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let inside = x.max(-87.0);
    let shifted = inside * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (inside - n * LN_2.0) - n * LN_2.1;
    let series = ((((r / 720.0 + 1.0 / 120.0) * r + 1.0 / 24.0) * r + 1.0 / 6.0) * r + 0.5) * r;
    let series = (series + 1.0) * r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { series * power }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exp_is_exp() {
        let mut largest: f64 = 0.0;
        for step in 0..=870_000 {
            let x = -(step as f32) * 1e-4;
            let expected = f64::from(x).exp();
            largest = largest.max((f64::from(exp(x)) / expected - 1.0).abs());
        }
        assert!(largest < 3e-7, "{largest}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn a_temperature_near_zero_leaves_the_largest() {
        for temperature in [1e-30, 1e-300, f64::MIN_POSITIVE / 8.0] {
            let weights = Weights::new(&[1.0, 3.0, 2.999_999_8, -3.0], 3.0, temperature);
            assert_eq!(weights.values, [0.0, 1.0, 0.0, 0.0]);
            assert_eq!(weights.pick(0.99), Some(1));
        }
    }

    fn logits() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-30.0f32..30.0, 1..300)
    }

    proptest! {
        #[test]
        fn the_token_picked_is_that_of_exact_sums(
            logits in logits(), temperature in 0.1f64..3.0, uniform in 0.0f64..1.0,
        ) {
            let (_, max) = likeliest(&logits).unwrap();
            let weights = Weights::new(&logits, max, temperature);
            let exact: Vec<f64> = logits
                .iter()
                .map(|&x| ((f64::from(x) - f64::from(max)) / temperature).exp())
                .collect();
            let total: f64 = exact.iter().sum();
            prop_assert!((weights.total() / total - 1.0).abs() < 2e-6);
            let picked = weights.pick(uniform * weights.total()).unwrap();
            let below: f64 = exact[..picked].iter().sum::<f64>() / total;
            let upto = below + exact[picked] / total;
            prop_assert!(below - 1e-5 <= uniform && uniform <= upto + 1e-5);
            prop_assert!(weights.of(picked) > 0.0);
            // A target that rounding puts at the very end still names a token.
            prop_assert!(weights.pick(weights.total() * 1.1).is_some());
        }

        #[test]
        fn the_likeliest_is_the_first_of_the_largest(
            logits in prop::collection::vec(-3i8..3, 1..300), bad in prop::option::of(0usize..300),
        ) {
            let mut logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let bad = bad.filter(|&bad| bad < logits.len());
            if let Some(bad) = bad {
                logits[bad] = f32::NAN;
                prop_assert_eq!(likeliest(&logits).unwrap_err().id as usize, bad);
            } else {
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let first = logits.iter().position(|&x| x == max).unwrap();
                prop_assert_eq!(likeliest(&logits).unwrap(), (first, max));
            }
        }
    }
}
