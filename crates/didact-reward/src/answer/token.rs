//! The tokens of an answer.
//!
//! Owns how characters become tokens: LaTeX commands, plain text and Unicode signs lead to the same ones. Knows no
//! grammar.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::limits::{Budget, Undecided};
use super::literal;

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
    /// `+ - * / ^ _ ! | : & '`, and `;` for a separator.
    Operator(char),
    Relation(Sign),
    /// A comma, a semicolon, "and", "or".
    Separator,
    PlusMinus,
    MinusPlus,
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

/// Names that are functions or constants even without a backslash.
const PLAIN_NAMES: [&str; 30] = [
    "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "pi", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "infinity", "inf", "infty", "abs",
    "floor", "ceil", "lg", "union", "cup", "theta",
];

/// Commands whose braces hold plain text.
const TEXT_COMMANDS: [&str; 17] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
    "textnormal",
    "mbox",
    "hbox",
    "mathrm",
    "mathit",
    "mathbf",
    "mathsf",
    "mathtt",
    "operatorname",
    "bf",
    "rm",
];

/// Commands that only change how things look.
const IGNORED_COMMANDS: [&str; 33] = [
    "left",
    "right",
    "middle",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "biggl",
    "biggr",
    "Biggl",
    "Biggr",
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "limits",
    "nolimits",
    "boxed",
    "fbox",
    "mathstrut",
    "phantom",
    "mleft",
    "mright",
    "ensuremath",
    "tfrac12",
    "boldsymbol",
    "bm",
    "rm",
    "large",
    "Large",
];

const MATRICES: [&str; 6] = [
    "pmatrix",
    "bmatrix",
    "matrix",
    "Bmatrix",
    "smallmatrix",
    "array",
];

pub(crate) fn tokenize(text: &str, budget: &mut Budget) -> Result<Vec<Token>, Undecided> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        spaced: false,
        nesting: 0,
        tokens: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        budget.spend(1)?;
        lexer.step()?;
    }
    Ok(raise_degrees(lexer.tokens))
}

/// `^\circ` and `^{\circ}` are the degree sign.
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
        if token.kind == Kind::Degree && ends(&[Kind::Operator('^')]) {
            raised.pop();
        } else if token.kind == Kind::Close(Bracket::Group)
            && ends(&[Kind::Operator('^'), group, Kind::Degree])
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

