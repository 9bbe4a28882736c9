//! Equality of equations and inequalities, and of either with a value.
//!
//! Owns when "x = 5" is 5. Knows nothing of how values compare.
//!
//! An equation that was found stands for its last side where the expected answer is none; an expected assignment
//! stands for its last side where what was found is no equation. An inequality stands for the set it describes only
//! where it is the expected answer, as in math-verify: who expects an interval has asked for one.

use num_rational::BigRational;
use num_traits::{One, Signed};

use super::collection;
use super::comparison::{compare as compare_answers, expressions};
use super::expression::Expression;
use super::limits::{Budget, Undecided};
use super::normal_form::normalise;
use super::reader::is_name;
use super::region;
use super::value::{Answer, Comparison, Value};
use super::verdict::{Verdict, Why};

/// The verdict where at least one answer is a relation.
pub(crate) fn compare(expected: &Answer, found: &Answer, budget: &mut Budget) -> Option<Verdict> {
    match (expected, found) {
        (
            Answer::Relation { sides, signs },
            Answer::Relation {
                sides: other,
                signs: other_signs,
            },
        ) => Some(both(sides, signs, other, other_signs, budget)),
        (_, Answer::Relation { sides, signs }) => Some(if is_equation(signs) {
            if let Err(why) = holds(sides, budget) {
                return Some(Verdict::no(why));
            }
            let last = &sides[sides.len() - 1];
            // `(y, x) = (1, 2)` says which coordinate is which.
            let named = match expected {
                Answer::Tuple { .. } | Answer::List(_) => named_coordinates(sides),
                _ => None,
            };
            compare_answers(expected, named.as_ref().unwrap_or(last), budget)
        } else {
            Verdict::no(Why::DifferentKind)
        }),
        (Answer::Relation { sides, signs }, _) => Some(if is_equation(signs) {
            if is_name(&sides[0]) {
                compare_answers(&sides[sides.len() - 1], found, budget)
            } else {
                Verdict::no(Why::DifferentKind)
            }
        } else {
            as_set(expected, found, budget)
        }),
        (
            Answer::List(items) | Answer::Set(items),
            Answer::Union(_) | Answer::Tuple { .. } | Answer::Difference(..) | Answer::Domain(_),
        ) if !items.is_empty()
            && items.iter().all(
                |item| matches!(item, Answer::Relation { signs, .. } if !is_equation(signs)),
            ) =>
        {
            Some(as_set(expected, found, budget))
        }
        _ => None,
    }
}

