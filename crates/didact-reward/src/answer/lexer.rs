//! Characters to tokens.
//!
//! Owns plain text and Unicode signs; with `command`, LaTeX leads to the same tokens. Knows no grammar.

use num_rational::BigRational;

use super::calendar;
use super::limits::{Budget, Undecided};
use super::literal;
use super::token::{Bracket, Kind, Sign, Token};

/// Names that are functions or constants even without a backslash.
pub(super) const PLAIN_NAMES: [&str; 30] = [
    "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "pi", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "infinity", "inf", "infty", "abs",
    "floor", "ceil", "lg", "union", "cup", "theta",
];

/// Words of a sentence that might be read as products; longer ones never are.
const SHORT_WORDS: [&str; 12] = [
    "so", "is", "the", "are", "was", "get", "got", "has", "let", "she", "its", "ans",
];

pub(crate) fn tokenize(text: &str, budget: &mut Budget) -> Result<Vec<Token>, Undecided> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        spaced: false,
        nesting: 0,
        first_arguments: Vec::new(),
        tokens: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        budget.spend(1)?;
        lexer.step()?;
    }
    Ok(raise_degrees(lexer.tokens))
}

fn whole(value: i64) -> Kind {
    Kind::Number {
        value: BigRational::from_integer(value.into()),
        decimal: false,
    }
}

/// The plain character of a superscript, or with `_` of a subscript.
fn raised(operator: char, c: char) -> Option<char> {
    let (small, plain) = match operator {
        '^' => ("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n"),
        _ => ("₀₁₂₃₄₅₆₇₈₉", "0123456789"),
    };
    let place = small.chars().position(|s| s == c)?;
    plain.chars().nth(place)
}

/// How long the dots are that stand here.
fn ellipsis(chars: &[char]) -> Option<usize> {
    ["...", "…", "\\ldots", "\\dots", "\\cdots"]
        .iter()
        .find(|dots| {
            dots.chars()
                .enumerate()
                .all(|(i, c)| chars.get(i) == Some(&c))
        })
        .map(|dots| {
            let length = dots.chars().count();
            let more = chars[length..].iter().take_while(|c| **c == '.').count();
            length + if dots.starts_with('.') { more } else { 0 }
        })
}

/// `^\circ` and `^{\circ}` are the degree sign, and so is `\circ` right behind a number; elsewhere it composes functions.
fn raise_degrees(tokens: Vec<Token>) -> Vec<Token> {
    let mut raised: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let ends = |tail: &[Kind]| {
            raised.len() >= tail.len()
                && raised[raised.len() - tail.len()..]
                    .iter()
                    .map(|t| &t.kind)
                    .eq(tail)
        };
        let group = Kind::Open(Bracket::Group);
        let circle = token.is_command("circ");
        if circle && matches!(raised.last().map(|t| &t.kind), Some(Kind::Number { .. })) {
            raised.push(Token {
                kind: Kind::Degree,
                spaced: token.spaced,
            });
            continue;
        }
        if (circle || token.kind == Kind::Degree) && ends(&[Kind::Operator('^')]) {
            raised.pop();
            raised.push(Token {
                kind: Kind::Degree,
                spaced: false,
            });
            continue;
        }
        if token.kind == Kind::Close(Bracket::Group)
            && [Kind::Degree, Kind::Command("circ".into())]
                .into_iter()
                .any(|sign| ends(&[Kind::Operator('^'), group.clone(), sign]))
        {
            raised.truncate(raised.len() - 3);
            raised.push(Token {
                kind: Kind::Degree,
                spaced: false,
            });
            continue;
        }
        raised.push(token);
    }
    raised
}

pub(super) struct Lexer {
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
    pub(super) spaced: bool,
    /// Open brackets; inside one, a comma separates even before three digits.
    pub(super) nesting: usize,
    /// How deep the groups lie behind which the second argument of a fraction stands.
    pub(super) first_arguments: Vec<usize>,
    pub(super) tokens: Vec<Token>,
}

