//! One problem: its question, its answer, and the traces that work it off.
//!
//! Owns how they are written. What someone else's explanation of it does is `grade`'s business.

use didact::core::{Problem, RandomStream};

use crate::draws::Draws;
use crate::world::{
    DIGRESSIONS, HELD_OUT, Habits, Kind, Operator, Scope, Solution, Start, World, label,
};

/// How many operations a step takes that takes several, if each step has its own habits.
const MERGED: [usize; 13] = [2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4];

/// How likely a trace that has a habit shows it at a step.
const AT_A_STEP: f64 = 0.3;

/// One operation: an operator and its digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) operator: Operator,
    pub(crate) digit: u32,
}

impl Operation {
    fn draw(world: &World, draws: &mut Draws) -> Self {
        let weights = world.operations.iter().map(|kind| kind.weight).sum();
        let mut drawn = draws.below(weights);
        let past = |kind: &&Kind| {
            let past = drawn >= kind.weight;
            drawn -= if past { kind.weight } else { 0 };
            !past
        };
        let Some(kind) = world.operations.iter().find(past) else {
            unreachable!("the draw is below the sum of the weights")
        };
        Self {
            operator: kind.operator,
            digit: draws.pick(kind.digits),
        }
    }

    pub(crate) fn apply(self, value: u32, world: &World) -> u32 {
        let modulus = world.modulus;
        match self.operator {
            Operator::Add => (value + self.digit) % modulus,
            Operator::Subtract => (value + modulus - self.digit) % modulus,
            Operator::Multiply => (value * self.digit) % modulus,
            Operator::LookUp => world.looked_up(value),
        }
    }
}

/// A start value and the operations on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub(crate) world: World,
    pub(crate) start: u32,
    /// The letter of the first operation, from A as 0.
    pub(crate) first: usize,
    pub(crate) operations: Vec<Operation>,
}

impl Chain {
    /// A chain of so many operations, at most `world.longest`.
    pub fn draw(world: World, operations: usize, draws: &mut Draws) -> Self {
        let start = draws.below(world.modulus as usize) as u32;
        let first = if world.any_label {
            draws.below(world.longest - operations + 1)
        } else {
            0
        };
        Self {
            world,
            start,
            first,
            operations: (0..operations)
                .map(|_| Operation::draw(&world, draws))
                .collect(),
        }
    }

    /// Operations of the chain.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether it has no operation.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether some operation is of this kind.
    #[must_use]
    pub fn uses(&self, operator: Operator) -> bool {
        self.operations.iter().any(|o| o.operator == operator)
    }

    /// The letter of an operation.
    pub(crate) const fn label(&self, index: usize) -> char {
        label(self.first + index)
    }

    /// The question's text.
    #[must_use]
    pub fn question(&self) -> String {
        let mut text = self.world.written(self.start);
        for (index, operation) in self.operations.iter().enumerate() {
            text.push(self.label(index));
            write_operation(*operation, &mut text);
        }
        text
    }

    /// The values after each operation.
    fn values(&self) -> Vec<u32> {
        let apply = |value: &mut u32, operation: &Operation| {
            *value = operation.apply(*value, &self.world);
            Some(*value)
        };
        self.operations.iter().scan(self.start, apply).collect()
    }

    /// The value after the last operation.
    #[must_use]
    pub fn answer(&self) -> u32 {
        self.values().last().copied().unwrap_or(self.start)
    }

    /// The answer's text.
    #[must_use]
    pub fn answer_text(&self) -> String {
        self.world.written(self.answer())
    }

    /// The solution's text, which ends with the answer's.
    #[must_use]
    pub fn solution(&self) -> String {
        let mut text = String::new();
        let values = self.values();
        // The last value is the answer.
        let before = values.len().saturating_sub(1);
        for (index, &value) in values[..before].iter().enumerate() {
            let said = match self.world.solution {
                Solution::Answer => false,
                Solution::Worked => index % 2 == 1,
                Solution::LookedUp => self.operations[index].operator == Operator::LookUp,
            };
            if said {
                text.push(self.label(index));
                text.push_str(&self.world.written(value));
                text.push(';');
            }
        }
        text + &self.answer_text()
    }

