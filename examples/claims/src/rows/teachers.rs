//! Rows 1 and 2: students of every teacher and control, and what training the teachers costs.

use crate::Result;
use crate::cast::Source;
use crate::lab::Lab;
use crate::plan::{Ablation, SizeName};
use experiments::Record;
use experiments::Taught;

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    for size in [SizeName::S, SizeName::L] {
        let base = lab.base(size)?;
        let name = format!("undistilled_{}", size.name());
        let accuracy = lab.accuracy(&name, &base, &lab.held_out)?;
        record.put("nothing (base)", size.name(), "accuracy", accuracy);
    }
    let mut fewest = usize::MAX;
    for source in Source::ALL {
        let data = lab.data(source)?;
        record.put(source.name(), "", "explanations", data.len() as f64);
        let tokens = lab.tokens_of(&data)?;
        record.put(source.name(), "", "tokens", tokens as f64);
        // B may have a handful of traces, which nobody else is to be cut down to.
        if matches!(source, Source::A | Source::C) {
            fewest = fewest.min(tokens);
        }
        for size in [SizeName::S, SizeName::L] {
            let name = format!("of_{source:?}");
            let accuracy = lab.taught_accuracy(&name, size, &data, &lab.held_out)?;
            record.put(source.name(), size.name(), "accuracy", accuracy);
        }
    }
    for source in [Source::C, Source::A, Source::B] {
        let data = lab.within(&lab.data(source)?, fewest)?;
        let name = format!("of_{source:?}_same_tokens");
        let size = SizeName::S;
        let accuracy = lab.taught_accuracy(&name, size, &data, &lab.held_out)?;
        let subject = format!("{}, same tokens", source.name());
        record.put(subject, size.name(), "accuracy", accuracy);
    }
    // By seed, since what a base can do differs more between seeds than what teachers make of it.
    for (name, [of, other]) in [
        ("A minus B", [Source::A, Source::B]),
        ("A minus C", [Source::A, Source::C]),
    ] {
        for size in [SizeName::S, SizeName::L] {
            let accuracy = |source: Source| record.get(source.name(), size.name(), "accuracy");
            if let (Some(of), Some(other)) = (accuracy(of), accuracy(other)) {
                record.put(name, size.name(), "accuracy", of - other);
            }
        }
    }
    // How dense success is from the start.
    let solver = lab.solver(SizeName::L)?;
    let reward = |look: Option<&experiments::Look>| look.map_or(0.0, |look| look.reward);
    record.put(
        Source::B.name(),
        "",
        "own accuracy before RL",
        reward(solver.looks.first()),
    );
    record.put(
        Source::B.name(),
        "",
        "own accuracy after RL",
        reward(solver.looks.last()),
    );
    Ok(())
}

pub(crate) fn cost(lab: &Lab, record: &mut Record) -> Result<()> {
    let explainer = lab.explainer(Ablation::Published, SizeName::S)?;
    let solver = lab.solver(SizeName::L)?;
    for (subject, taught, size) in [
        (Source::A.name(), explainer, SizeName::S),
        (Source::B.name(), solver, SizeName::L),
    ] {
        let Taught {
            model,
            tokens,
            samples,
            ..
        } = taught;
        record.put(subject, "", "seconds", model.seconds);
        record.put(subject, "", "sampled tokens", tokens);
        record.put(subject, "", "samples", samples);
        // What a token costs is about proportional to the parameters that it goes through.
        let parameters = lab.parameters(size)?;
        record.put(subject, "", "tokens x parameters", tokens * parameters);
    }
    Ok(())
}
