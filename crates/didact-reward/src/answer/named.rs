//! Functions by their names.
//!
//! Owns what a function's name, base and exponent mean together: `\sin^{-1}`, `\log_2`, `\cot`. Knows no tokens.

use num_rational::BigRational;

use super::expression::{Constant, Expression, Function};
use super::limits::Undecided;

/// A function by its name in LaTeX.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    Plain(Function),
    /// One over it.
    Reciprocal(Function),
    /// `\log`, to the base written below it, or to this one.
    LogarithmTo(Option<i64>),
    Exponential,
}

pub(super) fn function(name: &str) -> Option<Named> {
    use Function as F;
    Some(match name {
        "sin" => Named::Plain(F::Sine),
        "cos" => Named::Plain(F::Cosine),
        "tan" => Named::Plain(F::Tangent),
        "csc" => Named::Reciprocal(F::Sine),
        "sec" => Named::Reciprocal(F::Cosine),
        "cot" => Named::Reciprocal(F::Tangent),
        "arcsin" | "asin" => Named::Plain(F::ArcSine),
        "arccos" | "acos" => Named::Plain(F::ArcCosine),
        "arctan" | "atan" => Named::Plain(F::ArcTangent),
        "sinh" => Named::Plain(F::HyperbolicSine),
        "cosh" => Named::Plain(F::HyperbolicCosine),
        "tanh" => Named::Plain(F::HyperbolicTangent),
        "ln" => Named::LogarithmTo(None),
        "log" | "lg" => Named::LogarithmTo(Some(10)),
        "exp" => Named::Exponential,
        "abs" => Named::Plain(F::Absolute),
        "floor" => Named::Plain(F::Floor),
        "ceil" => Named::Plain(F::Ceiling),
        _ => return None,
    })
}

impl Named {
    pub(super) fn apply(
        self,
        argument: Expression,
        base: Option<Expression>,
        exponent: Option<Expression>,
    ) -> Result<Expression, Undecided> {
        let inverse = exponent
            .as_ref()
            .and_then(Expression::as_number)
            .is_some_and(|n| *n == BigRational::from_integer((-1).into()));
        if base.is_some() && !matches!(self, Self::LogarithmTo(_)) {
            return Err(Undecided::Unsupported);
        }
        let value = match self {
            Self::Plain(function) if inverse => {
                let arc = match function {
                    Function::Sine => Function::ArcSine,
                    Function::Cosine => Function::ArcCosine,
                    Function::Tangent => Function::ArcTangent,
                    _ => return Err(Undecided::Unsupported),
                };
                return Ok(Expression::Function(arc, vec![argument]));
            }
            Self::Plain(function) => Expression::Function(function, vec![argument]),
            Self::Reciprocal(function) => Expression::Quotient(
                Box::new(Expression::integer(1)),
                Box::new(Expression::Function(function, vec![argument])),
            ),
            Self::LogarithmTo(default) => {
                let base = base.or_else(|| default.map(Expression::integer));
                let logarithm = Expression::Function(Function::Logarithm, vec![argument]);
                match base {
                    None => logarithm,
                    Some(base) => Expression::Quotient(
                        Box::new(logarithm),
                        Box::new(Expression::Function(Function::Logarithm, vec![base])),
                    ),
                }
            }
            Self::Exponential => Expression::Power(
                Box::new(Expression::Constant(Constant::Euler)),
                Box::new(argument),
            ),
        };
        Ok(match exponent {
            None => value,
            Some(exponent) => Expression::Power(Box::new(value), Box::new(exponent)),
        })
    }
}
