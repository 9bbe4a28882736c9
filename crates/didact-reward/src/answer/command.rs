//! LaTeX commands as tokens.
//!
//! Owns what `\` starts: signs, functions, text, accents, environments. Knows no grammar.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::lexer::{Lexer, PLAIN_NAMES};
use super::limits::Undecided;
use super::token::{Bracket, Kind, Sign, Token};

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

impl Lexer {
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

    pub(super) fn command(&mut self) -> Result<(), Undecided> {
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
                self.arguments();
            }
            "binom" | "dbinom" | "tbinom" => {
                self.push(Kind::Command("binom".into()));
                self.arguments();
            }
            "sqrt" => {
                self.push(Kind::Command(name.into()));
                self.single_digit();
            }
            "cdot" | "ast" | "star" => self.push(Kind::Operator('*')),
            "times" => self.push(Kind::Operator('×')),
            "div" => self.push(Kind::Operator('/')),
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
            "degree" => self.push(Kind::Degree),
            "not" => self.negation(),
            "lbrace" => self.push(Kind::Open(Bracket::Brace)),
            "rbrace" => self.push(Kind::Close(Bracket::Brace)),
            "lbrack" => self.push(Kind::Open(Bracket::Square)),
            "rbrack" => self.push(Kind::Close(Bracket::Square)),
            "langle" => self.push(Kind::Open(Bracket::Round)),
            "rangle" => self.push(Kind::Close(Bracket::Round)),
            "lvert" | "rvert" | "vert" | "mid" => self.push(Kind::Operator('|')),
            "wedge" => self.push(Kind::Command("land".into())),
            "vee" => self.push(Kind::Command("lor".into())),
            "dots" | "ldots" | "cdots" | "dotsc" | "dotsb" | "hdots" => self.push(Kind::Ellipsis),
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
            "mathcal" | "mathscr" | "mathfrak" | "dot" | "ddot" | "underline" | "check" => {
                let content = self.argument();
                self.accent(name, &content);
            }
            "overline" | "bar" | "vec" | "hat" | "tilde" | "overrightarrow" | "widehat" => {
                let content = self.argument();
                self.accent(name, &content);
            }
            _ => self.push(Kind::Command(name.into())),
        }
        Ok(())
    }

    /// Both arguments of `\frac`: without braces, each is one digit, so that `\frac311` is 3/1 and a 1 behind it.
    fn arguments(&mut self) {
        if self.single_digit() {
            self.single_digit();
            return;
        }
        let behind = &self.chars[self.at..];
        if behind.iter().find(|c| !c.is_whitespace()) == Some(&'{') {
            self.first_arguments.push(self.nesting);
        }
    }

    /// `\not` before a sign of comparison. What it makes of other signs is not read.
    fn negation(&mut self) {
        while self.peek(0) == Some(' ') {
            self.at += 1;
        }
        if self.peek(0) == Some('=') {
            self.at += 1;
            self.push(Kind::Relation(Sign::NotEqual));
        } else {
            self.push(Kind::Command("not".into()));
        }
    }

    /// An argument without braces is one digit. Whether one stood here.
    pub(super) fn single_digit(&mut self) -> bool {
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
            return true;
        }
        false
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
        let trimmed =
            content.trim_matches(|c: char| c.is_whitespace() || matches!(c, '~' | '$' | '\\'));
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
            "x" if self.is_times() => self.push(Kind::Operator('×')),
            _ if PLAIN_NAMES.contains(&lower.as_str()) => self.push(Kind::Command(lower)),
            _ if trimmed.chars().count() == 1 && trimmed.chars().all(char::is_alphabetic) => {
                // A unit where a number stands before it, otherwise a letter: the parser decides.
                self.push(Kind::Text(trimmed.into()));
            }
            _ => self.push(Kind::Text(trimmed.into())),
        }
    }
}
