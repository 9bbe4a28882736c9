//! An answer that words announce.
//!
//! Owns "the answer is …", "Answer: …" and `#### …`: where they stand and how far the answer behind them reaches. What
//! words make of a value is `prose`'s.

use std::ops::Range;

use super::delimiter::mathematics;
use super::extraction::{Extracted, How, is_separator};
use super::prose::{head, is_denial, is_kept};

/// What an answer is called.
const NAMES: [&str; 5] = [
    "answer",
    "correct option",
    "correct choice",
    "best option",
    "best choice",
];

/// An answer and its delimiters are no longer than this, whatever follows on their line.
const LONGEST_ANSWER: usize = 10_000;

/// The last "answer is", "answer:" or `####`.
pub(super) fn last_statement(text: &str) -> Option<Extracted> {
    // ASCII case only, so that offsets stay those of the text.
    let lower = text.to_ascii_lowercase();
    let hashes = text.rfind("####").map(|at| (at, at + 4, How::Hashes));
    let mut named: Vec<(usize, &str)> = NAMES
        .iter()
        .flat_map(|name| lower.rmatch_indices(name).take(32))
        .collect();
    named.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut stated = named.into_iter().filter_map(|(at, word)| {
        let from = at + word.len();
        let start = after_statement(text, &lower, from)?;
        // What is denied states no answer, but hides those before it: "The answer is 5. No, it is not 5."
        let denied = is_denial(&text[from..start]) || is_denial(first_words(&text[start..]));
        let is_final = lower[..at].trim_end().ends_with("final");
        let how = if is_final {
            How::FinalAnswer
        } else {
            How::AnswerIs
        };
        Some((at, if denied { from } else { start }, how))
    });
    let last = stated.next();
    let last = match last {
        // "Final answer" counts before a plain one.
        Some((.., How::AnswerIs)) => stated.find(|(.., how)| *how == How::FinalAnswer).or(last),
        other => other,
    };
    let (_, start, how) = [hashes, last].into_iter().flatten().max_by_key(|m| m.0)?;
    let span = statement_span(text, start, how);
    let text = text[span.clone()].to_owned();
    (!text.is_empty()).then_some(Extracted { text, span, how })
}

/// What stands in the first words of a text, for a denial that follows on its verb.
fn first_words(text: &str) -> &str {
    let text = head(text.trim_start(), 40);
    let text = &text[..text.find(['\n', ',', '.', ';', '$']).unwrap_or(text.len())];
    let end = text
        .match_indices(' ')
        .nth(1)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// Where a statement's answer starts: behind "is", "are", ":" or "=" near the word.
fn after_statement(text: &str, lower: &str, from: usize) -> Option<usize> {
    let mut end = (from + 60).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let window = &lower[from..end];
    let window = &window[..window.find(['\n', '?']).unwrap_or(window.len())];
    // A sentence that ends before the verb states nothing.
    let window = &window[..window.find(". ").unwrap_or(window.len())];
    let words = [" is", " are", " was", " be", " equals"]
        .iter()
        .filter_map(|verb| {
            let at = window.find(verb)?;
            let behind = at + verb.len();
            let rest = &window[behind..];
            // "Isn't" is a verb too.
            let contracted = ["n't", "n’t"].iter().find(|end| rest.starts_with(**end));
            let behind = behind + contracted.map_or(0, |end| end.len());
            let ends = window[behind..]
                .chars()
                .next()
                .is_none_or(|c| !c.is_alphanumeric());
            ends.then_some(behind)
        })
        .min();
    let signs = window.find([':', '=']).map(|at| at + 1);
    let offset = match (words, signs) {
        (Some(word), Some(sign)) if sign > word => {
            // "is: 5", but not the sign of "is x = 5".
            if window[word..sign - 1].trim().is_empty() && window.as_bytes()[sign - 1] == b':' {
                sign
            } else {
                word
            }
        }
        (Some(word), Some(sign)) => word.min(sign),
        (Some(word), None) => word,
        (None, Some(sign)) => sign,
        (None, None) => return None,
    };
    let start = from + offset;
    Some(behind_subject(text, start).unwrap_or(start))
}

/// A sentence is searched for its verb up to here.
const LONGEST_SENTENCE: usize = 1_000;

/// "Final Answer: The volume of $ABCD$ is 120": where the sentence behind the colon comes to its verb.
fn behind_subject(text: &str, start: usize) -> Option<usize> {
    let rest = text[start..].trim_start_matches([' ', '*', '\n']);
    let start = text.len() - rest.len();
    let sentence = &rest[..rest.find('\n').unwrap_or(rest.len())];
    let sentence = &sentence[..sentence.find(". ").unwrap_or(sentence.len())];
    let opens = ["the ", "thus", "therefore", "so ", "hence", "our "];
    let lower = head(sentence, LONGEST_SENTENCE).to_ascii_lowercase();
    if !opens.iter().any(|word| lower.starts_with(word)) {
        return None;
    }
    let verb = [" is ", " are ", " equals "]
        .iter()
        .filter_map(|verb| lower.rfind(verb).map(|at| at + verb.len() - 1))
        .max()?;
    Some(start + verb)
}

/// What a statement states: its first mathematics, else the rest of its sentence.
fn statement_span(text: &str, start: usize, how: How) -> Range<usize> {
    let mut rest = &text[start..];
    // "Answer:\n18".
    let blank = rest.len()
        - rest
            .trim_start_matches([' ', '\t', '\n', '\r', '*', ':'])
            .len();
    let start = start + blank;
    rest = &text[start..];
    let line = rest.find('\n').unwrap_or(rest.len());
    if how != How::Hashes
        && let [math, others @ ..] = mathematics(head(&rest[..line], LONGEST_ANSWER)).as_slice()
        && math.whole.start < 50
    {
        let mut end = math.inner.end;
        let mut whole = math.whole.end;
        for next in others {
            if !is_separator(&rest[end..next.whole.start]) {
                break;
            }
            end = next.inner.end;
            whole = next.whole.end;
        }
        let value = math.inner.start..end;
        // Where words make another value of it, the whole sentence is the answer.
        if is_kept(
            &rest[..math.whole.start],
            &rest[value.clone()],
            &rest[whole..line],
        ) {
            return start + value.start..start + value.end;
        }
    }
    if rest.starts_with("\\[") || rest.starts_with("$$") {
        // Displayed on the lines that follow.
        if let Some(math) = mathematics(head(rest, LONGEST_ANSWER)).into_iter().next() {
            return start + math.inner.start..start + math.inner.end;
        }
    }
    let sentence = rest[..line]
        .match_indices(". ")
        .map(|(at, _)| at)
        .find(|at| !rest[..*at].ends_with(|c: char| c.is_ascii_uppercase()) || *at > 1)
        .unwrap_or(line);
    // "5, not 6" is 5.
    let excepted = rest[..sentence].find(", not ").filter(|at| *at > 0);
    let sentence = excepted.unwrap_or(sentence);
    let sentence = rest[..sentence]
        .trim_end()
        .trim_end_matches(['.', '*', ' '])
        .len();
    start..start + sentence
}
