//! When two answers are equal.
//!
//! Owns equality of values, words and choices, and which rule two kinds of answers meet under. Knows nothing of how
//! an answer was written.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use super::evaluation::{Point, agree, evaluate};
use super::expression::{Constant, Expression};
use super::limits::{Budget, Undecided};
use super::literal::power_of_ten;
use super::normal_form::normalise;
use super::value::{Answer, Value};
use super::verdict::{Verdict, Why};
use super::{collection, region, relation, spelling, unit};

/// Decimal places to which a decimal number is compared, as in math-verify.
const PLACES: usize = 6;

/// A rounded number must still agree to this share of itself: 0.0000001 is not 0.0000002, though both round to 0.
const RELATIVE: (i64, i64) = (1, 1_000);

/// Numbers that agree to this share of themselves are equal however they are written.
const NEGLIGIBLE: (i64, i64) = (1, 1_000_000);

/// The largest percentage that may stand for the same number without a sign.
const LARGEST_PERCENTAGE: i64 = 1_000;

/// The digits that a number with more than six places must have to count as rounded.
const SIGNIFICANT: usize = 4;

/// Compares an answer with the expected one.
pub(crate) fn compare(expected: &Answer, found: &Answer, budget: &mut Budget) -> Verdict {
    if let Err(why) = budget.spend(4) {
        return Verdict::no(Why::Undecided(why));
    }
    if let Some(verdict) = relation::compare(expected, found, budget) {
        return verdict;
    }
    if let (
        Answer::Choice { letter, rest },
        Answer::Choice {
            letter: other,
            rest: other_rest,
        },
    ) = (expected, found)
    {
        if letter != other {
            return Verdict::no(Why::DifferentText);
        }
        return match (rest.as_deref(), other_rest.as_deref()) {
            // The words of an option are seldom copied in full: its letter decides.
            (None | Some(Answer::Text(_)), _) | (_, None | Some(Answer::Text(_))) => {
                Verdict::yes(Why::SameText)
            }
            // But `(C) 12` is not `(C) 13`.
            (Some(left), Some(right)) => compare(left, right, budget),
        };
    }
    if let (Some(left), Some(right)) = (word(expected), word(found)) {
        let same = match (expected, found) {
            // The letter of an option is the same in either case; but e and i are numbers before they are options.
            (Answer::Choice { .. }, _) => left.eq_ignore_ascii_case(&right),
            (_, Answer::Choice { .. }) if !is_constant(expected) => {
                left.eq_ignore_ascii_case(&right)
            }
            _ => spelling::same(&left, &right),
        };
        if same {
            return Verdict::yes(Why::SameText);
        }
    }
    match (expected, found) {
        (Answer::Value(left), Answer::Value(right)) => values(left, right, budget),
        (Answer::Text(_), Answer::Text(_)) => Verdict::no(Why::DifferentText),
        (Answer::Matrix(left), Answer::Matrix(right)) => matrices(left, right, budget),
        _ => {
            if let Some(verdict) = region::compare(expected, found, budget) {
                return verdict;
            }
            collection::compare(expected, found, budget)
        }
    }
}

/// An answer as a word: letters in a row may be a word or a product, `B` a choice or a variable.
fn word(answer: &Answer) -> Option<String> {
    let letter = |expression: &Expression| match expression {
        Expression::Symbol(name) if name.chars().all(char::is_alphanumeric) => Some(name.clone()),
        Expression::Constant(Constant::Euler) => Some("e".to_owned()),
        Expression::Constant(Constant::Imaginary) => Some("i".to_owned()),
        _ => None,
    };
    match answer {
        Answer::Text(text) if !text.is_empty() => Some(text.clone()),
        Answer::Choice { letter, .. } => Some(letter.to_string()),
        Answer::Value(Value {
            expression,
            percent: false,
            unit: None,
        }) => match expression {
            Expression::Product(factors) => factors.iter().map(letter).collect(),
            single => letter(single),
        },
        _ => None,
    }
}

fn is_constant(answer: &Answer) -> bool {
    matches!(answer, Answer::Value(value) if matches!(value.expression, Expression::Constant(_)))
}

