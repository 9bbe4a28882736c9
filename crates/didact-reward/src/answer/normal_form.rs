//! The normal form of an expression: a quotient of polynomials.
//!
//! Owns the way from a tree to its normal form, by identities only. Where none is known, it says so; equality is then
//! left to evaluation.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::expression::{Constant, Expression, Function};
use super::limits::{Budget, Undecided};
use super::polynomial::{Atom, Exponent, Monomial, Polynomial, check_exponent, factor};

/// A quotient; the denominator has several terms or is 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fraction {
    pub(crate) numerator: Polynomial,
    pub(crate) denominator: Polynomial,
}

impl From<Polynomial> for Fraction {
    fn from(numerator: Polynomial) -> Self {
        Self {
            numerator,
            denominator: Polynomial::one(),
        }
    }
}

type Normal = Result<Fraction, Undecided>;

impl Fraction {
    fn constant(value: BigRational) -> Self {
        Polynomial::constant(value).into()
    }

    fn as_polynomial(&self) -> Result<&Polynomial, Undecided> {
        if self.denominator.is_one() {
            Ok(&self.numerator)
        } else {
            Err(Undecided::Unsupported)
        }
    }

    pub(crate) fn as_constant(&self) -> Option<BigRational> {
        self.as_polynomial().ok()?.as_constant()
    }

    /// How many parts it holds at any depth.
    pub(crate) fn weight(&self) -> u64 {
        self.numerator.weight() + self.denominator.weight()
    }

    /// Whether both have the same denominator; the comparison is paid for.
    fn shares_denominator(&self, other: &Self, budget: &mut Budget) -> Result<bool, Undecided> {
        budget.spend(self.denominator.weight())?;
        Ok(self.denominator == other.denominator)
    }

    fn plus(self, other: Self, budget: &mut Budget) -> Normal {
        if self.shares_denominator(&other, budget)? {
            return Ok(Self {
                numerator: self.numerator.plus(other.numerator, budget)?,
                denominator: self.denominator,
            });
        }
        let left = self.numerator.times(&other.denominator, budget)?;
        let right = other.numerator.times(&self.denominator, budget)?;
        Ok(Self {
            numerator: left.plus(right, budget)?,
            denominator: self.denominator.times(&other.denominator, budget)?,
        })
    }

    fn times(&self, other: &Self, budget: &mut Budget) -> Normal {
        Ok(Self {
            numerator: self.numerator.times(&other.numerator, budget)?,
            denominator: self.denominator.times(&other.denominator, budget)?,
        })
    }

    fn inverse(&self, budget: &mut Budget) -> Normal {
        if self.numerator.is_zero() {
            return Err(Undecided::NoValue);
        }
        let Some((monomial, coefficient)) = self.numerator.as_term() else {
            return Ok(Self {
                numerator: self.denominator.copy(budget)?,
                denominator: self.numerator.copy(budget)?,
            });
        };
        let inverse = monomial.scaled(-Exponent::one(), budget)?;
        let inverse = Polynomial::term(coefficient.recip(), inverse);
        Ok(self.denominator.times(&inverse, budget)?.into())
    }

    /// The numerator of the difference: 0 exactly where both are equal.
    pub(crate) fn difference(
        &self,
        other: &Self,
        budget: &mut Budget,
    ) -> Result<Polynomial, Undecided> {
        if self.shares_denominator(other, budget)? {
            let left = self.numerator.copy(budget)?;
            return left.minus(other.numerator.copy(budget)?, budget);
        }
        let left = self.numerator.times(&other.denominator, budget)?;
        let right = other.numerator.times(&self.denominator, budget)?;
        left.minus(right, budget)
    }

