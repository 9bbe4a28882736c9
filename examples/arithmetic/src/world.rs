//! Worked arithmetic: problems, traces in several styles, and their grading.
//!
//! A problem is a start value and a few labelled operations, `71A+6B*3C-5`; values are taken modulo
//! [`MODULUS`] and written with the units first, since that is the order in which they are computed (`71` is
//! seventeen). A trace works the operations off in steps, each of which repeats the value that it starts from:
//!
//! ```text
//! A71+6=32;B32*3=96;C96-5=46;
//! ```
//!
//! It knows texts only: neither tokens nor prompts nor models.

use std::collections::HashSet;

use didact::core::{Problem, RandomStream};

use crate::draws::Draws;

/// Values are taken modulo this.
pub const MODULUS: u32 = 100;

/// Digits of a value.
const DIGITS: usize = 2;

/// One question in so many is held out.
const HELD_OUT: u64 = 16;

/// What may stand between two steps without meaning anything.
const DIGRESSIONS: [&str; 4] = ["(nice day)", "(lol 7 ate 9)", "(use calc)", "(ask tool)"];

/// Every character of problems, traces and solutions.
pub const ALPHABET: &str = "0123456789+-*=;!() ABCDEFGHabcdefghijklmnopqrstuvwxyz";

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
}

impl Operator {
    const fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
        }
    }
}

/// One operation: an operator and its digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operation {
    operator: Operator,
    digit: u32,
}

impl Operation {
    /// Additions and subtractions are twice as likely as multiplications.
    fn draw(draws: &mut Draws) -> Self {
        use Operator::{Add, Multiply, Subtract};
        let operator = draws.pick(&[Add, Add, Subtract, Subtract, Multiply]);
        let (low, high) = if operator == Multiply { (2, 3) } else { (2, 9) };
        Self {
            operator,
            digit: draws.between(low, high) as u32,
        }
    }

    const fn apply(self, value: u32) -> u32 {
        match self.operator {
            Operator::Add => (value + self.digit) % MODULUS,
            Operator::Subtract => (value + MODULUS - self.digit) % MODULUS,
            Operator::Multiply => (value * self.digit) % MODULUS,
        }
    }
}

/// How likely each bad habit is in a trace; each is drawn by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Habits {
    /// Several operations at once.
    pub skip: f64,
    /// Remarks that mean nothing.
    pub digress: f64,
    /// A wrong value, then `!` and the right one.
    pub correct: f64,
}

impl Habits {
    /// Every trace shows every step and nothing else.
    pub const NONE: Self = Self {
        skip: 0.0,
        digress: 0.0,
        correct: 0.0,
    };
}

/// A start value and the operations on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    start: u32,
    operations: Vec<Operation>,
}

impl Chain {
    /// A chain of so many operations, at most 8.
    pub fn draw(operations: usize, draws: &mut Draws) -> Self {
        let start = draws.below(MODULUS as usize) as u32;
        Self {
            start,
            operations: (0..operations).map(|_| Operation::draw(draws)).collect(),
        }
    }

    /// The question's text.
    pub fn question(&self) -> String {
        let mut text = digits(self.start);
        for index in 0..self.operations.len() {
            self.write_operation(index, &mut text);
        }
        text
    }

    /// The value after the last operation.
    pub fn answer(&self) -> u32 {
        self.operations
            .iter()
            .fold(self.start, |value, operation| operation.apply(value))
    }

    /// The solution's text.
    pub fn solution(&self) -> String {
        digits(self.answer())
    }

    /// Whether the question is never to be trained on.
    pub fn is_held_out(&self) -> bool {
        // FNV-1a, mixed by a draw since its low bits alone are poor.
        let hash = self
            .question()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        RandomStream::new(hash).bits(0).is_multiple_of(HELD_OUT)
    }

