//! A value among words.
//!
//! Owns what the words around a value do to it: "not 5", "twice 5" and "5 squared" are not 5. Knows neither where a
//! statement stands nor how a value is read. A reward must not be found where words leave a doubt, so a value is taken
//! only where they change nothing.

use std::ops::Range;

/// A number among words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) span: Range<usize>,
    /// "minus 5": the sign is a word, or a dash, before the span.
    pub(super) negative: bool,
}

// Lists of words, with spaces between them.

/// Words before a value, next to it, that make it another or leave it open.
const BEFORE: &str = "\
    above absolute almost below beneath besides between beyond but cos cube double either exceeding except \
    excluding exp factorial greater half inverse least less ln log minus mod modulo more most negative over plus \
    power quadruple reciprocal sin square tan than thrice times triple twice under unlike versus without";

/// Words that do so with an "of" between them and the value: "half of 5".
const BEFORE_OF: &str = "\
    complement cosine cube difference double factorial half instead inverse inverses log logarithm magnitude \
    multiple multiples negation negative opposite out percent power powers product quarter quotient range ratio \
    reciprocal root roots sine square sum tangent third thirds triple twice";

/// Words that do so with a "by" between them and the value.
const BEFORE_BY: &str = "decreased divided increased multiplied raised reduced";

/// Words behind a value, next to it, that make it another or leave it open.
const BEHIND: &str = "\
    billion choose cubed divided dozen eighths factorial fifths fourths halves hundred hundredths million minus \
    mod modulo multiplied ninths or out over plus point quarters raised sevenths sixths squared tenths thirds \
    thousand thousandths times to trillion";

/// What "and" may be followed by where a new clause begins.
const GOES_ON: &str = "hence i it so that the therefore this we";

/// Words behind a value after which its reasons follow, or its rounded form: numbers there are not offered for it.
const REASONS: &str = "\
    about after approx approximately as because due equivalently every for from given if per roughly since using \
    via when where ≈";

/// Words after which another number takes the place of the value before them.
const RETRACTIONS: &str = "\
    actually although but corrected correction however instead rather sorry though turned unless wait";

/// Words that take a value back and offer none.
const REJECTIONS: &str = "false incorrect mistaken wrong";

/// Numbers that are written as words. "One" is not among them: it is a pronoun too.
const NUMERALS: &str = "\
    zero two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred half \
    something";

/// Behind a value a sentence is searched up to here.
const LONGEST_SENTENCE: usize = 2_000;

/// In a statement the number is searched up to here.
const LONGEST_STATEMENT: usize = 10_000;

fn among(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed == word)
}

/// At most so many bytes from the start of a text.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The end of a text that is long enough for a few words. A text without space is one word, however long.
fn tail(text: &str) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(80))..]
}

/// What is set around words and values.
const MARKS: &[char] = &[
    '{', '}', '*', '$', '`', '"', '(', ')', '\\', '[', ']', '_', '~', '“', '”',
];

/// A word without what is set around it, in lower case; whether punctuation ends it.
fn plain(word: &str) -> (String, bool) {
    let word = word.trim_matches(MARKS);
    let bare = word.trim_end_matches([',', ';', ':', '.', '!', '?']);
    let bare_word = bare.trim_end_matches(MARKS).to_lowercase();
    (bare_word.replace('’', "'"), bare.len() < word.len())
}

/// The last words before a value, the nearest first, up to where a part of the sentence ends.
fn words_before(before: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in tail(before).split_whitespace().rev() {
        let (word, ends) = plain(word);
        if ends {
            break;
        }
        if !word.is_empty() {
            words.push(word);
        }
        if words.len() == 4 {
            break;
        }
    }
    words
}

fn denies(word: &str) -> bool {
    matches!(
        word,
        "not" | "never" | "cannot" | "cant" | "dont" | "isnt" | "neither" | "nor"
    ) || word.ends_with("n't")
}

/// Whether one of the words denies what they say.
pub(super) fn is_denial(text: &str) -> bool {
    text.split_whitespace().any(|word| denies(&plain(word).0))
}

/// Whether the words that end here deny what follows: "it is not 5", "it cannot be 5"; not "it is not 5 but 6".
fn is_denied(words: &[String]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "but")
        .any(|word| denies(word))
}

fn is_numeral(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || among(NUMERALS, word)
}

