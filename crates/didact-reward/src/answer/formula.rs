//! Reads an expression.
//!
//! Owns the grammar of sums, products, powers, roots and functions. Knows no sets, units or relations, and
//! evaluates nothing.
//!
//! Two habits of notation are settled as the Python package math-verify settles them: a product without sign binds
//! tighter than `/`, so that `1/2x` is one over `2x`; and an integer before a fraction is a mixed number.

use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use super::calls;
use super::expression::{Constant, Expression, Function};
use super::limits::{Budget, Undecided};
use super::named::{Named, function};
use super::token::{Bracket, Kind, Token};

/// Reads all of `tokens` as one expression.
pub(crate) fn read(
    tokens: &[Token],
    depth: usize,
    budget: &mut Budget,
) -> Result<Expression, Undecided> {
    let mut parser = Parser {
        tokens,
        at: 0,
        depth,
        inside_bars: false,
        budget,
    };
    let expression = parser.stacked()?;
    if parser.at < tokens.len() {
        return Err(Undecided::Unsupported);
    }
    Ok(expression)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// Between `|` and `|` the next bar closes.
    inside_bars: bool,
    budget: &'a mut Budget,
}

type Parsed = Result<Expression, Undecided>;

impl Parser<'_> {
    fn kind(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    fn is(&self, operator: char) -> bool {
        self.tokens.get(self.at).is_some_and(|t| t.is(operator))
    }

    fn take(&mut self, operator: char) -> bool {
        let found = self.is(operator);
        self.at += usize::from(found);
        found
    }

    /// What fills its brackets: a sum, or two of them with `\choose` or `\over` between.
    fn stacked(&mut self) -> Parsed {
        let upper = self.sum()?;
        let Some(Kind::Command(name)) = self.kind() else {
            return Ok(upper);
        };
        match name.as_str() {
            "choose" => {
                self.at += 1;
                let lower = self.sum()?;
                Ok(Expression::Function(Function::Binomial, vec![upper, lower]))
            }
            "over" => {
                self.at += 1;
                let lower = self.sum()?;
                Ok(Expression::quotient(upper, lower))
            }
            _ => Ok(upper),
        }
    }

    fn sum(&mut self) -> Parsed {
        self.depth += 1;
        self.budget.check_depth(self.depth)?;
        self.budget.spend(1)?;
        let mut terms = Vec::new();
        let mut negative = false;
        loop {
            let term = self.term()?;
            terms.push(if negative { term.negated() } else { term });
            self.budget.check_terms(terms.len())?;
            if self.take('+') {
                negative = false;
            } else if self.take('-') {
                negative = true;
            } else {
                break;
            }
        }
        self.depth -= 1;
        Ok(if terms.len() == 1 {
            terms.remove(0)
        } else {
            Expression::Sum(terms)
        })
    }

    fn term(&mut self) -> Parsed {
        let mut factors = vec![self.operand()?];
        let mut divisions = 0;
        loop {
            if self.take('*') || self.take('×') {
                let factor = self.operand()?;
                // Neither of the products of two vectors is a product of numbers.
                if has_vector(&factor) && factors.iter().any(has_vector) {
                    return Err(Undecided::Unsupported);
                }
                factors.push(factor);
                self.budget.check_terms(factors.len())?;
            } else if self.take('/') || self.take(':') {
                // Every division nests the expression once more.
                divisions += 1;
                self.budget.check_depth(self.depth + divisions)?;
                let upper = Expression::product(factors);
                let lower = self.operand()?;
                if are_differentials(&upper, &lower) {
                    return Err(Undecided::Unsupported);
                }
                factors = vec![Expression::quotient(upper, lower)];
            } else {
                return Ok(Expression::product(factors));
            }
        }
    }

    /// A product without signs between its factors, perhaps with a sign before it.
    fn operand(&mut self) -> Parsed {
        let mut negative = false;
        loop {
            if self.take('-') {
                negative = !negative;
            } else if !self.take('+') {
                break;
            }
        }
        let product = self.product(false)?;
        Ok(if negative { product.negated() } else { product })
    }

    /// Factors side by side; as the argument of a function they end before the next function.
    fn product(&mut self, argument: bool) -> Parsed {
        let mut factors = vec![self.power()?];
        while self.starts_factor(argument) {
            self.budget.check_terms(factors.len())?;
            if self.is_label() {
                return Err(Undecided::Unsupported);
            }
            let number = matches!(factors.last(), Some(Expression::Number { .. }));
            if number && matches!(self.kind(), Some(Kind::Number { .. })) {
                // `1 1/2`: two numbers side by side mean nothing else.
                let fraction = self.spaced_fraction().ok_or(Undecided::Unsupported)?;
                mix(&mut factors, &fraction)?;
                continue;
            }
            let fraction = self.tokens[self.at].is_command("frac");
            let factor = self.power()?;
            match &factor {
                Expression::Number {
                    value,
                    decimal: false,
                } if fraction && number && value.is_positive() && factors.len() == 1 => {
                    let value = value.clone();
                    if mix(&mut factors, &value).is_err() {
                        factors.push(factor);
                    }
                }
                _ => factors.push(factor),
            }
        }
        if is_of_matrices(&factors) {
            return Err(Undecided::Unsupported);
        }
        Ok(Expression::product(factors))
    }

    /// Whether a number stands right behind a letter, as in `C6H12` and `3 R 2`: a label, not a product. `n2^n` is one.
    fn is_label(&self) -> bool {
        let Some(before) = self.at.checked_sub(1).map(|at| &self.tokens[at].kind) else {
            return false;
        };
        let raised = self.tokens.get(self.at + 1).is_some_and(|t| t.is('^'));
        matches!(before, Kind::Symbol(_) | Kind::Text(_))
            && matches!(self.kind(), Some(Kind::Number { .. }))
            && !raised
    }

    /// `1/2` behind an integer and a space.
    fn spaced_fraction(&mut self) -> Option<BigRational> {
        let [upper, slash, lower] = self.tokens.get(self.at..self.at + 3)? else {
            return None;
        };
        let (Kind::Number { value: a, .. }, Kind::Number { value: b, .. }) =
            (&upper.kind, &lower.kind)
        else {
            return None;
        };
        if !upper.spaced || !slash.is('/') || !a.is_integer() || !b.is_integer() || b.is_zero() {
            return None;
        }
        self.at += 3;
        Some(a / b)
    }

    fn starts_factor(&self, argument: bool) -> bool {
        match self.kind() {
            Some(Kind::Number { .. } | Kind::Symbol(_) | Kind::Text(_)) => true,
            Some(Kind::Open(bracket)) => *bracket != Bracket::Brace,
            Some(Kind::Operator('|')) => !self.inside_bars,
            Some(Kind::Command(name)) => {
                let closes = matches!(
                    name.as_str(),
                    "rfloor" | "rceil" | "norm" | "over" | "choose"
                );
                let next_call = argument && function(name).is_some();
                !closes && !next_call
            }
            _ => false,
        }
    }

    fn power(&mut self) -> Parsed {
        let mut base = self.primary()?;
        if let Expression::Symbol(name) = &base {
            base = match self.arguments(name)? {
                Some(value) => value,
                None => base,
            };
        }
        for nested in 0.. {
            self.budget.check_depth(self.depth + nested)?;
            if self.take('^') {
                let exponent = self.exponent()?;
                let iterated = match (&base, exponent.as_number()) {
                    // `f^{-1}(x)` is no reciprocal.
                    (Expression::Symbol(name), Some(times)) if times.is_integer() => {
                        self.arguments(&format!("{name}^{times}"))?
                    }
                    _ => None,
                };
                base = match iterated {
                    Some(value) => value,
                    None => Expression::Power(Box::new(base), Box::new(exponent)),
                };
            } else if self.take('!') {
                base = Expression::Function(Function::Factorial, vec![base]);
            } else if self.kind() == Some(&Kind::Percent) {
                self.at += 1;
                base = Expression::Quotient(Box::new(base), Box::new(Expression::integer(100)));
            } else if self.kind() == Some(&Kind::Degree) {
                self.at += 1;
                let radians = Expression::Quotient(
                    Box::new(Expression::Constant(Constant::Pi)),
                    Box::new(Expression::integer(180)),
                );
                base = Expression::Product(vec![base, radians]);
            } else {
                break;
            }
        }
        Ok(base)
    }

    /// The value of the function `name` at the arguments in the brackets here, where the letter is one for functions and
    /// the arguments are such as functions have.
    fn arguments(&mut self, name: &str) -> Result<Option<Expression>, Undecided> {
        if self.kind() != Some(&Kind::Open(Bracket::Round))
            || !calls::is_function(name, &self.tokens[self.at..])
        {
            return Ok(None);
        }
        self.depth += 1;
        self.budget.check_depth(self.depth)?;
        self.at += 1;
        let outer = std::mem::replace(&mut self.inside_bars, false);
        let mut arguments = vec![Expression::Symbol(name.to_owned()), self.sum()?];
        // A capital letter before a pair names a point.
        while self.kind() == Some(&Kind::Separator) && !name.starts_with(char::is_uppercase) {
            self.at += 1;
            arguments.push(self.sum()?);
            self.budget.check_terms(arguments.len())?;
        }
        self.inside_bars = outer;
        if self.kind() != Some(&Kind::Close(Bracket::Round)) {
            return Err(Undecided::Unsupported);
        }
        self.at += 1;
        self.depth -= 1;
        Ok(Some(Expression::Function(Function::Named, arguments)))
    }

    /// Behind `^`: a group, or one factor with its sign; a tower of powers is read from the right.
    fn exponent(&mut self) -> Parsed {
        self.depth += 1;
        self.budget.check_depth(self.depth)?;
        let negative = self.take('-');
        let mut exponent = self.primary()?;
        if self.take('^') {
            let next = self.exponent()?;
            exponent = Expression::Power(Box::new(exponent), Box::new(next));
        }
        self.depth -= 1;
        Ok(if negative {
            exponent.negated()
        } else {
            exponent
        })
    }

    fn primary(&mut self) -> Parsed {
        self.budget.spend(1)?;
        let Some(token) = self.tokens.get(self.at) else {
            return Err(Undecided::Unsupported);
        };
        self.at += 1;
        match &token.kind {
            Kind::Number { value, decimal } => Ok(Expression::Number {
                value: value.clone(),
                decimal: *decimal,
            }),
            Kind::Symbol(name) => {
                if self.is_digit(name) {
                    return Err(Undecided::Unsupported);
                }
                self.symbol(name)
            }
            Kind::Text(word) => {
                let word: String = word.chars().filter(|c| !c.is_whitespace()).collect();
                // Words are no variables: a sentence is no product.
                if word.chars().count() != 1 {
                    return Err(Undecided::Unsupported);
                }
                self.symbol(&word)
            }
            Kind::Open(bracket @ (Bracket::Round | Bracket::Square | Bracket::Group)) => {
                self.bracketed(&Kind::Close(*bracket))
            }
            Kind::Operator('|') => {
                let outer = std::mem::replace(&mut self.inside_bars, true);
                let inner = self.sum()?;
                self.inside_bars = outer;
                if !self.take('|') {
                    return Err(Undecided::Unsupported);
                }
                Ok(Expression::Function(Function::Absolute, vec![inner]))
            }
            Kind::Command(name) => self.command(name),
            _ => Err(Undecided::Unsupported),
        }
    }

    /// Whether the letter just passed is a digit behind others: `1A_{16}` is a number, and no product.
    fn is_digit(&self, letter: &str) -> bool {
        let Some([before, symbol]) = self.at.checked_sub(2).map(|at| &self.tokens[at..self.at])
        else {
            return false;
        };
        let base = self.tokens[self.at..]
            .iter()
            .find(|token| token.kind != Kind::Open(Bracket::Group) && !token.is('_'));
        let two_digits = base.is_some_and(|token| {
            matches!(&token.kind, Kind::Number { value, .. }
                if *value > BigRational::from_integer(10.into()))
        });
        matches!(before.kind, Kind::Number { .. })
            && !symbol.spaced
            && ("A"..="F").contains(&letter)
            && self.is('_')
            && two_digits
    }

    fn bracketed(&mut self, close: &Kind) -> Parsed {
        let outer = std::mem::replace(&mut self.inside_bars, false);
        let inner = self.stacked()?;
        self.inside_bars = outer;
        if self.kind() != Some(close) {
            return Err(Undecided::Unsupported);
        }
        self.at += 1;
        Ok(inner)
    }

    /// A letter with its subscript and primes.
    fn symbol(&mut self, name: &str) -> Parsed {
        let mut name = name.to_owned();
        loop {
            if self.take('_') {
                name.push('_');
                name.push_str(&self.subscript()?);
            } else if self.take('\'') {
                name.push('\'');
            } else {
                break;
            }
        }
        Ok(match name.as_str() {
            "e" => Expression::Constant(Constant::Euler),
            "i" => Expression::Constant(Constant::Imaginary),
            _ => Expression::Symbol(name),
        })
    }

    /// The text of a subscript: one token or a group.
    fn subscript(&mut self) -> Result<String, Undecided> {
        let mut text = String::new();
        let mut depth = 0_usize;
        loop {
            let Some(token) = self.tokens.get(self.at) else {
                return Err(Undecided::Unsupported);
            };
            self.at += 1;
            match &token.kind {
                Kind::Open(Bracket::Group) => depth += 1,
                Kind::Close(Bracket::Group) => depth = depth.saturating_sub(1),
                Kind::Number { value, .. } => text.push_str(&value.to_string()),
                Kind::Symbol(name) | Kind::Text(name) | Kind::Command(name) => text.push_str(name),
                Kind::Operator(c) => text.push(*c),
                Kind::Separator => text.push(','),
                _ => return Err(Undecided::Unsupported),
            }
            if depth == 0 {
                return Ok(text);
            }
        }
    }

    fn command(&mut self, name: &str) -> Parsed {
        match name {
            "pi" => Ok(Expression::Constant(Constant::Pi)),
            "infty" | "infinity" | "inf" => Ok(Expression::Constant(Constant::Infinity)),
            "frac" => {
                let upper = self.argument()?;
                let lower = self.argument()?;
                if are_differentials(&upper, &lower) {
                    return Err(Undecided::Unsupported);
                }
                Ok(Expression::quotient(upper, lower))
            }
            "binom" => {
                let upper = self.argument()?;
                let lower = self.argument()?;
                Ok(Expression::Function(Function::Binomial, vec![upper, lower]))
            }
            "sqrt" => self.root(),
            "lfloor" => self.enclosed("rfloor", Function::Floor),
            "lceil" => self.enclosed("rceil", Function::Ceiling),
            "norm" => self.enclosed("norm", Function::Absolute),
            "imath" => Ok(Expression::Constant(Constant::Imaginary)),
            _ if name.contains(' ') => Err(Undecided::Unsupported),
            _ => match function(name) {
                Some(named) => self.call(named),
                None if calls::is_letter(name) => self.symbol(&format!("\\{name}")),
                // What an unknown command means is unknown: `\equiv` and `\int` are no factors.
                None => Err(Undecided::Unsupported),
            },
        }
    }

    /// One argument of a command: a group or a single token.
    fn argument(&mut self) -> Parsed {
        self.depth += 1;
        self.budget.check_depth(self.depth)?;
        let argument = self.primary();
        self.depth -= 1;
        argument
    }

    fn enclosed(&mut self, close: &str, function: Function) -> Parsed {
        let inner = self.bracketed(&Kind::Command(close.to_owned()))?;
        Ok(Expression::Function(function, vec![inner]))
    }

    fn root(&mut self) -> Parsed {
        let mut degree = 2;
        if self.kind() == Some(&Kind::Open(Bracket::Square)) {
            self.at += 1;
            let written = self.bracketed(&Kind::Close(Bracket::Square))?;
            degree = written
                .as_number()
                .filter(|n| n.is_integer())
                .and_then(ToPrimitive::to_u32)
                .filter(|n| (2..=64).contains(n))
                .ok_or(Undecided::Unsupported)?;
        }
        let radicand = self.argument()?;
        Ok(Expression::Root(Box::new(radicand), degree))
    }

    /// A function with what may stand between its name and its argument.
    fn call(&mut self, named: Named) -> Parsed {
        self.depth += 1;
        self.budget.check_depth(self.depth)?;
        let base = if self.take('_') {
            Some(self.argument()?)
        } else {
            None
        };
        let exponent = if self.take('^') {
            Some(self.exponent()?)
        } else {
            None
        };
        let argument = match self.kind() {
            // `\sin(x)^2`: the power belongs to the function's value.
            Some(Kind::Open(_) | Kind::Operator('|')) => self.primary()?,
            Some(Kind::Operator('-')) => {
                self.at += 1;
                self.product(true)?.negated()
            }
            _ => self.product(true)?,
        };
        self.depth -= 1;
        named.apply(argument, base, exponent)
    }
}

