//! Reads an answer.
//!
//! Owns the grammar around expressions: lists, sets, tuples, relations, units, choices, words. Knows nothing of
//! equality. What it cannot read is [`Answer::Text`]; only a broken limit is an error.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::expression::Expression;
use super::formula;
use super::lexer::tokenize;
use super::limits::{Budget, Undecided};
use super::spelling::spell;
use super::token::{Bracket, Kind, Sign, Token};
use super::unit;
use super::value::{Answer, Comparison, Domain, Value};
use super::wording::{choice, tidy, trim};

/// Reads `text`, which is an answer and nothing else.
pub(crate) fn read(text: &str, budget: &mut Budget) -> Result<Answer, Undecided> {
    if text.len() > budget.limits.length {
        return Err(Undecided::TooLong);
    }
    let text = tidy(text);
    let dotted = goes_on(&text).map(|behind| format!("{}{behind}…", trim(&text)));
    let text = dotted.as_deref().unwrap_or_else(|| trim(&text));
    if let Some((letter, rest)) = choice(text) {
        let rest = match trim(&rest) {
            "" => None,
            rest => Some(Box::new(read_plain(rest, budget)?)),
        };
        return Ok(Answer::Choice { letter, rest });
    }
    read_plain(text, budget)
}

fn read_plain(text: &str, budget: &mut Budget) -> Result<Answer, Undecided> {
    let tokens = tokenize(text, budget)?;
    let related = tokens
        .iter()
        .any(|token| matches!(token.kind, Kind::Relation(_)));
    match read_signs(&connected(&tokens, related), budget) {
        Err(Undecided::Unsupported) => Ok(Answer::Text(spell(&tokens))),
        other => other,
    }
}

/// With "and" and "or" between statements as separators: `x < 1 \lor x > 2`. Between `p` and `q` they make a formula of
/// logic, which is not read.
fn connected(tokens: &[Token], related: bool) -> Vec<Token> {
    let mut tokens = tokens.to_vec();
    for token in &mut tokens {
        if related && (token.is_command("land") || token.is_command("lor")) {
            token.kind = Kind::Separator;
        }
    }
    tokens
}

/// Whether the dots that end an answer belong to it, rather than to its sentence: behind a comma, which it returns, or a
/// decimal number.
fn goes_on(text: &str) -> Option<&'static str> {
    let text = text.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '$' | '*' | '`'));
    let before = text.strip_suffix("...")?;
    let before = before.trim_end_matches('.').trim_end();
    let literal = before
        .rsplit(|c: char| !(c.is_ascii_digit() || c == '.'))
        .next()
        .unwrap_or_default();
    if before.ends_with(',') {
        return Some(",");
    }
    literal.contains('.').then_some("")
}

/// How many signs of an answer are independent of each other.
const SIGNS: usize = 4;

/// Reads `\pm` as two answers, one for each sign. Several in one expression are independent, `\pm 1 \pm \sqrt 2` is four
/// numbers, unless a `\mp` says that they go together; in the parts of a tuple and on both sides of an equation they do.
fn read_signs(tokens: &[Token], budget: &mut Budget) -> Result<Answer, Undecided> {
    let signed = tokens
        .iter()
        .any(|t| matches!(t.kind, Kind::PlusMinus | Kind::MinusPlus));
    if !signed {
        return read_list(tokens, 0, budget);
    }
    let coupled = tokens.iter().any(|t| t.kind == Kind::MinusPlus);
    let mut count = 1;
    let mut here = 0;
    for token in tokens {
        match token.kind {
            Kind::PlusMinus => here += 1,
            Kind::Separator | Kind::Relation(_) => here = 0,
            _ => {}
        }
        count = count.max(here);
    }
    let count = if coupled { 1 } else { count };
    if count > SIGNS {
        return Err(Undecided::Unsupported);
    }
    let mut answers = Vec::new();
    for choice in 0..1_usize << count {
        let mut here = 0;
        let tokens: Vec<Token> = tokens
            .iter()
            .map(|token| {
                let minus = (choice >> if coupled { 0 } else { here }) & 1 == 1;
                let sign = |minus| Kind::Operator(if minus { '-' } else { '+' });
                let kind = match token.kind {
                    Kind::PlusMinus => {
                        here += 1;
                        sign(minus)
                    }
                    Kind::MinusPlus => sign(!minus),
                    ref other => {
                        if matches!(other, Kind::Separator | Kind::Relation(_)) {
                            here = 0;
                        }
                        other.clone()
                    }
                };
                Token {
                    kind,
                    spaced: token.spaced,
                }
            })
            .collect();
        match read_list(&tokens, 0, budget)? {
            Answer::List(items) | Answer::Set(items) => answers.extend(items),
            other => answers.push(other),
        }
    }
    // Both answers are meant, in no order: `\pm 5` is not the point `(5, -5)`.
    Ok(Answer::Set(answers))
}

