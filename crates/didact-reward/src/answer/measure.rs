//! Which words are units, and what they measure.
//!
//! Owns the tables: the units of the SI with their prefixes, in base units and a power of ten, and the other units by
//! name. Knows no tokens.

/// A product of powers of units that are not made of others, times a power of ten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measure {
    /// Names with their powers, sorted, none of them to the power 0.
    parts: Vec<(String, i32)>,
    ten: i32,
}

impl Measure {
    pub(super) fn of(name: &str, power: i32) -> Self {
        Self {
            parts: vec![(name.to_owned(), power)],
            ten: 0,
        }
    }

    /// The product of powers; `None` for exponents beyond reason.
    pub(super) fn product(factors: &[(Self, i32)]) -> Option<Self> {
        let mut parts: Vec<(String, i32)> = Vec::new();
        let mut ten = 0_i32;
        for (measure, power) in factors {
            ten = ten.checked_add(measure.ten.checked_mul(*power)?)?;
            for (name, exponent) in &measure.parts {
                let exponent = exponent.checked_mul(*power)?;
                match parts.iter_mut().find(|(other, _)| other == name) {
                    Some((_, sum)) => *sum = sum.checked_add(exponent)?,
                    None => parts.push((name.clone(), exponent)),
                }
            }
        }
        parts.retain(|(_, exponent)| *exponent != 0);
        parts.sort();
        Some(Self { parts, ten })
    }

    /// The one unit that it is a power of.
    pub(super) fn single(&self) -> Option<(&str, i32)> {
        match self.parts.as_slice() {
            [(name, power)] => Some((name, *power)),
            _ => None,
        }
    }
}

/// A unit that takes prefixes.
struct Prefixed {
    symbol: &'static str,
    names: &'static [&'static str],
    parts: &'static [(&'static str, i32)],
    ten: i32,
}

const fn prefixed(
    symbol: &'static str,
    names: &'static [&'static str],
    parts: &'static [(&'static str, i32)],
    ten: i32,
) -> Prefixed {
    Prefixed {
        symbol,
        names,
        parts,
        ten,
    }
}

/// In grams, not kilograms, so that the prefix of the kilogram is one like others.
const PREFIXED: [Prefixed; 27] = [
    prefixed("m", &["meter", "metre"], &[("m", 1)], 0),
    prefixed("g", &["gram"], &[("g", 1)], 0),
    prefixed("s", &["second"], &[("s", 1)], 0),
    prefixed("A", &["ampere", "amp"], &[("A", 1)], 0),
    prefixed("K", &["kelvin"], &[("K", 1)], 0),
    prefixed("mol", &["mole"], &[("mol", 1)], 0),
    prefixed("cd", &["candela"], &[("cd", 1)], 0),
    prefixed("L", &["liter", "litre"], &[("m", 3)], -3),
    prefixed("l", &[], &[("m", 3)], -3),
    prefixed("Hz", &["hertz"], &[("s", -1)], 0),
    prefixed("N", &["newton"], &[("g", 1), ("m", 1), ("s", -2)], 3),
    prefixed("J", &["joule"], &[("g", 1), ("m", 2), ("s", -2)], 3),
    prefixed("W", &["watt"], &[("g", 1), ("m", 2), ("s", -3)], 3),
    prefixed(
        "Wh",
        &["watthour"],
        &[("g", 1), ("h", 1), ("m", 2), ("s", -3)],
        3,
    ),
    prefixed("Pa", &["pascal"], &[("g", 1), ("m", -1), ("s", -2)], 3),
    prefixed(
        "V",
        &["volt"],
        &[("A", -1), ("g", 1), ("m", 2), ("s", -3)],
        3,
    ),
    prefixed("C", &["coulomb"], &[("A", 1), ("s", 1)], 0),
    prefixed(
        "Ω",
        &["ohm"],
        &[("A", -2), ("g", 1), ("m", 2), ("s", -3)],
        3,
    ),
    prefixed(
        "F",
        &["farad"],
        &[("A", 2), ("g", -1), ("m", -2), ("s", 4)],
        -3,
    ),
    prefixed("T", &["tesla"], &[("A", -1), ("g", 1), ("s", -2)], 3),
    prefixed(
        "Wb",
        &["weber"],
        &[("A", -1), ("g", 1), ("m", 2), ("s", -2)],
        3,
    ),
    prefixed(
        "H",
        &["henry"],
        &[("A", -2), ("g", 1), ("m", 2), ("s", -2)],
        3,
    ),
    prefixed("Bq", &["becquerel"], &[("Bq", 1)], 0),
    prefixed("eV", &["electronvolt"], &[("eV", 1)], 0),
    prefixed("cal", &["calorie"], &[("cal", 1)], 0),
    prefixed("bar", &[], &[("bar", 1)], 0),
    prefixed("B", &["byte"], &[("byte", 1)], 0),
];

/// The prefixes: symbol, name, power of ten.
const PREFIXES: [(&str, &str, i32); 13] = [
    ("k", "kilo", 3),
    ("M", "mega", 6),
    ("G", "giga", 9),
    ("T", "tera", 12),
    ("h", "hecto", 2),
    ("d", "deci", -1),
    ("c", "centi", -2),
    ("m", "milli", -3),
    ("μ", "micro", -6),
    ("µ", "micro", -6),
    ("u", "micro", -6),
    ("n", "nano", -9),
    ("p", "pico", -12),
];

