//! What is compared as text.
//!
//! Owns how an answer that is no mathematics, or mathematics that is not read, is spelled, and when two spellings are
//! the same. Knows nothing of what the words mean.

use super::token::{Bracket, Kind, Sign, Token};

/// The tokens as text: the same for `\\pmod5` and `\\pmod{5}`, but not for `\\frac{1}{23}` and `\\frac{12}{3}`.
pub(super) fn spell(tokens: &[Token]) -> String {
    let mut text = String::new();
    let mut at = 0;
    let mut number = false;
    while let Some(token) = tokens.get(at) {
        at += 1;
        if token.spaced && !text.is_empty() {
            text.push(' ');
        }
        // Braces around a single token mean nothing.
        let token = match tokens.get(at - 1..at + 2) {
            Some([open, inner, close])
                if open.kind == Kind::Open(Bracket::Group)
                    && close.kind == Kind::Close(Bracket::Group) =>
            {
                at += 2;
                inner
            }
            _ => token,
        };
        let was_number = std::mem::replace(&mut number, matches!(token.kind, Kind::Number { .. }));
        match &token.kind {
            Kind::Number { value, decimal } => {
                if was_number {
                    text.push('#');
                }
                text.push_str(&value.to_string());
                if *decimal {
                    text.push('.');
                }
            }
            Kind::Symbol(name) => text.push_str(name),
            Kind::Text(words) => {
                text.extend(
                    words
                        .chars()
                        .filter(|c| !matches!(c, '$' | '"' | '`' | '{' | '}')),
                );
            }
            Kind::Command(name) => {
                text.push('\\');
                text.push_str(name);
            }
            Kind::Open(bracket) => text.push(bracket_sign(*bracket).0),
            Kind::Close(bracket) => text.push(bracket_sign(*bracket).1),
            Kind::Operator(sign) => text.push(*sign),
            Kind::Relation(sign) => text.push(match sign {
                Sign::Equal => '=',
                Sign::NotEqual => '≠',
                Sign::Less => '<',
                Sign::LessOrEqual => '≤',
                Sign::Greater => '>',
                Sign::GreaterOrEqual => '≥',
                Sign::Approximately => '≈',
                Sign::Member => '∈',
            }),
            Kind::Separator => text.push(','),
            Kind::PlusMinus => text.push('±'),
            Kind::MinusPlus => text.push('∓'),
            Kind::Percent => text.push('%'),
            Kind::Degree => text.push('°'),
            Kind::Currency(name) => text.push_str(name),
            Kind::NewRow => text.push(';'),
            Kind::Ellipsis => text.push('…'),
        }
    }
    text.trim_end_matches(['.', ',', ';', ':', '!', ' '])
        .to_owned()
}

const fn bracket_sign(bracket: Bracket) -> (char, char) {
    match bracket {
        Bracket::Round => ('(', ')'),
        Bracket::Square => ('[', ']'),
        Bracket::Brace => ('⦃', '⦄'),
        Bracket::Group => ('{', '}'),
    }
}

/// Whether two spellings are the same but for space and, in prose, for the case of letters.
pub(super) fn same(left: &str, right: &str) -> bool {
    let squeeze = |text: &str| -> String {
        text.chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, '.' | '~' | '“' | '”'))
            .collect()
    };
    let (a, b) = (squeeze(left), squeeze(right));
    if let (Some((hours, half)), Some((other_hours, other_half))) = (clock(&a), clock(&b)) {
        // A unit may be missing.
        return hours == other_hours
            && (half == other_half || half.is_empty() || other_half.is_empty());
    }
    !a.is_empty()
        && (a == b || (a.to_lowercase() == b.to_lowercase() && is_prose(left) && is_prose(right)))
}

/// A time of day, and which half of the day it is in, where that is written.
fn clock(text: &str) -> Option<(String, String)> {
    let lower = text.to_lowercase();
    let end = lower.find(|c: char| !(c.is_ascii_digit() || c == ':'));
    let (hours, half) = lower.split_at(end.unwrap_or(lower.len()));
    let is_time = hours
        .split_once(':')
        .is_some_and(|(a, b)| !a.is_empty() && b.len() == 2);
    (is_time && matches!(half, "" | "am" | "pm")).then(|| (hours.to_owned(), half.to_owned()))
}

/// Words too short to be told from symbols by their case.
const SHORT: [&str; 43] = [
    "yes", "no", "true", "false", "even", "odd", "none", "both", "zero", "dne", "red", "blue",
    "up", "down", "left", "a", "an", "the", "and", "or", "not", "is", "it", "in", "on", "at", "of",
    "to", "all", "any", "one", "two", "six", "ten", "may", "june", "july", "sun", "mon", "east",
    "west", "am", "pm",
];

/// Whether a text is of words, of which the case says nothing: `Even`, `EVEN` and `even`, but not `AA` and `Aa`.
fn is_prose(text: &str) -> bool {
    let text = text.replace('.', "");
    let mathematics = |c: char| "\\^_=+*×/<>≤≥≠|{}".contains(c);
    if text.contains(mathematics) {
        return false;
    }
    text.split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .all(|word| {
            let lower = word.to_lowercase();
            let rest_is_lower = word.chars().skip(1).all(char::is_lowercase);
            let letters = word.chars().count();
            let vowel = lower.contains(['a', 'e', 'i', 'o', 'u', 'y']);
            let shouted = letters > 4 && vowel && word.chars().all(char::is_uppercase);
            SHORT.contains(&lower.as_str())
                || (letters > 2 && rest_is_lower)
                || (word == lower && letters > 1)
                || shouted
        })
}
