//! Row 1b: does a trained teacher use the solution that it is shown, and is it size or density of the reward that
//! makes it good?

use arithmetic::chain::Chain;
use arithmetic::grade::stated_end;
use didact::core::Problem;
use didact::distill::ExplanationRecord;

use crate::Result;
use crate::lab::Lab;
use crate::plan::{Ablation, SizeName, WorldName};
use experiments::Model;
use experiments::Record;

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    let small = SizeName::S;
    swap(lab, record, "C (before RL)", "C", &lab.warmed(small)?)?;
    let trained = lab.explainer(Ablation::Published, small)?.model;
    swap(lab, record, "A (RLT)", "A", &trained)?;
    if lab.setting.name == WorldName::Leaky {
        let leaking = lab.explainer(Ablation::NoKl, small)?.model;
        return swap(lab, record, "A, lambda 0", "A_lambda_0", &leaking);
    }
    // Dense reward on the large model, correctness on the small one.
    let large = lab.explainer(Ablation::Published, SizeName::L)?.model;
    swap(lab, record, "RLT on the large model", "A_L", &large)?;
    let solver = lab.solver(small)?.model;
    for (subject, stage, data) in [
        (
            "RLT on the large model",
            "A_L",
            lab.explained("A_L", &large, &lab.train)?,
        ),
        (
            "correctness RL on the small model",
            "solver_S",
            lab.solved("solver_S", &solver, &lab.train)?,
        ),
    ] {
        record.put(subject, "", "explanations", data.len() as f64);
        let accuracy = lab.taught_accuracy(&format!("of_{stage}"), small, &data, &lab.held_out)?;
        record.put(subject, small.name(), "accuracy", accuracy);
    }
    Ok(())
}

/// Grades of a teacher's explanations with the problems' own solutions and with others'.
fn swap(lab: &Lab, record: &mut Record, subject: &str, stage: &str, teacher: &Model) -> Result<()> {
    let swapped = swapped(&lab.held_out);
    for (which, problems) in [("own", &lab.held_out), ("swapped", &swapped)] {
        let records = lab.explanations(&format!("{which}_{stage}"), teacher, problems, 1)?;
        let share = |holds: &dyn Fn(&ExplanationRecord) -> bool| {
            let holding = records.iter().filter(|r| holds(r)).count();
            holding as f64 / records.len().max(1) as f64
        };
        let right = share(&|r| {
            let chain = Chain::parse(lab.setting.world, &r.problem.question);
            chain.is_some_and(|chain| chain.grade(&r.explanation).is_good())
        });
        let shown = share(&|r| stated_end(&r.explanation) == r.problem.answer.as_deref());
        record.put(
            subject,
            "",
            format!("every step right, {which} solution"),
            right,
        );
        record.put(
            subject,
            "",
            format!("ends in what is shown, {which} solution"),
            shown,
        );
    }
    Ok(())
}

/// Each problem with the solution of the next one that has another answer.
fn swapped(problems: &[Problem]) -> Vec<Problem> {
    let other = |place: usize| {
        let later = problems[place + 1..].iter().chain(&problems[..place]);
        later
            .into_iter()
            .find(|other| other.answer != problems[place].answer)
    };
    let swap = |(place, problem): (usize, &Problem)| {
        let other = other(place)?;
        Some(Problem {
            solution: other.solution.clone(),
            answer: other.answer.clone(),
            ..problem.clone()
        })
    };
    problems.iter().enumerate().filter_map(swap).collect()
}
