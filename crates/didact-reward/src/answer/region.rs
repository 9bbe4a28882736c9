//! Sets of real numbers made of intervals and points.
//!
//! Owns unions, intersections and differences, and inequalities as the sets they describe. Two such sets are compared
//! cell by cell: the end points of both cut the line into points and gaps, and each set holds a cell or does not.

use std::cmp::Ordering;

use super::comparison::values;
use super::evaluation::{Point, evaluate};
use super::limits::{Budget, Undecided};
use super::real::Real;
use super::value::{Answer, Comparison, Domain, Value};
use super::verdict::{Verdict, Why};

/// Compares two answers as sets of real numbers, where at least one of them is a union, a domain or the like.
pub(crate) fn compare(expected: &Answer, found: &Answer, budget: &mut Budget) -> Option<Verdict> {
    if !(is_composed(expected) || is_composed(found)) {
        return None;
    }
    if !(is_region(expected) && is_region(found)) {
        return None;
    }
    if expected == found {
        return Some(Verdict::yes(Why::Exact));
    }
    Some(match cells(expected, found, budget) {
        Ok(true) => Verdict::yes(Why::Exact),
        Ok(false) => Verdict::no(Why::DifferentValue),
        // End points with variables: part by part.
        Err(Undecided::Unsupported) => match (expected, found) {
            (Answer::Union(left), Answer::Union(right))
            | (Answer::Intersection(left), Answer::Intersection(right)) => {
                super::collection::compare(
                    &Answer::Set(left.clone()),
                    &Answer::Set(right.clone()),
                    budget,
                )
            }
            _ => Verdict::no(Why::Undecided(Undecided::Unsupported)),
        },
        Err(why) => Verdict::no(Why::Undecided(why)),
    })
}

const fn is_composed(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Union(_) | Answer::Intersection(_) | Answer::Difference(..) | Answer::Domain(_)
    )
}

fn is_region(answer: &Answer) -> bool {
    match answer {
        Answer::Tuple { items, .. } => items.len() == 2,
        // Not a list of pairs, which may be points of a plane.
        Answer::Set(items) | Answer::List(items) => {
            items.iter().all(|item| matches!(item, Answer::Value(_)))
        }
        _ => is_composed(answer),
    }
}