struct Lexer {
    chars: Vec<char>,
    at: usize,
    spaced: bool,
    /// Open brackets; inside one, a comma separates even before three digits.
    nesting: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn push(&mut self, kind: Kind) {
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
            '}' => self.push(Kind::Close(Bracket::Group)),
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
            '×' | '·' | '⋅' | '∙' | '✕' => self.push(Kind::Operator('*')),
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
            '√' => self.push(Kind::Command("sqrt".into())),
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
        if let Some(digit) = "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().position(|s| s == c) {
            self.push(Kind::Operator('^'));
            self.push(Kind::Number {
                value: BigRational::from_integer(digit.into()),
                decimal: false,
            });
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
        let literal = literal::read(&self.chars, self.at, self.nesting == 0)?;
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
            self.push(Kind::Operator('*'));
            return;
        }
        match lower.as_str() {
            "and" | "or" => self.separate(),
            "percent" | "percentage" | "pct" => self.push(Kind::Percent),
            "degree" | "degrees" => self.push(Kind::Degree),
            _ if PLAIN_NAMES.contains(&lower.as_str()) => {
                self.push(Kind::Command(lower));
            }
            _ if word.len() > 3 || super::unit::is_word(&word) => self.push(Kind::Text(word)),
            _ if word.len() > 1 && self.among_words() => self.push(Kind::Text(word)),
            _ => {
                for letter in word.chars() {
                    self.push(Kind::Symbol(letter.to_string()));
                }
            }
        }
    }

    /// Whether an `x` just read stands between a number and a power of ten.
    fn is_times(&self) -> bool {
        let Some(Kind::Number { .. }) = self.tokens.last().map(|t| &t.kind) else {
            return false;
        };
        let rest: String = self.chars[self.at..]
            .iter()
            .filter(|c| !c.is_whitespace())
            .take(3)
            .collect();
        rest == "10^"
    }

    /// Whether a run of letters just read stands beside another word: a sentence, not a product.
    fn among_words(&self) -> bool {
        let follows = self.spaced && matches!(self.tokens.last().map(|t| &t.kind), Some(Kind::Text(_)));
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
    fn separate(&mut self) {
        if self.tokens.last().map(|t| &t.kind) != Some(&Kind::Separator) {
            self.push(Kind::Separator);
        }
    }

    /// What stands between the brace here and its partner, which it moves behind; the next character where there is
    /// no brace.
    fn argument(&mut self) -> String {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        if self.peek(0) != Some('{') {
            let next = self.peek(0);
            self.at += usize::from(next.is_some());
            return next.map(String::from).unwrap_or_default();
        }
        let start = self.at + 1;
        let mut open = 0_usize;
        while let Some(c) = self.peek(0) {
            self.at += 1;
            match c {
                '{' => open += 1,
                '}' => {
                    open -= 1;
                    if open == 0 {
                        return self.chars[start..self.at - 1].iter().collect();
                    }
                }
                _ => {}
            }
        }
        self.chars[start.min(self.at)..].iter().collect()
    }

    fn command(&mut self) -> Result<(), Undecided> {
        self.at += 1;
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        if name.is_empty() {
            self.control_symbol();
            return Ok(());
        }
        let name = name.as_str();
        if TEXT_COMMANDS.contains(&name) {
            let text = self.argument();
            self.text(&text);
            return Ok(());
        }
        if IGNORED_COMMANDS.contains(&name) {
            // `\left.` has no bracket.
            if matches!(name, "left" | "right") && self.peek(0) == Some('.') {
                self.at += 1;
            }
            return Ok(());
        }
        match name {
            "quad" | "qquad" | "enspace" | "thinspace" | "hspace" | "newline" => {
                if name == "hspace" {
                    self.argument();
                }
                self.spaced = true;
            }
            "frac" | "dfrac" | "tfrac" | "cfrac" | "nicefrac" => {
                self.push(Kind::Command("frac".into()));
                self.single_digit();
            }
            "binom" | "dbinom" | "tbinom" => {
                self.push(Kind::Command("binom".into()));
                self.single_digit();
            }
            "sqrt" => {
                self.push(Kind::Command(name.into()));
                self.single_digit();
            }
            "cdot" | "times" | "ast" | "star" => self.push(Kind::Operator('*')),
            "div" | "over" => self.push(Kind::Operator('/')),
            "colon" => self.push(Kind::Operator(':')),
            "pm" => self.push(Kind::PlusMinus),
            "mp" => self.push(Kind::MinusPlus),
            "le" | "leq" | "leqslant" => self.push(Kind::Relation(Sign::LessOrEqual)),
            "ge" | "geq" | "geqslant" => self.push(Kind::Relation(Sign::GreaterOrEqual)),
            "lt" => self.push(Kind::Relation(Sign::Less)),
            "gt" => self.push(Kind::Relation(Sign::Greater)),
            "ne" | "neq" => self.push(Kind::Relation(Sign::NotEqual)),
            "approx" | "thickapprox" => self.push(Kind::Relation(Sign::Approximately)),
            "in" => self.push(Kind::Relation(Sign::Member)),
            "circ" | "degree" => self.push(Kind::Degree),
            "lbrace" => self.push(Kind::Open(Bracket::Brace)),
            "rbrace" => self.push(Kind::Close(Bracket::Brace)),
            "lbrack" => self.push(Kind::Open(Bracket::Square)),
            "rbrack" => self.push(Kind::Close(Bracket::Square)),
            "langle" => self.push(Kind::Open(Bracket::Round)),
            "rangle" => self.push(Kind::Close(Bracket::Round)),
            "lvert" | "rvert" | "vert" | "mid" => self.push(Kind::Operator('|')),
            "land" | "lor" => self.separate(),
            "dots" | "ldots" | "cdots" => self.push(Kind::Symbol("…".into())),
            "mathbb" | "Bbb" => {
                let set = self.argument();
                self.push(Kind::Command(format!("mathbb {}", set.trim())));
            }
            "varnothing" | "emptyset" => self.push(Kind::Command("emptyset".into())),
            "begin" | "end" => {
                let environment = self.argument();
                if MATRICES.contains(&environment.trim()) {
                    if environment == "array" && name == "begin" {
                        self.argument();
                    }
                    self.push(Kind::Command(format!("{name} matrix")));
                } else {
                    self.push(Kind::Command(format!("{name} {environment}")));
                }
            }
            "overline" | "bar" | "vec" | "hat" | "tilde" | "overrightarrow" | "widehat" => {
                let content = self.argument();
                self.accent(name, &content);
            }
            _ => self.push(Kind::Command(name.into())),
        }
        Ok(())
    }

    /// The first argument of `\frac12` and of `\sqrt12` is one digit; the second takes what is left.
    fn single_digit(&mut self) {
        let space = self.chars[self.at..]
            .iter()
            .take_while(|c| c.is_whitespace())
            .count();
        if let Some(digit) = self.peek(space).and_then(|c| c.to_digit(10)) {
            self.at += space + 1;
            self.push(Kind::Number {
                value: BigRational::from_integer(BigInt::from(digit)),
                decimal: false,
            });
        }
    }

    /// `\` followed by what is no letter.
    fn control_symbol(&mut self) {
        let Some(c) = self.peek(0) else {
            return;
        };
        self.at += 1;
        match c {
            '{' => self.push(Kind::Open(Bracket::Brace)),
            '}' => self.push(Kind::Close(Bracket::Brace)),
            '%' => self.push(Kind::Percent),
            '$' => self.push(Kind::Currency("dollar")),
            '|' => self.push(Kind::Command("norm".into())),
            '\\' => self.push(Kind::NewRow),
            '!' | '(' | ')' | '[' | ']' => {}
            _ => self.spaced = true,
        }
    }

    /// A repeating decimal, or a letter with an accent.
    fn accent(&mut self, name: &str, content: &str) {
        let digits = content.trim();
        if matches!(name, "overline" | "bar")
            && !digits.is_empty()
            && digits.len() < 100
            && digits.bytes().all(|b| b.is_ascii_digit())
            && let Some(places) = self.decimal_places()
            && let Some(Token {
                kind: Kind::Number { value, decimal },
                ..
            }) = self.tokens.last_mut()
        {
            // `0.1\overline{6}`: the period is an exact fraction.
            let nines = num_traits::pow(BigInt::from(10), digits.len()) - BigInt::one();
            let period: BigInt = digits.parse().unwrap_or_else(|_| BigInt::zero());
            let scale = num_traits::pow(BigInt::from(10), places);
            *value += BigRational::new(period, nines * scale);
            *decimal = false;
            return;
        }
        let kind = match name {
            "bar" | "overline" => "bar",
            "vec" | "overrightarrow" => "vec",
            "hat" | "widehat" => "hat",
            other => other,
        };
        let letters: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
        self.push(Kind::Symbol(format!("{kind} {letters}")));
    }

    /// How many digits stand behind the point of the number just read, where it has a point.
    fn decimal_places(&self) -> Option<usize> {
        let before: Vec<char> = self.chars[..self.at].to_vec();
        let command = before.iter().rposition(|c| *c == '\\')?;
        let digits = before[..command]
            .iter()
            .rev()
            .take_while(|c| c.is_ascii_digit())
            .count();
        (before[..command - digits].last() == Some(&'.')).then_some(digits)
    }

    /// The content of `\text{…}`.
    fn text(&mut self, content: &str) {
        let trimmed = content.trim_matches(|c: char| c.is_whitespace() || matches!(c, '~' | '$' | '\\'));
        if content.starts_with(|c: char| c.is_whitespace() || c == '~') {
            self.spaced = true;
        }
        let lower = trimmed.to_lowercase();
        match lower.as_str() {
            "" => self.spaced = true,
            "and" | "or" | "," | ", and" | ", or" | "or," => self.separate(),
            "%" | "percent" | "percentage" | "pct" => self.push(Kind::Percent),
            "degree" | "degrees" | "°" => self.push(Kind::Degree),
            "e" if trimmed == "e" => self.push(Kind::Symbol("e".into())),
            "x" if self.is_times() => self.push(Kind::Operator('*')),
            _ if PLAIN_NAMES.contains(&lower.as_str()) => self.push(Kind::Command(lower)),
            _ if trimmed.chars().count() == 1 && trimmed.chars().all(char::is_alphabetic) => {
                // A unit where a number stands before it, otherwise a letter: the parser decides.
                self.push(Kind::Text(trimmed.into()));
            }
            _ => self.push(Kind::Text(trimmed.into())),
        }
    }
}
