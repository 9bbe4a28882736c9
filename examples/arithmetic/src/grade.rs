//! What an explanation of a problem does.
//!
//! Owns reading texts of the world. It accepts any explanation, however it came about.

use crate::chain::{Chain, Operation};
use crate::world::{DIGRESSIONS, Operator, Start, World, label};

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
    /// It states a value without the operations that lead to it. Such a text is malformed too.
    pub leaks: bool,
    /// Some step's value is not what its own operations give.
    pub wrong: bool,
    /// It ends in the answer.
    pub ends_right: bool,
}

impl Grade {
    /// Every step, each right, and nothing else.
    #[must_use]
    pub const fn is_clean(self) -> bool {
        self.is_good() && !(self.digresses || self.corrects)
    }

    /// Every step, each right, whatever else it says.
    #[must_use]
    pub const fn is_good(self) -> bool {
        !(self.malformed || self.skips || self.leaks || self.wrong)
    }
}

impl Chain {
    /// Reads a question's text.
    #[must_use]
    pub fn parse(world: World, question: &str) -> Option<Self> {
        let mut reader = Reader {
            text: question,
            world,
        };
        let start = reader.value()?;
        let first = match reader.text.bytes().next() {
            Some(letter) if world.any_label => usize::from(letter.checked_sub(b'A')?),
            _ => 0,
        };
        let mut operations = Vec::new();
        while !reader.text.is_empty() {
            if first + operations.len() >= world.longest {
                return None;
            }
            reader.expect(label(first + operations.len()))?;
            operations.push(reader.operation()?);
        }
        Some(Self {
            world,
            start,
            first,
            operations,
        })
    }

    /// What an explanation of this chain does.
    #[must_use]
    pub fn grade(&self, explanation: &str) -> Grade {
        let mut grade = Grade::default();
        let mut reader = Reader {
            text: explanation,
            world: self.world,
        };
        let (mut value, mut index) = (self.start, 0);
        let whole = loop {
            if reader.skip_digression() {
                grade.digresses = true;
                continue;
            }
            if reader.text.is_empty() {
                break index == self.operations.len();
            }
            if reader.text.starts_with('=') {
                grade.leaks = true;
                break false;
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
        let start = self.world.start;
        if start == Start::BeforeLabel && reader.value()? != value {
            return None;
        }
        reader.expect(self.label(index))?;
        if start == Start::AfterLabel && reader.value()? != value {
            return None;
        }
        let mut count = 0;
        let mut right = value;
        while !reader.text.starts_with('=') {
            if count > 0 {
                reader.expect(self.label(index + count))?;
            }
            let operation = reader.operation()?;
            if self.operations.get(index + count) != Some(&operation) {
                return None;
            }
            right = operation.apply(right, &self.world);
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

/// The value that an explanation ends in, as it is written there.
#[must_use]
pub fn stated_end(explanation: &str) -> Option<&str> {
    let text = explanation.strip_suffix(';')?;
    let (_, last) = text.rsplit_once(['=', '!'])?;
    Some(last)
}

/// Takes a text apart from the left.
struct Reader<'a> {
    text: &'a str,
    world: World,
}

impl Reader<'_> {
    fn expect(&mut self, expected: char) -> Option<()> {
        self.text = self.text.strip_prefix(expected)?;
        Some(())
    }

    fn digit(&mut self) -> Option<u32> {
        let digit = self.text.chars().next()?.to_digit(10)?;
        self.text = &self.text[1..];
        Some(digit)
    }

    fn value(&mut self) -> Option<u32> {
        let mut value = 0;
        let mut place = 1;
        for _ in 0..self.world.digits() {
            let digit = self.digit()?;
            if self.world.units_first {
                value += place * digit;
                place *= 10;
            } else {
                value = 10 * value + digit;
            }
        }
        Some(value)
    }

    fn operation(&mut self) -> Option<Operation> {
        let operator = Operator::ALL
            .into_iter()
            .find(|o| self.text.starts_with(o.symbol()))?;
        self.text = &self.text[1..];
        Some(Operation {
            operator,
            digit: self.digit()?,
        })
    }

    fn skip_digression(&mut self) -> bool {
        let rest = DIGRESSIONS
            .iter()
            .find_map(|remark| self.text.strip_prefix(remark));
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::Draws;
    use crate::world::{Habits, Scope, Start};

    const ALL: Habits = Habits {
        skip: 0.5,
        digress: 0.5,
        correct: 0.5,
        ..Habits::NONE
    };

    fn chains(count: u64) -> impl Iterator<Item = (Chain, Draws)> {
        (0..count).map(|index| {
            let mut draws = Draws::new(3, 0, index);
            let operations = draws.between(1, 4);
            (Chain::draw(World::SMALL, operations, &mut draws), draws)
        })
    }

    fn grade(question: &str, explanation: &str) -> Grade {
        Chain::parse(World::SMALL, question)
            .unwrap()
            .grade(explanation)
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
            (
                "=46;",
                Grade {
                    leaks: true,
                    malformed: true,
                    ..Grade::default()
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
                found.malformed && !found.ends_right && !found.is_good(),
                "{malformed}"
            );
        }
    }

    #[test]
    fn an_explanation_ends_in_its_last_value() {
        for (explanation, end) in [
            ("A71+6=32;B32*3=95!96;", Some("96")),
            ("A71+6=32;", Some("32")),
            ("=46;", Some("46")),
            ("A71+6=32", None),
            ("", None),
        ] {
            assert_eq!(stated_end(explanation), end, "{explanation}");
        }
    }

    #[test]
    fn every_trace_is_graded_by_the_habits_it_was_drawn_with() {
        let by_step = Habits {
            scope: Scope::Step,
            ..ALL
        };
        let worlds = [Start::Unsaid, Start::AfterLabel, Start::BeforeLabel].map(|start| World {
            start,
            modulus: 1_000,
            ..World::SMALL
        });
        for (chain, mut draws) in chains(2_000) {
            for world in worlds {
                let chain = Chain {
                    world,
                    ..chain.clone()
                };
                for habits in [ALL, by_step] {
                    let grade = chain.grade(&chain.trace(habits, &mut draws));
                    assert!(
                        !grade.malformed && !grade.wrong && grade.ends_right,
                        "{chain:?}"
                    );
                }
                let clean = chain.grade(&chain.trace(Habits::NONE, &mut draws));
                assert!(clean.is_clean(), "{chain:?}");
            }
        }
    }

    #[test]
    fn habits_have_their_probabilities() {
        let of = |found: fn(Grade) -> bool| {
            let long = chains(4_000).filter(|(chain, _)| chain.len() > 1);
            let graded: Vec<bool> = long
                .map(|(chain, mut draws)| found(chain.grade(&chain.trace(ALL, &mut draws))))
                .collect();
            graded.iter().filter(|&&found| found).count() as f64 / graded.len() as f64
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
}