/// Whether the words that end here change the value behind them or leave it open.
fn changed_before(words: &[String]) -> bool {
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    // "Not 5 but 6".
    if word(0) == "but" && words[1..].iter().any(|word| denies(word)) {
        return false;
    }
    among(BEFORE, word(0))
        || word(0).ends_with("root")
        || (word(0) == "of"
            && words
                .iter()
                .skip(1)
                .take(2)
                .any(|word| among(BEFORE_OF, word.as_str())))
        || (word(0) == "by" && among(BEFORE_BY, word(1)))
        || (word(0) == "to" && word(1) == "up")
        || (word(0) == "base" && word(1).starts_with("log"))
}

/// Whether what follows on a value changes it, offers another or takes it back. `value` is the value's own text.
fn changed_behind(value: &str, behind: &str) -> bool {
    let behind = head(behind, LONGEST_SENTENCE);
    let behind = behind.strip_prefix("\\)").unwrap_or(behind);
    let behind = behind.trim_start_matches(['*', '$', '`', ')', '}']);
    let sentence = &behind[..behind.find(". ").unwrap_or(behind.len())];
    continues_glued(behind)
        || continues_with_operator(sentence.trim_start())
        || continues_in_words(value, sentence)
}

/// Whether a value goes on right behind it: "5x", "5th", "5:30", "5-3", and "5?" is none.
fn continues_glued(behind: &str) -> bool {
    let mut chars = behind.chars();
    match chars.next() {
        Some('?' | '^' | '!' | '_' | '{' | '√') => true,
        Some(':' | '/') => chars.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => c.is_alphabetic() && !is_unit(behind),
        None => false,
    }
}

/// Whether a sign of mathematics makes an operand of a value.
fn continues_with_operator(sentence: &str) -> bool {
    let mut chars = sentence.chars();
    let sign = chars.next();
    let glued = chars.clone().next();
    let operand = chars.find(|c| !c.is_whitespace());
    let operand = operand.is_some_and(|c| c.is_ascii_digit() || "$\\(√".contains(c));
    match sign {
        // A dash and a bold word may follow too.
        Some('-' | '−' | '–' | '*') => operand,
        // `</answer>` and `<|end|>` mark the end.
        Some('<') => !matches!(glued, Some('/' | '|')),
        Some('\\') => {
            let ends = ["text", "mathrm", "quad", "approx"];
            glued.is_some_and(|c| c.is_ascii_alphabetic())
                && !ends.iter().any(|name| sentence[1..].starts_with(name))
        }
        Some(sign) => "+×·÷/=^>≤≥".contains(sign),
        None => false,
    }
}

/// Whether the words behind a value change it, offer another or take it back.
fn continues_in_words(value: &str, sentence: &str) -> bool {
    let mut reasons = false;
    let mut retracted = false;
    let mut excepted = false;
    let mut words = sentence
        .split_whitespace()
        .map(|word| word.trim_start_matches("\\text").trim_start_matches('{'))
        .map(|word| {
            (
                plain(word.trim_start_matches([',', ';'])).0,
                word.starts_with(['(', '[']),
            )
        })
        .filter(|(word, _)| !word.is_empty())
        .peekable();
    let mut first = true;
    while let Some((word, opens)) = words.next() {
        let word = word.as_str();
        let next = words.peek().map_or("", |(word, _)| word.as_str());
        reasons |= opens || among(REASONS, word);
        retracted |= among(RETRACTIONS, word);
        if first && !opens {
            let about = matches!(
                next,
                "so" | "about" | "approximately" | "roughly" | "equivalently"
            );
            match word {
                "or" if about => {}
                "to" if next == "the" && sentence.contains("nearest") => reasons = true,
                "and" if !among(GOES_ON, next) => return true,
                "in" if is_numeral(next) => return true,
                "less" | "more" | "fewer" | "greater"
                    if matches!(next, "than" | "or") || is_numeral(next) =>
                {
                    return true;
                }
                "percent" if next == "of" => return true,
                // "5, not 6".
                "not" => excepted = true,
                _ if among(BEHIND, word) => return true,
                _ => {}
            }
        }
        if among(REJECTIONS, word) || (opens && word == "mod") {
            return true;
        }
        // Another number is part of the reasons, is excepted, or stands for something else.
        if (retracted || !(reasons || excepted)) && names_another(word, value) {
            return true;
        }
        first = false;
    }
    false
}

/// Whether a word holds a number that is no part of the value.
fn names_another(word: &str, value: &str) -> bool {
    if among(NUMERALS, word) {
        return true;
    }
    numbers(word).any(|number| !numbers(value).any(|own| own == number))
}

/// The numbers of a text, as they are written.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')
        .map(|number| number.trim_matches(['.', ',']))
        .filter(|number| !number.is_empty())
}

