//! Units of measurement behind a value.
//!
//! Owns when two units contradict each other; `measure` knows which words are units. Converts no values: a metre is not
//! a hundred centimetres here, since an answer states its unit for the reader and the question asks for one. But a unit
//! has many spellings, and `N m` is `J`.

use super::measure::{Measure, lookup};
use super::token::{Bracket, Kind, Token};

pub(crate) use super::measure::{is_symbol, is_word};

/// What stands behind a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// What it measures, in base units; words that are not in the table count as they are written.
    measure: Measure,
    /// Whether every name is in the table.
    known: bool,
    /// What "million" and its like multiply the value with.
    scale: i64,
    /// "north", "gain": what turns the value around.
    direction: Option<String>,
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

/// Words that two answers must not differ in, though either may leave them out.
const DIRECTIONS: [&str; 18] = [
    "north",
    "south",
    "east",
    "west",
    "northeast",
    "northwest",
    "southeast",
    "southwest",
    "left",
    "right",
    "up",
    "down",
    "clockwise",
    "counterclockwise",
    "gain",
    "loss",
    "profit",
    "increase",
];

/// Words that make another value of the number before them: `5 or more` and `5 tenths` are not 5.
const CHANGES: [&str; 38] = [
    "or",
    "than",
    "most",
    "least",
    "half",
    "halves",
    "third",
    "thirds",
    "fourth",
    "fourths",
    "fifth",
    "fifths",
    "sixth",
    "sixths",
    "seventh",
    "sevenths",
    "eighth",
    "eighths",
    "ninth",
    "ninths",
    "tenth",
    "tenths",
    "hundredth",
    "hundredths",
    "thousandth",
    "thousandths",
    "millionth",
    "millionths",
    "factorial",
    "below",
    "above",
    "zero",
    "mod",
    "modulo",
    "minus",
    "negative",
    "not",
    "between",
];

/// Single letters that are units where space or a text command sets them off from the number.
const LETTERS: [&str; 6] = ["m", "s", "g", "l", "h", "L"];

/// More words than this are prose.
const WORDS: usize = 6;

/// Whether the words behind a number make another value of it: "or more", "tenths", "(mod 7)"; and so do the dots behind
/// a decimal number.
pub(crate) fn is_changed(number: &str, behind: &str) -> bool {
    let dots = ["...", "…", "\\ldots", "\\dots"];
    if number.contains('.') && dots.iter().any(|dots| behind.starts_with(dots)) {
        return true;
    }
    let words = behind
        .trim_start()
        .trim_start_matches("\\text{")
        .trim_start_matches([' ', '(', '~']);
    let clause = words.split(['.', ',', ';', ':', '$', '\n']).next();
    let words: Vec<&str> = clause
        .unwrap_or_default()
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .take(3)
        .collect();
    words.iter().enumerate().any(|(at, word)| match *word {
        "or" => words
            .get(at + 1)
            .is_some_and(|next| matches!(*next, "more" | "less" | "fewer" | "greater" | "higher")),
        // "5 and not 6" says 5.
        "not" | "zero" | "negative" | "between" => false,
        word => CHANGES.contains(&word),
    })
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
    single(Measure::of(name, 1))
}

fn single(measure: Measure) -> Unit {
    Unit {
        measure,
        known: true,
        scale: 1,
        direction: None,
    }
}

/// The unit that a single letter stands for.
pub(crate) fn of_letter(letter: &str) -> Option<Unit> {
    let letter = LETTERS.iter().find(|l| **l == letter)?;
    lookup(letter).map(single)
}

