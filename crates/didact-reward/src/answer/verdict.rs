//! What comparing two answers led to.
//!
//! Owns the verdict and its reasons. Knows no answer.

use super::limits::Undecided;

/// Whether an answer is the expected one, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// Whether the answers are equal. Anything doubtful is not.
    pub equal: bool,
    /// Why.
    pub why: Why,
}

/// Why two answers are equal, or are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The same letters.
    #[error("the same text")]
    SameText,
    /// Equal by exact arithmetic.
    #[error("equal by exact arithmetic")]
    Exact,
    /// Equal at several points, to 200 binary places.
    #[error("equal wherever it was evaluated")]
    Evaluated,
    /// A decimal number that agrees to six places.
    #[error("equal to six decimal places")]
    Rounded,
    /// Different values.
    #[error("different values")]
    DifferentValue,
    /// Units that contradict each other.
    #[error("different units")]
    DifferentUnit,
    /// Different kinds of answers, such as a set and a number.
    #[error("different kinds of answers")]
    DifferentKind,
    /// A different number of parts.
    #[error("a different number of parts")]
    DifferentLength,
    /// An open end for a closed one.
    #[error("different brackets")]
    DifferentBrackets,
    /// Different words.
    #[error("different words")]
    DifferentText,
    /// The text holds no answer.
    #[error("no answer was found")]
    NothingFound,
    /// No decision within the limits, which counts as not equal.
    #[error("undecided: {0}")]
    Undecided(Undecided),
}

impl Verdict {
    pub(crate) const fn yes(why: Why) -> Self {
        Self { equal: true, why }
    }

    pub(crate) const fn no(why: Why) -> Self {
        Self { equal: false, why }
    }

    /// Both verdicts hold: the first that does not, else the weaker reason.
    pub(crate) fn and(self, other: impl FnOnce() -> Self) -> Self {
        if !self.equal {
            return self;
        }
        let other = other();
        if !other.equal {
            return other;
        }
        let strength = |why| match why {
            Why::Rounded => 0,
            Why::Evaluated => 1,
            Why::Exact => 2,
            _ => 3,
        };
        if strength(other.why) < strength(self.why) {
            other
        } else {
            self
        }
    }
}

impl From<Result<Self, Undecided>> for Verdict {
    fn from(result: Result<Self, Undecided>) -> Self {
        result.unwrap_or_else(|why| Self::no(Why::Undecided(why)))
    }
}