/// Splits at tokens outside all brackets.
fn split(tokens: &[Token], at: impl Fn(&Kind) -> bool) -> Vec<&[Token]> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth = depth.saturating_sub(1),
            kind if depth == 0 && at(kind) => {
                parts.push(&tokens[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts
}

fn read_items(
    tokens: &[Token],
    depth: usize,
    budget: &mut Budget,
) -> Result<Vec<Answer>, Undecided> {
    budget.check_depth(depth)?;
    budget.spend(tokens.len() as u64)?;
    let parts: Vec<&[Token]> = split(tokens, |kind| *kind == Kind::Separator)
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    budget.check_terms(parts.len())?;
    parts
        .into_iter()
        .map(|part| read_relation(part, depth + 1, budget))
        .collect()
}

fn read_list(tokens: &[Token], depth: usize, budget: &mut Budget) -> Result<Answer, Undecided> {
    let mut items = read_items(tokens, depth, budget)?;
    match items.len() {
        0 => Err(Undecided::Unsupported),
        1 => Ok(items.remove(0)),
        _ => Ok(Answer::List(items)),
    }
}

fn read_relation(tokens: &[Token], depth: usize, budget: &mut Budget) -> Result<Answer, Undecided> {
    let mut signs: Vec<Sign> = Vec::new();
    let mut parts = split(tokens, |kind| matches!(kind, Kind::Relation(_)));
    let mut level = 0_usize;
    for token in tokens {
        match token.kind {
            Kind::Open(_) => level += 1,
            Kind::Close(_) => level = level.saturating_sub(1),
            Kind::Relation(sign) if level == 0 => signs.push(sign),
            _ => {}
        }
    }
    // `= 5` and `\approx 5` are answers of one side.
    if parts.len() > 1
        && parts[0].is_empty()
        && matches!(signs[0], Sign::Equal | Sign::Approximately)
    {
        parts.remove(0);
        signs.remove(0);
    }
    budget.check_terms(parts.len())?;
    if signs.is_empty()
        && let Some(word) = letters(tokens)
    {
        return Ok(Answer::Text(word));
    }
    let defines = !signs.is_empty()
        && signs
            .iter()
            .all(|sign| matches!(sign, Sign::Equal | Sign::Approximately));
    let mut sides = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        sides.push(match read_operation(part, depth, budget) {
            // `P(X = 2) = 0.3`: what the equation defines need not be read.
            Err(Undecided::Unsupported) if index == 0 && defines && may_name(part) => {
                Answer::Text(spell(part))
            }
            other => other?,
        });
    }
    // An approximation says less than what stands before it, unless that is but a name.
    if let Some(at) = signs.iter().position(|s| *s == Sign::Approximately) {
        if at == 0 && is_name(&sides[0]) {
            signs[0] = Sign::Equal;
        } else {
            signs.truncate(at);
            sides.truncate(at + 1);
        }
    }
    if signs.is_empty() {
        return Ok(sides.remove(0));
    }
    let signs = signs
        .into_iter()
        .map(|sign| match sign {
            Sign::Equal | Sign::Approximately | Sign::Member => Comparison::Equal,
            Sign::NotEqual => Comparison::NotEqual,
            Sign::Less => Comparison::Less,
            Sign::LessOrEqual => Comparison::LessOrEqual,
            Sign::Greater => Comparison::Greater,
            Sign::GreaterOrEqual => Comparison::GreaterOrEqual,
        })
        .collect();
    Ok(Answer::Relation { sides, signs })
}

/// A word of letters, of which the first is a capital one: `HTH` and `IV` are no products, in which order would not
/// matter. In an equation they may be, as in `V = LWH`.
fn letters(tokens: &[Token]) -> Option<String> {
    let mut word = String::new();
    for token in tokens {
        match &token.kind {
            Kind::Symbol(letter) if letter.len() == 1 && (word.is_empty() || !token.spaced) => {
                word.push_str(letter);
            }
            _ => return None,
        }
    }
    let starts = word.starts_with(|c: char| c.is_ascii_uppercase());
    (word.len() > 1 && starts && word.bytes().all(|b| b.is_ascii_alphabetic())).then_some(word)
}

/// Whether tokens that are not read may still be the name of what stands behind `=`: no statement of their own.
fn may_name(tokens: &[Token]) -> bool {
    let states = |name: &str| {
        matches!(
            name,
            "equiv"
                | "not"
                | "notin"
                | "to"
                | "implies"
                | "iff"
                | "mapsto"
                | "neg"
                | "land"
                | "lor"
                | "sim"
                | "cong"
                | "propto"
                | "forall"
                | "exists"
                | "pmod"
                | "bmod"
                | "mod"
        ) || name.ends_with("arrow")
            || name.contains("subset")
            || name.contains("supset")
    };
    let mut depth = 0_i64;
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth -= 1,
            // The arrow of a limit stands inside its braces.
            Kind::Command(name) if depth == 0 && states(name) => return false,
            // "since 2 + 3" is a sentence, "Var(X)" a name.
            Kind::Text(words) if words.chars().count() > 1 => {
                let names = tokens.get(at + 1).is_none_or(|next| {
                    matches!(next.kind, Kind::Open(_) | Kind::Close(_) | Kind::Text(_))
                        || next.is('_')
                });
                if !names || words.split_whitespace().any(|word| word == "not") {
                    return false;
                }
            }
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0 && !tokens.is_empty()
}

/// Whether a side is what an equation defines: a variable, a function's value, a word.
pub(crate) fn is_name(answer: &Answer) -> bool {
    match answer {
        Answer::Value(value) => value.expression.is_symbols() || value.expression.is_call(),
        Answer::Tuple { items, .. } | Answer::List(items) => items.iter().all(is_name),
        Answer::Text(_) | Answer::Choice { .. } => true,
        _ => false,
    }
}

/// Unions, intersections and differences of sets.
fn read_operation(
    tokens: &[Token],
    depth: usize,
    budget: &mut Budget,
) -> Result<Answer, Undecided> {
    budget.check_depth(depth)?;
    let is = |names: &'static [&'static str]| move |kind: &Kind| matches!(kind, Kind::Command(name) if names.contains(&name.as_str()));
    let parts = split(tokens, is(&["cup", "union", "bigcup"]));
    if parts.len() > 1 {
        budget.check_terms(parts.len())?;
        let parts = parts
            .into_iter()
            .map(|part| read_operation(part, depth + 1, budget))
            .collect::<Result<_, _>>()?;
        return Ok(Answer::Union(parts));
    }
    let parts = split(tokens, is(&["setminus", "backslash"]));
    // `\mathbb{R} - \{0\}`.
    let parts = if parts.len() == 1
        && matches!(&tokens.first().map(|t| &t.kind), Some(Kind::Command(name)) if name.starts_with("mathbb"))
    {
        split(tokens, |kind| *kind == Kind::Operator('-'))
    } else {
        parts
    };
    if let [left @ .., right] = parts.as_slice()
        && !left.is_empty()
    {
        budget.check_terms(parts.len().saturating_mul(8))?;
        let right = read_operation(right, depth + 1, budget)?;
        let end = tokens.len() - parts[parts.len() - 1].len() - 1;
        let left = read_operation(&tokens[..end], depth + 1, budget)?;
        return Ok(Answer::Difference(Box::new(left), Box::new(right)));
    }
    let parts = split(tokens, is(&["cap", "bigcap"]));
    if parts.len() > 1 {
        let parts = parts
            .into_iter()
            .map(|part| read_operation(part, depth + 1, budget))
            .collect::<Result<_, _>>()?;
        return Ok(Answer::Intersection(parts));
    }
    read_single(tokens, depth, budget)
}

