//! Texts whose tokens are coloured by a number.
//!
//! Owns which number each token has and which colour that is. The solution's tokens have the student's log-prob
//! after reading the explanation; the explanation's have the teacher's log-prob less the student's, which is what
//! the KL term of the reward averages.

use std::fmt::Write as _;

use super::html::{escaped, number};
use crate::rollout::RolloutRecord;

/// What the colours of a text show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// A log-prob: the less likely, the stronger the colour.
    LogProb,
    /// A difference of log-probs: one colour above 0, another below.
    Difference,
}

/// Colours grow up to this many nats below 0, or away from it.
const DEEPEST: f64 = 6.0;
const WIDEST: f64 = 4.0;
const LEVELS: f64 = 8.0;

/// So many tokens of a text are shown at its beginning and at its end.
const SHOWN_FIRST: usize = 700;
const SHOWN_LAST: usize = 100;

impl Scale {
    /// The class of a value's colour; none for values next to 0.
    fn class(self, value: f64) -> Option<String> {
        let (letter, part) = match self {
            Self::LogProb => ('u', -value / DEEPEST),
            Self::Difference if value > 0.0 => ('p', value / WIDEST),
            Self::Difference => ('m', -value / WIDEST),
        };
        // The root shows what is small beside what is large.
        let level = (part.clamp(0.0, 1.0).sqrt() * LEVELS).round() as u32;
        (level > 1).then(|| format!("{letter}{level}"))
    }

    /// A strip with the colours and what they stand for.
    pub(super) fn legend(self) -> String {
        let (values, words): (Vec<f64>, _) = match self {
            Self::LogProb => (
                (0..=6).map(|i| -f64::from(i) * DEEPEST / 6.0).collect(),
                "log-prob of the solution's token under the student, in nats: 0 is certain",
            ),
            Self::Difference => (
                (-4..=4).map(|i| f64::from(i) * WIDEST / 4.0).collect(),
                "teacher\u{2019}s less student\u{2019}s log-prob of the explanation's token, in nats: above 0 the \
                 token follows from the solution, which only the teacher has seen",
            ),
        };
        let mut out = String::from("<p class=\"scale\"><span class=\"text\">");
        for (place, value) in values.iter().enumerate() {
            let outermost = match self {
                Self::LogProb => place + 1 == values.len(),
                Self::Difference => place == 0 || place + 1 == values.len(),
            };
            let mark = match (outermost, *value < 0.0) {
                (true, true) => "\u{2264}",
                (true, false) => "\u{2265}",
                (false, _) => "",
            };
            let class = self.class(*value).unwrap_or_default();
            let _ = write!(out, "<i class=\"{class}\">{mark}{}</i>", number(*value));
        }
        let _ = write!(out, "</span> {}</p>", escaped(words));
        out
    }
}

/// A token with what its tooltip says.
struct Token<'a> {
    text: &'a str,
    value: Option<f64>,
    detail: String,
}

/// The solution, coloured by what the student makes of it.
pub(super) fn solution(record: &RolloutRecord) -> String {
    let found = record
        .solution_log_probs()
        .filter(|values| values.len() == record.solution_tokens.len());
    let Some(values) = found else {
        return format!("<span class=\"text\">{}</span>", escaped(&record.solution));
    };
    let tokens = record.solution_tokens.iter().zip(&values);
    let tokens = tokens.map(|(text, &value)| Token {
        text,
        value: Some(value),
        detail: format!(
            "log-prob {}, probability {}",
            number(value),
            number(value.exp())
        ),
    });
    coloured(&tokens.collect::<Vec<_>>(), Scale::LogProb)
}

/// The completion, its explanation coloured by what only the teacher expects.
pub(super) fn explanation(record: &RolloutRecord) -> String {
    let [teacher, student] = record.explanation_log_probs();
    let first = record.explanation_start();
    let tokens = record.tokens.iter().enumerate().map(|(place, text)| {
        let of =
            |values: &Option<Vec<f64>>| values.as_ref()?.get(place.checked_sub(first)?).copied();
        let sampled = record.sampling_log_probs.get(place).copied().unwrap_or(0.0);
        let mut detail = match (of(&teacher), of(&student)) {
            (Some(p), Some(q)) => format!(
                "teacher {}, student {}, difference {}",
                number(p),
                number(q),
                number(p - q)
            ),
            _ => "no part of the explanation".to_owned(),
        };
        let _ = write!(detail, "\nsampled at {}", number(f64::from(sampled)));
        if let Some(advantage) = record.token_advantages.as_ref().and_then(|a| a.get(place)) {
            let _ = write!(detail, "\nadvantage {}", number(*advantage));
        }
        Token {
            text,
            value: of(&teacher).zip(of(&student)).map(|(p, q)| p - q),
            detail,
        }
    });
    coloured(&tokens.collect::<Vec<_>>(), Scale::Difference)
}

fn coloured(tokens: &[Token<'_>], scale: Scale) -> String {
    let mut out = String::from("<span class=\"text\">");
    let left_out = tokens.len().saturating_sub(SHOWN_FIRST + SHOWN_LAST);
    for (place, token) in tokens.iter().enumerate() {
        if left_out > 0 && place == SHOWN_FIRST {
            let _ = write!(
                out,
                "<em> \u{2026} {left_out} tokens are not shown \u{2026} </em>"
            );
        }
        if left_out > 0 && (SHOWN_FIRST..SHOWN_FIRST + left_out).contains(&place) {
            continue;
        }
        let class = match token.value {
            Some(value) => scale.class(value).unwrap_or_default(),
            None => "no".to_owned(),
        };
        let class = if class.is_empty() {
            class
        } else {
            format!(" class=\"{class}\"")
        };
        let _ = write!(
            out,
            "<i{class} title=\"{}\">{}</i>",
            escaped(&token.detail),
            visible(token.text)
        );
    }
    out.push_str("</span>");
    out
}

/// A token's text, such that line feeds and empty tokens can be seen and pointed at.
fn visible(text: &str) -> String {
    if text.is_empty() {
        return "\u{b7}".to_owned();
    }
    escaped(text).replace('\n', "<s>\u{21b5}</s>\n")
}