    /// Whether the question is never to be trained on.
    #[must_use]
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
        if habits.leak > 0.0 && draws.chance(habits.leak) {
            return format!("={};", self.answer_text());
        }
        let steps = self.steps(habits, draws);
        let digressions = some_of(steps.len(), habits.scope, habits.digress, draws);
        let corrections = some_of(steps.len(), habits.scope, habits.correct, draws);
        let modulus = self.world.modulus;
        let mut text = String::new();
        let (mut value, mut index) = (self.start, 0);
        for (step, count) in steps.into_iter().enumerate() {
            if digressions[step] {
                text.push_str(draws.pick(&DIGRESSIONS));
            }
            let start = match self.world.start {
                Start::Unsaid => self.label(index).to_string(),
                Start::AfterLabel => format!("{}{}", self.label(index), self.world.written(value)),
                Start::BeforeLabel => format!("{}{}", self.world.written(value), self.label(index)),
            };
            text.push_str(&start);
            for merged in 0..count {
                // The step's own label stands before its value.
                if merged > 0 {
                    text.push(self.label(index + merged));
                }
                let operation = self.operations[index + merged];
                write_operation(operation, &mut text);
                value = operation.apply(value, &self.world);
            }
            index += count;
            text.push('=');
            if corrections[step] {
                let slip = draws.pick(&[modulus - 3, modulus - 2, modulus - 1, 1, 2, 3]);
                text.push_str(&self.world.written((value + slip) % modulus));
                text.push('!');
            }
            text.push_str(&self.world.written(value));
            text.push(';');
        }
        text
    }

    /// Operations of each step.
    fn steps(&self, habits: Habits, draws: &mut Draws) -> Vec<usize> {
        let trace_skips = habits.scope == Scope::Trace && draws.chance(habits.skip);
        let mut left = self.operations.len();
        let mut steps = Vec::new();
        while left > 0 {
            let wanted = match (habits.scope, steps.is_empty()) {
                (Scope::Trace, _) if !trace_skips => 1,
                (Scope::Trace, true) => draws.pick(&[2, 3, 4]),
                (Scope::Trace, false) => draws.pick(&[1, 2, 3]),
                (Scope::Step, _) if draws.chance(habits.skip) => draws.pick(&MERGED),
                (Scope::Step, _) => 1,
            };
            // What is looked up is written down: it is a step of its own.
            let rest = &self.operations[self.operations.len() - left..];
            let looked_up = |o: &Operation| o.operator == Operator::LookUp;
            let alone = rest.iter().position(looked_up).unwrap_or(left).max(1);
            let taken = wanted.min(alone).min(left);
            steps.push(taken);
            left -= taken;
        }
        steps
    }

    /// The chain as a problem with a trace for the warm-up.
    #[must_use]
    pub fn problem(&self, id: String, trace: String) -> Problem {
        Problem {
            id,
            question: self.question(),
            solution: self.solution(),
            answer: Some(self.answer_text()),
            reasoning_trace: Some(trace),
            domain: None,
        }
    }
}

fn write_operation(operation: Operation, text: &mut String) {
    text.push(operation.operator.symbol());
    text.push_str(&operation.digit.to_string());
}

