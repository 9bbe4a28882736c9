//! The seeds of an experiment, as a command line says them.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// One seed, as `3`, or a range with its last, as `1..5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(RangeInclusive<u64>);

impl Seeds {
    /// From the first to the last.
    #[must_use]
    pub fn range(&self) -> RangeInclusive<u64> {
        self.0.clone()
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(format!(
                "{text} is neither a seed, as 3, nor a range, as 1..5"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_one_or_a_range() {
        assert_eq!("1..5".parse(), Ok(Seeds(1..=5)));
        assert_eq!("7".parse(), Ok(Seeds(7..=7)));
        for wrong in ["", "5..1", "1..", "a"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }
}
