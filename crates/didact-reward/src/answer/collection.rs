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
use super::limits::Budget;
use super::reader::is_name;
use super::value::{Answer, Comparison};
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
            ordered(items, &by_name(list), budget)
        }
        (Answer::List(list), tuple @ Answer::Tuple { items, .. }) => {
            if is_square_pair(tuple) {
                return Verdict::no(Why::DifferentBrackets);
            }
            if names(list).is_some() {
                return ordered(&by_name(list), items, budget);
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
        verdict = verdict.and(|| compare_answers(left, right, budget));
        if !verdict.equal {
            break;
        }
    }
    verdict
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
            let here = compare_answers(element, other, budget);
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
        let name = format!("{:?}", sides[0]);
        if names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

/// `y = 2, x = 1` in the order of its variables' names, for comparison with `(1, 2)`.
fn by_name(list: &[Answer]) -> Vec<Answer> {
    let Some(names) = names(list) else {
        return list.to_vec();
    };
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|index| &names[*index]);
    order.into_iter().map(|index| list[index].clone()).collect()
}
