//! How much work an answer may cost.
//!
//! Owns the bounds and the budget that counts against them. Knows nothing of what is computed. The answers of a
//! model in training are whatever it finds: nesting, towers of powers and endless digits are ordinary input here.

use num_bigint::BigInt;
use num_rational::BigRational;

/// Bounds on what an answer may be and on what comparing two may cost.
///
/// Beyond a bound the verdict is [`Why::Undecided`](super::Why::Undecided), which counts as not equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an answer once it is extracted. Default: 2,048.
    pub length: usize,
    /// Nested brackets, fractions, powers and functions. Default: 40.
    pub depth: usize,
    /// Parts of a set, tuple or list, and terms of an expanded sum. Default: 256.
    pub terms: usize,
    /// Bits of a numerator or denominator. Default: 4,096.
    pub bits: u64,
    /// Steps of arithmetic, each weighed by the size of its numbers, for one comparison. Default: 300,000.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            length: 2_048,
            depth: 40,
            terms: 256,
            bits: 4_096,
            steps: 300_000,
        }
    }
}

/// Why no exact or numerical decision was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Undecided {
    /// The answer has more bytes than [`Limits::length`].
    #[error("the answer is too long")]
    TooLong,
    /// The answer is nested deeper than [`Limits::depth`].
    #[error("the answer is nested too deeply")]
    TooDeep,
    /// More parts or terms than [`Limits::terms`].
    #[error("the answer has too many terms")]
    TooManyTerms,
    /// A number of more bits than [`Limits::bits`], or one that the numerical comparison cannot hold.
    #[error("a number of the answer is too large")]
    TooLarge,
    /// The comparison took more than [`Limits::steps`].
    #[error("the comparison takes too many steps")]
    TooManySteps,
    /// A division by zero, a logarithm of zero, an even root of a negative number.
    #[error("the answer has no value")]
    NoValue,
    /// Neither the normal form nor the evaluation knows what stands there.
    #[error("the answer holds what the comparison does not know")]
    Unsupported,
    /// The values agree as far as they are known, which is not far enough.
    #[error("the values are too close to tell")]
    TooClose,
}

/// What is left of the [`Limits`] while two answers are compared.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) limits: Limits,
    left: u64,
}

impl Budget {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            left: limits.steps,
        }
    }

    pub(crate) fn spend(&mut self, steps: u64) -> Result<(), Undecided> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Undecided::TooManySteps)
            }
        }
    }

    /// Runs `attempt` on half of what is left, so that another attempt can follow when it takes too many steps.
    pub(crate) fn half<T>(
        &mut self,
        attempt: impl FnOnce(&mut Self) -> Result<T, Undecided>,
    ) -> Result<T, Undecided> {
        let kept = self.left / 2;
        self.left -= kept;
        let result = attempt(self);
        self.left += kept;
        result
    }

    /// Charges for one operation on a number of this size: reducing a fraction is quadratic in its words.
    pub(crate) fn spend_on(&mut self, value: &BigRational) -> Result<(), Undecided> {
        let bits = value.numer().bits().max(value.denom().bits());
        if bits > self.limits.bits {
            return Err(Undecided::TooLarge);
        }
        let words = bits / 64 + 1;
        self.spend(words * words)
    }

    /// `base ^ exponent`, where the result stays within the bound on bits.
    pub(crate) fn power(&mut self, base: &BigInt, exponent: u64) -> Result<BigInt, Undecided> {
        if exponent > self.limits.bits
            || base.bits().saturating_mul(exponent) > 2 * self.limits.bits
        {
            // 0, 1 and -1 stay as small as they are.
            if base.bits() <= 1 {
                let even = exponent.is_multiple_of(2);
                return Ok(if even { base * base } else { base.clone() });
            }
            return Err(Undecided::TooLarge);
        }
        self.spend(exponent + 1)?;
        Ok(num_traits::pow(base.clone(), exponent as usize))
    }

    pub(crate) const fn check_depth(&self, depth: usize) -> Result<(), Undecided> {
        if depth > self.limits.depth {
            return Err(Undecided::TooDeep);
        }
        Ok(())
    }

    pub(crate) const fn check_terms(&self, terms: usize) -> Result<(), Undecided> {
        if terms > self.limits.terms {
            return Err(Undecided::TooManyTerms);
        }
        Ok(())
    }
}
