//! The value of an expression at a point.
//!
//! Owns evaluation over real numbers, and the points at which expressions with variables are compared. Knows no
//! identities.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive};

use super::expression::{Constant, Expression, Function};
use super::limits::{Budget, Undecided};
use super::literal::power_of_ten;
use super::real::Real;

/// The value of each variable.
pub(crate) type Point = BTreeMap<String, BigRational>;

/// What an elementary function costs of the budget.
const FUNCTION_STEPS: u64 = 400;

pub(crate) fn evaluate(
    expression: &Expression,
    point: &Point,
    budget: &mut Budget,
) -> Result<Real, Undecided> {
    budget.spend(20)?;
    match expression {
        Expression::Number { value, .. } => {
            budget.spend_on(value)?;
            Real::from_rational(value)
        }
        Expression::Constant(Constant::Pi) => {
            budget.spend(FUNCTION_STEPS)?;
            Ok(Real::pi())
        }
        Expression::Constant(Constant::Euler) => {
            budget.spend(FUNCTION_STEPS)?;
            Real::from_rational(&BigRational::one())?.exponential()
        }
        Expression::Constant(Constant::Imaginary) => Err(Undecided::Unsupported),
        Expression::Constant(Constant::Infinity) => Err(Undecided::NoValue),
        Expression::Symbol(name) => {
            Real::from_rational(point.get(name).ok_or(Undecided::Unsupported)?)
        }
        Expression::Sum(terms) => {
            let mut sum = evaluate(&terms[0], point, budget)?;
            for term in &terms[1..] {
                sum = sum.plus(&evaluate(term, point, budget)?)?;
            }
            Ok(sum)
        }
        Expression::Product(factors) => {
            let mut product = evaluate(&factors[0], point, budget)?;
            for factor in &factors[1..] {
                product = product.times(&evaluate(factor, point, budget)?)?;
            }
            Ok(product)
        }
        Expression::Quotient(upper, lower) => {
            let upper = evaluate(upper, point, budget)?;
            upper.over(&evaluate(lower, point, budget)?)
        }
        Expression::Root(radicand, degree) => {
            budget.spend(FUNCTION_STEPS * u64::from(*degree))?;
            evaluate(radicand, point, budget)?.root(*degree)
        }
        Expression::Power(base, exponent) => {
            let base = evaluate(base, point, budget)?;
            power(&base, exponent, point, budget)
        }
        Expression::Function(function, arguments) => {
            budget.spend(FUNCTION_STEPS)?;
            apply(*function, arguments, point, budget)
        }
    }
}

/// A rational exponent where it is one, without rounding.
fn exact(expression: &Expression, point: &Point, budget: &mut Budget) -> Option<BigRational> {
    budget.spend(1).ok()?;
    match expression {
        Expression::Number { value, .. } => Some(value.clone()),
        Expression::Symbol(name) => point.get(name).cloned(),
        Expression::Sum(terms) => terms
            .iter()
            .map(|term| exact(term, point, budget))
            .sum::<Option<BigRational>>(),
        Expression::Product(factors) => factors
            .iter()
            .map(|factor| exact(factor, point, budget))
            .product::<Option<BigRational>>(),
        Expression::Quotient(upper, lower) => {
            let lower = exact(lower, point, budget)?;
            let upper = exact(upper, point, budget)?;
            (lower != BigRational::from_integer(0.into())).then(|| upper / lower)
        }
        _ => None,
    }
    .filter(|value| value.numer().bits() < 256 && value.denom().bits() < 256)
}

fn power(
    base: &Real,
    exponent: &Expression,
    point: &Point,
    budget: &mut Budget,
) -> Result<Real, Undecided> {
    budget.spend(FUNCTION_STEPS)?;
    if let Some(exponent) = exact(exponent, point, budget)
        && let Some(degree) = exponent.denom().to_u32().filter(|d| *d <= 64)
    {
        let whole = exponent.numer().abs().to_u32().ok_or(Undecided::TooLarge)?;
        if whole > 100_000 {
            return Err(Undecided::TooLarge);
        }
        budget.spend(FUNCTION_STEPS * u64::from(degree))?;
        let root = if degree == 1 {
            base.clone()
        } else {
            base.root(degree)?
        };
        if whole == 0 && root.is_exact_zero() {
            return Err(Undecided::NoValue);
        }
        let value = root.power(whole)?;
        return if exponent.is_negative() {
            Real::from_rational(&BigRational::one())?.over(&value)
        } else {
            Ok(value)
        };
    }
    let exponent = evaluate(exponent, point, budget)?;
    budget.spend(2 * FUNCTION_STEPS)?;
    base.logarithm()?.times(&exponent)?.exponential()
}