fn matrices(left: &[Vec<Expression>], right: &[Vec<Expression>], budget: &mut Budget) -> Verdict {
    let shape = |rows: &[Vec<Expression>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
    if shape(left) != shape(right) {
        return Verdict::no(Why::DifferentLength);
    }
    let mut verdict = Verdict::yes(Why::Exact);
    for (left, right) in left.iter().flatten().zip(right.iter().flatten()) {
        verdict = verdict.and(|| expressions(left, right, budget).into());
    }
    verdict
}

/// Compares two values with their percent signs and units.
pub(crate) fn values(expected: &Value, found: &Value, budget: &mut Budget) -> Verdict {
    let set_off = |value: &Value, wanted: bool| {
        let unit = wanted.then(|| glued(value)).flatten();
        unit.unwrap_or_else(|| value.clone())
    };
    let expected_is_number = expected.unit.is_some() || !expected.expression.has_symbol();
    let found = &set_off(found, expected_is_number);
    let expected = &set_off(expected, found.unit.is_some());
    if let (Some(left), Some(right)) = (&expected.unit, &found.unit)
        && left.contradicts(right)
    {
        return Verdict::no(Why::DifferentUnit);
    }
    // A question may say in which base it wants its number; but digits to another base are another number.
    if expected.unit.is_none() && found.unit.as_ref().is_some_and(unit::Unit::is_base) {
        return Verdict::no(Why::DifferentUnit);
    }
    if expected.percent != found.percent && expected.unit.is_none() && found.unit.is_none() {
        // "50" for "50%": the sign is taken for a unit of whole numbers.
        if let (Some(left), Some(right)) = (
            expected.expression.as_number(),
            found.expression.as_number(),
        ) && left == right
            && left.is_integer()
            // 20% and 150% may answer a question for the percentage; 1450% is a slip for a number of things.
            && (expected.percent || left.abs() <= BigRational::from_integer(LARGEST_PERCENTAGE.into()))
            && !expected.expression.is_decimal()
            && !found.expression.is_decimal()
        {
            return Verdict::yes(Why::Exact);
        }
    }
    let left = hundredth(expected);
    let right = hundredth(found);
    expressions(&left, &right, budget).into()
}

/// `12m` as 12 metres: a product that only the other answer tells to be a measure.
fn glued(value: &Value) -> Option<Value> {
    let Expression::Product(factors) = &value.expression else {
        return None;
    };
    match factors.as_slice() {
        [
            number @ Expression::Number { .. },
            Expression::Symbol(letter),
        ] if value.unit.is_none() && !value.percent => Some(Value {
            expression: number.clone(),
            percent: false,
            unit: Some(unit::of_letter(letter)?),
        }),
        _ => None,
    }
}

/// The expression with its percent sign worked in.
fn hundredth(value: &Value) -> Expression {
    let expression = value.expression.clone();
    if !value.percent {
        return expression;
    }
    match expression {
        Expression::Number { value, decimal } => Expression::Number {
            value: value / BigRational::from_integer(100.into()),
            decimal,
        },
        other => Expression::Quotient(Box::new(other), Box::new(Expression::integer(100))),
    }
}

/// Compares two expressions.
pub(crate) fn expressions(
    left: &Expression,
    right: &Expression,
    budget: &mut Budget,
) -> Result<Verdict, Undecided> {
    if let (Some(a), Some(b)) = (left.as_number(), right.as_number()) {
        return Ok(if a == b {
            Verdict::yes(Why::Exact)
        } else if rounded(left, right)
            && ((left.is_decimal() && rounds_to(a, b)) || (right.is_decimal() && rounds_to(b, a)))
        {
            Verdict::yes(Why::Rounded)
        } else {
            Verdict::no(Why::DifferentValue)
        });
    }
    match (left.infinite_sign(), right.infinite_sign()) {
        (None, None) => {}
        (a, b) if a == b => return Ok(Verdict::yes(Why::Exact)),
        _ => return Ok(Verdict::no(Why::DifferentValue)),
    }
    // A decimal number stands for what rounds to it.
    for (decimal, other) in [(left, right), (right, left)] {
        if decimal.is_decimal() && !other.has_symbol() {
            let exact = budget.half(|budget| normalise(other, budget));
            if let Some(exact) = exact.ok().and_then(|normal| normal.as_constant()) {
                return expressions(decimal, &Expression::rational(exact), budget);
            }
        }
        if let (Some(number), true) = (decimal.as_number(), decimal.is_decimal())
            && !other.has_symbol()
            && let Ok(value) = evaluate(other, &Point::new(), budget)
        {
            return Ok(if rounds_to(number, &value.to_rational()) {
                Verdict::yes(Why::Rounded)
            } else {
                Verdict::no(Why::DifferentValue)
            });
        }
    }
    let exact = budget.half(|budget| {
        let left = normalise(left, budget)?;
        let right = normalise(right, budget)?;
        left.difference(&right, budget)
    });
    match exact {
        Ok(difference) if difference.is_zero() => return Ok(Verdict::yes(Why::Exact)),
        Ok(difference) if difference.is_independent() => {
            return Ok(Verdict::no(Why::DifferentValue));
        }
        _ => {}
    }
    Ok(if agree(left, right, budget)? {
        Verdict::yes(Why::Evaluated)
    } else {
        Verdict::no(Why::DifferentValue)
    })
}

/// Whether one of two numbers may be rounded: it is written with a point, and the other is no plain integer.
fn rounded(left: &Expression, right: &Expression) -> bool {
    let integer = |number: &Expression| {
        !number.is_decimal() && number.as_number().is_some_and(BigRational::is_integer)
    };
    (left.is_decimal() || right.is_decimal()) && !integer(left) && !integer(right)
}

/// Whether a number written with a point stands for another: both round to the same six places, and what is small
/// agrees in its own digits too.
fn rounds_to(decimal: &BigRational, other: &BigRational) -> bool {
    let half = BigRational::new(BigInt::one(), 2.into());
    let round = |x: &BigRational, places: usize| (x * power_of_ten(places) + &half).floor();
    let difference = (decimal - other).abs();
    let size = decimal.abs().max(other.abs());
    let within = |(upper, lower): (i64, i64)| {
        difference <= &size * BigRational::new(upper.into(), lower.into())
    };
    if round(decimal, PLACES) != round(other, PLACES) || !within(RELATIVE) {
        return false;
    }
    if within(NEGLIGIBLE) {
        return true;
    }
    // 6.626e-34 is not 6.627e-34: beyond six places, the digits that are written must be those of the other number.
    let places = places(decimal);
    places <= PLACES
        || (round(decimal, places) == round(other, places)
            && digits(decimal, places) >= SIGNIFICANT)
}

/// The places that a decimal number is written with, but for zeros at its end.
fn places(decimal: &BigRational) -> usize {
    let mut places = 0;
    let mut rest = decimal.denom().clone();
    for prime in [2_u32, 5] {
        let mut count = 0;
        while (&rest % prime).is_zero() {
            rest /= prime;
            count += 1;
        }
        places = places.max(count);
    }
    places
}

/// The digits behind the zeros that a decimal number starts with.
fn digits(decimal: &BigRational, places: usize) -> usize {
    let shifted = (decimal * power_of_ten(places)).to_integer().abs();
    shifted.to_string().len()
}
