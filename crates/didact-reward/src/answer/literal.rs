//! Numbers as they are written.
//!
//! Owns digits: decimal points, thousands separators, scientific notation, single-character fractions. Knows no other token.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, pow};

use super::limits::Undecided;

/// The digits that a literal may have, and the largest power of ten of its exponent.
const DIGITS: usize = 1_000;

pub(crate) struct Literal {
    pub(crate) value: BigRational,
    pub(crate) decimal: bool,
    /// The characters that it takes.
    pub(crate) length: usize,
}

/// Reads the literal that starts at `start`, which is a digit or a point before a digit.
///
/// `grouped` allows commas between thousands: `12,345` is a number, but `(12,345)` a pair.
pub(crate) fn read(chars: &[char], start: usize, grouped: bool) -> Result<Literal, Undecided> {
    let mut at = start;
    let mut digits = take_digits(chars, &mut at);
    if grouped {
        take_groups(chars, &mut at, &mut digits);
    }
    take_spaced_groups(chars, &mut at, &mut digits);
    let mut places = 0;
    let mut decimal = false;
    if chars.get(at) == Some(&'.') && digit(chars, at + 1) {
        at += 1;
        let fraction = take_digits(chars, &mut at);
        places = fraction.len();
        digits.push_str(&fraction);
        decimal = true;
    } else if chars.get(at) == Some(&'.') && follows_repetend(chars, at + 1) {
        // `0.\overline{3}`.
        at += 1;
        decimal = true;
    }
    if digits.len() > DIGITS {
        return Err(Undecided::TooLarge);
    }
    let mantissa: BigInt = if digits.is_empty() {
        BigInt::from(0)
    } else {
        digits.parse().map_err(|_| Undecided::Unsupported)?
    };
    let mut value = BigRational::new(mantissa, pow(BigInt::from(10), places));
    if let Some((exponent, length)) = exponent(chars, at) {
        at += length;
        let exponent = exponent?;
        let scale = pow(BigInt::from(10), exponent.unsigned_abs() as usize);
        if exponent < 0 {
            value /= scale;
        } else {
            value *= scale;
        }
    }
    Ok(Literal {
        value,
        decimal,
        length: at - start,
    })
}

/// The fraction that `0.333…` and `0.1666…` are: at least three copies of one to five digits before the dots, or two
/// of six or more. `3.14159…` shows no period.
pub(crate) fn repeating(written: &[char]) -> Option<BigRational> {
    let point = written.iter().position(|c| *c == '.')?;
    let digits = &written[point + 1..];
    let decimal = |digits: &[char]| -> Option<BigInt> {
        let digits: String = digits.iter().collect();
        if digits.is_empty() {
            return Some(BigInt::from(0));
        }
        digits.parse().ok()
    };
    if digits.len() > 100 || !digits.iter().all(char::is_ascii_digit) {
        return None;
    }
    for period in 1..=digits.len() / 2 {
        let copies = if period < 6 { 3 } else { 2 };
        let tail = digits.len().checked_sub(copies * period);
        let Some(tail) = tail else { continue };
        let block = &digits[digits.len() - period..];
        if !digits[tail..].chunks(period).all(|chunk| chunk == block) {
            continue;
        }
        let scale = |places: usize| BigRational::from_integer(pow(BigInt::from(10), places));
        let whole = BigRational::from_integer(decimal(&written[..point])?);
        let before = BigRational::from_integer(decimal(&digits[..tail])?) / scale(tail);
        let nines = (scale(period) - BigRational::one()) * scale(tail);
        return Some(whole + before + BigRational::from_integer(decimal(block)?) / nines);
    }
    None
}

fn digit(chars: &[char], at: usize) -> bool {
    chars.get(at).is_some_and(char::is_ascii_digit)
}

fn take_digits(chars: &[char], at: &mut usize) -> String {
    let start = *at;
    while digit(chars, *at) {
        *at += 1;
    }
    chars[start..*at].iter().collect()
}

