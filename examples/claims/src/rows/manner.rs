//! Row 3: what explanations of held-out problems do before and after RL.

use arithmetic::grades::Grades;

use crate::Result;
use crate::lab::Lab;
use crate::plan::{Ablation, SizeName};
use experiments::Model;
use experiments::Record;

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    let before = lab.warmed(SizeName::S)?;
    let after = lab.explainer(Ablation::Published, SizeName::S)?.model;
    for (subject, stage, teacher) in [
        ("before RL", "before", before),
        ("after RL", "after", after),
    ] {
        look(lab, record, subject, stage, &teacher)?;
    }
    Ok(())
}

/// Grades and reward of a teacher's explanations of held-out problems.
pub(super) fn look(
    lab: &Lab,
    record: &mut Record,
    subject: &str,
    stage: &str,
    teacher: &Model,
) -> Result<()> {
    let records = lab.explanations(&format!("held_out_{stage}"), teacher, &lab.held_out, 1)?;
    let texts = records
        .iter()
        .map(|r| (r.problem.question.as_str(), r.explanation.as_str()));
    let grades = Grades::of_texts(lab.setting.world, texts);
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let rewards = records.iter().filter_map(|r| r.outcome.reward()).collect();
    let tokens = records.iter().map(|r| r.tokens as f64).collect();
    for (metric, value) in [
        ("digressions", grades.digresses),
        ("skipped steps", grades.skips),
        ("wrong or malformed", grades.wrong),
        ("corrections", grades.corrects),
        ("leaks", grades.leaks),
        ("every step right", grades.good),
        ("clean", grades.clean),
        ("ends right", grades.ends_right),
        ("reward", mean(rewards)),
        ("tokens", mean(tokens)),
    ] {
        record.put(subject, "", metric, value);
    }
    for term in ["reward/solution_log_prob", "reward/kl"] {
        let values = records.iter().filter_map(|r| r.outcome.term(term));
        record.put(subject, "", term, mean(values.collect()));
    }
    Ok(())
}