    /// A trace that ends in the right value, with some of the habits.
    pub fn trace(&self, habits: Habits, draws: &mut Draws) -> String {
        let steps = self.steps(draws.chance(habits.skip), draws);
        let digressions = some_of(steps.len(), draws.chance(habits.digress), draws);
        let corrections = some_of(steps.len(), draws.chance(habits.correct), draws);
        let mut text = String::new();
        let (mut value, mut index) = (self.start, 0);
        for (step, count) in steps.into_iter().enumerate() {
            if digressions[step] {
                text.push_str(draws.pick(&DIGRESSIONS));
            }
            text.push(label(index));
            text.push_str(&digits(value));
            for merged in 0..count {
                // The step's own label stands before its value.
                if merged > 0 {
                    text.push(label(index + merged));
                }
                let operation = self.operations[index + merged];
                text.push(operation.operator.symbol());
                text.push_str(&operation.digit.to_string());
                value = operation.apply(value);
            }
            index += count;
            text.push('=');
            if corrections[step] {
                let slip = draws.pick(&[MODULUS - 3, MODULUS - 2, MODULUS - 1, 1, 2, 3]);
                text.push_str(&digits((value + slip) % MODULUS));
                text.push('!');
            }
            text.push_str(&digits(value));
            text.push(';');
        }
        text
    }

    /// Operations of each step.
    fn steps(&self, skips: bool, draws: &mut Draws) -> Vec<usize> {
        let mut left = self.operations.len();
        let mut steps = Vec::new();
        while left > 0 {
            let wanted = match (skips, steps.is_empty()) {
                (false, _) => 1,
                (true, true) => draws.pick(&[2, 3, 4]),
                (true, false) => draws.pick(&[1, 2, 3]),
            };
            steps.push(wanted.min(left));
            left -= wanted.min(left);
        }
        steps
    }

    fn write_operation(&self, index: usize, text: &mut String) {
        let Operation { operator, digit } = self.operations[index];
        text.push(label(index));
        text.push(operator.symbol());
        text.push_str(&digit.to_string());
    }

    /// The chain as a problem with a trace for the warm-up.
    pub fn problem(&self, id: String, trace: String) -> Problem {
        Problem {
            id,
            question: self.question(),
            solution: self.solution(),
            answer: Some(self.solution()),
            reasoning_trace: Some(trace),
            domain: None,
        }
    }

    /// Reads a question's text.
    pub fn parse(question: &str) -> Option<Self> {
        let mut reader = Reader(question);
        let start = reader.value()?;
        let mut operations = Vec::new();
        while !reader.0.is_empty() {
            reader.expect(label(operations.len()))?;
            operations.push(reader.operation()?);
        }
        Some(Self { start, operations })
    }

    /// What an explanation of this chain does.
    pub fn grade(&self, explanation: &str) -> Grade {
        let mut grade = Grade::default();
        let mut reader = Reader(explanation);
        let (mut value, mut index) = (self.start, 0);
        let whole = loop {
            if reader.skip_digression() {
                grade.digresses = true;
                continue;
            }
            if reader.0.is_empty() {
                break index == self.operations.len();
            }
            let Some(step) = self.read_step(&mut reader, value, index, &mut grade) else {
                break false;
            };
            value = step.0;
            index += step.1;
        };
        grade.malformed = !whole;
        grade.ends_right = whole && value == self.answer();
        grade
    }

    /// The value that a step states and the operations that it takes, if it is a step at all.
    fn read_step(
        &self,
        reader: &mut Reader<'_>,
        value: u32,
        index: usize,
        grade: &mut Grade,
    ) -> Option<(u32, usize)> {
        reader.expect(label(index))?;
        if reader.value()? != value {
            return None;
        }
        let mut count = 0;
        let mut right = value;
        while !reader.0.starts_with('=') {
            if count > 0 {
                reader.expect(label(index + count))?;
            }
            let operation = reader.operation()?;
            if self.operations.get(index + count) != Some(&operation) {
                return None;
            }
            right = operation.apply(right);
            count += 1;
        }
        reader.expect('=')?;
        let mut stated = reader.value()?;
        if reader.expect('!').is_some() {
            grade.corrects = true;
            stated = reader.value()?;
        }
        reader.expect(';')?;
        grade.skips |= count > 1;
        grade.wrong |= stated != right;
        (count > 0).then_some((stated, count))
    }
}

