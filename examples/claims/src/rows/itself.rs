//! Row 6: one model as teacher and student, round by round.
//!
//! A round trains the model to explain to itself, collects its explanations, and has it learn them in both formats.

use crate::Result;
use crate::lab::{Aim, Lab, Training};
use crate::plan::{Budget, ROUNDS, SizeName};
use experiments::Record;

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    let size = SizeName::S;
    let mut model = lab.base(size)?;
    let accuracy = lab.accuracy("round_0", &model, &lab.held_out)?;
    record.put("round 0", size.name(), "accuracy", accuracy);
    let steps = (lab.setting.teacher.steps / ROUNDS).max(1);
    for round in 1..=ROUNDS {
        let taught = lab.teach(
            &format!("itself_{round}"),
            &Training {
                aim: Aim::ExplainToItself,
                budget: Budget {
                    steps,
                    ..lab.setting.teacher
                },
                start: &model,
                student: &model,
                train: &lab.train,
                held_out: &lab.held_out,
                every: 0,
            },
        )?;
        let data = lab.explained(&format!("itself_{round}"), &taught.model, &lab.train)?;
        let mut examples = lab.student_examples(&data)?;
        examples.extend(lab.teacher_examples(&data)?);
        let name = format!("itself_{round}");
        model = lab.tuned(&name, &taught.model, size, &examples, &data.hash())?;
        let accuracy = lab.accuracy(&format!("round_{round}"), &model, &lab.held_out)?;
        let subject = format!("round {round}");
        record.put(&subject, size.name(), "accuracy", accuracy);
        let good = lab.grades(&data).good;
        record.put(&subject, "", "every step right", good);
    }
    Ok(())
}
