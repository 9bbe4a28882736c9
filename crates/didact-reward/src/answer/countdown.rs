//! Countdown: reach a target with given numbers.
//!
//! Owns the check of an expression of a countdown puzzle: every number at most as often as it is given, `+ - * /` and
//! brackets only, and the target exactly. Nothing is executed; the expression is read and computed with fractions.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;

/// The longest expression, in characters.
const LENGTH: usize = 500;

/// The deepest brackets.
const DEPTH: usize = 40;

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// Something that is no number, operator or bracket, or in the wrong place.
    #[error("the expression cannot be read at character {at}")]
    Syntax {
        /// The character, counted from 0.
        at: usize,
    },
    /// More than 500 characters, or brackets deeper than 40.
    #[error("the expression is too long or too deep")]
    TooLarge,
    /// A number that is not given, or not so often.
    #[error("{number} is not among the numbers that are left")]
    NotGiven {
        /// The number.
        number: String,
    },
    /// A division by zero.
    #[error("the expression divides by zero")]
    DivisionByZero,
    /// Another result than the target.
    #[error("the expression gives {result}")]
    OtherResult {
        /// The exact result.
        result: BigRational,
    },
}

/// Checks that `expression` uses each of `numbers` at most once and gives `target`.
///
/// Numbers need not all be used. `\times`, `\cdot`, `\div`, `\frac{}{}`, `×`, `÷` and `−` count as operators, and a
/// result behind `=` is allowed where it is the target.
///
/// # Errors
/// What is wrong with the expression.
///
/// ```
/// use didact_reward::answer::countdown::{Wrong, check};
///
/// assert_eq!(check("(3 + 5) * 2", &[2, 3, 5, 7], 16), Ok(()));
/// assert_eq!(check("3 * 3 + 7", &[2, 3, 5, 7], 16), Err(Wrong::NotGiven { number: "3".into() }));
/// ```
pub fn check(expression: &str, numbers: &[u64], target: i64) -> Result<(), Wrong> {
    let target = BigRational::from_integer(target.into());
    let plain = ["\\left", "\\right", "$"]
        .iter()
        .fold(expression.to_owned(), |text, sign| text.replace(sign, ""))
        .replace("\\times", "*")
        .replace("\\cdot", "*")
        .replace("\\div", "/")
        .replace("\\dfrac", "\\frac")
        .replace("\\tfrac", "\\frac");
    let mut parser = Parser {
        chars: plain.chars().take(LENGTH + 1).collect(),
        at: 0,
        depth: 0,
        left: numbers.iter().map(|n| BigInt::from(*n)).collect(),
    };
    if parser.chars.len() > LENGTH {
        return Err(Wrong::TooLarge);
    }
    let result = parser.sum()?;
    if parser.take(&['=']).is_some() {
        let negative = parser.take(&['-', '−']).is_some();
        let stated = BigRational::from_integer(parser.digits()?);
        let stated = if negative { -stated } else { stated };
        if stated != target {
            return Err(Wrong::OtherResult { result: stated });
        }
    }
    parser.space();
    if parser.at < parser.chars.len() {
        return Err(parser.syntax());
    }
    if result != target {
        return Err(Wrong::OtherResult { result });
    }
    Ok(())
}

fn quotient(upper: BigRational, lower: BigRational) -> Result<BigRational, Wrong> {
    if lower.is_zero() {
        return Err(Wrong::DivisionByZero);
    }
    Ok(upper / lower)
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    /// The numbers that were not used yet.
    left: Vec<BigInt>,
}

impl Parser {
    const fn syntax(&self) -> Wrong {
        Wrong::Syntax { at: self.at }
    }

    fn space(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, signs: &[char]) -> Option<char> {
        self.space();
        let found = self
            .chars
            .get(self.at)
            .copied()
            .filter(|c| signs.contains(c))?;
        self.at += 1;
        Some(found)
    }

    fn sum(&mut self) -> Result<BigRational, Wrong> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Wrong::TooLarge);
        }
        let mut value = self.product()?;
        while let Some(sign) = self.take(&['+', '-', '−']) {
            let right = self.product()?;
            value = if sign == '+' {
                value + right
            } else {
                value - right
            };
        }
        self.depth -= 1;
        Ok(value)
    }

    fn product(&mut self) -> Result<BigRational, Wrong> {
        let mut value = self.factor()?;
        while let Some(sign) = self.take(&['*', '/', '×', '·', '÷']) {
            let right = self.factor()?;
            if matches!(sign, '/' | '÷') {
                value = quotient(value, right)?;
            } else {
                value *= right;
            }
        }
        Ok(value)
    }

    fn factor(&mut self) -> Result<BigRational, Wrong> {
        let mut negative = false;
        while let Some(sign) = self.take(&['-', '−', '+']) {
            negative ^= sign != '+';
        }
        let value = if self.take(&['(', '[']).is_some() {
            let inner = self.sum()?;
            self.take(&[')', ']']).ok_or_else(|| self.syntax())?;
            inner
        } else if self.chars[self.at..].starts_with(&['\\', 'f', 'r', 'a', 'c']) {
            self.at += 5;
            let upper = self.group()?;
            quotient(upper, self.group()?)?
        } else {
            let number = self.digits()?;
            let Some(place) = self.left.iter().position(|n| *n == number) else {
                return Err(Wrong::NotGiven {
                    number: number.to_string(),
                });
            };
            self.left.swap_remove(place);
            BigRational::from_integer(number)
        };
        Ok(if negative { -value } else { value })
    }

    /// An argument of `\frac`.
    fn group(&mut self) -> Result<BigRational, Wrong> {
        self.take(&['{']).ok_or_else(|| self.syntax())?;
        let inner = self.sum()?;
        self.take(&['}']).ok_or_else(|| self.syntax())?;
        Ok(inner)
    }

    fn digits(&mut self) -> Result<BigInt, Wrong> {
        self.space();
        let start = self.at;
        while self.chars.get(self.at).is_some_and(char::is_ascii_digit) {
            self.at += 1;
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        digits.parse().map_err(|_| self.syntax())
    }
}
