//! Who teaches: the teachers that several rows compare, and what their students learn from.
//!
//! Owns their names and how each comes about.

use didact::core::Problem;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::lab::{Aim, Lab, Training};
use crate::plan::{Ablation, CHOICE, SizeName, TRIES};
use experiments::Dataset;
use experiments::{Model, Taught};

/// Where explanations come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// The small teacher trained by RLT.
    A,
    /// The right traces of the large teacher trained to solve.
    B,
    /// The small teacher before RL.
    C,
    /// The best of several explanations of C by the reward.
    Best,
    /// The right ones of several tries of the small base.
    Rejection,
    /// Complete traces: the ceiling.
    Complete,
}

impl Source {
    pub(crate) const ALL: [Self; 6] = [
        Self::C,
        Self::A,
        Self::B,
        Self::Best,
        Self::Rejection,
        Self::Complete,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::A => "A (RLT)",
            Self::B => "B (correctness RL, 5x larger)",
            Self::C => "C (A before RL)",
            Self::Best => "C, best of 8 by reward",
            Self::Rejection => "rejection sampling from base S",
            Self::Complete => "complete traces",
        }
    }
}

impl Lab {
    /// Teacher A, or one by an ablated reward, of either size.
    pub(crate) fn explainer(&self, ablation: Ablation, size: SizeName) -> Result<Taught> {
        let name = match (ablation, size) {
            (Ablation::Published, SizeName::S) => "teacher_A".to_owned(),
            _ => format!("teacher_{ablation:?}_{}", size.name()),
        };
        self.teach(
            &name,
            &Training {
                aim: Aim::Explain(ablation),
                budget: self.setting.teacher,
                start: &self.warmed(size)?,
                student: &self.base(SizeName::S)?,
                train: &self.train,
                held_out: &self.held_out,
                every: 0,
            },
        )
    }

    /// Teacher B, or a solver of the small size.
    pub(crate) fn solver(&self, size: SizeName) -> Result<Taught> {
        let base = self.base(size)?;
        let name = match size {
            SizeName::L => "teacher_B",
            SizeName::S => "teacher_solver_S",
        };
        self.teach(
            name,
            &Training {
                aim: Aim::Solve,
                budget: self.setting.solver,
                start: &base,
                student: &base,
                train: &self.train,
                held_out: &self.held_out,
                every: 0,
            },
        )
    }

    /// One explanation of each problem by a teacher.
    pub(crate) fn explained(
        &self,
        name: &str,
        teacher: &Model,
        problems: &[Problem],
    ) -> Result<Dataset> {
        let records = self.explanations(name, teacher, problems, 1)?;
        Ok(Dataset::first(&records, self.setting.keeps_unclosed()))
    }

    /// The right ones of a solver's tries.
    pub(crate) fn solved(
        &self,
        name: &str,
        solver: &Model,
        problems: &[Problem],
    ) -> Result<Dataset> {
        let tries = self.answers(name, solver, problems, TRIES)?;
        Ok(self.right(problems, &tries))
    }

    /// What students of a source learn from.
    pub(crate) fn data(&self, source: Source) -> Result<Dataset> {
        let unclosed = self.setting.keeps_unclosed();
        match source {
            Source::A => {
                let teacher = self.explainer(Ablation::Published, SizeName::S)?.model;
                self.explained("A", &teacher, &self.train)
            }
            Source::B => {
                let solver = self.solver(SizeName::L)?.model;
                self.solved("B", &solver, &self.train)
            }
            Source::C => {
                let teacher = self.warmed(SizeName::S)?;
                let records = self.explanations("C", &teacher, &self.train, CHOICE)?;
                let first: Vec<_> = records.into_iter().step_by(CHOICE).collect();
                Ok(Dataset::first(&first, unclosed))
            }
            Source::Best => {
                let teacher = self.warmed(SizeName::S)?;
                let records = self.explanations("C", &teacher, &self.train, CHOICE)?;
                Ok(Dataset::best(&records, unclosed))
            }
            Source::Rejection => {
                let base = self.base(SizeName::S)?;
                self.solved("base", &base, &self.train)
            }
            Source::Complete => Ok(Dataset::traces(&self.complete())),
        }
    }

    /// The training problems with complete traces.
    fn complete(&self) -> Vec<Problem> {
        use arithmetic::chain::Chain;
        use arithmetic::draws::Draws;
        use arithmetic::world::Habits;
        let complete = |problem: &Problem| {
            let chain = Chain::parse(self.setting.world, &problem.question);
            // Without habits nothing is drawn.
            let trace = chain.map(|chain| chain.trace(Habits::NONE, &mut Draws::new(0, 0, 0)));
            Problem {
                reasoning_trace: trace,
                ..problem.clone()
            }
        };
        self.train.iter().map(complete).collect()
    }

    /// The accuracy of a student of a base that learns from `data`.
    pub(crate) fn taught_accuracy(
        &self,
        name: &str,
        size: SizeName,
        data: &Dataset,
        held_out: &[Problem],
    ) -> Result<f64> {
        let name = format!("{name}_{}", size.name());
        let student = self.student(&name, &self.base(size)?, size, data)?;
        self.accuracy(&name, &student, held_out)
    }
}