fn apply(
    function: Function,
    arguments: &[Expression],
    point: &Point,
    budget: &mut Budget,
) -> Result<Real, Undecided> {
    let values = arguments
        .iter()
        .map(|argument| evaluate(argument, point, budget))
        .collect::<Result<Vec<_>, _>>()?;
    let one = Real::from_rational(&BigRational::one())?;
    let two = one.plus(&one)?;
    let x = values.first().ok_or(Undecided::Unsupported)?;
    match function {
        Function::Sine => x.sine(),
        Function::Cosine => x.cosine(),
        Function::Tangent => x.sine()?.over(&x.cosine()?),
        Function::ArcTangent => x.arc_tangent(),
        Function::ArcSine | Function::ArcCosine => {
            budget.spend(2 * FUNCTION_STEPS)?;
            // arcsin x = arctan(x / √(1 − x²)), and a quarter turn at ±1.
            let leg = one.minus(&x.times(x)?)?;
            let quarter = Real::pi().over(&two)?;
            let arc = if leg.is_exact_zero() {
                x.times(&quarter)?
            } else {
                x.over(&leg.root(2)?)?.arc_tangent()?
            };
            if function == Function::ArcSine {
                Ok(arc)
            } else {
                quarter.minus(&arc)
            }
        }
        Function::HyperbolicSine | Function::HyperbolicCosine | Function::HyperbolicTangent => {
            let up = x.exponential()?;
            let down = x.negated().exponential()?;
            match function {
                Function::HyperbolicSine => up.minus(&down)?.over(&two),
                Function::HyperbolicCosine => up.plus(&down)?.over(&two),
                _ => up.minus(&down)?.over(&up.plus(&down)?),
            }
        }
        Function::Logarithm => x.logarithm(),
        Function::Absolute => Ok(x.absolute()),
        Function::Floor => x.floor(),
        Function::Ceiling => Ok(x.negated().floor()?.negated()),
        Function::Factorial | Function::Binomial => {
            let whole = arguments
                .iter()
                .map(|argument| {
                    exact(argument, point, budget)
                        .filter(BigRational::is_integer)
                        .and_then(|n| n.to_u32())
                        .filter(|n| *n <= 60)
                        .ok_or(Undecided::NoValue)
                })
                .collect::<Result<Vec<u32>, _>>()?;
            let value = match (function, whole.as_slice()) {
                (Function::Factorial, [n]) => (1..=*n).map(BigInt::from).product::<BigInt>(),
                // No zero: `\binom{n}{k}` is also written with the factorial of n - k.
                (_, [n, k]) if k > n => return Err(Undecided::NoValue),
                (_, [n, k]) => num_integer::binomial(BigInt::from(*n), BigInt::from(*k)),
                _ => return Err(Undecided::Unsupported),
            };
            Real::from_rational(&BigRational::from_integer(value))
        }
        // Any function may bear the name.
        Function::Named => Err(Undecided::Unsupported),
    }
}

/// The variables of both expressions.
fn variables(expressions: [&Expression; 2]) -> Vec<String> {
    let mut names = Vec::new();
    for expression in expressions {
        expression.walk(&mut |part| {
            if let Expression::Symbol(name) = part
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        });
    }
    names.sort();
    names
}

/// The variables that stand in a factorial or a binomial coefficient, which are whole numbers.
fn whole_variables(expressions: [&Expression; 2]) -> Vec<String> {
    let mut names = Vec::new();
    for expression in expressions {
        expression.walk(&mut |part| {
            if let Expression::Function(Function::Factorial | Function::Binomial, _) = part {
                names.extend(variables([part, part]));
            }
        });
    }
    names
}

/// Whether a whole variable stands where whole numbers hide a difference: `x\cos(2πx)` is `x` at all of them.
fn is_hidden(expressions: [&Expression; 2], whole: &[String]) -> bool {
    let mut hidden = false;
    for expression in expressions {
        expression.walk(&mut |part| {
            if let Expression::Function(
                Function::Sine
                | Function::Cosine
                | Function::Tangent
                | Function::Floor
                | Function::Ceiling,
                _,
            ) = part
            {
                let names = variables([part, part]);
                hidden |= names.iter().any(|name| whole.contains(name));
            }
        });
    }
    hidden
}

/// Pseudo-random numbers from the expressions alone: the same answers compare alike on every machine, and yet no answer
/// can be written with the points in mind at which it will be compared.
struct Draw(u64);

/// The denominator of all points: a prime beyond what an answer may divide by. A small one could be written into an
/// answer: `x + \sin(97πx)` is `x` at all multiples of 1/97.
const DENOMINATOR: u64 = (1 << 61) - 1;