/// Reads the tokens as one unit, all of them.
fn read(tokens: &[Token]) -> Option<Unit> {
    let mut reader = Reader {
        parts: Vec::new(),
        known: true,
        scale: 1,
        direction: None,
        sign: 1,
        power: 1,
        words: 0,
    };
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match &token.kind {
            Kind::Text(text) => reader.text(text)?,
            // `5 \text{ times } x` is no measure.
            Kind::Symbol(letter) => {
                lookup(letter)?;
                reader.word(letter)?;
            }
            Kind::Degree => reader.word("degree")?,
            Kind::Currency(name) => reader.word(name)?,
            Kind::Operator('/') => reader.sign = -1,
            Kind::Operator('*' | '×') => {}
            Kind::Operator('^') => {
                let (power, used) = small_integer(&tokens[at..])?;
                at += used;
                reader.raise(power)?;
            }
            Kind::Operator('_') => {
                // A number in another base: the base is compared like a unit.
                let (base, used) = small_integer(&tokens[at..])?;
                at += used;
                reader
                    .parts
                    .push((Measure::of(&format!("base {base}"), 1), 1));
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
    /// What was named, each with its power.
    parts: Vec<(Measure, i32)>,
    known: bool,
    scale: i64,
    direction: Option<String>,
    /// -1 behind "per".
    sign: i32,
    /// 2 behind "square", for the next word.
    power: i32,
    words: usize,
}

impl Reader {
    fn text(&mut self, text: &str) -> Option<()> {
        let text = text
            .replace("p.m", "pm")
            .replace("P.M", "PM")
            .replace("a.m", "am")
            .replace("A.M", "AM")
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
        if CHANGES.contains(&lower.as_str()) {
            return None;
        }
        if DIRECTIONS.contains(&lower.as_str()) {
            self.direction = Some(lower);
            return Some(());
        }
        match lower.as_str() {
            "square" | "sq" => self.power = 2,
            "cubic" | "cu" => self.power = 3,
            "per" | "an" if !self.parts.is_empty() => self.sign = -1,
            // Not the ampere.
            "a" if word == "a" && !self.parts.is_empty() => self.sign = -1,
            "squared" => self.raise(2)?,
            "cubed" => self.raise(3)?,
            "c" | "celsius" if self.is_degree() => self.rename("celsius"),
            "f" | "fahrenheit" if self.is_degree() => self.rename("fahrenheit"),
            "k" | "kelvin" if self.is_degree() => self.rename("K"),
            // "square units", "degrees": no dimension that could contradict another.
            "unit" | "units" => {
                let power = self.sign * self.power;
                self.parts.push((Measure::of("unit", 1), power));
                self.known = false;
                self.power = 1;
            }
            _ => {
                let found = lookup(word);
                self.known &= found.is_some();
                let measure = found.unwrap_or_else(|| Measure::of(&lower, 1));
                self.parts.push((measure, self.sign * self.power));
                self.power = 1;
            }
        }
        Some(())
    }

    fn is_degree(&self) -> bool {
        self.parts.last() == Some(&(Measure::of("degree", 1), 1))
    }

    fn rename(&mut self, name: &str) {
        if let Some(last) = self.parts.last_mut() {
            last.0 = Measure::of(name, 1);
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
            if self.power == 1 && self.scale == 1 && self.direction.is_none() {
                return None;
            }
            self.known = false;
        }
        Some(Unit {
            measure: Measure::product(&self.parts)?,
            known: self.known,
            scale: self.scale,
            direction: self.direction,
        })
    }
}

impl Unit {
    /// Whether no answer can have both units: both are known and they differ.
    ///
    /// Words that the table does not have, such as "apples" and "students", contradict nothing, but "square units"
    /// contradict "cubic units".
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        if let (Some(left), Some(right)) = (&self.direction, &other.direction)
            && left != right
        {
            return true;
        }
        if self.known && other.known {
            return self.measure != other.measure && !self.covers(other) && !other.covers(self);
        }
        match (self.measure.single(), other.measure.single()) {
            (Some(("unit", left)), Some(("unit", right))) => left != right,
            (Some(("unit", left)), Some((_, right))) if other.known => left > 1 && left != right,
            (Some((_, left)), Some(("unit", right))) if self.known => right > 1 && left != right,
            _ => false,
        }
    }

    /// What "million" and its like multiply the value with; 1 without such a word.
    #[must_use]
    pub const fn scale(&self) -> i64 {
        self.scale
    }

    /// Whether it names the base of a number's digits.
    pub(crate) fn is_base(&self) -> bool {
        matches!(self.measure.single(), Some((name, _)) if name.starts_with("base "))
    }

    /// A bare degree sign stands for degrees of any scale, a pound may be money, and the letter of a scale of
    /// temperature that of another unit.
    fn covers(&self, other: &Self) -> bool {
        let Some((scale, 1)) = other.measure.single() else {
            return false;
        };
        match self.measure.single() {
            Some(("degree", 1)) => matches!(scale, "celsius" | "fahrenheit"),
            Some(("lb", 1)) => scale == "pound sterling",
            _ => {
                (scale == "celsius" && lookup("C").as_ref() == Some(&self.measure))
                    || (scale == "fahrenheit" && lookup("F").as_ref() == Some(&self.measure))
            }
        }
    }
}