/// The spellings of other units, in lower case; the first is the name.
const NAMED: &[&[&str]] = &[
    &["in", "inch", "inches"],
    &["ft", "foot", "feet"],
    &["yd", "yard"],
    &["mi", "mile"],
    &["lb", "pound", "lbs"],
    &["oz", "ounce"],
    &["ton", "tonne"],
    &["gal", "gallon"],
    &["pint"],
    &["quart"],
    &["acre"],
    &["hectare", "ha"],
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
    &["rpm"],
    &["atm", "atmosphere"],
    &["psi"],
    &["bit"],
    &["am"],
    &["pm"],
];

/// Further spellings of units with prefixes, in lower case; also of symbols whose case is often not kept.
const SPELLINGS: [(&str, &str); 23] = [
    ("gm", "g"),
    ("gms", "g"),
    ("kgs", "kg"),
    ("kms", "km"),
    ("cms", "cm"),
    ("mms", "mm"),
    ("sec", "s"),
    ("secs", "s"),
    ("msec", "ms"),
    ("cc", "mL"),
    ("ml", "mL"),
    ("kg", "kg"),
    ("km", "km"),
    ("cm", "cm"),
    ("mm", "mm"),
    ("mg", "mg"),
    ("m", "m"),
    ("s", "s"),
    ("g", "g"),
    ("l", "L"),
    ("hz", "Hz"),
    ("khz", "kHz"),
    ("kwh", "kWh"),
];

/// What a word measures. A symbol keeps its case: `mW` is not `MW`.
pub(super) fn lookup(word: &str) -> Option<Measure> {
    let lower = word.to_lowercase();
    if let Some(name) = named(&lower) {
        let exact = if word.chars().count() == 1 {
            symbol(word)
        } else {
            None
        };
        return Some(exact.unwrap_or_else(|| Measure::of(name, 1)));
    }
    let speed = |length: &str| {
        let length = lookup(length)?;
        Measure::product(&[(length, 1), (Measure::of("h", 1), -1)])
    };
    match lower.as_str() {
        "mph" => return speed("mi"),
        "kph" | "kmh" | "kmph" => return speed("km"),
        _ => {}
    }
    symbol(word)
        .or_else(|| spelled(&lower))
        .or_else(|| {
            let spelling = SPELLINGS.iter().find(|(from, _)| *from == lower)?;
            symbol(spelling.1)
        })
        .or_else(|| {
            // A plural, of words only: `ms` is no more than one metre.
            let singular = lower.strip_suffix('s').filter(|rest| rest.len() > 2)?;
            named(singular)
                .map(|name| Measure::of(name, 1))
                .or_else(|| spelled(singular))
        })
}

fn named(word: &str) -> Option<&'static str> {
    NAMED
        .iter()
        .find(|spellings| spellings.contains(&word))
        .map(|spellings| spellings[0])
}

/// A symbol, with or without its prefix.
fn symbol(word: &str) -> Option<Measure> {
    with_prefix(word, |(symbol, _)| symbol, |unit, rest| unit.symbol == rest)
}

/// A name, with or without its prefix.
fn spelled(word: &str) -> Option<Measure> {
    with_prefix(
        word,
        |(_, name)| name,
        |unit, rest| unit.names.contains(&rest),
    )
}

fn with_prefix(
    word: &str,
    form: impl Fn((&'static str, &'static str)) -> &'static str,
    is: impl Fn(&Prefixed, &str) -> bool,
) -> Option<Measure> {
    let find = |rest: &str, ten: i32| {
        let unit = PREFIXED.iter().find(|unit| is(unit, rest))?;
        let parts = unit
            .parts
            .iter()
            .map(|(name, power)| ((*name).to_owned(), *power));
        Some(Measure {
            parts: parts.collect(),
            ten: unit.ten + ten,
        })
    };
    find(word, 0).or_else(|| {
        PREFIXES.iter().find_map(|(symbol, name, ten)| {
            let rest = word.strip_prefix(form((symbol, name)))?;
            find(rest, *ten)
        })
    })
}

/// Runs of two or three letters that are units rather than products of variables.
const WORDS: [&str; 48] = [
    "cm", "cms", "mm", "mms", "km", "kms", "in", "ft", "yd", "yds", "mi", "gm", "gms", "kg", "kgs",
    "mg", "lb", "lbs", "oz", "ton", "gal", "ha", "sec", "min", "hr", "hrs", "day", "yr", "yrs",
    "deg", "rad", "usd", "eur", "gbp", "yen", "jpy", "rs", "hz", "mph", "kph", "kmh", "rpm", "sq",
    "cu", "per", "pm", "am", "ml",
];

/// Whether a run of letters is a unit wherever it stands.
pub(crate) fn is_word(word: &str) -> bool {
    WORDS.contains(&word) || matches!(word, "cc" | "mL")
}

/// Whether a run of letters is a unit behind a number and a space, where `2ms` is a product.
pub(crate) fn is_symbol(word: &str) -> bool {
    matches!(
        word,
        "ms" | "AM" | "PM" | "mol" | "cal" | "eV" | "Hz" | "Pa" | "Wb"
    ) || (word.len() > 1
        && word.starts_with(['k', 'M', 'G'])
        && word[1..].starts_with(['J', 'W', 'P', 'H', 'e', 'N', 'V'])
        && symbol(word).is_some())
}