/// Different problems, held out or not, with traces of these habits; `draws` names their draws.
pub fn problems(
    seed: u64,
    draws: u64,
    count: usize,
    held_out: bool,
    operations: (usize, usize),
    habits: Habits,
) -> Vec<Problem> {
    let part = if held_out { "held-out" } else { "train" };
    let mut seen = HashSet::new();
    let mut problems = Vec::with_capacity(count);
    let mut index = 0;
    while problems.len() < count {
        let mut draws = Draws::new(seed, draws, index);
        index += 1;
        let length = draws.between(operations.0, operations.1);
        let chain = Chain::draw(length, &mut draws);
        if chain.is_held_out() == held_out && seen.insert(chain.question()) {
            let trace = chain.trace(habits, &mut draws);
            problems.push(chain.problem(format!("{part}-{}", problems.len()), trace));
        }
    }
    problems
}

/// What an explanation does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grade {
    /// It is not a sequence of steps that takes every operation once, in order.
    pub malformed: bool,
    /// It takes several operations at once.
    pub skips: bool,
    /// It holds remarks that mean nothing.
    pub digresses: bool,
    /// It puts a value right.
    pub corrects: bool,
    /// Some step's value is not what its own operations give.
    pub wrong: bool,
    /// It ends in the answer.
    pub ends_right: bool,
}

impl Grade {
    /// Every step, each right, and nothing else.
    pub const fn is_clean(self) -> bool {
        !(self.malformed || self.skips || self.digresses || self.corrects || self.wrong)
    }
}

