//! Which letters name variables, and which functions.
//!
//! Owns the habits of notation that tell `f(x + 1)`, a value of a function, from `h(a + b)`, a product. Reads nothing.

use super::token::{Bracket, Kind, Token};

/// Commands that stand for a letter.
const LETTERS: [&str; 49] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "varpi",
    "rho",
    "varrho",
    "sigma",
    "varsigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Sigma",
    "Upsilon",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "hbar",
    "aleph",
    "jmath",
    "wp",
    "digamma",
    "Alpha",
    "Beta",
    "eth",
    "square",
];

pub(super) fn is_letter(command: &str) -> bool {
    LETTERS.contains(&command)
}

/// Whether `name` is a function of what stands in the round brackets at the start of `tokens`.
///
/// `f` always is, and whatever has a prime. Other letters for functions are variables too: `g(m - M)` is a product, and
/// so is `P(1 + r)^n`. They are functions of the variables that functions have, of one number, or of other values of
/// functions; `P` also of events.
pub(super) fn is_function(name: &str, tokens: &[Token]) -> bool {
    let head = name.split(['_', '^', '\'']).next().unwrap_or_default();
    let raised = name.contains('^');
    if name.contains('\'') || head == "f" {
        return true;
    }
    // `g^2(x - y)` is a product.
    if raised && !name.ends_with("^-1") {
        return false;
    }
    let variables: &[&str] = match head {
        "g" | "h" | "F" | "G" | "H" | "P" | "Q" | "\\phi" | "\\varphi" | "\\psi" | "\\Phi" => {
            &["x", "y", "z", "t", "u", "n"]
        }
        "\\Gamma" | "\\zeta" => &["x", "y", "z", "t", "n", "s"],
        "p" | "q" => &["x", "y", "z", "t"],
        _ => return false,
    };
    let inner = inside(tokens);
    if let [token] = inner {
        let whole = matches!(&token.kind, Kind::Number { value, .. } if value.is_integer());
        if whole {
            return true;
        }
    }
    let mut letters = Vec::new();
    for (at, token) in inner.iter().enumerate() {
        if let Kind::Symbol(letter) = &token.kind {
            let called = inner
                .get(at + 1)
                .is_some_and(|next| next.kind == Kind::Open(Bracket::Round));
            if !(called && ["f", "g", "h", "p", "q"].contains(&letter.as_str())) {
                letters.push(letter.as_str());
            }
        } else if matches!(token.kind, Kind::Text(_) | Kind::Operator('_')) {
            return false;
        }
    }
    let events = head == "P"
        && !letters.is_empty()
        && letters
            .iter()
            .all(|letter| letter.starts_with(|c: char| c.is_ascii_uppercase()));
    let habitual = letters.iter().all(|letter| variables.contains(letter));
    events || (habitual && inner.iter().any(|t| matches!(t.kind, Kind::Symbol(_))))
}

/// The tokens inside the brackets that open at the start.
fn inside(tokens: &[Token]) -> &[Token] {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return tokens.get(1..at).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
    &[]
}