/// Whether letters right behind a number are a unit as it is often glued to one: "5km", but not "5x" or "5th".
fn is_unit(letters: &str) -> bool {
    let length = letters
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(letters.len());
    matches!(
        letters[..length].to_lowercase().as_str(),
        "km" | "m"
            | "cm"
            | "mm"
            | "kg"
            | "g"
            | "mg"
            | "h"
            | "hr"
            | "hrs"
            | "min"
            | "mins"
            | "s"
            | "l"
            | "ml"
            | "mph"
            | "lb"
            | "lbs"
            | "ft"
            | "in"
            | "oz"
            | "hours"
            | "minutes"
            | "days"
            | "cents"
            | "dollars"
    )
}

/// Whether the words around a value leave it as it is: nothing before it denies or changes it, and nothing behind it
/// changes it, offers another or takes it back.
pub(super) fn is_kept(before: &str, value: &str, behind: &str) -> bool {
    let words = words_before(before);
    !is_denied(&words) && !changed_before(&words) && !changed_behind(value, behind)
}

/// Whether the words before a value deny it.
pub(super) fn is_denied_before(before: &str) -> bool {
    is_denied(&words_before(before))
}

/// The number of a statement, whose words must leave no doubt which one is meant and what becomes of it.
pub(super) fn stated_number(statement: &str) -> Option<Number> {
    let text = head(statement, LONGEST_STATEMENT);
    let mut denied = false;
    let mut from = 0;
    while let Some(place) = next_number(text, from) {
        from = place.span.end;
        // Digits that are cut off are another number.
        if from == text.len() && from < statement.len() {
            return None;
        }
        if !place.alone {
            // `x_1` and "Q3" are names; other signs before a number make an expression of it.
            let before = text[..place.span.start].chars().next_back();
            if before.is_some_and(|c| c.is_alphabetic() || c == '_') {
                continue;
            }
            return None;
        }
        let words = words_before(place.before(text));
        if is_denied(&words) {
            denied = true;
            continue;
        }
        let number = place.number(text, &words);
        let words = if number.negative && !place.dash {
            &words[1..]
        } else {
            &words[..]
        };
        let reached = !denied || words.first().is_some_and(|word| word == "but");
        let value = &text[number.span.clone()];
        let kept =
            reached && !changed_before(words) && !changed_behind(value, &text[number.span.end..]);
        return kept.then_some(number);
    }
    None
}

/// The last number of a text that is not denied.
pub(super) fn last_number(text: &str) -> Option<Number> {
    let mut found = None;
    let mut from = 0;
    while let Some(place) = next_number(text, from) {
        from = place.span.end;
        if place.alone {
            let words = words_before(place.before(text));
            if !is_denied(&words) {
                found = Some(place.number(text, &words));
            }
        }
    }
    found
}

/// Digits with what belongs to them.
struct Place {
    span: Range<usize>,
    /// Whether space, a bracket, a currency or an equals sign stands before it, or nothing.
    alone: bool,
    /// Whether a dash of typesetting stands before it as its sign.
    dash: bool,
}

impl Place {
    fn before<'a>(&self, text: &'a str) -> &'a str {
        text[..self.span.start].trim_end_matches('−')
    }

    fn number(&self, text: &str, words: &[String]) -> Number {
        let sign = words
            .first()
            .is_some_and(|word| word == "minus" || word == "negative");
        // "20 minus 5" is no -5.
        let operand = words.get(1).is_some_and(|word| is_numeral(word));
        let negative =
            (self.dash || (sign && !operand)) && !text[self.span.clone()].starts_with('-');
        Number {
            span: self.span.clone(),
            negative,
        }
    }
}

fn next_number(text: &str, from: usize) -> Option<Place> {
    let bytes = text.as_bytes();
    let mut at = from + text[from..].find(|c: char| c.is_ascii_digit())?;
    let mut start = at;
    if start > from && bytes[start - 1] == b'.' {
        start -= 1;
    }
    let mut dash = false;
    let mut outer = text[..start].chars().next_back();
    if let Some(sign @ ('-' | '−')) = outer {
        let beyond = text[..start - sign.len_utf8()].chars().next_back();
        if beyond.is_none_or(|c| !c.is_alphanumeric() && c != ')') {
            dash = sign == '−';
            start -= if dash { 0 } else { 1 };
            outer = beyond;
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
    Some(Place {
        span: start..at,
        alone: outer.is_none_or(|c| c.is_whitespace() || "=*($€£¥≈~".contains(c)),
        dash,
    })
}