    fn power(&self, exponent: Exponent, budget: &mut Budget) -> Normal {
        let exponent = check_exponent(exponent)?;
        if exponent.is_integer() {
            let whole = exponent.to_integer();
            let base = if whole < 0 {
                &self.inverse(budget)?
            } else {
                self
            };
            let whole = u32::try_from(whole.unsigned_abs()).map_err(|_| Undecided::TooLarge)?;
            if whole == 0 && base.numerator.is_zero() {
                return Err(Undecided::NoValue);
            }
            return Ok(Self {
                numerator: base.numerator.power(whole, budget)?,
                denominator: base.denominator.power(whole, budget)?,
            });
        }
        Ok(root(self.as_polynomial()?, exponent, budget)?.into())
    }
}

/// A polynomial to a power that is no integer.
fn root(
    base: &Polynomial,
    exponent: Exponent,
    budget: &mut Budget,
) -> Result<Polynomial, Undecided> {
    if base.is_zero() {
        return if exponent.is_positive() {
            Ok(Polynomial::default())
        } else {
            Err(Undecided::NoValue)
        };
    }
    if let Some((monomial, coefficient)) = base.as_term() {
        let numeric = rational_root(coefficient, exponent, monomial.is_one(), budget)?;
        let rest = monomial_root(monomial, exponent, budget)?;
        return numeric.times(&rest, budget);
    }
    let (content, sum) = base.copy(budget)?.content();
    let numeric = rational_root(&content, exponent, false, budget)?;
    let sum = Monomial::of(Atom::Sum(Box::new(sum)), exponent);
    // Multiplying takes out the whole part of the exponent.
    let sum = Polynomial::term(BigRational::one(), sum).times(&Polynomial::one(), budget)?;
    numeric.times(&sum, budget)
}

/// `value ^ exponent` as a product of powers of primes. The root of a negative number is imaginary where the degree
/// is 2, real where it is odd, and else left alone.
fn rational_root(
    value: &BigRational,
    exponent: Exponent,
    alone: bool,
    budget: &mut Budget,
) -> Result<Polynomial, Undecided> {
    let mut monomial = Monomial::default();
    for (number, sign) in [(value.numer().abs(), 1), (value.denom().clone(), -1)] {
        for (prime, power) in factor(&number, budget)? {
            let power = Exponent::from_integer(power * sign) * exponent;
            monomial
                .0
                .insert(Atom::Prime(prime), check_exponent(power)?);
        }
    }
    let mut sign = BigRational::one();
    if value.is_negative() {
        if !alone {
            return Err(Undecided::Unsupported);
        }
        if *exponent.denom() == 2 {
            let power = Exponent::from_integer(*exponent.numer());
            monomial.0.insert(Atom::Imaginary, power);
        } else if exponent.denom().is_odd() {
            if exponent.numer().is_odd() {
                sign = -sign;
            }
        } else {
            return Err(Undecided::Unsupported);
        }
    }
    Polynomial::term(sign, monomial).times(&Polynomial::one(), budget)
}

/// The power of a product of atoms: of its factors where that is an identity for all real values.
fn monomial_root(
    monomial: &Monomial,
    exponent: Exponent,
    budget: &mut Budget,
) -> Result<Polynomial, Undecided> {
    // Every atom is copied.
    budget.spend(monomial.weight())?;
    let mut outside = Monomial::default();
    let mut inside = Monomial::default();
    for (atom, power) in &monomial.0 {
        match atom {
            Atom::Prime(_) | Atom::Pi | Atom::Euler => {
                outside
                    .0
                    .insert(atom.clone(), check_exponent(*power * exponent)?);
            }
            Atom::Imaginary => return Err(Undecided::Unsupported),
            _ => {
                inside.0.insert(atom.clone(), *power);
            }
        }
    }
    let single = inside.0.len() == 1;
    let mut result = outside;
    match inside.0.iter().next() {
        None => {}
        // √x^a is x^(a/2) where the root has a value at all: for odd a, and for odd degrees.
        Some((atom @ Atom::Symbol(_), power))
            if single
                && (power.numer().is_odd() || exponent.denom().is_odd())
                && power.is_integer() =>
        {
            result
                .0
                .insert(atom.clone(), check_exponent(*power * exponent)?);
        }
        Some(_) => {
            let inside = Polynomial::term(BigRational::one(), inside);
            result.0.insert(Atom::Sum(Box::new(inside)), exponent);
        }
    }
    Ok(Polynomial::term(BigRational::one(), result))
}

