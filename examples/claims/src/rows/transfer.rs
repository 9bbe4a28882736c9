//! Row 5: problems with an operation that the teacher's problems did not have.
//!
//! The bases know all operations. Teacher A is trained on chains of additions and subtractions alone and explains
//! chains with multiplications; its students are compared with direct RL on those.

use arithmetic::world::{Kind, Operator, ProblemSet, World};
use didact::core::Problem;

use crate::Result;
use crate::lab::{Aim, Lab, Training};
use crate::plan::{Ablation, CHOICE, SizeName};
use experiments::Dataset;
use experiments::Record;

/// Additions and subtractions.
const WITHOUT: &[Kind] = &[
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
];

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    let size = SizeName::S;
    let world = lab.setting.world;
    let without = World {
        operations: WITHOUT,
        ..world
    };
    let with = |set: ProblemSet| {
        world.problems(&ProblemSet {
            with: Some(Operator::Multiply),
            ..set
        })
    };
    let known = without.problems(&lab.setting.train_set(lab.seed));
    let known_held_out = without.problems(&lab.setting.held_out_set(lab.seed));
    let new = with(lab.setting.train_set(lab.seed));
    let new_held_out = with(lab.setting.held_out_set(lab.seed));

    let (base, before) = (lab.base(size)?, lab.warmed(size)?);
    let explain = |name: &str, train: &[Problem], held_out: &[Problem]| {
        lab.teach(
            name,
            &Training {
                aim: Aim::Explain(Ablation::Published),
                budget: lab.setting.teacher,
                start: &before,
                student: &base,
                train,
                held_out,
                every: 0,
            },
        )
    };
    let elsewhere = explain("teacher_without", &known, &known_held_out)?.model;
    let there = explain("teacher_with", &new, &new_held_out)?.model;

    let accuracy = lab.accuracy("undistilled_with", &base, &new_held_out)?;
    record.put("nothing (base)", size.name(), "accuracy", accuracy);
    let mut student = |subject: &str, stage: &str, data: &Dataset| -> Result<()> {
        let good = lab.grades(data).good;
        record.put(subject, "", "every step right", good);
        let name = format!("of_{stage}");
        let accuracy = lab.taught_accuracy(&name, size, data, &new_held_out)?;
        record.put(subject, size.name(), "accuracy", accuracy);
        Ok(())
    };
    let records = lab.explanations("C_with", &before, &new, CHOICE)?;
    let unclosed = lab.setting.keeps_unclosed();
    let first: Vec<_> = records.iter().step_by(CHOICE).cloned().collect();
    let first = Dataset::first(&first, unclosed);
    student("teacher before RL", "C_with", &first)?;
    let best = Dataset::best(&records, unclosed);
    student("teacher before RL, best of 8 by reward", "best_with", &best)?;
    let data = lab.explained("without", &elsewhere, &new)?;
    student("teacher trained without the operation", "without", &data)?;
    let data = lab.explained("with", &there, &new)?;
    student("teacher trained with it", "with", &data)?;

    let direct = lab.teach(
        "direct_with",
        &Training {
            aim: Aim::Solve,
            budget: lab.setting.student,
            start: &base,
            student: &base,
            train: &new,
            held_out: &new_held_out,
            every: 0,
        },
    )?;
    if let Some(last) = direct.looks.last() {
        record.put("direct RL there", size.name(), "accuracy", last.reward);
    }
    Ok(())
}
