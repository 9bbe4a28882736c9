//! Mathematics between delimiters.
//!
//! Owns where dollars, `\(…\)` and `\[…\]` open and close. Knows nothing of what stands between them. The time it takes
//! grows with the text alone, however many delimiters stay open.

use std::ops::Range;

/// Mathematics between dollars or `\(…\)`.
pub(super) struct Mathematics {
    pub(super) whole: Range<usize>,
    pub(super) inner: Range<usize>,
}

/// A text with more mathematics than this is searched no further.
const MOST: usize = 1_000;

const DELIMITERS: [(&str, &str); 4] = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];

/// All mathematics of a text, in order.
pub(super) fn mathematics(text: &str) -> Vec<Mathematics> {
    let mut found = Vec::new();
    // Where the next closing delimiter of each kind was last found, if there was one: it serves every opening one
    // before it, and where none is left nothing is searched again.
    let mut known: [Option<Option<usize>>; DELIMITERS.len()] = Default::default();
    let mut at = 0;
    while found.len() < MOST {
        let Some(offset) = text[at..].find(['$', '\\']) else {
            break;
        };
        let start = at + offset;
        let rest = &text[start..];
        let Some(kind) = DELIMITERS
            .iter()
            .position(|(open, _)| rest.starts_with(open))
        else {
            // A command, or an escaped dollar.
            at = start + 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            continue;
        };
        let (open, close) = DELIMITERS[kind];
        let inner = start + open.len();
        let end = if close == "$" {
            closing_dollar(text, inner)
        } else {
            match known[kind] {
                Some(None) => None,
                Some(Some(end)) if end >= inner => Some(end),
                _ => *known[kind].insert(closing(text, inner, close)),
            }
        };
        match end {
            Some(end) if !text[inner..end].trim_start().is_empty() => {
                at = end + close.len();
                found.push(Mathematics {
                    whole: start..at,
                    inner: inner..end,
                });
            }
            _ => at = inner,
        }
    }
    found
}

fn closing(text: &str, from: usize, close: &str) -> Option<usize> {
    let mut at = from;
    loop {
        at += text[at..].find(close)?;
        if !(close == "$$" && text[from..at].ends_with('\\')) {
            return Some(at);
        }
        at += 1;
    }
}

/// A single dollar closes on its own line. "$5 and then $7" are two prices.
fn closing_dollar(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += text[at..].find(['$', '\n'])?;
        let behind = text[at..].strip_prefix('$')?;
        if !text[from..at].ends_with('\\') {
            let price = behind.starts_with(|c: char| c.is_ascii_digit());
            return (!price).then_some(at);
        }
        at += 1;
    }
}