/// The coordinates of `(y, x) = (1, 2)`, where their names are other than in alphabetical order.
fn named_coordinates(sides: &[Answer]) -> Option<Answer> {
    let [names @ Answer::Tuple { items, .. }, values] = sides else {
        return None;
    };
    let letters: Option<Vec<&str>> = items
        .iter()
        .map(|item| match item {
            Answer::Value(Value {
                expression: Expression::Symbol(name),
                ..
            }) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let coordinates = letters?.iter().all(|name| ["x", "y", "z"].contains(name));
    coordinates
        .then(|| collection::assignments(names, values))
        .flatten()
}

fn is_equation(signs: &[Comparison]) -> bool {
    signs.iter().all(|sign| *sign == Comparison::Equal)
}

fn as_set(inequality: &Answer, found: &Answer, budget: &mut Budget) -> Verdict {
    match region::from_inequality(inequality, budget) {
        Some(set) if !matches!(found, Answer::Value(_) | Answer::Text(_)) => {
            compare_answers(&set, found, budget)
        }
        _ => Verdict::no(Why::DifferentKind),
    }
}

/// A chain such as `2 \cdot 60 = 110` does not stand for its last side: two numbers beside a sign must be equal.
fn holds(sides: &[Answer], budget: &mut Budget) -> Result<(), Why> {
    for pair in sides.windows(2) {
        if let [Answer::Value(left), Answer::Value(right)] = pair
            && !left.expression.has_symbol()
            && !right.expression.has_symbol()
        {
            // 22/7 = 3.142857 is a rounded truth; 3.14 would be one for the eye only, and is let pass as such.
            match expressions(&left.expression, &right.expression, budget) {
                Ok(verdict) if !verdict.equal && !right.expression.is_decimal() => {
                    return Err(Why::DifferentValue);
                }
                Err(why) => return Err(Why::Undecided(why)),
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

fn both(
    sides: &[Answer],
    signs: &[Comparison],
    other: &[Answer],
    other_signs: &[Comparison],
    budget: &mut Budget,
) -> Verdict {
    let last = sides.len() - 1;
    let other_last = other.len() - 1;
    if is_equation(signs) && is_equation(other_signs) {
        if is_name(&sides[0]) && is_name(&other[0]) {
            let named = compare_answers(&sides[0], &other[0], budget);
            let verdict = named.and(|| compare_answers(&sides[last], &other[other_last], budget));
            if verdict.equal {
                return verdict;
            }
        }
        // A chain is one equation between its first and its last side.
        return equations(
            [&sides[0], &sides[last]],
            [&other[0], &other[other_last]],
            true,
            budget,
        );
    }
    // `x \in [1, 2]` for an inequality.
    if is_equation(other_signs)
        && matches!(
            other[other_last],
            Answer::Tuple { .. } | Answer::Union(_) | Answer::Difference(..)
        )
    {
        let inequality = Answer::Relation {
            sides: sides.to_vec(),
            signs: signs.to_vec(),
        };
        return as_set(&inequality, &other[other_last], budget);
    }
    if signs.len() != other_signs.len() {
        return Verdict::no(Why::DifferentLength);
    }
    let mut verdict = Verdict::no(Why::DifferentValue);
    if signs == other_signs {
        verdict = side_by_side(sides.iter().zip(other), budget);
    }
    let flipped = other_signs.iter().rev().map(|sign| sign.flipped());
    if !verdict.equal && signs.iter().copied().eq(flipped) {
        verdict = side_by_side(sides.iter().zip(other.iter().rev()), budget);
    }
    if verdict.equal || signs.len() > 1 {
        return verdict;
    }
    let pair = [&sides[0], &sides[1]];
    if signs[0] == Comparison::NotEqual && other_signs[0] == Comparison::NotEqual {
        return equations(pair, [&other[0], &other[1]], true, budget);
    }
    if signs[0] == other_signs[0] {
        equations(pair, [&other[0], &other[1]], false, budget)
    } else if signs[0] == other_signs[0].flipped() {
        equations(pair, [&other[1], &other[0]], false, budget)
    } else {
        Verdict::no(Why::DifferentBrackets)
    }
}

fn side_by_side<'a>(
    pairs: impl Iterator<Item = (&'a Answer, &'a Answer)>,
    budget: &mut Budget,
) -> Verdict {
    let mut verdict = Verdict::yes(Why::Exact);
    for (left, right) in pairs {
        verdict = verdict.and(|| compare_answers(left, right, budget));
    }
    verdict
}

/// Whether the differences of both pairs of sides are equal, or with `scaled` multiples of each other.
fn equations(
    left: [&Answer; 2],
    right: [&Answer; 2],
    scaled: bool,
    budget: &mut Budget,
) -> Verdict {
    let difference = |sides: [&Answer; 2]| match sides {
        [Answer::Value(a), Answer::Value(b)] if !a.percent && !b.percent => {
            Some(Expression::Sum(vec![
                a.expression.clone(),
                b.expression.clone().negated(),
            ]))
        }
        _ => None,
    };
    let (Some(left), Some(right)) = (difference(left), difference(right)) else {
        return Verdict::no(Why::DifferentKind);
    };
    Verdict::from(multiples(&left, &right, scaled, budget))
}

fn multiples(
    left: &Expression,
    right: &Expression,
    scaled: bool,
    budget: &mut Budget,
) -> Result<Verdict, Undecided> {
    if !left.has_symbol() || !right.has_symbol() {
        return Ok(Verdict::no(Why::DifferentValue));
    }
    let (a, b) = (normalise(left, budget)?, normalise(right, budget)?);
    let leading = |numerator: &super::polynomial::Polynomial| {
        numerator
            .0
            .last_key_value()
            .map(|(_, coefficient)| coefficient.clone())
    };
    let factor = match (leading(&a.numerator), leading(&b.numerator)) {
        (Some(a), Some(b)) if scaled => a / b,
        (Some(_), Some(_)) => BigRational::one(),
        // 0 = 0 says nothing.
        _ => return Ok(Verdict::no(Why::DifferentValue)),
    };
    let scaled = Expression::Product(vec![Expression::rational(factor.clone()), right.clone()]);
    let verdict = expressions(left, &scaled, budget)?;
    debug_assert!(factor.abs().is_positive());
    Ok(verdict)
}