/// The content of brackets that hold all of `tokens`.
fn enclosed(tokens: &[Token]) -> Option<(Bracket, Bracket, &[Token])> {
    let [first, inner @ .., last] = tokens else {
        return None;
    };
    let (Kind::Open(open), Kind::Close(close)) = (&first.kind, &last.kind) else {
        return None;
    };
    let mut depth = 0_usize;
    for token in inner {
        match token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    (depth == 0).then_some((*open, *close, inner))
}

fn read_single(tokens: &[Token], depth: usize, budget: &mut Budget) -> Result<Answer, Undecided> {
    budget.check_depth(depth)?;
    budget.spend(tokens.len() as u64 + 1)?;
    if let Some((open, close, inner)) = enclosed(tokens) {
        let separated = split(inner, |kind| *kind == Kind::Separator).len() > 1;
        let round = |bracket| matches!(bracket, Bracket::Round);
        match (open, close) {
            (Bracket::Group, Bracket::Group) => return read_list(inner, depth + 1, budget),
            (Bracket::Brace, Bracket::Brace) => {
                return Ok(Answer::Set(read_items(inner, depth + 1, budget)?));
            }
            (Bracket::Round | Bracket::Square, Bracket::Round | Bracket::Square) if separated => {
                return Ok(Answer::Tuple {
                    items: read_items(inner, depth + 1, budget)?,
                    open: round(open),
                    close: round(close),
                });
            }
            (Bracket::Round | Bracket::Square, _)
                if inner.first().is_some_and(|t| t.is_command("begin matrix")) =>
            {
                return read_single(inner, depth + 1, budget);
            }
            (Bracket::Round, Bracket::Round) => {
                return read_relation(inner, depth + 1, budget);
            }
            _ => {}
        }
    }
    match tokens {
        [] => return Err(Undecided::Unsupported),
        [token] => match &token.kind {
            Kind::Command(name) if name == "emptyset" => return Ok(Answer::Set(Vec::new())),
            Kind::Command(name) => {
                if let Some(domain) = domain(name) {
                    return Ok(Answer::Domain(domain));
                }
            }
            Kind::Text(text) => return read_text(text, depth, budget),
            _ => {}
        },
        _ => {}
    }
    if tokens[0].is_command("begin matrix") {
        return read_matrix(tokens, depth, budget);
    }
    if tokens.iter().all(|t| matches!(t.kind, Kind::Text(_))) {
        return Ok(Answer::Text(spell(tokens)));
    }
    read_value(tokens, depth, budget)
}

/// `\text{…}` alone: a choice, a value set in upright letters, or words.
fn read_text(text: &str, depth: usize, budget: &mut Budget) -> Result<Answer, Undecided> {
    if let Some((letter, rest)) = choice(text)
        && rest.is_empty()
    {
        return Ok(Answer::Choice { letter, rest: None });
    }
    let words = text.chars().all(|c| c.is_alphabetic() || c.is_whitespace());
    if words && text.chars().count() > 1 {
        let kind = Kind::Text(text.to_owned());
        return Ok(Answer::Text(spell(&[Token {
            kind,
            spaced: false,
        }])));
    }
    let tokens = tokenize(text, budget)?;
    if let [token] = tokens.as_slice()
        && matches!(token.kind, Kind::Text(_))
    {
        return Ok(Answer::Text(spell(&tokens)));
    }
    match read_list(&tokens, depth + 1, budget) {
        Err(Undecided::Unsupported) => Ok(Answer::Text(spell(&tokens))),
        other => other,
    }
}

fn domain(command: &str) -> Option<Domain> {
    Some(match command.strip_prefix("mathbb ")? {
        "N" => Domain::Naturals,
        "Z" => Domain::Integers,
        "Q" => Domain::Rationals,
        "R" => Domain::Reals,
        "C" => Domain::Complexes,
        _ => return None,
    })
}

fn read_matrix(tokens: &[Token], depth: usize, budget: &mut Budget) -> Result<Answer, Undecided> {
    let [_, inner @ .., last] = tokens else {
        return Err(Undecided::Unsupported);
    };
    if !last.is_command("end matrix") {
        return Err(Undecided::Unsupported);
    }
    let mut rows = Vec::new();
    for row in split(inner, |kind| *kind == Kind::NewRow) {
        if row.is_empty() {
            continue;
        }
        let cells = split(row, |kind| *kind == Kind::Operator('&'));
        budget.check_terms(cells.len() + rows.len())?;
        let row = cells
            .into_iter()
            .map(|cell| formula::read(cell, depth, budget))
            .collect::<Result<Vec<Expression>, _>>()?;
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(Undecided::Unsupported);
    }
    Ok(Answer::Matrix(rows))
}

/// A value with the currency before it, and the percent sign or the unit behind it.
fn read_value(tokens: &[Token], depth: usize, budget: &mut Budget) -> Result<Answer, Undecided> {
    let parts = split(tokens, |kind| *kind == Kind::Operator(':'));
    if parts.len() > 2 {
        return read_proportion(tokens, &parts, depth, budget);
    }
    let mut tokens = tokens.to_vec();
    let mut currency = None;
    let place = usize::from(tokens[0].is('-') || tokens[0].is('+'));
    if let Some(Kind::Currency(name)) = tokens.get(place).map(|t| &t.kind) {
        currency = Some(unit::currency(name));
        tokens.remove(place);
    }
    let (tokens, unit) = match unit::split(&tokens) {
        Some((value, unit)) if !calls_angle(value) => (value, Some(unit)),
        _ => (tokens.as_slice(), None),
    };
    let (tokens, percent) = match tokens {
        [value @ .., last] if last.kind == Kind::Percent && !value.is_empty() => (value, true),
        _ => (tokens, false),
    };
    let mut expression = formula::read(tokens, depth, budget)?;
    let scale = unit.as_ref().map_or(1, unit::Unit::scale);
    if scale != 1 {
        expression = match expression {
            Expression::Number { value, decimal } => Expression::Number {
                value: value * BigRational::from_integer(scale.into()),
                decimal,
            },
            other => Expression::Product(vec![Expression::integer(scale), other]),
        };
    }
    Ok(Answer::Value(Value {
        expression,
        percent,
        // "$5 million" keeps the currency, since it was written first.
        unit: currency.or(unit),
    }))
}

/// `1:2:3`, which is no quotient: as text, of whole numbers without a common factor where its parts are numbers.
fn read_proportion(
    tokens: &[Token],
    parts: &[&[Token]],
    depth: usize,
    budget: &mut Budget,
) -> Result<Answer, Undecided> {
    budget.check_terms(parts.len())?;
    let mut numbers = Vec::new();
    for part in parts {
        match formula::read(part, depth, budget)? {
            Expression::Number { value, .. } => numbers.push(value),
            _ => return Ok(Answer::Text(spell(tokens))),
        }
    }
    let mut scale = BigInt::one();
    for number in &numbers {
        budget.spend_on(number)?;
        scale = scale.lcm(number.denom());
        budget.spend_on(&BigRational::from_integer(scale.clone()))?;
    }
    let whole: Vec<BigInt> = numbers
        .iter()
        .map(|number| (number * &scale).to_integer())
        .collect();
    let factor = whole.iter().fold(BigInt::zero(), |a, b| a.gcd(b));
    if factor.is_zero() {
        return Ok(Answer::Text(spell(tokens)));
    }
    let whole: Vec<String> = whole.iter().map(|n| (n / &factor).to_string()).collect();
    Ok(Answer::Text(whole.join(":")))
}

/// Whether a degree sign behind these tokens belongs to the argument of a function: `\sin 30^\circ`.
fn calls_angle(tokens: &[Token]) -> bool {
    tokens.iter().any(|token| {
        matches!(&token.kind, Kind::Command(name)
            if matches!(name.as_str(), "sin" | "cos" | "tan" | "cot" | "sec" | "csc"))
    })
}