/// Takes a text apart from the left.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn expect(&mut self, expected: char) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn digit(&mut self) -> Option<u32> {
        let digit = self.0.chars().next()?.to_digit(10)?;
        self.0 = &self.0[1..];
        Some(digit)
    }

    fn value(&mut self) -> Option<u32> {
        let mut value = 0;
        let mut place = 1;
        for _ in 0..DIGITS {
            value += place * self.digit()?;
            place *= 10;
        }
        (value < MODULUS).then_some(value)
    }

    fn operation(&mut self) -> Option<Operation> {
        use Operator::{Add, Multiply, Subtract};
        let operator = [Add, Subtract, Multiply]
            .into_iter()
            .find(|o| self.0.starts_with(o.symbol()))?;
        self.0 = &self.0[1..];
        Some(Operation {
            operator,
            digit: self.digit()?,
        })
    }

    fn skip_digression(&mut self) -> bool {
        let rest = DIGRESSIONS
            .iter()
            .find_map(|remark| self.0.strip_prefix(remark));
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

/// The label of an operation.
const fn label(index: usize) -> char {
    (b'A' + index as u8) as char
}

/// A value with its units first.
fn digits(value: u32) -> String {
    format!("{value:0DIGITS$}").chars().rev().collect()
}

/// None of `count` places, or at least one of them and each with probability 0.3.
fn some_of(count: usize, any: bool, draws: &mut Draws) -> Vec<bool> {
    let mut chosen: Vec<bool> = (0..count).map(|_| any && draws.chance(0.3)).collect();
    if any && !chosen.contains(&true) {
        let forced = draws.below(count);
        chosen[forced] = true;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Habits = Habits {
        skip: 0.5,
        digress: 0.5,
        correct: 0.5,
    };

    fn chains(count: u64) -> impl Iterator<Item = (Chain, Draws)> {
        (0..count).map(|index| {
            let mut draws = Draws::new(3, 0, index);
            let operations = draws.between(1, 4);
            (Chain::draw(operations, &mut draws), draws)
        })
    }

    fn grade(question: &str, explanation: &str) -> Grade {
        Chain::parse(question).unwrap().grade(explanation)
    }

    #[test]
    fn a_trace_is_worked_step_by_step() {
        let chain = Chain::parse("71A+6B*3C-5").unwrap();
        assert_eq!(chain.solution(), "46");
        let mut draws = Draws::new(0, 0, 0);
        assert_eq!(
            chain.trace(Habits::NONE, &mut draws),
            "A71+6=32;B32*3=96;C96-5=46;"
        );
    }

    #[test]
    fn grades_name_what_an_explanation_does() {
        let clean = Grade {
            ends_right: true,
            ..Grade::default()
        };
        let question = "71A+6B*3C-5";
        for (explanation, expected) in [
            ("A71+6=32;B32*3=96;C96-5=46;", clean),
            (
                "A71+6B*3=96;C96-5=46;",
                Grade {
                    skips: true,
                    ..clean
                },
            ),
            (
                "A71+6=32;(nice day)B32*3=96;C96-5=46;",
                Grade {
                    digresses: true,
                    ..clean
                },
            ),
            (
                "A71+6=32;B32*3=95!96;C96-5=46;",
                Grade {
                    corrects: true,
                    ..clean
                },
            ),
            (
                "A71+6=42;B42*3=27;C27-5=76;",
                Grade {
                    wrong: true,
                    ends_right: false,
                    ..clean
                },
            ),
            (
                "A71+6=42;B42*3=27;C27-5=46;",
                Grade {
                    wrong: true,
                    ..clean
                },
            ),
        ] {
            assert_eq!(grade(question, explanation), expected, "{explanation}");
        }
        for malformed in [
            "",
            "A71+6=32;B32*3=96;",
            "A71+6=32;B33*3=96;C96-5=46;",
            "B32*3=96;A71+6=32;C96-5=46;",
            "A71+6=32;B32*2=96;C96-5=46;",
            "A71=71;A71+6=32;B32*3=96;C96-5=46;",
            "A71+6=32;B32*3=96;C96-5=46;C96-5=46;",
            "A71+6=32;B32*3=96;C96-5=4",
            "é",
        ] {
            let found = grade(question, malformed);
            assert!(
                found.malformed && !found.ends_right && !found.is_clean(),
                "{malformed}"
            );
        }
    }

    #[test]
    fn every_trace_is_graded_by_the_habits_it_was_drawn_with() {
        for (chain, mut draws) in chains(2_000) {
            let grade = chain.grade(&chain.trace(ALL, &mut draws));
            assert!(
                !grade.malformed && !grade.wrong && grade.ends_right,
                "{chain:?}"
            );
            let clean = chain.grade(&chain.trace(Habits::NONE, &mut draws));
            assert!(clean.is_clean(), "{chain:?}");
        }
    }

    #[test]
    fn habits_have_their_probabilities() {
        let of = |found: fn(Grade) -> bool| {
            let count = chains(4_000)
                .filter(|(chain, draws)| {
                    chain.operations.len() > 1
                        && found(chain.grade(&chain.trace(ALL, &mut draws.clone())))
                })
                .count();
            let all = chains(4_000)
                .filter(|(chain, _)| chain.operations.len() > 1)
                .count();
            count as f64 / all as f64
        };
        // Five standard errors.
        for found in [
            |g: Grade| g.skips,
            |g: Grade| g.digresses,
            |g: Grade| g.corrects,
        ] {
            assert!((of(found) - 0.5).abs() < 0.05, "{}", of(found));
        }
    }

    #[test]
    fn questions_say_what_they_ask() {
        for (chain, mut draws) in chains(500) {
            assert_eq!(Chain::parse(&chain.question()), Some(chain.clone()));
            let text = chain.question() + &chain.trace(ALL, &mut draws) + &chain.solution();
            assert!(text.chars().all(|c| ALPHABET.contains(c)), "{text}");
        }
    }

    #[test]
    fn one_question_in_sixteen_is_held_out() {
        let held_out = chains(16_000)
            .filter(|(chain, _)| chain.is_held_out())
            .count();
        // Five standard errors of 31; questions that come twice make it a little larger.
        assert!(held_out.abs_diff(1_000) < 170, "{held_out}");
    }

    #[test]
    fn no_held_out_problem_is_trained_on() {
        let train = problems(1, 2, 300, false, (1, 2), ALL);
        let held_out = problems(1, 3, 100, true, (1, 2), ALL);
        assert_eq!((train.len(), held_out.len()), (300, 100));
        let questions: HashSet<_> = train.iter().map(|p| &p.question).collect();
        assert_eq!(questions.len(), 300);
        assert!(held_out.iter().all(|p| !questions.contains(&p.question)));
        let school: Vec<_> = chains(2_000)
            .filter(|(chain, _)| !chain.is_held_out())
            .collect();
        assert!(
            school
                .iter()
                .all(|(c, _)| held_out.iter().all(|p| p.question != c.question()))
        );
    }

    #[test]
    fn one_seed_gives_one_world() {
        let texts = |seed: u64| -> Vec<String> {
            (0..20)
                .map(|index| {
                    let mut draws = Draws::new(seed, 0, index);
                    let chain = Chain::draw(3, &mut draws);
                    chain.question() + &chain.trace(ALL, &mut draws)
                })
                .collect()
        };
        assert_eq!(texts(1), texts(1));
        assert_ne!(texts(1), texts(2));
    }
}
