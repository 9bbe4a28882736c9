//! Equality of lists, sets and tuples.
//!
//! Owns which brackets matter and when order does. Knows nothing of values.
//!
//! | expected | found | equal where |
//! |---|---|---|
//! | list or set | list or set | each has every element of the other |
//! | tuple | tuple | element by element; with two elements the brackets too, since they may be an interval's |
//! | tuple | list | element by element, unless the tuple is `[a, b]`, an interval |
//! | list | tuple | as for two lists, with each element as often, unless the tuple is `[a, b]`, an interval |
//! | set | tuple, or the other way | never: `\{1,2\}` is neither a point nor an interval |

use super::comparison::compare as compare_answers;
use super::expression::Expression;
use super::limits::Budget;
use super::reader::is_name;
use super::value::{Answer, Comparison, Value};
use super::verdict::{Verdict, Why};

pub(crate) fn compare(expected: &Answer, found: &Answer, budget: &mut Budget) -> Verdict {
    match (expected, found) {
        (Answer::List(left) | Answer::Set(left), Answer::List(right) | Answer::Set(right)) => {
            unordered(left, right, false, budget)
        }
        (
            Answer::Tuple { items, open, close },
            Answer::Tuple {
                items: other,
                open: other_open,
                close: other_close,
            },
        ) => {
            if items.len() == 2
                && other.len() == 2
                && (open, close) != (other_open, other_close)
                && !(descends(items) && descends(other))
            {
                return Verdict::no(Why::DifferentBrackets);
            }
            ordered(items, other, budget)
        }
        (tuple @ Answer::Tuple { items, .. }, Answer::List(list)) => {
            if is_square_pair(tuple) {
                return Verdict::no(Why::DifferentBrackets);
            }
            match by_name(list) {
                Some(list) => ordered(items, &list, budget),
                None => Verdict::no(Why::DifferentKind),
            }
        }
        (Answer::List(list), tuple @ Answer::Tuple { items, .. }) => {
            if is_square_pair(tuple) {
                return Verdict::no(Why::DifferentBrackets);
            }
            if names(list).is_some() {
                return match by_name(list) {
                    Some(list) => ordered(&list, items, budget),
                    None => Verdict::no(Why::DifferentKind),
                };
            }
            // Brackets may mean a tuple, in which a repetition counts.
            unordered(list, items, true, budget)
        }
        // `\{5\}` for 5, and "3.5 or 7/2".
        (Answer::Set(items), Answer::Value(_) | Answer::Text(_)) => {
            every(items, |item| compare_answers(item, found, budget))
        }
        (Answer::Value(_) | Answer::Text(_), Answer::Set(items)) => {
            every(items, |item| compare_answers(expected, item, budget))
        }
        (Answer::List(items), Answer::Value(_)) if are_values(items) => {
            every(items, |item| compare_answers(item, found, budget))
        }
        (Answer::Value(_), Answer::List(items)) if are_values(items) => {
            every(items, |item| compare_answers(expected, item, budget))
        }
        (Answer::List(_), Answer::Value(_)) | (Answer::Value(_), Answer::List(_)) => {
            Verdict::no(Why::DifferentLength)
        }
        _ => Verdict::no(Why::DifferentKind),
    }
}

fn is_square_pair(answer: &Answer) -> bool {
    matches!(answer, Answer::Tuple { items, open, close } if items.len() == 2 && !(*open && *close))
}

/// Whether a pair cannot be an interval: it descends.
fn descends(items: &[Answer]) -> bool {
    let number = |answer: &Answer| match answer {
        Answer::Value(value) => value.as_rational(),
        _ => None,
    };
    match (number(&items[0]), number(&items[1])) {
        (Some(first), Some(second)) => first > second,
        _ => false,
    }
}

fn ordered(left: &[Answer], right: &[Answer], budget: &mut Budget) -> Verdict {
    if left.len() != right.len() {
        return Verdict::no(Why::DifferentLength);
    }
    let mut verdict = Verdict::yes(Why::Exact);
    for (left, right) in left.iter().zip(right) {
        verdict = verdict.and(|| elements(left, right, budget));
        if !verdict.equal {
            break;
        }
    }
    verdict
}

