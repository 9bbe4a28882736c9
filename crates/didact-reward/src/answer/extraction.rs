//! Where in a text the answer stands.
//!
//! Owns which mark counts, and boxes. Knows nothing of what an answer is; marks in words are `statement`'s.

use std::ops::Range;

use super::statement::last_statement;

/// What marked the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// `\boxed{…}` or `\fbox{…}`.
    Boxed,
    /// "The final answer is …".
    FinalAnswer,
    /// "The answer is …", "Answer: …", "The correct option is …".
    AnswerIs,
    /// `#### …`, as GSM8K ends its solutions.
    Hashes,
}

/// An answer cut out of a longer text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// The answer, without what marked it.
    pub text: String,
    /// The bytes it was taken from: of several boxes the first one's start to the last one's end.
    pub span: Range<usize>,
    /// What marked it.
    pub how: How,
}

/// Finds the marked answer of a text.
///
/// Boxes and "final answer is" count before any other mark, since a text that boxes its answer may still speak of
/// answers; among equals the last one counts. Boxes with at most commas, "and", "or" and the `x =` of the next one
/// between them are one list.
/// A text without any mark has no answer. Where words deny a stated value or make another of it, as in "the answer is
/// not $5$" and "is twice $5$", the answer is the sentence with those words.
///
/// ```
/// use didact_reward::answer::{How, extract_answer};
///
/// let found = extract_answer(r"So $x = \boxed{\frac{1}{2}}$. The answer is a half.").unwrap();
/// assert_eq!((found.text.as_str(), found.how), (r"\frac{1}{2}", How::Boxed));
/// assert_eq!(extract_answer("The answer is **18** dollars.").unwrap().text, "18** dollars");
/// assert_eq!(extract_answer("48 + 24 = 72\n#### 72").unwrap().text, "72");
/// assert_eq!(extract_answer("I do not know."), None);
/// ```
#[must_use]
pub fn extract_answer(text: &str) -> Option<Extracted> {
    let boxed = last_boxes(text);
    let stated = last_statement(text);
    match (boxed, stated) {
        (Some(boxed), Some(stated))
            if stated.how == How::FinalAnswer && stated.span.start > boxed.span.end =>
        {
            Some(stated)
        }
        (Some(boxed), _) => Some(boxed),
        (None, stated) => stated,
    }
}

/// One `\boxed{…}`: the whole command and its content.
fn boxed_at(text: &str, start: usize) -> Option<(Range<usize>, Range<usize>)> {
    let rest = &text[start..];
    let name = ["\\boxed", "\\fbox"]
        .into_iter()
        .find(|name| rest.starts_with(name))?;
    let after = start + name.len();
    let space = text[after..].len() - text[after..].trim_start().len();
    let open = after + space;
    if !text[open..].starts_with('{') {
        // `\boxed 5`.
        let length = text[open..]
            .find(|c: char| c.is_whitespace() || c == '$')
            .unwrap_or(text.len() - open);
        return (space > 0 && length > 0).then_some((start..open + length, open..open + length));
    }
    let mut depth = 0_usize;
    let mut escaped = false;
    // By bytes, since boxes that stay open are each searched to the end of the text; all that counts is ASCII.
    for (offset, byte) in text.as_bytes()[open..].iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    let end = open + offset;
                    return Some((start..end + 1, open + 1..end));
                }
            }
            _ => {}
        }
    }
    None
}

/// The last box, with those before it that only a separator divides from it.
fn last_boxes(text: &str) -> Option<Extracted> {
    let mut starts: Vec<usize> = text
        .match_indices("\\boxed")
        .chain(text.match_indices("\\fbox"))
        .map(|(at, _)| at)
        .collect();
    starts.sort_unstable();
    // More boxes than this are no answer; the last ones count.
    let recent = starts.len().saturating_sub(32);
    let mut boxes = Vec::new();
    let mut behind = 0;
    for start in &starts[recent..] {
        if *start >= behind
            && let Some((whole, content)) = boxed_at(text, *start)
        {
            behind = whole.end;
            boxes.push((whole, content));
        }
    }
    let (last, content) = boxes.pop()?;
    let name = |start: usize| assigned(&text[..start]).map(|name| &text[name]);
    let mut parts = vec![(name(last.start), text[content].trim())];
    let mut start = last.start;
    while let Some((whole, content)) = boxes.pop() {
        let between = &text[whole.end..start];
        let end = assigned(between).map_or(between.len(), |name| name.start);
        if !is_separator(&between[..end]) {
            break;
        }
        start = whole.start;
        parts.push((name(start), text[content].trim()));
    }
    parts.reverse();
    parts.dedup_by(|(name, part), (before, same)| {
        part == same && (name == before || name.is_none() || before.is_none())
    });
    // Names tell a point's coordinates in any order: `$y = \boxed{4}$, $x = \boxed{3}$`.
    let named = parts.len() > 1 && parts.iter().all(|(name, _)| name.is_some());
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(name, part)| match name {
            Some(name) if named => format!("{name} = {part}"),
            _ => part.to_owned(),
        })
        .collect();
    Some(Extracted {
        text: parts.join(", "),
        span: start..last.end,
        how: How::Boxed,
    })
}

/// The variable of `x = ` at the end of a text.
fn assigned(before: &str) -> Option<Range<usize>> {
    let before = before.trim_end().strip_suffix('=')?.trim_end();
    let length = before
        .bytes()
        .rev()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count();
    let start = before.len() - length;
    // One letter with its subscript: `2x`, `y + x` and a word are no variables.
    let single = match &before.as_bytes()[start..] {
        [letter, rest @ ..] => letter.is_ascii_alphabetic() && (rest.is_empty() || rest[0] == b'_'),
        [] => false,
    };
    let operand = before[..start]
        .trim_end()
        .ends_with(|c: char| c.is_ascii_digit() || "+-*/^=)".contains(c));
    (single && !operand).then_some(start..before.len())
}

/// Whether nothing but separators stands there, or nothing at all.
pub(super) fn is_separator(between: &str) -> bool {
    let words = between
        .replace(['$', ',', ';', '(', ')', '[', ']', '\\'], " ")
        .replace("text{", " ")
        .replace('}', " ");
    words
        .split_whitespace()
        .all(|word| matches!(word, "and" | "or" | "quad" | "qquad"))
}
