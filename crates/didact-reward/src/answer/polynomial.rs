//! Exact sums of products of powers.
//!
//! Owns monomials and polynomials over the rationals, in variables, π, e, i, roots and unread functions. A product
//! of roots of primes is one monomial, and distinct ones are linearly independent over the rationals (Besicovitch,
//! 1940), so that sums of roots have one normal form. Knows no tree of an expression.
//!
//! An atom may hold whole polynomials, and those atoms of their own. Whatever copies or compares is therefore charged
//! by weight, which counts the parts at every depth, and not by the number of terms.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::{BigRational, Ratio};
use num_traits::{CheckedAdd, CheckedMul, One, Signed, ToPrimitive, Zero};

use super::expression::Function;
use super::limits::{Budget, Undecided};
use super::normal_form::Fraction;

/// A power's exponent.
pub(crate) type Exponent = Ratio<i64>;

/// What a monomial is a product of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    /// A prime, to a power between 0 and 1; what could not be factored counts as a prime.
    Prime(BigInt),
    Imaginary,
    Pi,
    Euler,
    Symbol(String),
    /// The natural logarithm of a prime.
    PrimeLogarithm(BigInt),
    /// A sum under a root: its power has no whole part.
    Sum(Box<Polynomial>),
    /// A base to a product that is no number, such as `2^n`; the monomial's exponent multiplies the product.
    Exponential(Box<Polynomial>, Box<Monomial>),
    /// A function of arguments in normal form.
    Function(Function, Vec<Fraction>),
}

impl Atom {
    /// How many parts it holds at any depth: what it takes to copy or to compare it.
    fn weight(&self) -> u64 {
        let held = match self {
            Self::Imaginary | Self::Pi | Self::Euler => 0,
            Self::Prime(number) | Self::PrimeLogarithm(number) => number.bits() / 64,
            Self::Symbol(name) => name.len() as u64 / 16,
            Self::Sum(sum) => sum.weight(),
            Self::Exponential(base, exponent) => base.weight() + exponent.weight(),
            Self::Function(_, arguments) => arguments.iter().map(Fraction::weight).sum(),
        };
        1 + held
    }
}

/// A product of powers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Monomial(pub(crate) BTreeMap<Atom, Exponent>);

/// A sum of monomials with their coefficients, none of which is 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Polynomial(pub(crate) BTreeMap<Monomial, BigRational>);

/// Exponents beyond this are towers, not answers.
const LARGEST_EXPONENT: i64 = 10_000;

/// Trial division ends here.
const LARGEST_FACTOR: u32 = 5_000;

/// What a product of monomials costs of the budget: a map is built for each.
const MONOMIAL_STEPS: u64 = 20;

pub(crate) fn check_exponent(exponent: Exponent) -> Result<Exponent, Undecided> {
    if exponent.numer().abs() > LARGEST_EXPONENT || *exponent.denom() > 64 {
        return Err(Undecided::TooLarge);
    }
    Ok(exponent)
}

impl Monomial {
    pub(crate) fn of(atom: Atom, exponent: Exponent) -> Self {
        Self(BTreeMap::from([(atom, exponent)]))
    }

    /// Multiplies, and takes out what has become whole: a rational factor and powers of sums.
    fn times(
        &self,
        other: &Self,
        budget: &mut Budget,
    ) -> Result<(BigRational, Self, Vec<(Polynomial, u32)>), Undecided> {
        budget.spend(MONOMIAL_STEPS + 8 * (self.weight() + other.weight()))?;
        let mut merged = self.0.clone();
        for (atom, exponent) in &other.0 {
            let sum = merged.entry(atom.clone()).or_insert_with(Exponent::zero);
            *sum = check_exponent(sum.checked_add(exponent).ok_or(Undecided::TooLarge)?)?;
        }
        let mut factor = BigRational::one();
        let mut powers = Vec::new();
        let mut kept = BTreeMap::new();
        for (atom, mut exponent) in merged {
            match &atom {
                Atom::Prime(prime) => {
                    let whole = exponent.floor().to_integer();
                    exponent -= whole;
                    if whole != 0 {
                        let power = budget.power(prime, whole.unsigned_abs())?;
                        let power = BigRational::from_integer(power);
                        factor = if whole > 0 {
                            factor * power
                        } else {
                            factor / power
                        };
                        budget.spend_on(&factor)?;
                    }
                }
                Atom::Imaginary if exponent.is_integer() => {
                    let turn = exponent.to_integer().mod_floor(&4);
                    if turn >= 2 {
                        factor = -factor;
                    }
                    exponent = Exponent::from_integer(turn % 2);
                }
                Atom::Sum(sum) => {
                    let whole = exponent.floor().to_integer();
                    if whole >= 1 {
                        exponent -= whole;
                        let whole = u32::try_from(whole).map_err(|_| Undecided::TooLarge)?;
                        powers.push(((**sum).clone(), whole));
                    }
                }
                _ => {}
            }
            if !exponent.is_zero() {
                kept.insert(atom, exponent);
            }
        }
        Ok((factor, Self(kept), powers))
    }

