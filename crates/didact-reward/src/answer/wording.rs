//! The words and marks around an answer.
//!
//! Owns what is stripped before an answer is read, and the letters of multiple choice. Knows no mathematics.

use std::borrow::Cow;

/// Without what only typesetting and escaping put there: `\\frac` for `\frac`, `{, }` and `,\!` between thousands.
pub(super) fn tidy(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    let rows = ["matrix", "array", "cases"];
    if text.contains(r"\\") && !rows.iter().any(|name| text.contains(name)) {
        let mut single = String::with_capacity(text.len());
        let mut rest = &*text;
        while let Some(at) = rest.find(r"\\") {
            let behind = &rest[at + 2..];
            let command =
                behind.starts_with(|c: char| c.is_ascii_alphabetic() || "{}%$,!".contains(c));
            single.push_str(&rest[..at]);
            single.push_str(if command { r"\" } else { r"\\" });
            rest = behind;
        }
        single.push_str(rest);
        text = Cow::Owned(single);
    }
    let commas = ["{, }", "{ ,}", "{ , }", r",\! ", r",\!", " {,}", "{,} "];
    for comma in commas {
        if text.contains(comma) {
            text = Cow::Owned(text.replace(comma, "{,}"));
        }
    }
    text
}

/// Without the dollars around mathematics and the punctuation that ends a sentence.
pub(super) fn trim(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let shorter = text
            .trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '`'))
            .trim_end_matches(['.', ',', ';', ':', '。'])
            .trim_start_matches([',', ';', ':']);
        let shorter = ["$$", "$"]
            .iter()
            .find_map(|sign| shorter.strip_prefix(sign)?.strip_suffix(sign))
            .filter(|inner| !inner.contains('$'))
            .unwrap_or(shorter);
        let shorter = [("\\(", "\\)"), ("\\[", "\\]")]
            .iter()
            .find_map(|(open, close)| shorter.strip_prefix(open)?.strip_suffix(close))
            .unwrap_or(shorter);
        if shorter.len() == text.len() {
            return text;
        }
        text = shorter;
    }
}

/// The letter of an option, and what is written behind it: `B`, `(B)`, `\text{(B)}`, `(B) 5`, `B. 5`, `Option B`.
pub(super) fn choice(text: &str) -> Option<(char, String)> {
    let mut plain = text.replace("\\ ", " ").replace(['~', '$'], " ");
    for command in [
        "\\textbf", "\\text", "\\mathrm", "\\mathbf", "\\mbox", "\\left", "\\right", "\\quad",
    ] {
        plain = plain.replace(command, "");
    }
    let plain = plain.trim();
    // Only braces that a text command left around the letter may go: `{(B) }5`.
    let plain = match plain
        .strip_prefix('{')
        .and_then(|rest| rest.split_once('}'))
    {
        Some((head, tail)) if head.len() < 16 => format!("{head}{tail}"),
        _ => plain.to_owned(),
    };
    let plain = plain.trim();
    let lower = plain.to_lowercase();
    let named = ["option ", "choice ", "answer "]
        .iter()
        .find(|word| lower.starts_with(**word));
    let plain = named.map_or(plain, |word| plain[word.len()..].trim_start());
    let mut chars = plain.chars();
    let first = chars.next()?;
    let (letter, after) = if first == '(' {
        let letter = chars.next()?;
        (chars.next()? == ')').then_some(())?;
        (letter, chars.as_str())
    } else {
        let after = chars.as_str();
        let marked = after.strip_prefix([')', ':']).or_else(|| {
            after
                .strip_prefix('.')
                .filter(|a| !a.starts_with(|c: char| c.is_ascii_digit()))
        });
        match marked {
            Some(rest) => (first, rest),
            None if after.is_empty() => (first, after),
            None => return reasoned(first, after),
        }
    };
    if !('A'..='J').contains(&letter) {
        return None;
    }
    let rest = after.trim_start();
    // `(A)(x + 1)` and `(A) + 1` are algebra, `(A) and (C)` is a list.
    let separated = rest.is_empty() || after.len() > rest.len() || first != '(';
    let algebra = rest.starts_with([
        '+', '-', '*', '/', '^', '=', '_', ',', '&', '!', ';', '<', '>', '∪',
    ]) || rest.starts_with("and ")
        || rest.starts_with("or ")
        || rest.starts_with("\\c")
        || rest.starts_with("\\t")
        || rest.starts_with("\\and");
    (separated && !algebra && !is_qualified(rest)).then(|| (letter, rest.to_owned()))
}

/// A bare letter with words that can only be its reasons or its text: `B because …`, `B - Paris`.
fn reasoned(letter: char, after: &str) -> Option<(char, String)> {
    let words = after.trim_start_matches([',', ' ']);
    let reasons = ["because ", "since "]
        .iter()
        .any(|word| words.starts_with(word));
    let dashed = [" - ", " – ", " — "]
        .iter()
        .find_map(|dash| after.strip_prefix(dash));
    let text = dashed.filter(|text| {
        let mut letters = text.chars();
        letters.next().is_some_and(char::is_uppercase)
            && letters
                .by_ref()
                .take(2)
                .filter(|c| c.is_lowercase())
                .count()
                == 2
    });
    let option = ('A'..='J').contains(&letter)
        && (reasons || text.is_some())
        && !is_qualified(text.unwrap_or(""));
    option.then(|| (letter, text.unwrap_or("").to_owned()))
}

/// Whether what is written behind an option says something of it or names another one: "is wrong", "and (B)", "B)".
fn is_qualified(rest: &str) -> bool {
    let rest = rest.trim_matches(|c: char| c.is_whitespace() || "{}".contains(c));
    let word: String = rest
        .chars()
        .take_while(|c| c.is_alphabetic() || *c == '\'')
        .collect();
    let says = [
        "and", "or", "nor", "but", "not", "is", "isn't", "are", "was", "cannot", "can't", "would",
        "if", "unless",
    ];
    if says.contains(&word.as_str()) || rest.starts_with("\\&") || rest.starts_with("\\v") {
        return true;
    }
    let is_letter = |c: char| ('A'..='J').contains(&c);
    let mut chars = rest.chars();
    if chars.next().is_some_and(is_letter)
        && (chars.as_str().trim_end_matches('.').is_empty()
            || chars.as_str().starts_with([')', '.', ':']))
    {
        return true;
    }
    rest.match_indices('(').any(|(at, _)| {
        let mut inside = rest[at + 1..].chars();
        let called = rest[..at].ends_with(|c: char| c.is_alphanumeric());
        !called && inside.next().is_some_and(is_letter) && inside.next() == Some(')')
    })
}
