//! A mathematical expression as it was written.
//!
//! Owns the tree. Knows neither how it is read nor what it is worth.

use num_rational::BigRational;
use num_traits::{One, Zero};

/// A named function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Function {
    /// Sine of radians.
    Sine,
    /// Cosine of radians.
    Cosine,
    /// Tangent of radians.
    Tangent,
    /// Inverse sine.
    ArcSine,
    /// Inverse cosine.
    ArcCosine,
    /// Inverse tangent.
    ArcTangent,
    /// Hyperbolic sine.
    HyperbolicSine,
    /// Hyperbolic cosine.
    HyperbolicCosine,
    /// Hyperbolic tangent.
    HyperbolicTangent,
    /// Natural logarithm.
    Logarithm,
    /// Absolute value.
    Absolute,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceiling,
    /// Factorial.
    Factorial,
    /// Binomial coefficient of two arguments.
    Binomial,
    /// A function that has a letter for a name: the first argument is the name, a [`Symbol`](Expression::Symbol).
    Named,
}

/// A constant that is no rational number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constant {
    /// π.
    Pi,
    /// e.
    Euler,
    /// i.
    Imaginary,
    /// ∞.
    Infinity,
}

/// An expression, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expression {
    /// A rational number; whether it was written with a decimal point.
    Number {
        /// Its value.
        value: BigRational,
        /// Written with a decimal point, hence perhaps rounded.
        decimal: bool,
    },
    /// π, e, i or ∞.
    Constant(Constant),
    /// A variable, with subscript and accents.
    Symbol(String),
    /// A sum.
    Sum(Vec<Self>),
    /// A product.
    Product(Vec<Self>),
    /// A quotient.
    Quotient(Box<Self>, Box<Self>),
    /// A power.
    Power(Box<Self>, Box<Self>),
    /// A root: radicand and degree.
    Root(Box<Self>, u32),
    /// A function and its arguments.
    Function(Function, Vec<Self>),
}

impl Expression {
    pub(crate) fn integer(value: i64) -> Self {
        Self::rational(BigRational::from_integer(value.into()))
    }

    pub(crate) const fn rational(value: BigRational) -> Self {
        Self::Number {
            value,
            decimal: false,
        }
    }

    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Number { value, decimal } => Self::Number {
                value: -value,
                decimal,
            },
            other => Self::Product(vec![Self::integer(-1), other]),
        }
    }

    pub(crate) fn quotient(upper: Self, lower: Self) -> Self {
        if let (Self::Number { value: a, .. }, Self::Number { value: b, .. }) = (&upper, &lower)
            && a.is_integer()
            && b.is_integer()
            && !b.is_zero()
        {
            return Self::rational(a / b);
        }
        Self::Quotient(Box::new(upper), Box::new(lower))
    }

    pub(crate) fn product(mut factors: Vec<Self>) -> Self {
        match factors.len() {
            0 => Self::rational(BigRational::one()),
            1 => factors.remove(0),
            _ => Self::Product(factors),
        }
    }

    /// The number, where the expression is nothing else.
    #[must_use]
    pub const fn as_number(&self) -> Option<&BigRational> {
        match self {
            Self::Number { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Whether it is a single number written with a decimal point.
    #[must_use]
    pub const fn is_decimal(&self) -> bool {
        matches!(self, Self::Number { decimal: true, .. })
    }

    /// The parts of the topmost operation.
    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Number { .. } | Self::Constant(_) | Self::Symbol(_) => Vec::new(),
            Self::Sum(parts) | Self::Product(parts) | Self::Function(_, parts) => {
                parts.iter().collect()
            }
            Self::Quotient(a, b) | Self::Power(a, b) => vec![a, b],
            Self::Root(a, _) => vec![a],
        }
    }

    /// Calls `visit` with this expression and with every part of it.
    pub(crate) fn walk(&self, visit: &mut impl FnMut(&Self)) {
        visit(self);
        for part in self.parts() {
            part.walk(visit);
        }
    }

    /// Whether it is made of variables alone, such as `x`, `xy` or `A/S`.
    pub(crate) fn is_symbols(&self) -> bool {
        match self {
            Self::Symbol(_) => true,
            Self::Number { .. } | Self::Constant(_) => false,
            _ => self.parts().into_iter().all(Self::is_symbols),
        }
    }

    /// Whether it may be a function's value: `f(2)`, `f^{-1}(x)`, or `N(6)`, which is read as a product.
    pub(crate) fn is_call(&self) -> bool {
        if matches!(self, Self::Function(Function::Named, _)) {
            return true;
        }
        let Self::Product(factors) = self else {
            return false;
        };
        let [name, Self::Symbol(_) | Self::Number { .. }] = factors.as_slice() else {
            return false;
        };
        match name {
            Self::Symbol(_) => true,
            Self::Power(name, exponent) => {
                let inverse = exponent
                    .as_number()
                    .is_some_and(|n| *n == -BigRational::one());
                inverse && matches!(**name, Self::Symbol(_))
            }
            _ => false,
        }
    }

    /// Whether a variable occurs.
    pub(crate) fn has_symbol(&self) -> bool {
        let mut found = false;
        self.walk(&mut |part| found |= matches!(part, Self::Symbol(_)));
        found
    }

    /// Whether it may follow one formula here and another there, or have no value in some places: absolute values,
    /// roots, logarithms of something with a variable.
    pub(crate) fn has_branches(&self) -> bool {
        let mut found = false;
        self.walk(&mut |part| {
            let branches = match part {
                Self::Function(
                    Function::Absolute | Function::Floor | Function::Ceiling | Function::Logarithm,
                    _,
                )
                | Self::Root(..) => true,
                Self::Power(_, exponent) => exponent.as_number().is_some_and(|n| !n.is_integer()),
                _ => false,
            };
            found |= branches && part.has_symbol();
        });
        found
    }

    /// The sign of ±∞, where the expression is that.
    pub(crate) fn infinite_sign(&self) -> Option<i8> {
        match self {
            Self::Constant(Constant::Infinity) => Some(1),
            Self::Product(parts) => match parts.as_slice() {
                [Self::Number { value, .. }, rest] if *value == -BigRational::one() => {
                    rest.infinite_sign().map(|sign| -sign)
                }
                _ => None,
            },
            _ => None,
        }
    }
}