/// Whether `,` or `{,}` stands here, and how long it is.
fn comma(chars: &[char], at: usize) -> Option<usize> {
    match chars.get(at) {
        Some(',') => Some(1),
        Some('{') if chars.get(at + 1) == Some(&',') && chars.get(at + 2) == Some(&'}') => Some(3),
        _ => None,
    }
}

/// `12,345,678`: one to three digits, then groups of exactly three, to the end of the run of digits and commas.
fn take_groups(chars: &[char], at: &mut usize, digits: &mut String) {
    if digits.is_empty() || digits.len() > 3 || digits.starts_with('0') {
        return;
    }
    let mut end = *at;
    let mut groups = String::new();
    while let Some(length) = comma(chars, end) {
        let mut next = end + length;
        if !digit(chars, next) {
            break;
        }
        // Behind LaTeX's `{,}` there is never a second number of a list.
        let group = take_digits(chars, &mut next);
        if group.len() != 3 {
            return;
        }
        groups.push_str(&group);
        end = next;
    }
    digits.push_str(&groups);
    *at = end;
}

/// `12 345 678` and `12\,345`: as above, with one space, `\,` or `\ ` between.
fn take_spaced_groups(chars: &[char], at: &mut usize, digits: &mut String) {
    if digits.is_empty() || digits.len() > 3 || digits.starts_with('0') {
        return;
    }
    let mut end = *at;
    let mut groups = String::new();
    loop {
        let next = match (chars.get(end), chars.get(end + 1)) {
            (Some(' ' | '\u{a0}' | '\u{202f}' | '\u{2009}'), _) => end + 1,
            (Some('\\'), Some(',' | '!' | ' ' | ';' | ':')) => end + 2,
            // `{,}` separates thousands even inside brackets.
            (Some('{'), Some(',')) if chars.get(end + 2) == Some(&'}') => end + 3,
            _ => break,
        };
        let mut after = next;
        let group = take_digits(chars, &mut after);
        // `2 500/3` would be a mixed number, not a group.
        if group.len() != 3 || chars.get(after) == Some(&'/') {
            break;
        }
        groups.push_str(&group);
        end = after;
    }
    digits.push_str(&groups);
    *at = end;
}

fn follows_repetend(chars: &[char], at: usize) -> bool {
    ["\\overline{", "\\bar{"].iter().any(|command| {
        command
            .chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    })
}

/// The exponent of `1.5e3`, with the characters that it takes.
fn exponent(chars: &[char], at: usize) -> Option<(Result<i64, Undecided>, usize)> {
    if !matches!(chars.get(at), Some('e' | 'E')) {
        return None;
    }
    let mut end = at + 1;
    let negative = chars.get(end) == Some(&'-');
    if matches!(chars.get(end), Some('+' | '-')) {
        end += 1;
    }
    let digits = take_digits(chars, &mut end);
    if digits.is_empty() || chars.get(end).is_some_and(|c| c.is_alphabetic()) {
        return None;
    }
    let value = match digits.parse::<i64>() {
        Ok(value) if value <= DIGITS as i64 => Ok(if negative { -value } else { value }),
        _ => Err(Undecided::TooLarge),
    };
    Some((value, end - at))
}

/// Numerator and denominator of `½` and its like.
pub(crate) const fn vulgar_fraction(c: char) -> Option<(i64, i64)> {
    Some(match c {
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅖' => (2, 5),
        '⅗' => (3, 5),
        '⅘' => (4, 5),
        '⅙' => (1, 6),
        '⅚' => (5, 6),
        '⅛' => (1, 8),
        '⅜' => (3, 8),
        '⅝' => (5, 8),
        '⅞' => (7, 8),
        _ => return None,
    })
}

/// `10 ^ exponent` as a fraction.
pub(crate) fn power_of_ten(exponent: usize) -> BigRational {
    BigRational::new(pow(BigInt::from(10), exponent), BigInt::one())
}