/// Whether a vector occurs: a letter with an arrow or a hat.
fn has_vector(expression: &Expression) -> bool {
    let mut found = false;
    expression.walk(&mut |part| {
        found |= matches!(part, Expression::Symbol(name)
            if name.starts_with("vec ") || name.starts_with("hat "));
    });
    found
}

/// Whether a quotient is a derivative: `d` and a variable below, and a `d` above.
fn are_differentials(upper: &Expression, lower: &Expression) -> bool {
    let is_d = |expression: &Expression| match expression {
        Expression::Symbol(name) => name == "d",
        Expression::Power(base, _) => matches!(&**base, Expression::Symbol(name) if name == "d"),
        _ => false,
    };
    let above = match upper {
        Expression::Product(factors) => is_d(&factors[0]),
        single => is_d(single),
    };
    let below = match lower {
        Expression::Product(factors) => match factors.as_slice() {
            [d, Expression::Symbol(_) | Expression::Power(..)] => is_d(d),
            _ => false,
        },
        _ => false,
    };
    above && below
}

/// Whether a product may be one of matrices, in which order matters: capital letters, one of them inverted.
fn is_of_matrices(factors: &[Expression]) -> bool {
    let capital = |expression: &Expression| match expression {
        Expression::Symbol(name) => name.starts_with(|c: char| c.is_ascii_uppercase()),
        _ => false,
    };
    let inverse = |factor: &Expression| match factor {
        Expression::Power(base, exponent) => {
            let negative = exponent.as_number().is_some_and(|n| n.is_negative());
            negative && capital(base)
        }
        _ => false,
    };
    let others = factors.iter().any(|factor| match factor {
        Expression::Power(base, _) => capital(base) && !inverse(factor),
        single => capital(single),
    });
    let inverses = factors.iter().filter(|factor| inverse(factor)).count();
    inverses > 1 || (inverses == 1 && others)
}

/// Adds a fraction to the integer before it.
fn mix(factors: &mut [Expression], fraction: &BigRational) -> Result<(), Undecided> {
    let [
        Expression::Number {
            value,
            decimal: false,
        },
    ] = factors
    else {
        return Err(Undecided::Unsupported);
    };
    if !value.is_integer() {
        return Err(Undecided::Unsupported);
    }
    *value += fraction;
    Ok(())
}
