//! An explanation as text for a terminal.
//!
//! Owns the colours and the words. A token's background says how far its number is from 0, in five steps; what is not
//! coloured is near 0 or was not scored.

use std::fmt::Write as _;

use didact::core::Outcome;
use didact::rl::rollout::RolloutRecord;

/// Whether colours are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    colours: bool,
}

/// Backgrounds of the 256-colour palette, from weak to strong: below 0 red, above 0 blue.
const BELOW: [u8; 5] = [224, 217, 210, 203, 196];
const ABOVE: [u8; 5] = [195, 153, 111, 69, 27];

/// A colour's step grows up to so many nats.
const WIDEST: f64 = 6.0;

/// Without colours, so many tokens are named by number.
const NAMED: usize = 5;

impl Paint {
    pub(crate) const fn new(colours: bool) -> Self {
        Self { colours }
    }

    /// The colour of a number; none near 0.
    fn step(value: f64) -> Option<u8> {
        // The root shows what is small beside what is large.
        let step = ((value.abs() / WIDEST).min(1.0).sqrt() * 5.0).round() as usize;
        let scale = if value < 0.0 { BELOW } else { ABOVE };
        step.checked_sub(1).map(|step| scale[step])
    }

    /// Tokens with their numbers, coloured, or followed by those that are farthest from 0.
    fn tokens(self, tokens: &[(&str, Option<f64>)]) -> String {
        let mut text = String::new();
        for (token, value) in tokens {
            match value.and_then(Self::step) {
                Some(colour) if self.colours => {
                    let ink = if [196, 203, 27, 69].contains(&colour) {
                        231
                    } else {
                        16
                    };
                    let _ = write!(text, "\u{1b}[48;5;{colour};38;5;{ink}m{token}\u{1b}[0m");
                }
                _ => text.push_str(token),
            }
        }
        if !self.colours {
            let scored = tokens
                .iter()
                .filter_map(|(token, value)| Some((*token, (*value)?)));
            let mut scored: Vec<(&str, f64)> = scored.collect();
            scored.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
            let named = scored
                .iter()
                .take(NAMED)
                .filter(|(_, value)| value.abs() >= 0.05);
            let named: Vec<String> = named
                .map(|(token, value)| format!("{token:?} {value:.2}"))
                .collect();
            if !named.is_empty() {
                let _ = write!(text, "\n    farthest from 0: {}", named.join(", "));
            }
        }
        text
    }

    fn legend(self, words: &str) -> String {
        if !self.colours {
            return words.to_owned();
        }
        let nats = [-6.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 6.0]
            .map(|value| (format!(" {value} "), value));
        let nats: Vec<(&str, Option<f64>)> = nats
            .iter()
            .map(|(text, value)| (text.as_str(), Some(*value)))
            .collect();
        format!("{words}  {}", self.tokens(&nats))
    }
}

/// Everything about one explanation.
pub(crate) fn explanation(record: &RolloutRecord, paint: Paint) -> String {
    let mut text = String::new();
    let [teacher, student] = record.explanation_log_probs();
    let first = record.explanation_start();
    let differences = teacher.zip(student).map(|(teacher, student)| {
        let both = teacher.into_iter().zip(student);
        both.map(|(teacher, student)| teacher - student)
            .collect::<Vec<f64>>()
    });
    let difference = |place: usize| {
        differences
            .as_ref()?
            .get(place.checked_sub(first)?)
            .copied()
    };
    let tokens = record.tokens.iter().enumerate();
    let tokens: Vec<_> = tokens
        .map(|(place, token)| (token.as_str(), difference(place)))
        .collect();
    let _ = writeln!(
        text,
        "explanation, {} tokens{}",
        record.ids.len(),
        if record.closed { "" } else { ", not closed" }
    );
    let _ = writeln!(text, "    {}", paint.tokens(&tokens));
    let _ = writeln!(
        text,
        "    {}",
        paint.legend("teacher's less student's log-prob, in nats: above 0 the student would not have thought of it")
    );
    let solution = record
        .solution_log_probs()
        .filter(|v| v.len() == record.solution_tokens.len());
    let _ = writeln!(text, "solution, as the student reads it after that");
    match solution {
        Some(values) => {
            let tokens = record.solution_tokens.iter().zip(values);
            let tokens: Vec<_> = tokens
                .map(|(token, value)| (token.as_str(), Some(value)))
                .collect();
            let _ = writeln!(text, "    {}", paint.tokens(&tokens));
            let _ = writeln!(
                text,
                "    {}",
                paint.legend("log-prob, in nats: 0 is certain")
            );
        }
        None => {
            let _ = writeln!(
                text,
                "    {}   (not scored: it does not fit)",
                record.solution
            );
        }
    }
    text.push_str(&reward(record));
    text
}

fn reward(record: &RolloutRecord) -> String {
    let Some(outcome) = &record.outcome else {
        return "no reward\n".to_owned();
    };
    let Outcome::Scored { reward, .. } = outcome else {
        return format!("no reward: {outcome:?}\n");
    };
    let mut text = format!("reward {reward:.3}\n");
    for (term, words) in [
        (
            "reward/solution_log_prob",
            "solution, mean and 0.01 of the worst token",
        ),
        (
            "reward/kl",
            "divergence, 3 times its mean and 0.03 of the worst token, taken off",
        ),
        (
            "penalty/missing_tag",
            "penalty for an explanation that is not closed",
        ),
    ] {
        if let Some(value) = outcome.term(term) {
            let _ = writeln!(text, "    {value:9.3}  {words}");
        }
    }
    for (term, words) in [
        (
            "raw/solution_log_prob/mean",
            "log-prob of the solution, mean",
        ),
        ("raw/solution_log_prob/min", "… and worst token"),
        ("raw/kl/mean", "divergence, mean"),
        ("raw/kl/max", "… and worst token"),
    ] {
        if let Some(value) = outcome.term(term) {
            let _ = writeln!(text, "    {value:9.3}  {words}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_grow_with_the_distance_from_zero() {
        assert_eq!(Paint::step(0.0), None);
        assert_eq!(Paint::step(-0.01), None);
        assert_eq!(Paint::step(-100.0), Some(196));
        assert_eq!(Paint::step(100.0), Some(27));
        let place = |value: f64| BELOW.iter().position(|c| Some(*c) == Paint::step(value));
        assert!(place(-0.3) < place(-1.0) && place(-1.0) < place(-4.0));
    }

    #[test]
    fn without_colours_the_farthest_tokens_are_named() {
        let tokens = [
            ("a", Some(0.01)),
            ("b", Some(-3.0)),
            ("c", None),
            ("d", Some(1.0)),
        ];
        let plain = Paint::new(false).tokens(&tokens);
        assert_eq!(plain, "abcd\n    farthest from 0: \"b\" -3.00, \"d\" 1.00");
        let coloured = Paint::new(true).tokens(&tokens);
        assert!(
            coloured.starts_with('a') && coloured.contains("mb\u{1b}[0mc"),
            "{coloured:?}"
        );
    }
}