    /// How many parts it holds at any depth.
    pub(crate) fn weight(&self) -> u64 {
        self.0.keys().map(Atom::weight).sum()
    }

    /// The monomial to a power, for exponents with which that is an identity.
    pub(crate) fn scaled(
        &self,
        exponent: Exponent,
        budget: &mut Budget,
    ) -> Result<Self, Undecided> {
        budget.spend(self.weight())?;
        let scaled = self
            .0
            .iter()
            .map(|(atom, e)| {
                let product = e.checked_mul(&exponent).ok_or(Undecided::TooLarge)?;
                Ok((atom.clone(), check_exponent(product)?))
            })
            .collect::<Result<BTreeMap<_, _>, Undecided>>()?;
        Ok(Self(scaled))
    }

    pub(crate) fn is_one(&self) -> bool {
        self.0.is_empty()
    }
}

impl Polynomial {
    pub(crate) fn constant(value: BigRational) -> Self {
        Self::term(value, Monomial::default())
    }

    pub(crate) fn one() -> Self {
        Self::constant(BigRational::one())
    }

    pub(crate) fn atom(atom: Atom) -> Self {
        Self::term(BigRational::one(), Monomial::of(atom, Exponent::one()))
    }

    /// One term whose monomial is in normal form.
    pub(crate) fn term(coefficient: BigRational, monomial: Monomial) -> Self {
        if coefficient.is_zero() {
            return Self::default();
        }
        Self(BTreeMap::from([(monomial, coefficient)]))
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_one(&self) -> bool {
        self.as_constant().is_some_and(|c| c.is_one())
    }

    pub(crate) fn as_term(&self) -> Option<(&Monomial, &BigRational)> {
        match self.0.len() {
            1 => self.0.first_key_value(),
            _ => None,
        }
    }

    pub(crate) fn as_constant(&self) -> Option<BigRational> {
        if self.is_zero() {
            return Some(BigRational::zero());
        }
        let (monomial, coefficient) = self.as_term()?;
        monomial.is_one().then(|| coefficient.clone())
    }

    /// How many parts it holds at any depth.
    pub(crate) fn weight(&self) -> u64 {
        let term = |(monomial, coefficient): (&Monomial, &BigRational)| {
            let bits = coefficient.numer().bits() + coefficient.denom().bits();
            1 + bits / 64 + monomial.weight()
        };
        self.0.iter().map(term).sum()
    }

    /// A copy that is paid for.
    pub(crate) fn copy(&self, budget: &mut Budget) -> Result<Self, Undecided> {
        budget.spend(self.weight())?;
        Ok(self.clone())
    }

    pub(crate) fn plus(mut self, other: Self, budget: &mut Budget) -> Result<Self, Undecided> {
        for (monomial, coefficient) in other.0 {
            budget.spend_on(&coefficient)?;
            budget.spend(monomial.weight())?;
            match self.0.entry(monomial) {
                Entry::Vacant(place) => {
                    place.insert(coefficient);
                }
                Entry::Occupied(mut place) => {
                    *place.get_mut() += coefficient;
                    if place.get().is_zero() {
                        place.remove();
                    }
                }
            }
        }
        budget.check_terms(self.0.len())?;
        Ok(self)
    }

    pub(crate) fn scaled(mut self, factor: &BigRational) -> Self {
        if factor.is_zero() {
            return Self::default();
        }
        for coefficient in self.0.values_mut() {
            *coefficient *= factor;
        }
        self
    }

    pub(crate) fn minus(self, other: Self, budget: &mut Budget) -> Result<Self, Undecided> {
        self.plus(other.scaled(&-BigRational::one()), budget)
    }

    pub(crate) fn times(&self, other: &Self, budget: &mut Budget) -> Result<Self, Undecided> {
        let mut product = Self::default();
        for (a, x) in &self.0 {
            for (b, y) in &other.0 {
                budget.spend_on(x)?;
                budget.spend_on(y)?;
                let (factor, monomial, powers) = a.times(b, budget)?;
                let coefficient = x * y * factor;
                budget.spend_on(&coefficient)?;
                let mut term = Self::term(coefficient, monomial);
                for (sum, power) in powers {
                    term = term.times(&sum.power(power, budget)?, budget)?;
                }
                product = product.plus(term, budget)?;
            }
        }
        Ok(product)
    }

    pub(crate) fn power(&self, exponent: u32, budget: &mut Budget) -> Result<Self, Undecided> {
        if let Some((monomial, coefficient)) = self.as_term() {
            let top = budget.power(coefficient.numer(), exponent.into())?;
            let bottom = budget.power(coefficient.denom(), exponent.into())?;
            let scaled = monomial.scaled(Exponent::from_integer(exponent.into()), budget)?;
            let scaled = Self::term(BigRational::new(top, bottom), scaled);
            // Multiplying by 1 takes out what has become whole.
            return scaled.times(&Self::one(), budget);
        }
        if exponent as usize > budget.limits.terms {
            return Err(Undecided::TooManyTerms);
        }
        let mut power = Self::one();
        for _ in 0..exponent {
            power = power.times(self, budget)?;
        }
        Ok(power)
    }

    /// The positive rational that all coefficients share, and what is left with a positive first coefficient or its
    /// negative.
    pub(crate) fn content(self) -> (BigRational, Self) {
        let mut numerator = BigInt::zero();
        let mut denominator = BigInt::one();
        for coefficient in self.0.values() {
            numerator = numerator.gcd(coefficient.numer());
            denominator = denominator.lcm(coefficient.denom());
        }
        if numerator.is_zero() {
            return (BigRational::one(), self);
        }
        let content = BigRational::new(numerator, denominator);
        let rest = self.scaled(&content.recip());
        (content, rest)
    }

    /// Whether a non-zero polynomial is certainly not zero: its monomials are linearly independent over the
    /// rationals for almost all values of the variables.
    pub(crate) fn is_independent(&self) -> bool {
        let mut transcendental = [false; 2];
        let known = self.0.keys().all(|monomial| {
            monomial.0.iter().all(|(atom, exponent)| match atom {
                Atom::Prime(p) => p
                    .to_u32()
                    .is_some_and(|p| p < LARGEST_FACTOR * LARGEST_FACTOR),
                Atom::Imaginary => exponent.is_integer(),
                Atom::Symbol(_) => true,
                Atom::Pi => {
                    transcendental[0] = true;
                    true
                }
                Atom::Euler => {
                    transcendental[1] = true;
                    true
                }
                _ => false,
            })
        });
        // Nobody knows whether π and e are independent.
        known && transcendental != [true; 2]
    }
}

/// The prime factors of a positive integer, as far as trial division finds them.
pub(crate) fn factor(
    number: &BigInt,
    budget: &mut Budget,
) -> Result<BTreeMap<BigInt, i64>, Undecided> {
    let mut factors = BTreeMap::new();
    if !number.is_positive() {
        return Err(Undecided::NoValue);
    }
    let mut rest = number.clone();
    let words = rest.bits() / 64 + 1;
    let mut divisor: u32 = 2;
    while divisor <= LARGEST_FACTOR {
        if BigInt::from(divisor) * divisor > rest {
            break;
        }
        budget.spend(words)?;
        while (&rest % divisor).is_zero() {
            rest /= divisor;
            *factors.entry(BigInt::from(divisor)).or_insert(0) += 1;
            budget.spend(words)?;
        }
        divisor += if divisor == 2 { 1 } else { 2 };
    }
    if !rest.is_one() {
        // A power of one large prime.
        let (base, power) = [2_u32, 3, 5, 7]
            .into_iter()
            .find_map(|degree| {
                let root = rest.nth_root(degree);
                (num_traits::pow(root.clone(), degree as usize) == rest)
                    .then_some((root, i64::from(degree)))
            })
            .unwrap_or((rest, 1));
        *factors.entry(base).or_insert(0) += power;
    }
    Ok(factors)
}
