//! The tables that a run ends with.
//!
//! Owns `claims.json`, `claims.md` and the part of a README between its marks. Everything in them is made of the
//! figures on disk.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::numbers::{Summary, read, summaries, write_beside};
use crate::rows::Row;
use crate::statistics::{bootstrap, pearson, spearman};
use crate::{Result, chart, plot};

/// The plot's file, beside `claims.md` and beside a README.
const PLOT: &str = "plot.svg";

const BEGIN: &str = "<!-- claims: begin -->";
const END: &str = "<!-- claims: end -->";

/// Writes `claims.json`, `claims.md` and, where there are figures for it, `plot.svg`.
pub(crate) fn write(out: &Path) -> Result<()> {
    let numbers = read(&out.join("numbers"))?;
    let all = json!({"summaries": summaries(&numbers), "numbers": numbers});
    write_beside(
        &out.join("claims.json"),
        &serde_json::to_string_pretty(&all)?,
    )?;
    let summaries = summaries(&numbers);
    if let Some(svg) = chart::svg(&summaries) {
        write_beside(&out.join(PLOT), &svg)?;
    }
    let path = out.join("claims.md");
    write_beside(&path, &markdown(&summaries))?;
    println!("{} holds the tables", path.display());
    Ok(())
}

/// Replaces what stands between the marks of a README by the tables, and puts the plot beside it.
pub(crate) fn write_readme(out: &Path, readme: &Path) -> Result<()> {
    write(out)?;
    let text = fs::read_to_string(readme)?;
    let tables = fs::read_to_string(out.join("claims.md"))?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(format!("{} lacks {BEGIN} or {END}", readme.display()).into());
    };
    if let Ok(svg) = fs::read_to_string(out.join(PLOT)) {
        write_beside(&readme.with_file_name(PLOT), &svg)?;
    }
    write_beside(
        readme,
        &format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"),
    )
}

/// A table for each row and world: subjects down, metrics across.
fn markdown(summaries: &[Summary]) -> String {
    let mut text = String::new();
    for row in Row::ALL {
        let of_row: Vec<&Summary> = summaries.iter().filter(|s| s.row == row.name()).collect();
        if of_row.is_empty() {
            continue;
        }
        let _ = writeln!(text, "## Row {}: {}\n", row.name(), row.claim());
        for world in row.worlds() {
            let of_world: Vec<&Summary> = of_row
                .iter()
                .copied()
                .filter(|s| s.world == world.name())
                .collect();
            if !of_world.is_empty() {
                table(&mut text, world.name(), &of_world);
            }
            if row == Row::Buckets {
                pooled(&mut text, &of_world);
            }
        }
    }
    let plot: Vec<&Summary> = summaries.iter().filter(|s| s.row == plot::ROW).collect();
    if !plot.is_empty() {
        let _ = writeln!(
            text,
            "## Row 1 over difficulty\n\n![Accuracy of students against B's first success rate]({PLOT})\n"
        );
        table(&mut text, "sparse", &plot);
    }
    text
}

/// Row 7's correlations over the buckets of all seeds, with intervals by the bootstrap over seeds.
fn pooled(text: &mut String, summaries: &[&Summary]) {
    let column = |metric: &str| -> Vec<&[f64]> {
        let buckets = summaries.iter().filter(|s| s.metric == metric);
        buckets.map(|s| s.values.as_slice()).collect()
    };
    let (rewards, accuracies) = (column("mean reward"), column("accuracy"));
    let seeds = rewards.iter().map(|values| values.len()).min().unwrap_or(0);
    let of_seed = |seed: usize| -> Vec<(f64, f64)> {
        let pairs = rewards.iter().zip(&accuracies);
        pairs.map(|(x, y)| (x[seed], y[seed])).collect()
    };
    let groups: Vec<Vec<(f64, f64)>> = (0..seeds).map(of_seed).collect();
    if groups.is_empty() {
        return;
    }
    for (name, correlation) in [
        ("Pearson", pearson as fn(&[(f64, f64)]) -> f64),
        ("Spearman", spearman),
    ] {
        let (low, high) = bootstrap(&groups, correlation, 10_000);
        let all = correlation(&groups.concat());
        let _ = writeln!(
            text,
            "{name}, buckets of all seeds together: {all:.3} [{low:.3}, {high:.3}], bootstrap over seeds.\n"
        );
    }
}

fn table(text: &mut String, world: &str, summaries: &[&Summary]) {
    let mut columns: Vec<(String, String)> = Vec::new();
    let mut subjects: Vec<&str> = Vec::new();
    for summary in summaries {
        let column = (summary.metric.clone(), summary.size.clone());
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !subjects.contains(&summary.subject.as_str()) {
            subjects.push(&summary.subject);
        }
    }
    let seeds = summaries.iter().map(|s| s.values.len()).max().unwrap_or(0);
    let _ = writeln!(text, "World `{world}`, {seeds} seeds.\n");
    let heads: Vec<String> = columns
        .iter()
        .map(|(metric, size)| match size.as_str() {
            "" => metric.clone(),
            size => format!("{metric}, {size}"),
        })
        .collect();
    let _ = writeln!(text, "| | {} |", heads.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
    for subject in subjects {
        let cells: Vec<String> = columns
            .iter()
            .map(|(metric, size)| {
                let found = summaries
                    .iter()
                    .find(|s| s.subject == subject && &s.metric == metric && &s.size == size);
                found.map_or_else(String::new, |summary| shown(summary))
            })
            .collect();
        let _ = writeln!(text, "| {subject} | {} |", cells.join(" | "));
    }
    text.push('\n');
}

/// A mean with its interval, to three digits.
fn shown(summary: &Summary) -> String {
    let mean = number(summary.mean());
    summary.interval.map_or_else(
        || mean.clone(),
        |interval| {
            format!(
                "{mean} [{}, {}]",
                number(interval.low),
                number(interval.high)
            )
        },
    )
}

fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        format!("{value:.2e}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Record;

    #[test]
    fn a_table_has_a_line_for_each_subject_and_an_interval_for_each_mean() {
        let mut numbers = Vec::new();
        for (seed, value) in [(1, 0.5), (2, 0.7)] {
            let mut record = Record::new("1", "dense", seed);
            record.put("A", "S", "accuracy", value);
            record.put("A", "", "tokens", 1234.0);
            numbers.extend(record.numbers);
        }
        let text = markdown(&summaries(&numbers));
        assert!(text.contains("| | accuracy, S | tokens |"), "{text}");
        // 0.6 ± 12.706 · 0.1.
        assert!(
            text.contains("| A | 0.600 [-0.671, 1.87] | 1234 [1234, 1234] |"),
            "{text}"
        );
    }

    #[test]
    fn a_readme_keeps_what_is_not_between_its_marks() {
        let folder = tempfile::tempdir().unwrap();
        let readme = folder.path().join("README.md");
        fs::write(&readme, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        write_readme(folder.path(), &readme).unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"));
        assert!(!text.contains("old"));
        fs::write(&readme, "nothing").unwrap();
        assert!(write_readme(folder.path(), &readme).is_err());
    }
}