impl Lexer {
    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    pub(super) fn push(&mut self, kind: Kind) {
        match kind {
            Kind::Open(_) => self.nesting += 1,
            Kind::Close(_) => self.nesting = self.nesting.saturating_sub(1),
            _ => {}
        }
        self.tokens.push(Token {
            kind,
            spaced: self.spaced,
        });
        self.spaced = false;
    }

    fn step(&mut self) -> Result<(), Undecided> {
        let c = self.chars[self.at];
        if let Some((written, length)) = calendar::read(&self.chars, self.at) {
            self.at += length;
            self.push(Kind::Text(written));
            return Ok(());
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|d| d.is_ascii_digit())) {
            return self.number();
        }
        if c.is_ascii_alphabetic() {
            self.word();
            return Ok(());
        }
        if c == '\\' {
            return self.command();
        }
        self.at += 1;
        match c {
            _ if c.is_whitespace() => self.spaced = true,
            '~' | '\u{200b}' | '\u{feff}' => self.spaced = true,
            '.' if self.peek(0) == Some('.') && self.peek(1) == Some('.') => {
                while self.peek(0) == Some('.') {
                    self.at += 1;
                }
                self.push(Kind::Ellipsis);
            }
            '…' | '⋯' => self.push(Kind::Ellipsis),
            '$' | '"' | '\u{201c}' | '\u{201d}' | '`' | '.' | '?' => {}
            '(' | '（' => self.push(Kind::Open(Bracket::Round)),
            ')' | '）' => self.push(Kind::Close(Bracket::Round)),
            '[' => self.push(Kind::Open(Bracket::Square)),
            ']' => self.push(Kind::Close(Bracket::Square)),
            '{' if self.peek(0) == Some(',') && self.peek(1) == Some('}') => {
                // `1{,}234` is read with the number; elsewhere it is a comma.
                self.at += 2;
                self.push(Kind::Separator);
            }
            '{' => self.push(Kind::Open(Bracket::Group)),
            '}' => {
                self.push(Kind::Close(Bracket::Group));
                if self.first_arguments.last() == Some(&self.nesting) {
                    self.first_arguments.pop();
                    self.single_digit();
                }
            }
            ',' | ';' | '，' | '、' | '；' => self.push(Kind::Separator),
            '+' | '-' | '/' | '^' | '_' | '!' | '|' | ':' | '&' | '\'' => {
                if c == '!' && self.peek(0) == Some('=') {
                    self.at += 1;
                    self.push(Kind::Relation(Sign::NotEqual));
                } else {
                    self.push(Kind::Operator(c));
                }
            }
            '*' if self.peek(0) == Some('*') => {
                self.at += 1;
                self.push(Kind::Operator('^'));
            }
            '*' => self.push(Kind::Operator('*')),
            '−' | '–' | '﹣' | '－' => self.push(Kind::Operator('-')),
            '·' | '⋅' | '∙' => self.push(Kind::Operator('*')),
            '×' | '✕' => self.push(Kind::Operator('×')),
            '÷' | '∕' | '⁄' => self.push(Kind::Operator('/')),
            '′' | '’' => self.push(Kind::Operator('\'')),
            '=' => {
                while self.peek(0) == Some('=') {
                    self.at += 1;
                }
                self.push(Kind::Relation(Sign::Equal));
            }
            '<' | '>' => {
                let or_equal = self.peek(0) == Some('=');
                self.at += usize::from(or_equal);
                self.push(Kind::Relation(match (c, or_equal) {
                    ('<', false) => Sign::Less,
                    ('<', true) => Sign::LessOrEqual,
                    (_, false) => Sign::Greater,
                    (_, true) => Sign::GreaterOrEqual,
                }));
            }
            '≤' | '⩽' => self.push(Kind::Relation(Sign::LessOrEqual)),
            '≥' | '⩾' => self.push(Kind::Relation(Sign::GreaterOrEqual)),
            '≠' => self.push(Kind::Relation(Sign::NotEqual)),
            '≈' => self.push(Kind::Relation(Sign::Approximately)),
            '∈' => self.push(Kind::Relation(Sign::Member)),
            '±' => self.push(Kind::PlusMinus),
            '∓' => self.push(Kind::MinusPlus),
            '%' => self.push(Kind::Percent),
            '°' | 'º' => self.push(Kind::Degree),
            '€' => self.push(Kind::Currency("euro")),
            '£' => self.push(Kind::Currency("pound sterling")),
            '¥' => self.push(Kind::Currency("yen")),
            '₹' => self.push(Kind::Currency("rupee")),
            '¢' => self.push(Kind::Currency("cent")),
            '√' => self.push(Kind::Command("sqrt".into())),
            '∛' | '∜' => {
                self.push(Kind::Command("sqrt".into()));
                self.push(Kind::Open(Bracket::Square));
                self.push(whole(if c == '∛' { 3 } else { 4 }));
                self.push(Kind::Close(Bracket::Square));
            }
            'π' => self.push(Kind::Command("pi".into())),
            '∞' => self.push(Kind::Command("infty".into())),
            '∪' => self.push(Kind::Command("cup".into())),
            '∩' => self.push(Kind::Command("cap".into())),
            '∅' => self.push(Kind::Command("emptyset".into())),
            'ℝ' => self.push(Kind::Command("mathbb R".into())),
            'ℤ' => self.push(Kind::Command("mathbb Z".into())),
            'ℚ' => self.push(Kind::Command("mathbb Q".into())),
            'ℕ' => self.push(Kind::Command("mathbb N".into())),
            'ℂ' => self.push(Kind::Command("mathbb C".into())),
            '⟨' => self.push(Kind::Open(Bracket::Round)),
            '⟩' => self.push(Kind::Close(Bracket::Round)),
            _ => self.unicode(c),
        }
        Ok(())
    }

    /// Superscript digits, fractions of one character, letters of other alphabets.
    fn unicode(&mut self, c: char) {
        if let Some(operator) = ['^', '_']
            .into_iter()
            .find(|operator| raised(*operator, c).is_some())
        {
            // A run of them is one exponent, as between braces: 10¹² is no tower of powers.
            self.at -= 1;
            let start = self.at;
            while self.peek(0).is_some_and(|c| raised(operator, c).is_some()) {
                self.at += 1;
            }
            let run: String = self.chars[start..self.at]
                .iter()
                .filter_map(|c| raised(operator, *c))
                .collect();
            self.push(Kind::Operator(operator));
            self.push(Kind::Open(Bracket::Group));
            let mut digits = String::new();
            for c in run.chars().chain([' ']) {
                if c.is_ascii_digit() {
                    digits.push(c);
                    continue;
                }
                if let Ok(number) = digits.parse() {
                    self.push(Kind::Number {
                        value: BigRational::from_integer(number),
                        decimal: false,
                    });
                    digits.clear();
                }
                match c {
                    ' ' => {}
                    '+' | '-' => self.push(Kind::Operator(c)),
                    _ => self.push(Kind::Symbol(c.to_string())),
                }
            }
            self.push(Kind::Close(Bracket::Group));
        } else if let Some((upper, lower)) = literal::vulgar_fraction(c) {
            let value = BigRational::new(upper.into(), lower.into());
            // `1½` is a mixed number.
            if let Some(Token {
                kind: Kind::Number { value: whole, .. },
                ..
            }) = self.tokens.last_mut()
                && whole.is_integer()
            {
                *whole += value;
                return;
            }
            self.push(Kind::Number {
                value,
                decimal: false,
            });
        } else {
            self.push(Kind::Symbol(c.to_string()));
        }
    }

    fn number(&mut self) -> Result<(), Undecided> {
        let mut literal = literal::read(&self.chars, self.at, self.nesting == 0)?;
        let digits = &self.chars[self.at..self.at + literal.length];
        let behind = self.at + literal.length;
        if literal.decimal
            && let Some(dots) = ellipsis(&self.chars[behind..])
            && let Some(value) = literal::repeating(digits)
        {
            literal.value = value;
            literal.decimal = false;
            literal.length += dots;
        }
        self.at += literal.length;
        self.push(Kind::Number {
            value: literal.value,
            decimal: literal.decimal,
        });
        Ok(())
    }

    /// A run of letters outside commands.
    fn word(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        let lower = word.to_lowercase();
        if lower == "x" && self.is_times() {
            self.push(Kind::Operator('×'));
            return;
        }
        if self.is_prose(&lower) {
            self.push(Kind::Text(word));
            return;
        }
        match word.as_str() {
            "USD" => return self.push(Kind::Currency("dollar")),
            "EUR" => return self.push(Kind::Currency("euro")),
            "GBP" => return self.push(Kind::Currency("pound sterling")),
            "JPY" => return self.push(Kind::Currency("yen")),
            _ => {}
        }
        match lower.as_str() {
            "and" | "or" => self.separate(),
            "percent" | "percentage" | "pct" => self.push(Kind::Percent),
            "degree" | "degrees" => self.push(Kind::Degree),
            _ if PLAIN_NAMES.contains(&lower.as_str()) => {
                self.push(Kind::Command(lower));
            }
            _ if word.len() > 3 || super::unit::is_word(&word) => self.push(Kind::Text(word)),
            _ if self.spaced && self.follows_number() && super::unit::is_symbol(&word) => {
                self.push(Kind::Text(word));
            }
            _ if word.len() > 1 && self.among_words() => self.push(Kind::Text(word)),
            _ => {
                for letter in word.chars() {
                    self.push(Kind::Symbol(letter.to_string()));
                }
            }
        }
    }

    /// Whether an `x` just read stands between a number and a power of ten.
    pub(super) fn is_times(&self) -> bool {
        if !self.follows_number() {
            return false;
        }
        let rest: String = self.chars[self.at..]
            .iter()
            .filter(|c| !c.is_whitespace())
            .take(3)
            .collect();
        rest == "10^"
    }

    fn follows_number(&self) -> bool {
        matches!(
            self.tokens.last().map(|t| &t.kind),
            Some(Kind::Number { .. })
        )
    }

    /// Whether a run of letters just read is a short word of a sentence rather than a product: "so x is 5".
    fn is_prose(&self, word: &str) -> bool {
        let starts = self.tokens.is_empty() || self.spaced;
        let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ':' | '\'' | '’');
        // Alone it may still be a product.
        let ended = self.peek(0).map_or(!self.tokens.is_empty(), ends);
        SHORT_WORDS.contains(&word) && starts && ended
    }

    /// Whether a run of letters just read stands beside another word: a sentence, not a product.
    fn among_words(&self) -> bool {
        let follows =
            self.spaced && matches!(self.tokens.last().map(|t| &t.kind), Some(Kind::Text(_)));
        let space = self.chars[self.at..]
            .iter()
            .take_while(|c| **c == ' ')
            .count();
        let next: String = self.chars[self.at + space..]
            .iter()
            .take_while(|c| c.is_ascii_alphabetic())
            .collect();
        let continues = space > 0
            && next.len() > 1
            && !PLAIN_NAMES.contains(&next.as_str())
            && !matches!(next.as_str(), "and" | "or");
        follows || continues
    }

    /// A comma, or "and": one separator even where both stand.
    pub(super) fn separate(&mut self) {
        if self.tokens.last().map(|t| &t.kind) != Some(&Kind::Separator) {
            self.push(Kind::Separator);
        }
    }
}
