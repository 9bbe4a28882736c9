//! Real numbers with a bound on their error.
//!
//! Owns fixed-point arithmetic of 320 binary places, about 96 decimal ones. Every result carries a bound on its
//! distance from the true value, so that agreement is never an accident of rounding: `e^{\pi\sqrt{163}}` is told
//! from the integer it misses by 7.5e-13. Knows no expression.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::limits::Undecided;

/// Binary places behind the point.
const PLACES: u64 = 320;

/// Values of more whole binary digits are not held.
const WHOLE: u64 = 256;

/// A number within `error` of `middle`, both in units of 2^-320.
#[derive(Debug, Clone)]
pub(crate) struct Real {
    middle: BigInt,
    error: BigInt,
}

type Computed = Result<Real, Undecided>;

fn unit() -> BigInt {
    BigInt::one() << PLACES
}

impl Real {
    fn new(middle: BigInt, error: BigInt) -> Computed {
        if middle.bits() > PLACES + WHOLE {
            return Err(Undecided::TooLarge);
        }
        if error.bits() > PLACES {
            return Err(Undecided::TooClose);
        }
        Ok(Self { middle, error })
    }

    fn exact(middle: BigInt) -> Self {
        Self {
            middle,
            error: BigInt::zero(),
        }
    }

    pub(crate) fn from_rational(value: &BigRational) -> Computed {
        let whole = value.numer().bits().saturating_sub(value.denom().bits());
        if whole > WHOLE {
            return Err(Undecided::TooLarge);
        }
        let (middle, rest) = (value.numer() << PLACES).div_mod_floor(value.denom());
        let error = if rest.is_zero() { 0 } else { 1 };
        Self::new(middle, error.into())
    }

    /// 3.14159…, by Machin's formula.
    pub(crate) fn pi() -> Self {
        let arc = |n: u32| -> BigInt {
            // arctan(1/n)
            let square = BigInt::from(n) * n;
            let mut term = unit() / n;
            let mut sum = term.clone();
            let mut k = 1_u32;
            while !term.is_zero() {
                term = -term / &square;
                sum += &term / (2 * k + 1);
                k += 1;
            }
            sum
        };
        Self {
            middle: arc(5) * 16 - arc(239) * 4,
            error: BigInt::from(8_192),
        }
    }

    fn ln_2() -> Self {
        // 2 artanh(1/3)
        let mut power: BigInt = unit() / 3;
        let mut sum = power.clone();
        let mut k = 1_u32;
        while !power.is_zero() {
            power /= 9;
            sum += &power / (2 * k + 1);
            k += 1;
        }
        Self {
            middle: sum * 2,
            error: BigInt::from(1_024),
        }
    }

    fn is_certainly_positive(&self) -> bool {
        self.middle > self.error
    }

    /// Whether the value is exactly 0.
    pub(crate) fn is_exact_zero(&self) -> bool {
        self.middle.is_zero() && self.error.is_zero()
    }

    pub(crate) fn negated(&self) -> Self {
        Self {
            middle: -&self.middle,
            error: self.error.clone(),
        }
    }

    pub(crate) fn plus(&self, other: &Self) -> Computed {
        Self::new(&self.middle + &other.middle, &self.error + &other.error)
    }

    pub(crate) fn minus(&self, other: &Self) -> Computed {
        self.plus(&other.negated())
    }

    pub(crate) fn times(&self, other: &Self) -> Computed {
        let middle = (&self.middle * &other.middle) >> PLACES;
        let error = self.middle.abs() * &other.error
            + other.middle.abs() * &self.error
            + &self.error * &other.error;
        let exact = self.error.is_zero()
            && other.error.is_zero()
            && &middle << PLACES == &self.middle * &other.middle;
        let error = if exact { error } else { (error >> PLACES) + 2 };
        Self::new(middle, error)
    }

    pub(crate) fn over(&self, other: &Self) -> Computed {
        if other.is_exact_zero() {
            return Err(Undecided::NoValue);
        }
        let least = other.middle.abs() - &other.error;
        if !least.is_positive() {
            return Err(Undecided::TooClose);
        }
        let (middle, rest) = (&self.middle << PLACES).div_mod_floor(&other.middle);
        if rest.is_zero() && self.error.is_zero() && other.error.is_zero() {
            return Self::new(middle, BigInt::zero());
        }
        // |a/b − A/B| ≤ (ε_a + |a/b| ε_b) / (|b| − ε_b)
        let error = (&self.error << PLACES) + middle.abs() * &other.error;
        Self::new(middle, error / least + 2)
    }

    pub(crate) fn absolute(&self) -> Self {
        Self {
            middle: self.middle.abs(),
            error: self.error.clone(),
        }
    }

    /// The largest integer not above, where the error leaves no doubt.
    pub(crate) fn floor(&self) -> Computed {
        let low = (&self.middle - &self.error) >> PLACES;
        let high: BigInt = (&self.middle + &self.error) >> PLACES;
        if low != high {
            return Err(Undecided::TooClose);
        }
        Ok(Self::exact(high << PLACES))
    }

