//! What is run: worlds, budgets, seeds and metrics of every row, fixed before the final runs.
//!
//! Owns every number that decides about an outcome. Knows no model.
//!
//! Settings were chosen on the seeds from 101, which no row reports.

mod ablation;

use std::ops::RangeInclusive;

use arithmetic::schooling::{Lesson, Size};
use arithmetic::world::{Habits, Kind, Operator, ProblemSet, Scope, Solution, Start, World};
use clap::ValueEnum;
use didact::rl::{AdamWConfig, Decay, FineTuneConfig, OptimizerConfig, Schedule, TeacherConfig};
use serde::{Deserialize, Serialize};

pub(crate) use ablation::Ablation;

/// How many seeds the plot has.
pub(crate) const PLOT_SEEDS: u64 = 3;

/// Operations of the chains of each point of the plot, from and to.
pub(crate) const POINTS: [(usize, usize); 6] = [(2, 2), (3, 3), (4, 4), (5, 6), (7, 8), (8, 10)];

/// The learning rates that a solver's is chosen of, by its accuracy on the held-out problems: a choice in its favour.
pub(crate) const SOLVER_RATES: [f64; 3] = [5e-5, 1e-4, 2e-4];

/// Operations of the curriculum's parts, as shares of the longest: the last part is the problems themselves.
pub(crate) const CURRICULUM: [f64; 2] = [0.4, 0.7];

/// Divides the logits wherever an answer or an explanation is sampled.
pub(crate) const TEMPERATURE: f64 = 0.7;

/// Explanations of each problem that the best is chosen of, and that fill the buckets.
pub(crate) const CHOICE: usize = 8;

/// Tries at each problem of a solver whose right traces are kept.
pub(crate) const TRIES: usize = 4;

/// Rounds of self-teaching, which share a teacher's steps.
pub(crate) const ROUNDS: u64 = 4;

/// Names the draws of problems among those of a run.
pub(crate) mod stream {
    pub(crate) const TRAIN: u64 = 2;
    pub(crate) const HELD_OUT: u64 = 3;
}

/// A world with all that happens in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorldName {
    /// Short chains modulo 100, answers alone: a solver is right often from the start.
    Dense,
    /// The same where half of the traces say the answer and nothing else.
    Leaky,
    /// Long chains modulo 1000, worked solutions: a solver is hardly ever right at the start.
    Sparse,
    /// Short chains with values that must be looked up in a table that only solutions quote.
    Handbook,
}

impl WorldName {
    pub(crate) const ALL: [Self; 4] = [Self::Sparse, Self::Dense, Self::Handbook, Self::Leaky];

    /// The seeds that are reported. Those of the sparse world begin after the ones on which its first settings were
    /// run.
    pub(crate) const fn seeds(self) -> RangeInclusive<u64> {
        match self {
            Self::Sparse => 6..=10,
            Self::Dense | Self::Leaky | Self::Handbook => 1..=5,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Leaky => "leaky",
            Self::Sparse => "sparse",
            Self::Handbook => "handbook",
        }
    }
}

/// How large a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum SizeName {
    /// 0.15 million parameters.
    S,
    /// 0.8 million parameters: S, twice as wide and one layer deeper.
    L,
}

impl SizeName {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::L => "L",
        }
    }

    pub(crate) const fn size(self) -> Size {
        match self {
            Self::S => Size {
                hidden: 64,
                mlp: 168,
                layers: 3,
                heads: 4,
                context: 512,
            },
            Self::L => Size {
                hidden: 128,
                mlp: 336,
                layers: 4,
                heads: 8,
                context: 512,
            },
        }
    }
}

/// Steps of a training by reinforcement, and what each holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Budget {
    pub(crate) steps: u64,
    pub(crate) problems: usize,
    pub(crate) group: usize,
    pub(crate) learning_rate: f64,
}

/// Everything about one world.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) name: WorldName,
    pub(crate) world: World,
    /// How the traces that models grow up with are written.
    pub(crate) habits: Habits,
    /// Operations of the chains that are taught and tested, from and to.
    pub(crate) operations: (usize, usize),
    /// An operator that each of those uses.
    pub(crate) with: Option<Operator>,
    /// The longest explanation, in tokens: one of the longest chain with every habit at most of its steps.
    pub(crate) explanation_tokens: usize,
    /// The longest solution with its tags, in tokens.
    pub(crate) answer_tokens: usize,
    /// Problems that teachers are trained on and explain.
    pub(crate) train: usize,
    /// Problems that everything is evaluated on.
    pub(crate) held_out: usize,
    /// From random weights to the base S.
    pub(crate) school: Vec<Lesson>,
    /// From the widened base S to the base L.
    pub(crate) school_wide: Vec<Lesson>,
    /// Updates in which a base learns the teacher's format alone.
    pub(crate) warm_up: Lesson,
    /// Teachers that explain.
    pub(crate) teacher: Budget,
    /// Teachers that solve.
    pub(crate) solver: Budget,
    /// Students in reinforcement learning of their own.
    pub(crate) student: Budget,
    /// Passes over a data set.
    pub(crate) epochs: u64,
    /// Whether sizes are those of the smoke test.
    pub(crate) smoke: bool,
}