/// At which of `count` steps a habit shows.
fn some_of(count: usize, scope: Scope, probability: f64, draws: &mut Draws) -> Vec<bool> {
    if scope == Scope::Step {
        return (0..count).map(|_| draws.chance(probability)).collect();
    }
    let any = draws.chance(probability);
    let mut chosen: Vec<bool> = (0..count).map(|_| any && draws.chance(AT_A_STEP)).collect();
    if any && !chosen.contains(&true) {
        let forced = draws.below(count);
        chosen[forced] = true;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKED: World = World {
        modulus: 1_000,
        start: Start::Unsaid,
        longest: 12,
        any_label: true,
        solution: Solution::Worked,
        ..World::SMALL
    };

    fn chain(world: World, question: &str) -> Chain {
        Chain::parse(world, question).unwrap()
    }

    #[test]
    fn a_trace_is_worked_step_by_step() {
        let chain = chain(World::SMALL, "71A+6B*3C-5");
        assert_eq!(chain.solution(), "46");
        let mut draws = Draws::new(0, 0, 0);
        assert_eq!(
            chain.trace(Habits::NONE, &mut draws),
            "A71+6=32;B32*3=96;C96-5=46;"
        );
    }

    #[test]
    fn a_worked_solution_says_every_second_value() {
        // 265 − 2 = 263, + 5 = 268, − 2 = 266, * 3 = 798, + 4 = 802.
        let chain = chain(WORKED, "562A-2B+5C-2D*3E+4");
        assert_eq!(chain.solution(), "B862;D897;208");
        assert_eq!(chain.answer_text(), "208");
        let mut draws = Draws::new(0, 0, 0);
        assert_eq!(
            chain.trace(Habits::NONE, &mut draws),
            "A-2=362;B+5=862;C-2=662;D*3=897;E+4=208;"
        );
        // The last value is the answer, labelled or not.
        assert_eq!(self::chain(WORKED, "100A+2B+3").solution(), "600");
    }

    #[test]
    fn a_step_says_where_it_starts_as_its_world_wants() {
        let first_step = |start| {
            let chain = chain(
                World {
                    start,
                    ..World::SMALL
                },
                "71A+6B*3",
            );
            chain.trace(Habits::NONE, &mut Draws::new(0, 0, 0))
        };
        assert_eq!(first_step(Start::Unsaid), "A+6=32;B*3=96;");
        assert_eq!(first_step(Start::AfterLabel), "A71+6=32;B32*3=96;");
        assert_eq!(first_step(Start::BeforeLabel), "71A+6=32;32B*3=96;");
    }

    #[test]
    fn what_was_looked_up_is_said() {
        let world = World {
            operations: &[Kind {
                operator: Operator::LookUp,
                weight: 1,
                digits: &[1],
            }],
            solution: Solution::LookedUp,
            ..World::SMALL
        };
        let chain = chain(world, "71A#1B+6C#1");
        let first = world.looked_up(17);
        let last = world.looked_up((first + 6) % 100);
        assert_eq!(
            chain.solution(),
            format!("A{};{}", world.written(first), world.written(last))
        );
        assert!(
            chain
                .grade(&chain.trace(Habits::NONE, &mut Draws::new(0, 0, 0)))
                .is_clean()
        );
        // Another table says something else, mostly.
        let other = World { table: 1, ..world };
        let same = (0..10).filter(|&v| other.looked_up(v) == world.looked_up(v));
        assert!(same.count() < 3);
    }

    #[test]
    fn a_leak_says_the_answer_and_nothing_else() {
        let leak = Habits {
            leak: 1.0,
            ..Habits::NONE
        };
        let chain = chain(World::SMALL, "71A+6B*3C-5");
        assert_eq!(chain.trace(leak, &mut Draws::new(0, 0, 0)), "=46;");
    }

    #[test]
    fn questions_say_what_they_ask() {
        let habits = Habits {
            scope: Scope::Step,
            skip: 0.5,
            digress: 0.5,
            correct: 0.5,
            leak: 0.1,
        };
        for world in [World::SMALL, WORKED] {
            for index in 0..500 {
                let mut draws = Draws::new(3, 0, index);
                let length = draws.between(1, world.longest);
                let chain = Chain::draw(world, length, &mut draws);
                assert_eq!(Chain::parse(world, &chain.question()), Some(chain.clone()));
                let text = chain.question() + &chain.trace(habits, &mut draws) + &chain.solution();
                let alphabet = world.alphabet();
                assert!(text.chars().all(|c| alphabet.contains(c)), "{text}");
            }
        }
    }

    #[test]
    fn one_question_in_sixteen_is_held_out() {
        let held_out = (0..16_000)
            .filter(|&index| {
                let mut draws = Draws::new(3, 0, index);
                let operations = draws.between(1, 4);
                Chain::draw(World::SMALL, operations, &mut draws).is_held_out()
            })
            .count();
        // Five standard errors of 31; questions that come twice make it a little larger.
        assert!(held_out.abs_diff(1_000) < 170, "{held_out}");
    }

    #[test]
    fn one_seed_gives_one_world() {
        let habits = Habits {
            skip: 0.5,
            digress: 0.5,
            correct: 0.5,
            ..Habits::NONE
        };
        let texts = |seed: u64| -> Vec<String> {
            (0..20)
                .map(|index| {
                    let mut draws = Draws::new(seed, 0, index);
                    let chain = Chain::draw(World::SMALL, 3, &mut draws);
                    chain.question() + &chain.trace(habits, &mut draws)
                })
                .collect()
        };
        assert_eq!(texts(1), texts(1));
        assert_ne!(texts(1), texts(2));
        // Runs that were published depend on these very texts.
        assert_eq!(texts(1)[..2], GOLDEN);
    }

    const GOLDEN: [&str; 2] = [
        "46A+8B*3C*2(ask tool)A46+8B*3C*2=23;",
        "54A-7B+8C+2A54-7B+8=54!64;C64+2=84;",
    ];
}