/// The set that inequalities in one variable describe: `1 < x \le 2`, `x \ne 0`, `x < 1 or x > 2`, `x > 1 and x < 3`.
pub(crate) fn from_inequality(answer: &Answer, budget: &mut Budget) -> Option<Answer> {
    match answer {
        Answer::List(items) | Answer::Set(items) => {
            let name = variable(items.first()?)?;
            if items.iter().any(|item| variable(item) != Some(name)) {
                return None;
            }
            let parts = items
                .iter()
                .map(|item| from_inequality(item, budget))
                .collect::<Option<Vec<_>>>()?;
            // Either bound is enough, unless that says nothing: `x \ne 1, x \ne 2` means both.
            let either = Answer::Union(parts.clone());
            let everything = cells(&either, &Answer::Domain(Domain::Reals), budget);
            Some(match everything {
                Ok(true) => Answer::Intersection(parts),
                _ => either,
            })
        }
        Answer::Relation { sides, signs } => {
            let bounds = |low: Option<(&Answer, bool)>, high: Option<(&Answer, bool)>| {
                let infinity = |negative: bool| {
                    let infinity = super::expression::Expression::Constant(
                        super::expression::Constant::Infinity,
                    );
                    Answer::Value(Value::from(if negative {
                        infinity.negated()
                    } else {
                        infinity
                    }))
                };
                Answer::Tuple {
                    open: low.is_none_or(|(_, closed)| !closed),
                    close: high.is_none_or(|(_, closed)| !closed),
                    items: vec![
                        low.map_or_else(|| infinity(true), |(answer, _)| answer.clone()),
                        high.map_or_else(|| infinity(false), |(answer, _)| answer.clone()),
                    ],
                }
            };
            match (sides.as_slice(), signs.as_slice()) {
                ([left, right], [sign]) => {
                    let (bound, sign) = if is_variable(left) && !is_variable(right) {
                        (right, *sign)
                    } else if is_variable(right) && !is_variable(left) {
                        (left, sign.flipped())
                    } else {
                        return None;
                    };
                    match sign.direction() {
                        Some((-1, closed)) => Some(bounds(None, Some((bound, closed)))),
                        Some((_, closed)) => Some(bounds(Some((bound, closed)), None)),
                        None if sign == Comparison::NotEqual => Some(Answer::Difference(
                            Box::new(Answer::Domain(Domain::Reals)),
                            Box::new(Answer::Set(vec![bound.clone()])),
                        )),
                        None => None,
                    }
                }
                ([left, middle, right], [first, second]) if is_variable(middle) => {
                    let (first, low) = first.direction()?;
                    let (second, high) = second.direction()?;
                    match (first, second) {
                        (-1, -1) => Some(bounds(Some((left, low)), Some((right, high)))),
                        (1, 1) => Some(bounds(Some((right, high)), Some((left, low)))),
                        _ => None,
                    }
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_variable(answer: &Answer) -> bool {
    matches!(answer, Answer::Value(value) if value.expression.is_symbols())
}

/// The variable that an inequality bounds.
fn variable(inequality: &Answer) -> Option<&Answer> {
    match inequality {
        Answer::Relation { sides, .. } => sides.iter().find(|side| is_variable(side)),
        _ => None,
    }
}

/// A finite end point.
struct Cut {
    value: Value,
    real: Real,
}

/// Whether both sets hold the same cells.
fn cells(left: &Answer, right: &Answer, budget: &mut Budget) -> Result<bool, Undecided> {
    let mut cuts: Vec<Cut> = Vec::new();
    collect(left, &mut cuts, budget)?;
    collect(right, &mut cuts, budget)?;
    // Cell 2k is the gap below cut k, cell 2k + 1 the cut itself.
    for cell in 0..=2 * cuts.len() {
        budget.spend(10)?;
        if contains(left, cell, &cuts, budget)? != contains(right, cell, &cuts, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Inserts the end points of a set in order.
fn collect(answer: &Answer, cuts: &mut Vec<Cut>, budget: &mut Budget) -> Result<(), Undecided> {
    match answer {
        Answer::Value(value) => {
            if value.expression.infinite_sign().is_some() {
                return Ok(());
            }
            budget.check_terms(cuts.len() * 4)?;
            let real = evaluate(&value.expression, &Point::new(), budget)?;
            let mut place = cuts.len();
            for (index, cut) in cuts.iter().enumerate() {
                if values(&cut.value, value, budget).equal {
                    return Ok(());
                }
                match real.compare(&cut.real) {
                    Some(Ordering::Less) => {
                        place = index;
                        break;
                    }
                    Some(_) => {}
                    None => return Err(Undecided::TooClose),
                }
            }
            let value = value.clone();
            cuts.insert(place, Cut { value, real });
            Ok(())
        }
        Answer::Tuple { items, .. }
        | Answer::Set(items)
        | Answer::List(items)
        | Answer::Union(items)
        | Answer::Intersection(items) => {
            for item in items {
                collect(item, cuts, budget)?;
            }
            Ok(())
        }
        Answer::Difference(left, right) => {
            collect(left, cuts, budget)?;
            collect(right, cuts, budget)
        }
        Answer::Domain(Domain::Reals) => Ok(()),
        _ => Err(Undecided::Unsupported),
    }
}

/// The cell of an end point; the first or the last gap's outer side for an infinite one.
fn place(answer: &Answer, cuts: &[Cut], budget: &mut Budget) -> Result<i64, Undecided> {
    let Answer::Value(value) = answer else {
        return Err(Undecided::Unsupported);
    };
    if let Some(sign) = value.expression.infinite_sign() {
        return Ok(if sign < 0 {
            -1
        } else {
            2 * cuts.len() as i64 + 1
        });
    }
    for (index, cut) in cuts.iter().enumerate() {
        if values(&cut.value, value, budget).equal {
            return Ok(2 * index as i64 + 1);
        }
    }
    Err(Undecided::TooClose)
}

fn contains(
    answer: &Answer,
    cell: usize,
    cuts: &[Cut],
    budget: &mut Budget,
) -> Result<bool, Undecided> {
    let here = cell as i64;
    match answer {
        Answer::Domain(Domain::Reals) => Ok(true),
        Answer::Value(_) => Ok(place(answer, cuts, budget)? == here),
        Answer::Tuple { items, open, close } => {
            let [low, high] = items.as_slice() else {
                return Err(Undecided::Unsupported);
            };
            let low = place(low, cuts, budget)?;
            let high = place(high, cuts, budget)?;
            // A pair that does not ascend is a point of a plane, not an empty interval.
            if low > high || (low == high && (*open || *close)) {
                return Err(Undecided::Unsupported);
            }
            Ok((low < here || (!open && low == here)) && (here < high || (!close && here == high)))
        }
        Answer::Set(items) | Answer::List(items) | Answer::Union(items) => {
            for item in items {
                if contains(item, cell, cuts, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Answer::Intersection(items) => {
            for item in items {
                if !contains(item, cell, cuts, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Answer::Difference(left, right) => {
            Ok(contains(left, cell, cuts, budget)? && !contains(right, cell, cuts, budget)?)
        }
        _ => Err(Undecided::Unsupported),
    }
}