    /// The real root; an odd one also of a negative number.
    pub(crate) fn root(&self, degree: u32) -> Computed {
        if self.middle.is_negative() && degree % 2 == 1 {
            return Ok(self.negated().root(degree)?.negated());
        }
        if self.is_exact_zero() {
            return Ok(self.clone());
        }
        if (&self.middle + &self.error).is_negative() {
            return Err(Undecided::NoValue);
        }
        if !self.is_certainly_positive() {
            return Err(Undecided::TooClose);
        }
        let scaled = &self.middle << (PLACES * u64::from(degree - 1));
        let middle = scaled.nth_root(degree);
        if self.error.is_zero() && num_traits::pow(middle.clone(), degree as usize) == scaled {
            return Ok(Self::exact(middle));
        }
        // The root's relative error is at most the radicand's.
        let least = &self.middle - &self.error;
        let error = &middle * &self.error / least + 2;
        Self::new(middle, error)
    }

    /// A whole power.
    pub(crate) fn power(&self, exponent: u32) -> Computed {
        let mut result = Self::exact(unit());
        let mut base = self.clone();
        let mut rest = exponent;
        loop {
            if rest & 1 == 1 {
                result = result.times(&base)?;
            }
            rest >>= 1;
            if rest == 0 {
                return Ok(result);
            }
            base = base.times(&base)?;
        }
    }

    pub(crate) fn exponential(&self) -> Computed {
        let ln_2 = Self::ln_2();
        let count = self.middle.div_floor(&ln_2.middle);
        let count = count.to_i64().filter(|n| n.unsigned_abs() < WHOLE);
        let Some(count) = count else {
            return if self.middle.is_positive() {
                Err(Undecided::TooLarge)
            } else {
                Err(Undecided::TooClose)
            };
        };
        let rest = &self.middle - &ln_2.middle * count;
        let mut term = unit();
        let mut sum = unit();
        let mut k = 1_u32;
        while !term.is_zero() {
            term = ((&term * &rest) >> PLACES) / k;
            sum += &term;
            k += 1;
        }
        let sum = if count >= 0 {
            sum << count
        } else {
            sum >> (-count)
        };
        // e^(x+ε) − e^x ≤ e^x · 2ε, for the error of x, of the reduction and of the series.
        let inner = &self.error + &ln_2.error * count.abs() + 1_024;
        let error = ((&sum.abs() * inner * 2) >> PLACES) + 1_024;
        Self::new(sum, error)
    }

    pub(crate) fn logarithm(&self) -> Computed {
        if self.is_exact_zero() || (&self.middle + &self.error).is_negative() {
            return Err(Undecided::NoValue);
        }
        if !self.is_certainly_positive() {
            return Err(Undecided::TooClose);
        }
        // x = m · 2^shift with m in [1/2, 1), ln m = 2 artanh((m − 1) / (m + 1)).
        let shift = i64::try_from(self.middle.bits()).unwrap_or(i64::MAX) - PLACES as i64;
        let m = if shift >= 0 {
            &self.middle >> shift
        } else {
            &self.middle << (-shift)
        };
        let z = ((&m - unit()) << PLACES) / (&m + unit());
        let square = (&z * &z) >> PLACES;
        let mut power = z.clone();
        let mut sum = z;
        let mut k = 1_u32;
        while !power.is_zero() && k < 2_000 {
            power = (&power * &square) >> PLACES;
            sum += &power / (2 * k + 1);
            k += 1;
            // A negative power shifts towards −1, never to 0.
            if power == -BigInt::one() {
                break;
            }
        }
        let middle: BigInt = sum * 2 + Self::ln_2().middle * shift;
        let least = &self.middle - &self.error;
        let error =
            (&self.error << PLACES) / least + BigInt::from(shift.unsigned_abs()) * 1_024 + 8_192;
        Self::new(middle, error)
    }

    pub(crate) fn sine(&self) -> Computed {
        let pi = Self::pi();
        let turn = &pi.middle * 2;
        let turns = (&self.middle + &pi.middle).div_floor(&turn);
        let rest = &self.middle - &turn * &turns;
        let square = (&rest * &rest) >> PLACES;
        let mut term = rest.clone();
        let mut sum = rest;
        let mut k = 1_u32;
        while term.abs() > BigInt::one() {
            term = -((&term * &square) >> PLACES) / (2 * k * (2 * k + 1));
            sum += &term;
            k += 1;
        }
        let error = &self.error + turns.abs() * 2 * &pi.error + 4_096;
        Self::new(sum, error)
    }

    pub(crate) fn cosine(&self) -> Computed {
        let quarter = Self::pi().over(&Self::exact(unit() * 2))?;
        self.plus(&quarter)?.sine()
    }

