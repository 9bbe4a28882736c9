//! Where in a text the answer stands.
//!
//! Owns the marks that models put before or around an answer. Knows nothing of what an answer is.

use std::ops::Range;

/// What marked the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// `\boxed{…}` or `\fbox{…}`.
    Boxed,
    /// "The final answer is …".
    FinalAnswer,
    /// "The answer is …" or "Answer: …".
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
/// A text without any mark has no answer.
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
    for (offset, c) in text[open..].char_indices() {
        match c {
            _ if escaped => {
                escaped = false;
                continue;
            }
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => {
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
fn is_separator(between: &str) -> bool {
    let words = between
        .replace(['$', ',', ';', '(', ')', '[', ']', '\\'], " ")
        .replace("text{", " ")
        .replace('}', " ");
    words
        .split_whitespace()
        .all(|word| matches!(word, "and" | "or" | "quad" | "qquad"))
}

/// The last "answer is", "answer:" or `####`.
fn last_statement(text: &str) -> Option<Extracted> {
    // ASCII case only, so that offsets stay those of the text.
    let lower = text.to_ascii_lowercase();
    let hashes = text.rfind("####").map(|at| (at, at + 4, How::Hashes));
    let mut stated = lower
        .rmatch_indices("answer")
        .take(32)
        .filter_map(|(at, word)| {
            let start = after_statement(text, &lower, at + word.len())?;
            let is_final = lower[..at].trim_end().ends_with("final");
            Some((
                at,
                start,
                if is_final {
                    How::FinalAnswer
                } else {
                    How::AnswerIs
                },
            ))
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

/// "Final Answer: The volume of $ABCD$ is 120": where the sentence behind the colon comes to its verb.
fn behind_subject(text: &str, start: usize) -> Option<usize> {
    let rest = text[start..].trim_start_matches([' ', '*', '\n']);
    let start = text.len() - rest.len();
    let sentence = &rest[..rest.find('\n').unwrap_or(rest.len())];
    let sentence = &sentence[..sentence.find(". ").unwrap_or(sentence.len())];
    let opens = ["the ", "thus", "therefore", "so ", "hence", "our "];
    let lower = sentence.to_ascii_lowercase();
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
        && let Some(math) = mathematics(&rest[..line]).into_iter().next()
        && math.whole.start < 50
    {
        let mut end = math.inner.end;
        for next in mathematics(&rest[..line]).into_iter().skip(1) {
            if !is_separator(&rest[end..next.whole.start]) {
                break;
            }
            end = next.inner.end;
        }
        return start + math.inner.start..start + end;
    }
    if rest.starts_with("\\[") || rest.starts_with("$$") {
        // Displayed on the lines that follow.
        if let Some(math) = mathematics(rest).into_iter().next() {
            return start + math.inner.start..start + math.inner.end;
        }
    }
    let sentence = rest[..line]
        .match_indices(". ")
        .map(|(at, _)| at)
        .find(|at| !rest[..*at].ends_with(|c: char| c.is_ascii_uppercase()) || *at > 1)
        .unwrap_or(line);
    let sentence = rest[..sentence]
        .trim_end()
        .trim_end_matches(['.', '*', ' '])
        .len();
    start..start + sentence
}

/// Mathematics between dollars or `\(…\)`.
pub(crate) struct Mathematics {
    pub(crate) whole: Range<usize>,
    pub(crate) inner: Range<usize>,
}

/// All mathematics of a text, in order.
pub(crate) fn mathematics(text: &str) -> Vec<Mathematics> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() && found.len() < 1_000 {
        let rest = &text[at..];
        let Some(offset) = rest.find(['$', '\\']) else {
            break;
        };
        let start = at + offset;
        let rest = &text[start..];
        let delimiters = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")]
            .into_iter()
            .find(|(open, _)| rest.starts_with(open));
        let Some((open, close)) = delimiters else {
            // A command, or an escaped dollar.
            at = start + 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            continue;
        };
        let inner = start + open.len();
        match closing(&text[inner..], close) {
            Some(length) if !text[inner..inner + length].trim().is_empty() => {
                let end = inner + length + close.len();
                found.push(Mathematics {
                    whole: start..end,
                    inner: inner..inner + length,
                });
                at = end;
            }
            _ => at = inner,
        }
    }
    found
}

/// The length of what stands before the closing delimiter.
fn closing(text: &str, close: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(offset) = text[from..].find(close) {
        let at = from + offset;
        let escaped = close.starts_with('$') && text[..at].ends_with('\\');
        // "$5 and then $7" are two prices.
        let price = close == "$" && text[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        if close == "$" && text[..at].contains('\n') {
            return None;
        }
        if !escaped && !price {
            return Some(at);
        }
        if price {
            return None;
        }
        from = at + close.len();
    }
    None
}

/// Whether the words that end here deny what follows: "it is not 5".
fn is_denied(before: &str) -> bool {
    let mut words = before
        .split_whitespace()
        .rev()
        .take(2)
        .map(str::to_lowercase);
    words.any(|word| matches!(word.as_str(), "not" | "never") || word.ends_with("n't"))
}

/// Whether the words that end here leave open which number is meant: "either 7 or 8", "more than 7".
fn is_open(before: &str) -> bool {
    let word = before.split_whitespace().next_back().unwrap_or_default();
    matches!(
        word.to_lowercase().as_str(),
        "either" | "between" | "than" | "least" | "most"
    )
}

/// Whether another number is offered for the one that ends here: "7, or maybe 8", "7 to 8".
fn offers_another(after: &str) -> bool {
    let mut words = after.trim_start_matches(',').split_whitespace();
    matches!(words.next(), Some("or" | "to"))
        && words
            .take(2)
            .any(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

/// The last number of a text that is not denied, or the first, unless words leave it open.
pub(crate) fn number(text: &str, last: bool) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = None;
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let mut start = at;
        if start > 0 && bytes[start - 1] == b'.' {
            start -= 1;
        }
        let before = text[..start].chars().next_back();
        if before == Some('-') {
            let outer = text[..start - 1].chars().next_back();
            if outer.is_none_or(|c| !c.is_alphanumeric() && c != ')') {
                start -= 1;
            }
        }
        while at < bytes.len()
            && (bytes[at].is_ascii_digit()
                || (matches!(bytes[at], b'.' | b',' | b'/')
                    && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)))
        {
            at += 1;
        }
        let rest = text[at..].trim_start();
        if rest.starts_with('%') {
            at = text.len() - rest.len() + 1;
        }
        let outer = if before == Some('-') && text[start..].starts_with('-') {
            text[..start].chars().next_back()
        } else {
            before
        };
        if outer.is_none_or(|c| c.is_whitespace() || "=*($€£¥".contains(c))
            && !is_denied(&text[..start])
        {
            if !last {
                let open = is_open(&text[..start]) || offers_another(&text[at..]);
                return (!open).then_some(start..at);
            }
            found = Some(start..at);
        }
    }
    found
}
