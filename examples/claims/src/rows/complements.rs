//! Row 4: reinforcement learning of students that begin as the base, distilled by B, and distilled by A.

use crate::Result;
use crate::cast::Source;
use crate::lab::{Aim, Lab, Training};
use crate::plan::SizeName;
use experiments::Record;

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    let size = SizeName::S;
    let base = lab.base(size)?;
    for source in [None, Some(Source::B), Some(Source::A), Some(Source::C)] {
        let (subject, stage) = source.map_or_else(
            || ("from the base".to_owned(), "base".to_owned()),
            |source| {
                (
                    format!("distilled by {}", source.name()),
                    format!("{source:?}"),
                )
            },
        );
        let start = match source {
            None => base.clone(),
            Some(source) => {
                let name = format!("of_{source:?}_{}", size.name());
                lab.student(&name, &base, size, &lab.data(source)?)?
            }
        };
        let taught = lab.teach(
            &format!("student_rl_{stage}"),
            &Training {
                aim: Aim::Solve,
                budget: lab.setting.student,
                start: &start,
                student: &start,
                train: &lab.train,
                held_out: &lab.held_out,
                every: (lab.setting.student.steps / 4).max(1),
            },
        )?;
        for look in &taught.looks {
            let metric = format!("accuracy after {} steps", look.step);
            record.put(&subject, size.name(), metric, look.reward);
        }
    }
    Ok(())
}