    pub(crate) fn arc_tangent(&self) -> Computed {
        let one = Self::exact(unit());
        if self.absolute().middle > unit() {
            // arctan x = ±π/2 − arctan(1/x)
            let quarter = Self::pi().over(&Self::exact(unit() * 2))?;
            let quarter = if self.middle.is_negative() {
                quarter.negated()
            } else {
                quarter
            };
            return quarter.minus(&one.over(self)?.arc_tangent()?);
        }
        // arctan x = 2 arctan(x / (1 + √(1 + x²))), three times.
        let mut x = self.clone();
        for _ in 0..3 {
            let hypotenuse = one.plus(&x.times(&x)?)?.root(2)?;
            x = x.over(&one.plus(&hypotenuse)?)?;
        }
        let square = (&x.middle * &x.middle) >> PLACES;
        let mut power = x.middle.clone();
        let mut sum = power.clone();
        let mut k = 1_u32;
        while power.abs() > BigInt::one() {
            power = -((&power * &square) >> PLACES);
            sum += &power / (2 * k + 1);
            k += 1;
        }
        Self::new(sum * 8, &x.error * 8 + 8_192)
    }

    /// Whether both are the same number as far as 200 binary places of the larger one, or of 1, tell; an error
    /// where their own errors hide it.
    pub(crate) fn agrees(&self, other: &Self) -> Result<bool, Undecided> {
        let gap = (&self.middle - &other.middle).abs();
        let error = &self.error + &other.error;
        if gap > error {
            return Ok(false);
        }
        let scale = self.middle.abs().max(other.middle.abs());
        // Near 0 an absolute bound stands for the relative one, but only for an exact 0 on one side.
        let scale = if self.is_exact_zero() || other.is_exact_zero() {
            unit()
        } else {
            scale
        };
        if error > scale >> 200 {
            return Err(Undecided::TooClose);
        }
        Ok(true)
    }

    /// The sign of the difference, where the errors leave no doubt.
    pub(crate) fn compare(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let gap: BigInt = &self.middle - &other.middle;
        if gap.abs() > &self.error + &other.error {
            Some(gap.cmp(&BigInt::zero()))
        } else {
            None
        }
    }

    /// A rational number within the error.
    pub(crate) fn to_rational(&self) -> BigRational {
        BigRational::new(self.middle.clone(), unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(numerator: i64, denominator: i64) -> Real {
        Real::from_rational(&BigRational::new(numerator.into(), denominator.into())).unwrap()
    }

    fn close(value: &Real, expected: f64) {
        let found = value.to_rational().to_f64().unwrap();
        assert!(
            (found - expected).abs() <= 1e-14 * expected.abs().max(1.0),
            "{found} is not {expected}"
        );
        assert!(
            value.error.bits() < 64,
            "the error has {} bits",
            value.error.bits()
        );
    }

    #[test]
    fn functions_agree_with_f64() {
        close(&Real::pi(), std::f64::consts::PI);
        for (n, d) in [
            (1, 3),
            (7, 2),
            (-5, 4),
            (40, 1),
            (-33, 10),
            (1, 1_000),
            (0, 1),
            (1, 1),
            (-1, 1),
        ] {
            let x = real(n, d);
            let f = n as f64 / d as f64;
            close(&x.sine().unwrap(), f.sin());
            close(&x.cosine().unwrap(), f.cos());
            close(&x.arc_tangent().unwrap(), f.atan());
            close(&x.root(3).unwrap(), f.cbrt());
            let exponential = x.exponential().unwrap().to_rational().to_f64().unwrap();
            assert!((exponential / f.exp() - 1.0).abs() < 1e-14);
            if f > 0.0 {
                close(&x.logarithm().unwrap(), f.ln());
                close(&x.root(2).unwrap(), f.sqrt());
            }
        }
    }

    #[test]
    fn a_near_integer_is_no_integer() {
        let root = real(163, 1).root(2).unwrap();
        let near = Real::pi().times(&root).unwrap().exponential().unwrap();
        let integer = real(262_537_412_640_768_744, 1);
        assert_eq!(near.agrees(&integer), Ok(false));
        assert_eq!(near.agrees(&near.plus(&real(0, 1)).unwrap()), Ok(true));
    }

    #[test]
    fn what_has_no_value_says_so() {
        assert_eq!(real(-2, 1).root(2).unwrap_err(), Undecided::NoValue);
        assert_eq!(real(0, 1).logarithm().unwrap_err(), Undecided::NoValue);
        assert_eq!(
            real(1, 1).over(&real(0, 1)).unwrap_err(),
            Undecided::NoValue
        );
        assert_eq!(
            real(1_000, 1).exponential().unwrap_err(),
            Undecided::TooLarge
        );
        let zero = Real::pi().sine().unwrap();
        assert_eq!(real(1, 1).over(&zero).unwrap_err(), Undecided::TooClose);
    }
}
