//! The tables that a run ends with.
//!
//! Owns `claims.json`, `claims.md` and the part of a README between its marks. Everything in them is made of the
//! figures on disk.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use experiments::numbers::{Summary, read, summaries, write_beside};
use experiments::table::{pooled, put_between_marks, table};

use crate::rows::Row;
use crate::{Result, chart, plot};

/// The figures' files, beside `claims.md` and beside a README.
const PLOT: &str = "plot.svg";
const ABLATIONS: &str = "ablations.svg";
const COMPLEMENTS: &str = "complements.svg";

/// The plots that there are figures for, by their files' names.
fn plots(summaries: &[Summary]) -> Vec<(&'static str, String)> {
    [
        (PLOT, chart::difficulty::svg(summaries)),
        (ABLATIONS, chart::ablations::svg(summaries)),
        (COMPLEMENTS, chart::complements::svg(summaries)),
    ]
    .into_iter()
    .filter_map(|(name, svg)| Some((name, svg?)))
    .collect()
}

/// Writes `claims.json`, `claims.md` and the plots.
pub(crate) fn write(out: &Path) -> Result<()> {
    let numbers = read(&out.join("numbers"))?;
    let summaries = summaries(&numbers);
    let all = json!({"summaries": summaries, "numbers": numbers});
    let text = serde_json::to_string_pretty(&all)?;
    write_beside(&out.join("claims.json"), &text)?;
    for (name, svg) in plots(&summaries) {
        write_beside(&out.join(name), &svg)?;
    }
    let path = out.join("claims.md");
    write_beside(&path, &markdown(&summaries))?;
    println!("{} holds the tables", path.display());
    Ok(())
}

/// Replaces what stands between the marks of a README by the tables, and puts the plots beside it.
pub(crate) fn write_readme(out: &Path, readme: &Path) -> Result<()> {
    let summaries = summaries(&read(&out.join("numbers"))?);
    for (name, svg) in plots(&summaries) {
        write_beside(&readme.with_file_name(name), &svg)?;
    }
    put_between_marks(readme, "claims", &markdown(&summaries))
}

/// A table for each row and world: subjects down, metrics across.
fn markdown(summaries: &[Summary]) -> String {
    let mut text = String::new();
    for row in Row::ALL {
        let of_row: Vec<&Summary> = summaries.iter().filter(|s| s.row == row.name()).collect();
        if of_row.is_empty() {
            continue;
        }
        let _ = writeln!(text, "### Row {}: {}\n", row.name(), row.claim());
        let figure = match row {
            Row::Ablations => Some((
                "The reward that a teacher was trained for and the accuracy of its students",
                ABLATIONS,
            )),
            Row::Complements => Some((
                "Accuracy of students over the steps of their own RL",
                COMPLEMENTS,
            )),
            _ => None,
        };
        if let Some((what, path)) = figure {
            let _ = writeln!(text, "![{what}]({path})\n");
        }
        for world in row.worlds() {
            let of_world: Vec<&Summary> = of_row
                .iter()
                .copied()
                .filter(|s| s.world == world.name())
                .collect();
            if !of_world.is_empty() {
                let what = format!("World `{}`", world.name());
                table(&mut text, &what, &of_world);
            }
            if row == Row::Buckets {
                pooled(&mut text, &of_world, ["mean reward", "accuracy"]);
            }
        }
    }
    let plot: Vec<&Summary> = summaries.iter().filter(|s| s.row == plot::ROW).collect();
    if !plot.is_empty() {
        let _ = writeln!(
            text,
            "### Row 1 over difficulty\n\n![Accuracy of students against B's first success rate]({PLOT})\n"
        );
        table(&mut text, "World `sparse`", &plot);
    }
    text
}
