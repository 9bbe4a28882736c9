//! The problems and the prompt format of the arithmetic recipe, as files.

use std::path::Path;

use arithmetic::language;
use arithmetic::world::{Habits, ProblemSet, World};
use didact::distill::json_lines;
use fs_err as fs;

use crate::Result;

/// How traces are written: as the models of `quickstart` grew up with.
const HABITS: Habits = Habits {
    skip: 0.45,
    digress: 0.35,
    correct: 0.25,
    ..Habits::NONE
};

pub(crate) fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, stream, count, held_out) in [("train", 2, 512, false), ("test", 3, 128, true)] {
        let problems = World::SMALL.problems(&ProblemSet {
            seed: 1,
            stream,
            count,
            held_out,
            operations: (2, 4),
            with: None,
            habits: HABITS,
        });
        json_lines::write(folder.join(format!("{name}.jsonl")), &problems)?;
    }
    let format = folder.join("format.toml");
    let text = toml::to_string_pretty(&language::format()?)?;
    let beside = folder.join("format.toml.partial");
    fs::write(&beside, text)?;
    fs::rename(&beside, &format)?;
    println!("problems and their format are in {}", folder.display());
    Ok(())
}
