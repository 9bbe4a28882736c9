//! Units of measurement behind a value.
//!
//! Owns which words are units and when two units contradict each other. Converts nothing: a metre is not a hundred
//! centimetres here, since an answer states its unit for the reader and the question asks for one.

use super::token::{Bracket, Kind, Token};

/// What stands behind a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Names with their powers, sorted; words that are not in the table count as they are written.
    parts: Vec<(String, i32)>,
    /// Whether every name is in the table.
    known: bool,
    /// What "million" and its like multiply the value with.
    scale: i64,
}

/// Number words that stand where a unit does.
const SCALES: [(&str, i64); 6] = [
    ("dozen", 12),
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
];

/// The spellings of a unit; the first is its name.
const UNITS: &[&[&str]] = &[
    &["m", "meter", "metre"],
    &["cm", "centimeter", "centimetre"],
    &["mm", "millimeter", "millimetre"],
    &["km", "kilometer", "kilometre"],
    &["in", "inch", "inches"],
    &["ft", "foot", "feet"],
    &["yd", "yard"],
    &["mi", "mile"],
    &["g", "gram", "gm", "gms"],
    &["kg", "kilogram", "kgs"],
    &["mg", "milligram"],
    &["lb", "pound", "lbs"],
    &["oz", "ounce"],
    &["ton", "tonne"],
    &["l", "liter", "litre"],
    &["gal", "gallon"],
    &["pint"],
    &["quart"],
    &["acre"],
    &["hectare", "ha"],
    &["s", "sec", "secs", "second"],
    &["min", "mins", "minute"],
    &["h", "hr", "hrs", "hour"],
    &["day"],
    &["week"],
    &["month"],
    &["yr", "year", "yrs"],
    &["degree", "deg"],
    &["celsius", "°c"],
    &["fahrenheit", "°f"],
    &["rad", "radian"],
    &["dollar", "usd", "buck"],
    &["cent", "¢"],
    &["euro", "eur"],
    &["pound sterling", "gbp"],
    &["yen", "jpy"],
    &["rupee", "rs"],
    &["newton"],
    &["joule"],
    &["watt"],
    &["volt"],
    &["hz", "hertz"],
    &["mph"],
    &["kph", "kmh", "kmph"],
    &["rpm"],
];

/// Single letters that are units where space or a text command sets them off from the number.
const LETTERS: [&str; 6] = ["m", "s", "g", "l", "h", "L"];

/// More words than this are prose.
const WORDS: usize = 6;

fn lookup(word: &str) -> Option<&'static str> {
    let matches = |word: &str| {
        UNITS
            .iter()
            .find(|spellings| spellings.contains(&word))
            .map(|spellings| spellings[0])
    };
    matches(word).or_else(|| word.strip_suffix('s').and_then(matches))
}

/// Whether a run of two or three letters is a unit rather than a product of variables.
pub(crate) fn is_word(word: &str) -> bool {
    word.len() > 1
        && (lookup(word).is_some()
            || matches!(word, "sq" | "cu" | "per" | "pm" | "am" | "ml" | "cc" | "mL"))
}

/// Whether a unit may start with this token.
fn starts(tokens: &[Token], at: usize) -> bool {
    match &tokens[at].kind {
        Kind::Text(_) | Kind::Degree | Kind::Currency(_) => true,
        Kind::Symbol(letter) => tokens[at].spaced && LETTERS.contains(&letter.as_str()),
        Kind::Operator('_') => at > 0 && matches!(tokens[at - 1].kind, Kind::Number { .. }),
        _ => false,
    }
}

/// Splits an item into its value and the unit behind it.
pub(crate) fn split(tokens: &[Token]) -> Option<(&[Token], Unit)> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if at > 0
            && depth == 0
            && starts(tokens, at)
            && let Some(unit) = read(&tokens[at..])
        {
            return Some((&tokens[..at], unit));
        }
    }
    None
}

/// The unit of a currency sign.
pub(crate) fn currency(name: &str) -> Unit {
    Unit {
        parts: vec![(name.to_owned(), 1)],
        known: true,
        scale: 1,
    }
}

/// The unit that a single letter stands for.
pub(crate) fn of_letter(letter: &str) -> Option<Unit> {
    let letter = LETTERS.iter().find(|l| **l == letter)?;
    Some(Unit {
        parts: vec![(letter.to_lowercase(), 1)],
        known: true,
        scale: 1,
    })
}

/// Reads the tokens as one unit, all of them.
fn read(tokens: &[Token]) -> Option<Unit> {
    let mut reader = Reader {
        parts: Vec::new(),
        known: true,
        scale: 1,
        sign: 1,
        power: 1,
        words: 0,
    };
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match &token.kind {
            Kind::Text(text) => reader.text(text)?,
            Kind::Symbol(letter) => reader.word(letter)?,
            Kind::Degree => reader.word("degree")?,
            Kind::Currency(name) => reader.word(name)?,
            Kind::Operator('/') => reader.sign = -1,
            Kind::Operator('*') => {}
            Kind::Operator('^') => {
                let (power, used) = small_integer(&tokens[at..])?;
                at += used;
                reader.raise(power)?;
            }
            Kind::Operator('_') => {
                // A number in another base: the base is compared like a unit.
                let (base, used) = small_integer(&tokens[at..])?;
                at += used;
                reader.parts.push((format!("base {base}"), 1));
            }
            _ => return None,
        }
    }
    reader.finish()
}

