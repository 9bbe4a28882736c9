//! The tokens of an answer.
//!
//! Owns their kinds. Knows neither characters nor grammar.

use num_rational::BigRational;

/// The kind of a bracket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bracket {
    Round,
    Square,
    /// `\{ \}`.
    Brace,
    /// LaTeX's own `{ }`, which group and mean nothing.
    Group,
}

/// How two sides are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Approximately,
    Member,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A literal without sign; its digits as written, for arguments such as those of `\frac12`.
    Number {
        value: BigRational,
        decimal: bool,
    },
    /// One letter, or a named letter such as `alpha`.
    Symbol(String),
    /// A word of plain text, or the content of `\text{…}`.
    Text(String),
    /// A command or a function's name, without backslash.
    Command(String),
    Open(Bracket),
    Close(Bracket),
    /// `+ - * × / ^ _ ! | : & '`; a cross is a sign of its own, since between vectors it is no dot.
    Operator(char),
    Relation(Sign),
    /// A comma, a semicolon, "and", "or".
    Separator,
    PlusMinus,
    MinusPlus,
    /// Dots that stand for what goes on.
    Ellipsis,
    Percent,
    Degree,
    /// `$`, as the unit that it stands for.
    Currency(&'static str),
    /// A row of a matrix ends.
    NewRow,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Whether space stands before it.
    pub(crate) spaced: bool,
}

impl Token {
    pub(crate) fn is(&self, operator: char) -> bool {
        self.kind == Kind::Operator(operator)
    }

    pub(crate) fn is_command(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Command(found) if found == name)
    }
}
