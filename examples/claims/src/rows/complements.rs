//! Row 4: reinforcement learning of students that begin as the base, distilled by B, and distilled by A.

use crate::Result;
use crate::cast::Source;
use crate::lab::{Aim, Lab, Training};
use crate::plan::SizeName;
use experiments::Record;

/// What students begin as: the base, or distilled by someone.
pub(crate) const STARTS: [Option<Source>; 4] =
    [None, Some(Source::B), Some(Source::A), Some(Source::C)];

pub(crate) fn start_name(start: Option<Source>) -> String {
    start.map_or_else(
        || "from the base".to_owned(),
        |source| format!("distilled by {}", source.name()),
    )
}

const LOOK: (&str, &str) = ("accuracy after ", " steps");

pub(crate) fn look_name(step: u64) -> String {
    format!("{}{step}{}", LOOK.0, LOOK.1)
}

/// The step of a look's name.
pub(crate) fn step_of(metric: &str) -> Option<u64> {
    metric
        .strip_prefix(LOOK.0)?
        .strip_suffix(LOOK.1)?
        .parse()
        .ok()
}

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    let size = SizeName::S;
    let base = lab.base(size)?;
    for start in STARTS {
        let stage = start.map_or_else(|| "base".to_owned(), |source| format!("{source:?}"));
        let model = match start {
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
                start: &model,
                student: &model,
                train: &lab.train,
                held_out: &lab.held_out,
                every: (lab.setting.student.steps / 4).max(1),
            },
        )?;
        for look in &taught.looks {
            record.put(
                start_name(start),
                size.name(),
                look_name(look.step),
                look.reward,
            );
        }
    }
    Ok(())
}