impl Draw {
    fn new(expressions: [&Expression; 2]) -> Self {
        // FNV-1a over both trees, one after the other; their sum, so that the order of the answers does not matter.
        let hash = |expression: &Expression| {
            format!("{expression:?}")
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                })
        };
        Self(hash(expressions[0]).wrapping_add(hash(expressions[1])))
    }

    /// The next 61 bits (SplitMix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) >> 3
    }

    fn whole(&mut self, below: u64) -> BigInt {
        BigInt::from(self.next() % below)
    }

    /// A number between `low` and `low + span`.
    fn between(&mut self, low: BigRational, span: BigRational) -> BigRational {
        low + span * BigRational::new(self.next().into(), DENOMINATOR.into())
    }
}

/// Points at which two expressions are compared: positive first, then of both signs; whole where one of them only
/// knows whole numbers.
fn points(expressions: [&Expression; 2]) -> Result<Vec<Point>, Undecided> {
    let names = variables(expressions);
    if names.is_empty() {
        return Ok(vec![Point::new()]);
    }
    let whole = whole_variables(expressions);
    if is_hidden(expressions, &whole) {
        return Err(Undecided::Unsupported);
    }
    let mut draw = Draw::new(expressions);
    // `\binom{n}{k}` has no value at half of the points.
    let count = if whole.is_empty() { 8 } else { 24 };
    Ok((0..count)
        .map(|index| {
            names
                .iter()
                .enumerate()
                .map(|(place, name)| {
                    let value = if whole.contains(name) {
                        BigRational::from_integer(draw.whole(20) + 1)
                    } else {
                        let size = draw.between(
                            BigRational::new(37.into(), 97.into()),
                            BigRational::new(400.into(), 97.into()),
                        );
                        // All four pairs of signs for the first two variables.
                        let negative = index >= 4 && (index >> (place % 2)) & 1 == 1;
                        if negative { -size } else { size }
                    };
                    (name.clone(), value)
                })
                .collect()
        })
        .collect())
}

/// Points far from 0, one power of ten after the other, of both signs: `|x - 100|` is `100 - x` at all small ones.
fn far_points(expressions: [&Expression; 2]) -> Vec<Point> {
    let names = variables(expressions);
    if names.is_empty() || !expressions.iter().any(|e| e.has_branches()) {
        return Vec::new();
    }
    let mut draw = Draw::new(expressions);
    (0..8_usize)
        .map(|index| {
            names
                .iter()
                .enumerate()
                .map(|(place, name)| {
                    // Variables of different sizes, and all four pairs of signs for the first two.
                    let exponent = 1 + (index + 3 * place) % 8;
                    let size = draw.between(
                        BigRational::new((137 + 59 * place).into(), 97.into()),
                        BigRational::one(),
                    ) * power_of_ten(exponent);
                    let negative = (index >> (place % 2)) & 1 == 1;
                    (name.clone(), if negative { -size } else { size })
                })
                .collect()
        })
        .collect()
}

/// How many points must have a value before agreement counts.
const NEEDED: usize = 4;

/// Whether both expressions have the same value, at every point where either has one.
pub(crate) fn agree(
    left: &Expression,
    right: &Expression,
    budget: &mut Budget,
) -> Result<bool, Undecided> {
    let whole = !whole_variables([left, right]).is_empty();
    let points = points([left, right])?;
    let needed = NEEDED.min(points.len());
    let mut found = 0;
    for point in &points {
        let values = (
            evaluate(left, point, budget),
            evaluate(right, point, budget),
        );
        match values {
            (Ok(left), Ok(right)) => {
                if !left.agrees(&right)? {
                    return Ok(false);
                }
                found += 1;
            }
            (Err(Undecided::NoValue), Err(Undecided::NoValue)) => {}
            // `n(n - 1)` has a value at 1, and the quotient of factorials that it stands for has none.
            (Err(Undecided::NoValue), Ok(_)) | (Ok(_), Err(Undecided::NoValue)) if whole => {}
            // One has a value where the other has none.
            (Err(Undecided::NoValue), Ok(_)) | (Ok(_), Err(Undecided::NoValue)) => {
                return Ok(false);
            }
            (Err(other), _) | (_, Err(other)) => return Err(other),
        }
    }
    if found < needed {
        return Err(Undecided::NoValue);
    }
    for point in &far_points([left, right]) {
        let values = (
            evaluate(left, point, budget),
            evaluate(right, point, budget),
        );
        let differ = match values {
            (Ok(left), Ok(right)) => left.agrees(&right) == Ok(false),
            (Err(Undecided::NoValue), Ok(_)) | (Ok(_), Err(Undecided::NoValue)) => true,
            (Err(Undecided::TooManySteps), _) | (_, Err(Undecided::TooManySteps)) => {
                return Err(Undecided::TooManySteps);
            }
            // Far from 0 a power may well be too large.
            _ => false,
        };
        if differ {
            return Ok(false);
        }
    }
    Ok(true)
}
