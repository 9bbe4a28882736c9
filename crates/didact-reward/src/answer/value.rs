//! What an answer is.
//!
//! Owns the types of answers. Knows neither how they are read nor when two are equal.

use num_rational::BigRational;

use super::expression::Expression;
use super::unit::Unit;

/// An answer, as read from its text.
///
/// Reading does not decide what the question's author alone knows: `(1,2)` stays a [`Tuple`](Self::Tuple), which
/// comparison may take for a point or an open interval.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// A number or an expression, perhaps with a percent sign or a unit.
    Value(Value),
    /// Values side by side, without brackets: `1, 2` and `x = 1 or x = 2`. Order does not matter.
    List(Vec<Self>),
    /// `\{1, 2\}`, `\pm 1`. Order and repetition do not matter.
    Set(Vec<Self>),
    /// Values in round or square brackets: a tuple, or with two of them perhaps an interval.
    Tuple {
        /// The values.
        items: Vec<Self>,
        /// Whether the opening bracket is round.
        open: bool,
        /// Whether the closing bracket is round.
        close: bool,
    },
    /// A named set of numbers.
    Domain(Domain),
    /// `A \cup B`.
    Union(Vec<Self>),
    /// `A \cap B`.
    Intersection(Vec<Self>),
    /// `A \setminus B`.
    Difference(Box<Self>, Box<Self>),
    /// An equation or inequality, perhaps a chain of them: one more side than signs.
    Relation {
        /// What stands between the signs.
        sides: Vec<Self>,
        /// The signs, in order.
        signs: Vec<Comparison>,
    },
    /// Rows of a matrix.
    Matrix(Vec<Vec<Expression>>),
    /// An option of a multiple choice, `(B)`, perhaps with its text behind it.
    Choice {
        /// The option's letter, upper case.
        letter: char,
        /// What is written behind it.
        rest: Option<Box<Self>>,
    },
    /// Anything else, compared letter by letter but for space, closing punctuation and, in prose, case.
    Text(String),
}

/// A number or an expression with what is written around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The number or expression; what stands before a percent sign.
    pub expression: Expression,
    /// Whether a percent sign follows.
    pub percent: bool,
    /// The unit behind it, or the currency before it.
    pub unit: Option<Unit>,
}

impl Value {
    /// The exact number, where the value is a single number: a hundredth of what stands before a percent sign.
    #[must_use]
    pub fn as_rational(&self) -> Option<BigRational> {
        let value = self.expression.as_number()?.clone();
        Some(if self.percent {
            value / BigRational::from_integer(100.into())
        } else {
            value
        })
    }
}

impl From<Expression> for Value {
    fn from(expression: Expression) -> Self {
        Self {
            expression,
            percent: false,
            unit: None,
        }
    }
}

/// A set of numbers that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The natural numbers.
    Naturals,
    /// The integers.
    Integers,
    /// The rational numbers.
    Rationals,
    /// The real numbers.
    Reals,
    /// The complex numbers.
    Complexes,
}

/// How two sides of a relation compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`, and `\in`, which an answer uses alike.
    Equal,
    /// `\ne`.
    NotEqual,
    /// `<`.
    Less,
    /// `\le`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `\ge`.
    GreaterOrEqual,
}

impl Comparison {
    /// The same comparison, read from the right.
    #[must_use]
    pub const fn flipped(self) -> Self {
        match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    /// The direction, -1 for less; `None` for equations. Whether equality is allowed.
    pub(crate) const fn direction(self) -> Option<(i8, bool)> {
        match self {
            Self::Equal | Self::NotEqual => None,
            Self::Less => Some((-1, false)),
            Self::LessOrEqual => Some((-1, true)),
            Self::Greater => Some((1, false)),
            Self::GreaterOrEqual => Some((1, true)),
        }
    }
}