/// The normal form of an expression.
pub(crate) fn normalise(expression: &Expression, budget: &mut Budget) -> Normal {
    budget.spend(1)?;
    match expression {
        Expression::Number { value, .. } => {
            budget.spend_on(value)?;
            Ok(Fraction::constant(value.clone()))
        }
        Expression::Constant(constant) => Ok(Polynomial::atom(match constant {
            Constant::Pi => Atom::Pi,
            Constant::Euler => Atom::Euler,
            Constant::Imaginary => Atom::Imaginary,
            Constant::Infinity => return Err(Undecided::NoValue),
        })
        .into()),
        Expression::Symbol(name) => Ok(Polynomial::atom(Atom::Symbol(name.clone())).into()),
        Expression::Sum(terms) => {
            let mut sum = Fraction::from(Polynomial::default());
            for term in terms {
                sum = sum.plus(normalise(term, budget)?, budget)?;
            }
            Ok(sum)
        }
        Expression::Product(factors) => {
            let mut product = Fraction::from(Polynomial::one());
            for factor in factors {
                product = product.times(&normalise(factor, budget)?, budget)?;
            }
            Ok(product)
        }
        Expression::Quotient(upper, lower) => {
            let lower = normalise(lower, budget)?.inverse(budget)?;
            normalise(upper, budget)?.times(&lower, budget)
        }
        Expression::Power(base, exponent) => {
            let base = normalise(base, budget)?;
            let exponent = normalise(exponent, budget)?;
            power(&base, &exponent, budget)
        }
        Expression::Root(radicand, degree) => {
            let radicand = normalise(radicand, budget)?;
            // The root of a quotient of sums is left to evaluation.
            radicand.power(Exponent::new(1, i64::from(*degree)), budget)
        }
        Expression::Function(function, arguments) => {
            let arguments = arguments
                .iter()
                .map(|argument| normalise(argument, budget))
                .collect::<Result<Vec<_>, _>>()?;
            apply(*function, arguments, budget)
        }
    }
}

fn as_exponent(value: &BigRational) -> Result<Exponent, Undecided> {
    let numerator = value.numer().to_i64().ok_or(Undecided::TooLarge)?;
    let denominator = value.denom().to_i64().ok_or(Undecided::TooLarge)?;
    check_exponent(Exponent::new(numerator, denominator))
}

fn power(base: &Fraction, exponent: &Fraction, budget: &mut Budget) -> Normal {
    if let Some(number) = exponent.as_constant() {
        if let Some(base) = base.as_constant()
            && (base.is_one() || (base.is_zero() && number.is_positive()))
        {
            return Ok(Fraction::constant(base));
        }
        return base.power(as_exponent(&number)?, budget);
    }
    // base ^ (c₁ m₁ + c₂ m₂ + …) is a product over the terms, and over the primes of a number.
    let base = base.as_polynomial()?;
    if base.is_zero() {
        return Err(Undecided::Unsupported);
    }
    let mut product = Polynomial::one();
    for (monomial, coefficient) in &exponent.as_polynomial()?.0 {
        let coefficient = as_exponent(coefficient)?;
        if monomial.is_one() {
            let part = Fraction::from(base.copy(budget)?).power(coefficient, budget)?;
            product = product.times(part.as_polynomial()?, budget)?;
            continue;
        }
        let mut term = Monomial::default();
        let mut insert =
            |base: Polynomial, exponent: Exponent, budget: &mut Budget| -> Result<(), Undecided> {
                // Copied here, compared with the atoms before it.
                budget.spend(2 * (base.weight() + monomial.weight()))?;
                let atom = Atom::Exponential(Box::new(base), Box::new(monomial.clone()));
                term.0.insert(atom, exponent);
                Ok(())
            };
        match base.as_constant() {
            Some(number) if number.is_positive() => {
                for (part, sign) in [(number.numer(), 1), (number.denom(), -1)] {
                    for (prime, power) in factor(part, budget)? {
                        let prime = Polynomial::constant(BigRational::from_integer(prime));
                        let power = Exponent::from_integer(power * sign) * coefficient;
                        insert(prime, check_exponent(power)?, budget)?;
                    }
                }
            }
            _ => insert(base.copy(budget)?, coefficient, budget)?,
        }
        let term = Polynomial::term(BigRational::one(), term);
        product = product.times(&term, budget)?;
    }
    Ok(product.into())
}

