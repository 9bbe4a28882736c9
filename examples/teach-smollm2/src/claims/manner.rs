//! How explanations of word problems are written, as far as their text alone tells.
//!
//! Owns the finding of numbers and equations in a text. Knows no model.

use didact::core::Problem;

/// Relative difference up to which two sides of an equation are equal.
const EQUAL: f64 = 1e-6;

/// Counts over explanations.
#[derive(Debug, Clone, Default)]
pub(super) struct Manner {
    explanations: usize,
    equations: usize,
    right: usize,
    numbers: usize,
    foreign: usize,
    named: usize,
    words: usize,
    repeated: usize,
}

impl Manner {
    /// Counts one explanation.
    pub(super) fn add(&mut self, problem: &Problem, explanation: &str) {
        self.explanations += 1;
        let equations = equations(explanation);
        self.equations += equations.len();
        self.right += equations.iter().filter(|&&right| right).count();
        let of = |text: &str| -> Vec<f64> { terms(text).into_iter().filter_map(number).collect() };
        let mut known = of(&problem.question);
        known.extend(of(&problem.solution));
        let said = of(explanation);
        self.numbers += said.len();
        self.foreign += said.iter().filter(|n| !known.contains(n)).count();
        let answer = problem.answer.as_deref().map(of).unwrap_or_default();
        self.named += usize::from(answer.last().is_some_and(|answer| said.contains(answer)));
        let words: Vec<&str> = explanation.split_whitespace().collect();
        let runs: Vec<&[&str]> = words.windows(4).collect();
        self.words += runs.len();
        let repeats = |place: &usize| runs[..*place].contains(&runs[*place]);
        self.repeated += (0..runs.len()).filter(repeats).count();
    }

    /// Shares and means, by name.
    pub(super) fn figures(&self) -> [(&'static str, f64); 5] {
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        [
            ("equations", share(self.equations, self.explanations)),
            ("of them right", share(self.right, self.equations)),
            (
                "numbers of neither question nor solution",
                share(self.foreign, self.numbers),
            ),
            ("names the answer", share(self.named, self.explanations)),
            ("repeated runs of 4 words", share(self.repeated, self.words)),
        ]
    }
}

/// A number, or one sign.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Term {
    Number(f64),
    /// One of `+ - * / =`, or `?` for anything else that ends an equation.
    Sign(char),
}

const fn number(term: Term) -> Option<f64> {
    match term {
        Term::Number(value) => Some(value),
        Term::Sign(_) => None,
    }
}

/// Numbers and signs in order; words of units between them do not count, other signs do.
fn terms(text: &str) -> Vec<Term> {
    let text: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut place = 0;
    while let Some(&c) = text.get(place) {
        place += 1;
        let digit = |at: usize| text.get(at).is_some_and(char::is_ascii_digit);
        if c.is_ascii_digit() {
            let mut digits = String::from(c);
            loop {
                match text.get(place) {
                    Some(c) if c.is_ascii_digit() => digits.push(*c),
                    Some('.') if digit(place + 1) && !digits.contains('.') => digits.push('.'),
                    Some(',') if (1..=3).all(|i| digit(place + i)) && !digit(place + 4) => {}
                    _ => break,
                }
                place += 1;
            }
            // Digits with at most one point are a number.
            found.extend(digits.parse().ok().map(Term::Number));
        } else {
            let before = place >= 2 && text[place - 2].is_alphabetic();
            let after = text.get(place).is_some_and(|c| c.is_alphabetic());
            let sign = match c {
                '+' | '=' | '/' | '*' => c,
                '×' => '*',
                'x' if !before && !after => '*',
                '÷' => '/',
                '-' | '−' if !before => '-',
                c if c.is_alphanumeric() || c.is_whitespace() || "$%'-".contains(c) => continue,
                _ => '?',
            };
            found.push(Term::Sign(sign));
        }
    }
    found
}

/// Whether each equation `a op b op … = c` of a text holds; `* /` before `+ -`.
fn equations(text: &str) -> Vec<bool> {
    let terms = terms(text);
    let mut found = Vec::new();
    for (place, _) in terms
        .iter()
        .enumerate()
        .filter(|(_, term)| **term == Term::Sign('='))
    {
        let Some(Term::Number(right)) = terms.get(place + 1) else {
            continue;
        };
        // What follows the number may make it the first of a longer right side.
        if let Some(Term::Sign('+' | '-' | '*' | '/')) = terms.get(place + 2) {
            continue;
        }
        let mut start = place;
        while start > 0 {
            let number = matches!(terms[start - 1], Term::Number(_));
            let sign = matches!(terms[start - 1], Term::Sign('+' | '-' | '*' | '/'));
            let wanted = (place - start).is_multiple_of(2);
            if (wanted && number) || (!wanted && sign) {
                start -= 1;
            } else {
                break;
            }
        }
        // A sign without a number before it belongs to no equation.
        if (place - start).is_multiple_of(2) {
            start += 1;
        }
        if place.saturating_sub(start) >= 3
            && let Some(left) = value(&terms[start..place])
        {
            found.push((left - right).abs() <= EQUAL * left.abs().max(right.abs()).max(1.0));
        }
    }
    found
}

/// The value of numbers with signs between them.
fn value(terms: &[Term]) -> Option<f64> {
    let mut sum = 0.0;
    let mut product = number(*terms.first()?)?;
    for pair in terms[1..].chunks(2) {
        let [Term::Sign(sign), Term::Number(next)] = pair else {
            return None;
        };
        match sign {
            '*' => product *= next,
            '/' => product /= next,
            sign => {
                sum += product;
                product = if *sign == '-' { -next } else { *next };
            }
        }
    }
    Some(sum + product).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_found_between_words_and_checked() {
        for (text, expected) in [
            ("Charlotte can eat 4 x 2 = 8 pieces a day.", vec![true]),
            ("1/2 * 236 pieces = 118 pieces", vec![true]),
            (
                "118 pieces + 972 pieces = 1090. Then 2+2=5",
                vec![true, false],
            ),
            (
                "$1,200 - $200 = $1,000, so 3 * 4 + 2 * 5 = 22",
                vec![true, true],
            ),
            ("10 - 2 - 3 = 5 and 8 / 0 = 3", vec![true]),
            ("x = 5, and so 7 = 7", vec![]),
            ("84/12 = 7 days", vec![true]),
            ("2 + 3 = 1 + 4", vec![]),
        ] {
            assert_eq!(equations(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_of_nowhere_repeats_and_named_answers_are_counted() {
        let problem = Problem {
            id: "eggs".into(),
            question: "She has 3 boxes of 12 eggs.".into(),
            solution: "3 * 12 = 36.\nThe answer is 36.".into(),
            answer: Some("36".into()),
            reasoning_trace: None,
            domain: None,
        };
        let mut manner = Manner::default();
        manner.add(&problem, "3 boxes of 12 make 36 eggs");
        manner.add(&problem, "she has 7 eggs and she has 7 eggs and");
        let figures = manner.figures();
        let get = |name: &str| figures.iter().find(|f| f.0 == name).unwrap().1;
        assert_eq!(get("names the answer"), 0.5);
        assert_eq!(get("numbers of neither question nor solution"), 0.4);
        // 7 and 10 words have 4 and 7 runs, of which two come again.
        assert_eq!(get("repeated runs of 4 words"), 2.0 / 11.0);
    }
}