/// `2`, `-1` or `{2}`, with the tokens that it takes.
fn small_integer(tokens: &[Token]) -> Option<(i32, usize)> {
    use num_traits::ToPrimitive;
    let grouped = tokens.first()?.kind == Kind::Open(Bracket::Group);
    let mut at = usize::from(grouped);
    let negative = tokens.get(at)?.is('-');
    at += usize::from(negative);
    let Kind::Number { value, .. } = &tokens.get(at)?.kind else {
        return None;
    };
    at += 1;
    if grouped {
        if tokens.get(at)?.kind != Kind::Close(Bracket::Group) {
            return None;
        }
        at += 1;
    }
    if !value.is_integer() {
        return None;
    }
    let value = value.to_i32().filter(|v| *v < 100)?;
    Some((if negative { -value } else { value }, at))
}

struct Reader {
    parts: Vec<(String, i32)>,
    known: bool,
    scale: i64,
    /// -1 behind "per".
    sign: i32,
    /// 2 behind "square", for the next word.
    power: i32,
    words: usize,
}

impl Reader {
    fn text(&mut self, text: &str) -> Option<()> {
        let text = text
            .replace('²', "^2")
            .replace('³', "^3")
            .replace("^{", "^")
            .replace("^\\circ", "°")
            .replace(['$', '~', '.', '(', ')', '{', '}', '\\', ','], " ");
        for word in text.split_whitespace() {
            let mut rest = word;
            while let Some((first, second)) = rest.split_once('/') {
                if !first.is_empty() {
                    self.raised(first)?;
                }
                self.sign = -1;
                rest = second;
            }
            if !rest.is_empty() {
                self.raised(rest)?;
            }
        }
        Some(())
    }

    /// A name with its power: `s^-1`, or the power of the name before it.
    fn raised(&mut self, word: &str) -> Option<()> {
        let Some((name, power)) = word.split_once('^') else {
            return self.word(word);
        };
        if !name.is_empty() {
            self.word(name)?;
        }
        let power: i32 = power.parse().ok()?;
        self.raise((-99..100).contains(&power).then_some(power)?)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.words += 1;
        // Letters only: "(B)" is a choice and "2x" a value.
        if self.words > WORDS
            || !word
                .chars()
                .all(|c| c.is_alphabetic() || "°¢-'".contains(c))
        {
            return None;
        }
        let lower = word.to_lowercase();
        let scale = SCALES.iter().find(|(name, _)| *name == lower);
        if let Some((_, scale)) = scale
            && self.parts.is_empty()
        {
            self.scale = self.scale.checked_mul(*scale)?;
            return Some(());
        }
        match lower.as_str() {
            "square" | "sq" => self.power = 2,
            "cubic" | "cu" => self.power = 3,
            "per" | "a" | "an" if !self.parts.is_empty() => self.sign = -1,
            "squared" => self.raise(2)?,
            "cubed" => self.raise(3)?,
            "mph" => {
                self.parts.push(("mi".into(), 1));
                self.parts.push(("h".into(), -1));
            }
            "kph" | "kmh" | "kmph" => {
                self.parts.push(("km".into(), 1));
                self.parts.push(("h".into(), -1));
            }
            "ml" | "milliliter" | "milliliters" | "millilitre" | "millilitres" | "cc" => {
                self.parts.push(("cm".into(), 3 * self.sign));
            }
            "c" | "celsius" if self.is_degree() => self.rename("celsius"),
            "f" | "fahrenheit" if self.is_degree() => self.rename("fahrenheit"),
            // "square units", "degrees": no dimension that could contradict another.
            "unit" | "units" => {
                self.parts.push(("unit".into(), self.sign * self.power));
                self.known = false;
                self.power = 1;
            }
            _ => {
                let name = lookup(&lower);
                self.known &= name.is_some();
                let name = name.map_or(lower, str::to_owned);
                self.parts.push((name, self.sign * self.power));
                self.power = 1;
            }
        }
        Some(())
    }

    fn is_degree(&self) -> bool {
        matches!(self.parts.last(), Some((name, 1)) if name == "degree")
    }

    fn rename(&mut self, name: &str) {
        if let Some(last) = self.parts.last_mut() {
            name.clone_into(&mut last.0);
        }
    }

    fn raise(&mut self, power: i32) -> Option<()> {
        let last = self.parts.last_mut()?;
        last.1 = last.1.checked_mul(power)?;
        Some(())
    }

    fn finish(mut self) -> Option<Unit> {
        // "sq" or "square" with nothing behind it.
        if self.parts.is_empty() {
            if self.power == 1 && self.scale == 1 {
                return None;
            }
            self.known = false;
        }
        self.parts.sort();
        Some(Unit {
            parts: self.parts,
            known: self.known,
            scale: self.scale,
        })
    }
}

impl Unit {
    /// Whether no answer can have both units: both are known and they differ.
    ///
    /// Words that the table does not have, such as "apples" and "students", contradict nothing.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        self.known
            && other.known
            && self.parts != other.parts
            && !self.covers(other)
            && !other.covers(self)
    }

    /// What "million" and its like multiply the value with; 1 without such a word.
    #[must_use]
    pub const fn scale(&self) -> i64 {
        self.scale
    }

    /// A bare degree sign stands for degrees of any scale, and a pound may be money.
    fn covers(&self, other: &Self) -> bool {
        let [(name, 1)] = self.parts.as_slice() else {
            return false;
        };
        let [(scale, 1)] = other.parts.as_slice() else {
            return false;
        };
        match name.as_str() {
            "degree" => matches!(scale.as_str(), "celsius" | "fahrenheit"),
            "lb" => scale == "pound sterling",
            _ => false,
        }
    }
}