/// The largest number whose factorial is taken.
const LARGEST_FACTORIAL: u32 = 200;

fn apply(function: Function, arguments: Vec<Fraction>, budget: &mut Budget) -> Normal {
    let numbers: Option<Vec<BigRational>> = arguments.iter().map(Fraction::as_constant).collect();
    let integer = |value: BigInt| Fraction::constant(BigRational::from_integer(value));
    if let Some(numbers) = numbers {
        let small = |number: &BigRational| {
            number
                .is_integer()
                .then(|| number.to_u32())
                .flatten()
                .filter(|n| *n <= LARGEST_FACTORIAL)
        };
        match (function, numbers.as_slice()) {
            (Function::Absolute, [x]) => return Ok(Fraction::constant(x.abs())),
            (Function::Floor, [x]) => return Ok(integer(x.floor().to_integer())),
            (Function::Ceiling, [x]) => return Ok(integer(x.ceil().to_integer())),
            (Function::Factorial, [x]) => {
                let n = small(x).ok_or(Undecided::TooLarge)?;
                budget.spend(u64::from(n) * 8)?;
                return Ok(integer((1..=n).map(BigInt::from).product()));
            }
            (Function::Binomial, [n, k]) => {
                let n = small(n).ok_or(Undecided::TooLarge)?;
                let k = small(k).ok_or(Undecided::TooLarge)?;
                budget.spend(u64::from(n) * 8)?;
                let mut value = BigInt::one();
                for i in 0..k {
                    value = value * (i64::from(n) - i64::from(i)) / (i + 1);
                }
                return Ok(integer(value));
            }
            (Function::Logarithm, [x]) => return Ok(logarithm(x, budget)?.into()),
            (
                Function::Sine
                | Function::Tangent
                | Function::ArcSine
                | Function::ArcTangent
                | Function::HyperbolicSine
                | Function::HyperbolicTangent,
                [x],
            ) if x.is_zero() => return Ok(Fraction::constant(x.clone())),
            (Function::Cosine | Function::HyperbolicCosine, [x]) if x.is_zero() => {
                return Ok(Fraction::constant(BigRational::one()));
            }
            _ => {}
        }
    }
    if let (Function::Logarithm, [x]) = (function, arguments.as_slice())
        && *x == Fraction::from(Polynomial::atom(Atom::Euler))
    {
        return Ok(Fraction::constant(BigRational::one()));
    }
    Ok(Polynomial::atom(Atom::Function(function, arguments)).into())
}

/// The logarithm of a positive rational, as a sum over its primes.
fn logarithm(value: &BigRational, budget: &mut Budget) -> Result<Polynomial, Undecided> {
    let mut sum = Polynomial::default();
    for (part, sign) in [(value.numer(), 1), (value.denom(), -1)] {
        for (prime, power) in factor(part, budget)? {
            let term = Polynomial::atom(Atom::PrimeLogarithm(prime));
            let power = BigRational::from_integer((power * sign).into());
            sum = sum.plus(term.scaled(&power), budget)?;
        }
    }
    Ok(sum)
}