/// Compares two elements: inside a set or a tuple, `\{3\}` is a set and no other way to write 3.
fn elements(left: &Answer, right: &Answer, budget: &mut Budget) -> Verdict {
    let is_set = |answer: &Answer| matches!(answer, Answer::Set(_));
    if is_set(left) != is_set(right) {
        return Verdict::no(Why::DifferentKind);
    }
    compare_answers(left, right, budget)
}

fn are_values(items: &[Answer]) -> bool {
    items.iter().all(|item| matches!(item, Answer::Value(_)))
}

/// Whether there are elements, and `compare` says of each that it is the one answer of the other side.
fn every(items: &[Answer], mut compare: impl FnMut(&Answer) -> Verdict) -> Verdict {
    let mut verdict = Verdict::no(Why::DifferentLength);
    for (index, item) in items.iter().enumerate() {
        let here = compare(item);
        verdict = if index == 0 {
            here
        } else {
            verdict.and(|| here)
        };
        if !verdict.equal {
            break;
        }
    }
    verdict
}

/// Whether each side has every element of the other, with `once` as often as the other.
fn unordered(left: &[Answer], right: &[Answer], once: bool, budget: &mut Budget) -> Verdict {
    let mut matched = vec![false; right.len()];
    let mut verdict = Verdict::yes(Why::Exact);
    for element in left {
        let mut first = Verdict::no(Why::DifferentLength);
        for (index, other) in right.iter().enumerate() {
            if once && matched[index] {
                continue;
            }
            let here = elements(element, other, budget);
            if here.equal {
                first = here;
                matched[index] = true;
                if once {
                    break;
                }
            } else if !first.equal {
                first = here;
            }
        }
        verdict = verdict.and(|| first);
        if !verdict.equal {
            return if left.len() == right.len() {
                verdict
            } else {
                Verdict::no(Why::DifferentLength)
            };
        }
    }
    if matched.contains(&false) {
        return Verdict::no(Why::DifferentLength);
    }
    verdict
}

/// The names of a list of assignments to different variables.
fn names(list: &[Answer]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for item in list {
        let Answer::Relation { sides, signs } = item else {
            return None;
        };
        if !is_name(&sides[0]) || signs.iter().any(|s| *s != Comparison::Equal) {
            return None;
        }
        let name = match &sides[0] {
            Answer::Value(Value {
                expression: Expression::Symbol(name),
                ..
            }) => name.clone(),
            other => format!("{other:?}"),
        };
        if names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

/// Names that have an order which is not that of the alphabet.
const ORDERS: [[&str; 2]; 4] = [["r", "\\theta"], ["r", "θ"], ["m", "b"], ["m", "c"]];

/// `y = 2, x = 1` in the order of its coordinates, for comparison with `(1, 2)`. Where the names are no coordinates, such
/// as `m` and `b`, only the order in which they are usually written tells which is the first.
fn by_name(list: &[Answer]) -> Option<Vec<Answer>> {
    let Some(names) = names(list) else {
        return Some(list.to_vec());
    };
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|index| &names[*index]);
    let head = |name: &str| name.split('_').next().map(str::to_owned);
    let coordinates = names
        .iter()
        .all(|name| ["x", "y", "z"].contains(&name.as_str()))
        || names
            .iter()
            .all(|name| name.contains('_') && head(name) == head(&names[0]));
    let usual = order.iter().copied().eq(0..list.len())
        && !ORDERS
            .iter()
            .any(|[first, second]| names == [*second, *first])
        || ORDERS.iter().any(|usual| names == *usual);
    (coordinates || usual).then(|| {
        order_of(coordinates, order)
            .map(|index| list[index].clone())
            .collect()
    })
}

fn order_of(sorted: bool, order: Vec<usize>) -> impl Iterator<Item = usize> {
    let count = order.len();
    (0..count).map(move |place| if sorted { order[place] } else { place })
}

/// `(y, x) = (1, 2)` as `y = 1, x = 2`.
pub(crate) fn assignments(names: &Answer, values: &Answer) -> Option<Answer> {
    let items = |answer: &Answer| match answer {
        Answer::Tuple { items, .. } => Some(items.clone()),
        _ => None,
    };
    let (names, values) = (items(names)?, items(values)?);
    (names.len() == values.len()).then(|| {
        Answer::List(
            names
                .into_iter()
                .zip(values)
                .map(|pair| Answer::Relation {
                    sides: vec![pair.0, pair.1],
                    signs: vec![Comparison::Equal],
                })
                .collect(),
        )
    })
}