/// One lesson of plain supervised learning.
fn lesson(
    stage: &'static str,
    steps: u64,
    texts: usize,
    schedule: Schedule,
    operations: (usize, usize),
    habits: Habits,
) -> Lesson {
    Lesson {
        stage,
        steps,
        until: None,
        texts,
        schedule,
        operations,
        habits,
        plain_share: 0.0,
        plain_operations: (1, 3),
        teacher_share: 0.0,
    }
}

const fn rise(peak: f64, warmup_steps: u64) -> Schedule {
    Schedule {
        warmup_steps,
        ..Schedule::constant(peak)
    }
}

const fn fall(peak: f64, steps: u64) -> Schedule {
    Schedule {
        peak,
        warmup_steps: 0,
        steps,
        decay: Decay::Cosine,
        floor: 0.0,
    }
}

impl Setting {
    /// The setting of a world; with `smoke` so small that it proves only that every stage works.
    pub(crate) fn of(name: WorldName, smoke: bool) -> Self {
        let setting = match name {
            WorldName::Dense => Self::dense(),
            WorldName::Leaky => Self::leaky(),
            WorldName::Sparse => Self::sparse(),
            WorldName::Handbook => Self::handbook(),
        };
        if smoke { setting.smoke() } else { setting }
    }

    fn dense() -> Self {
        let habits = Habits {
            scope: Scope::Trace,
            skip: 0.45,
            digress: 0.35,
            correct: 0.25,
            leak: 0.0,
        };
        let operations = (3, 5);
        let mixture = |steps, peak| Lesson {
            teacher_share: 0.5,
            plain_share: 0.1,
            ..lesson("mixture", steps, 24, fall(peak, steps), operations, habits)
        };
        Self {
            name: WorldName::Dense,
            world: DENSE,
            habits,
            operations,
            with: None,
            explanation_tokens: 128,
            answer_tokens: 24,
            train: 800,
            held_out: 500,
            school: vec![
                Lesson {
                    until: Some(0.015),
                    ..lesson("primer", 4_000, 16, rise(5e-3, 50), (1, 3), Habits::NONE)
                },
                mixture(3_000, 3e-3),
            ],
            school_wide: vec![mixture(400, 2e-3)],
            warm_up: Lesson {
                teacher_share: 1.0,
                ..lesson("warm_up", 150, 24, fall(1e-3, 150), operations, habits)
            },
            teacher: Budget {
                steps: 80,
                problems: 12,
                group: 12,
                learning_rate: 1.5e-4,
            },
            solver: Budget {
                steps: 80,
                problems: 12,
                group: 12,
                learning_rate: 1.5e-4,
            },
            student: Budget {
                steps: 40,
                problems: 12,
                group: 12,
                learning_rate: 1.5e-4,
            },
            epochs: 3,
            smoke: false,
        }
    }

    fn leaky() -> Self {
        let dense = Self::dense();
        let habits = Habits {
            leak: 0.5,
            ..dense.habits
        };
        let leaky = |stage, steps, share| Lesson {
            teacher_share: share,
            ..lesson(
                stage,
                steps,
                24,
                fall(2e-3, steps),
                dense.operations,
                habits,
            )
        };
        let mut school = dense.school.clone();
        school.push(leaky("leaks", 300, 0.5));
        Self {
            name: WorldName::Leaky,
            habits,
            school,
            warm_up: leaky("warm_up", 300, 1.0),
            ..dense
        }
    }

    fn handbook() -> Self {
        let dense = Self::dense();
        let mut school = dense.school.clone();
        if let Some(primer) = school.first_mut() {
            // Without the solution what is looked up is noise, and the loss could not say that the rest is learnt.
            primer.teacher_share = 1.0;
        }
        Self {
            name: WorldName::Handbook,
            world: HANDBOOK,
            with: Some(Operator::LookUp),
            school,
            ..dense
        }
    }

