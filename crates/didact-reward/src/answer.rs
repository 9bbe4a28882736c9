//! Answers: found in a text, read, and compared with the expected one.
//!
//! Owns the verification of answers for evaluation and for rewards on correctness. Knows no model and no tokenizer,
//! and executes nothing: every value is computed by the arithmetic in these modules, within [`Limits`].
//!
//! ```
//! use didact_reward::answer::verify;
//!
//! assert!(verify(r"\frac{3}{4}", "So the answer is 0.75.").equal);
//! assert!(verify(r"2\sqrt{3}", r"\boxed{\sqrt{12}}").equal);
//! assert!(verify(r"x^2 + 2x + 1", r"\boxed{(x+1)^2}").equal);
//! assert!(!verify("(1, 2)", r"\boxed{[1, 2]}").equal);
//! assert!(!verify("10 cm", r"\boxed{10 \text{ km}}").equal);
//! ```
//!
//! | step | module |
//! |---|---|
//! | the answer in the text | `extraction`, `statement`, `prose`, `delimiter` |
//! | characters to tokens | `lexer`, `command`, `literal`, `calendar`, `token` |
//! | tokens to an [`Answer`] with its [`Expression`] | `reader`, `wording`, `unit`, `measure`; `formula`, `named`, `calls` |
//! | equality of answers | `comparison`, `collection`, `relation`, `region`, `spelling` |
//! | of expressions: exactly, else by evaluation | `normal_form`, `polynomial`; `evaluation`, `real` |

mod calendar;
mod calls;
mod collection;
mod command;
mod comparison;
pub mod countdown;
mod delimiter;
mod evaluation;
mod expression;
mod extraction;
mod formula;
mod lexer;
mod limits;
mod literal;
mod measure;
mod named;
mod normal_form;
mod polynomial;
mod prose;
mod reader;
mod real;
mod region;
mod relation;
mod spelling;
mod statement;
mod token;
mod unit;
mod value;
mod verdict;
mod wording;

pub use expression::{Constant, Expression, Function};
pub use extraction::{Extracted, How, extract_answer};
pub use limits::{Limits, Undecided};
pub use unit::Unit;
pub use value::{Answer, Comparison, Domain, Value};
pub use verdict::{Verdict, Why};

use limits::Budget;

/// Reads an answer that stands alone, such as the content of a box.
///
/// # Errors
/// An answer beyond the limits. What cannot be read as mathematics is [`Answer::Text`].
pub fn read_answer(text: &str, limits: &Limits) -> Result<Answer, Undecided> {
    reader::read(text, &mut Budget::new(*limits))
}

/// Compares the answer in `found` with the one in `expected`, within the default [`Limits`].
///
/// Both may be a bare answer or a text with an answer in it. See [`verify_within`].
#[must_use]
pub fn verify(expected: &str, found: &str) -> Verdict {
    verify_within(expected, found, &Limits::default())
}

/// Compares the answer in `found` with the one in `expected`.
///
/// Both may be a bare answer, or a text in which [`extract_answer`] finds one. Without a mark, the last mathematics
/// between dollars counts, then the text itself, and where a number is expected the last number of the text found.
///
/// The rules follow the Python package math-verify where its verdict is not plainly wrong:
///
/// - decimal numbers agree to six places: 0.333333 is a third, 0.3333 is not;
/// - `50\%` is 0.5, and also 50, since a percent sign is often taken for a unit;
/// - a unit may be missing, but may not contradict the expected one;
/// - `x = 5` is 5; order matters in tuples, not in sets and lists; `(1, 2)` may be written without brackets.
#[must_use]
pub fn verify_within(expected: &str, found: &str, limits: &Limits) -> Verdict {
    let expected = passage(expected);
    let found = passage(found);
    if expected.text.trim().is_empty() || found.text.trim().is_empty() {
        return Verdict::no(Why::NothingFound);
    }
    if expected.text.trim() == found.text.trim() {
        return Verdict::yes(Why::SameText);
    }
    let budget = &mut Budget::new(*limits);
    Verdict::from(compare(&expected, &found, budget))
}

fn compare(
    expected: &Passage<'_>,
    found: &Passage<'_>,
    budget: &mut Budget,
) -> Result<Verdict, Undecided> {
    let expected = reader::read(&expected.text, budget)?;
    let answer = reader::read(&found.text, budget);
    // Words around a number, where a number is asked for.
    let wordy = match &answer {
        Ok(Answer::List(items)) => items.iter().any(|item| matches!(item, Answer::Text(_))),
        Ok(Answer::Text(_)) | Err(Undecided::TooLong) => true,
        _ => false,
    };
    if let (true, Answer::Value(_), Some(number)) = (wordy, &expected, found.number()) {
        let (written, behind) = found.text[number.span.start..].split_at(number.span.len());
        if unit::is_changed(written, behind) {
            return Ok(Verdict::no(Why::DifferentValue));
        }
        let sign = if number.negative { "-" } else { "" };
        let answer = reader::read(&format!("{sign}{written}"), budget)?;
        return Ok(comparison::compare(&expected, &answer, budget));
    }
    // "2,74" where 2.74 is asked for and nothing says that it is mathematics.
    if let (Answer::Value(value), Ok(Answer::List(_)), None) = (&expected, &answer, found.how)
        && value.expression.is_decimal()
        && let Some(decimal) = decimal_comma(&found.text)
    {
        let answer = reader::read(&decimal, budget)?;
        return Ok(comparison::compare(&expected, &answer, budget));
    }
    Ok(comparison::compare(&expected, &answer?, budget))
}

/// A number with a decimal comma, with its point.
fn decimal_comma(text: &str) -> Option<String> {
    let (whole, places) = text.trim().split_once(',')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(places))
        .then(|| format!("{whole}.{places}"))
}

/// The part of a text that is compared.
struct Passage<'a> {
    text: std::borrow::Cow<'a, str>,
    how: Option<How>,
}

/// Longer texts without a mark are searched for an answer from here on.
const TAIL: usize = 20_000;

fn passage(text: &str) -> Passage<'_> {
    if let Some(extracted) = extract_answer(text) {
        return Passage {
            text: extracted.text.into(),
            how: Some(extracted.how),
        };
    }
    let mut start = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let text = &text[start..];
    let text = match delimiter::mathematics(text).last() {
        // What stands last counts: "of $100$, that is 20 %".
        // What is denied does not: "it is not $5$".
        Some(last)
            if prose::last_number(&text[last.whole.end..]).is_none()
                && !prose::is_denied_before(&text[..last.whole.start]) =>
        {
            // The percent sign may stand behind the mathematics.
            let behind = text[last.whole.end..].trim_start().to_lowercase();
            let percent = ["%", "\\%", "percent", "pct"]
                .iter()
                .any(|sign| behind.starts_with(sign));
            let inner = &text[last.inner.clone()];
            if percent {
                format!("{inner}\\%").into()
            } else {
                inner.into()
            }
        }
        _ => text.into(),
    };
    Passage { text, how: None }
}

impl Passage<'_> {
    /// A number among words: the one that a statement states, else the last.
    fn number(&self) -> Option<prose::Number> {
        match self.how {
            Some(How::Boxed) => None,
            Some(_) => prose::stated_number(&self.text),
            None => prose::last_number(&self.text),
        }
    }
}
