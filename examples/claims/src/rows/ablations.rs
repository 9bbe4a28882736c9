//! The ablations: teachers trained by a reward without one of its parts, their explanations by the published reward,
//! and their students.

use crate::Result;
use crate::lab::Lab;
use crate::plan::{Ablation, SizeName};
use crate::rows::manner::look;
use experiments::Record;

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    let size = SizeName::S;
    let before = lab.warmed(size)?;
    look(lab, record, "before RL", "before", &before)?;
    let data = lab.data(crate::cast::Source::C)?;
    let accuracy = lab.taught_accuracy("of_C", size, &data, &lab.held_out)?;
    record.put("before RL", size.name(), "accuracy", accuracy);
    for ablation in Ablation::ALL {
        let taught = lab.explainer(ablation, size)?;
        if let Some(last) = taught.looks.last() {
            // Before anything is said of students: does the teacher get what it was trained for?
            record.put(ablation.name(), "", "own reward", last.reward);
        }
        let stage = format!("{ablation:?}");
        look(lab, record, ablation.name(), &stage, &taught.model)?;
        let data = lab.explained(&stage, &taught.model, &lab.train)?;
        let name = format!("of_{stage}");
        let accuracy = lab.taught_accuracy(&name, size, &data, &lab.held_out)?;
        record.put(ablation.name(), size.name(), "accuracy", accuracy);
    }
    Ok(())
}