    fn sparse() -> Self {
        let habits = Habits {
            scope: Scope::Step,
            skip: 0.65,
            digress: 0.12,
            correct: 0.08,
            leak: 0.0,
        };
        let (corpus, operations) = ((1, 10), (8, 10));
        let mixture = |steps, peak, warmup_steps| Lesson {
            teacher_share: 0.5,
            plain_share: 0.125,
            plain_operations: (1, 3),
            ..lesson(
                "mixture",
                steps,
                24,
                Schedule {
                    warmup_steps,
                    ..fall(peak, steps)
                },
                corpus,
                habits,
            )
        };
        // Both formats from the start: a habit that comes later does not wash the arithmetic away.
        let chains = |stage, steps, schedule, to| Lesson {
            until: Some(0.02),
            teacher_share: 0.5,
            ..lesson(stage, steps, 16, schedule, (1, to), Habits::NONE)
        };
        Self {
            name: WorldName::Sparse,
            world: SPARSE,
            habits,
            operations,
            with: None,
            explanation_tokens: 240,
            answer_tokens: 40,
            train: 800,
            held_out: 500,
            school: vec![
                chains("primer", 6_000, rise(5e-3, 50), 3),
                chains("longer", 8_000, fall(3e-3, 8_000), 10),
                mixture(4_000, 2e-3, 200),
            ],
            school_wide: vec![mixture(400, 2e-3, 50)],
            warm_up: Lesson {
                teacher_share: 1.0,
                ..lesson("warm_up", 200, 24, fall(1e-3, 200), corpus, habits)
            },
            teacher: Budget {
                steps: 90,
                problems: 16,
                group: 16,
                learning_rate: 2e-4,
            },
            solver: Budget {
                steps: 60,
                problems: 16,
                group: 16,
                learning_rate: 1e-4,
            },
            student: Budget {
                steps: 40,
                problems: 16,
                group: 16,
                learning_rate: 1e-4,
            },
            epochs: 3,
            smoke: false,
        }
    }

    fn smoke(mut self) -> Self {
        for lesson in self
            .school
            .iter_mut()
            .chain(&mut self.school_wide)
            .chain([&mut self.warm_up])
        {
            lesson.steps = 12;
            lesson.texts = 4;
            lesson.schedule = rise(5e-3, 2);
        }
        let budget = |budget: Budget| Budget {
            steps: 1,
            problems: 1,
            group: 2,
            ..budget
        };
        self.teacher = budget(self.teacher);
        self.solver = budget(self.solver);
        self.student = budget(self.student);
        (self.train, self.held_out, self.epochs) = (12, 4, 1);
        self.explanation_tokens = 24;
        self.smoke = true;
        self
    }

    /// Problems to train on.
    pub(crate) fn train_set(&self, seed: u64) -> ProblemSet {
        ProblemSet {
            seed,
            stream: stream::TRAIN,
            count: self.train,
            held_out: false,
            operations: self.operations,
            with: self.with,
            habits: self.habits,
        }
    }

    /// Problems that nothing is trained on.
    pub(crate) fn held_out_set(&self, seed: u64) -> ProblemSet {
        ProblemSet {
            stream: stream::HELD_OUT,
            count: self.held_out,
            held_out: true,
            ..self.train_set(seed)
        }
    }

    /// Reinforcement learning within a budget.
    pub(crate) fn reinforcement(&self, budget: Budget, seed: u64, tokens: usize) -> TeacherConfig {
        TeacherConfig {
            seed,
            steps: budget.steps,
            problems_per_step: budget.problems,
            group_size: budget.group,
            temperature: TEMPERATURE,
            max_completion_tokens: tokens,
            learning_rate: budget.learning_rate,
            ..TeacherConfig::published()
        }
    }

    /// How students learn from explanations.
    pub(crate) fn distillation(&self, size: SizeName, seed: u64) -> FineTuneConfig {
        FineTuneConfig {
            seed,
            epochs: self.epochs,
            batch_size: 32,
            learning_rate: match size {
                SizeName::S => 5e-4,
                SizeName::L => 3e-4,
            },
            optimizer: OptimizerConfig::Adamw(AdamWConfig {
                beta2: 0.99,
                ..AdamWConfig::default()
            }),
            ..FineTuneConfig::published_distillation()
        }
    }

    /// Whether explanations that were not closed are learnt from: untrained models close little.
    pub(crate) const fn keeps_unclosed(&self) -> bool {
        self.smoke
    }
}

/// Short chains modulo 100.
const DENSE: World = World {
    start: Start::BeforeLabel,
    ..World::SMALL
};

/// Long chains modulo 1000.
const SPARSE: World = World {
    modulus: 1_000,
    units_first: true,
    start: Start::BeforeLabel,
    operations: &[
        Kind {
            operator: Operator::Add,
            weight: 1,
            digits: &[2, 3, 4, 5, 6, 7, 8, 9],
        },
        Kind {
            operator: Operator::Subtract,
            weight: 1,
            digits: &[2, 3, 4, 5, 6, 7, 8, 9],
        },
        Kind {
            operator: Operator::Multiply,
            weight: 1,
            digits: &[3, 7],
        },
    ],
    longest: 10,
    any_label: true,
    joined_operations: true,
    solution: Solution::Worked,
    table: 0,
};

/// Short chains modulo 100 in which every fifth value or so is looked up.
const HANDBOOK: World = World {
    operations: &[
        Kind {
            operator: Operator::Add,
            weight: 2,
            digits: &[2, 3, 4, 5, 6, 7, 8, 9],
        },
        Kind {
            operator: Operator::Subtract,
            weight: 2,
            digits: &[2, 3, 4, 5, 6, 7, 8, 9],
        },
        Kind {
            operator: Operator::LookUp,
            weight: 1,
            digits: &[1],
        },
    ],
    solution: Solution::LookedUp,
    ..World::SMALL
};
