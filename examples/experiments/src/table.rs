//! Tables of figures over seeds, and the part of a README that holds them.

use std::fmt::Write as _;
use std::path::Path;

use fs_err as fs;

use crate::Result;
use crate::numbers::{Summary, write_beside};
use crate::statistics::{bootstrap, pearson, spearman};

/// Puts tables between `<!-- MARK: begin -->` and `<!-- MARK: end -->`, each in the place of the one of the same row and world;
/// others that stand there stay.
///
/// # Errors
/// No table; a file that cannot be read or written, or that lacks a mark.
pub fn put_between_marks(readme: &Path, mark: &str, tables: &str) -> Result<()> {
    let (begin, end) = (
        format!("<!-- {mark}: begin -->"),
        format!("<!-- {mark}: end -->"),
    );
    let text = fs::read_to_string(readme)?;
    let parts = text.split_once(&begin).and_then(|(before, rest)| {
        let (old, after) = rest.split_once(&end)?;
        Some((before, old, after))
    });
    let Some((before, old, after)) = parts else {
        return Err(format!("{} lacks {begin} or {end}", readme.display()).into());
    };
    let mut tables = blocks(tables);
    if tables.is_empty() {
        return Err(format!(
            "there are no figures to write into {}; fill a row first",
            readme.display()
        )
        .into());
    }
    let mut merged = blocks(old);
    for (key, text) in tables.drain(..) {
        if let Some(block) = merged.iter_mut().find(|(old, _)| *old == key) {
            block.1 = text;
            continue;
        }
        let beside = merged.iter().rposition(|(old, _)| old[0] == key[0]);
        merged.insert(beside.map_or(merged.len(), |at| at + 1), (key, text));
    }
    let merged: String = merged.into_iter().map(|(_, text)| text).collect();
    write_beside(
        readme,
        &format!("{before}{begin}\n\n{}\n\n{end}{after}", merged.trim_end()),
    )
}

/// The parts of a text that begin with a heading or with the caption of a world's table, by heading and world.
fn blocks(text: &str) -> Vec<([String; 2], String)> {
    let mut found: Vec<([String; 2], String)> = Vec::new();
    for line in text.trim().lines() {
        let heading = line.starts_with("### ");
        let world = line
            .strip_prefix("World `")
            .and_then(|rest| rest.split('`').next());
        if heading {
            found.push(([line.to_owned(), String::new()], String::new()));
        } else if let Some(world) = world {
            let above = found
                .last()
                .map_or(String::new(), |(key, _)| key[0].clone());
            found.push(([above, world.to_owned()], String::new()));
        }
        if let Some((_, block)) = found.last_mut() {
            block.push_str(line);
            block.push('\n');
        }
    }
    found
}

/// Correlations of two metrics over the subjects of all seeds, with intervals by the bootstrap over seeds.
pub fn pooled(text: &mut String, summaries: &[&Summary], [x, y]: [&str; 2]) {
    let column = |metric: &str| -> Vec<&[f64]> {
        let buckets = summaries.iter().filter(|s| s.metric == metric);
        buckets.map(|s| s.values.as_slice()).collect()
    };
    let (rewards, accuracies) = (column(x), column(y));
    let seeds = rewards
        .iter()
        .chain(&accuracies)
        .map(|values| values.len())
        .min()
        .unwrap_or(0);
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
        let all = correlation(&groups.concat());
        if seeds < 2 {
            let _ = writeln!(text, "{name}: {all:.3}.\n");
            continue;
        }
        let (low, high) = bootstrap(&groups, correlation, 10_000);
        let _ = writeln!(
            text,
            "{name}, buckets of all seeds together: {all:.3} [{low:.3}, {high:.3}], bootstrap over seeds.\n"
        );
    }
}

/// Subjects down, metrics across, below a line that says what it is of.
pub fn table(text: &mut String, what: &str, summaries: &[&Summary]) {
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
    let seeds = || summaries.iter().map(|s| s.values.len());
    let (least, most) = (seeds().min().unwrap_or(0), seeds().max().unwrap_or(0));
    let _ = match (least, most) {
        (1, 1) => writeln!(text, "{what}, 1 seed.\n"),
        (least, most) if least == most => writeln!(text, "{what}, {most} seeds.\n"),
        _ => writeln!(text, "{what}, {least} to {most} seeds.\n"),
    };
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
    use crate::numbers::{Record, summaries};

    #[test]
    fn a_table_has_a_line_for_each_subject_and_an_interval_for_each_mean() {
        let mut numbers = Vec::new();
        for (seed, value) in [(1, 0.5), (2, 0.7)] {
            let mut record = Record::new("1", "dense", seed);
            record.put("A", "S", "accuracy", value);
            record.put("A", "", "tokens", 1234.0);
            numbers.extend(record.numbers);
        }
        let summaries = summaries(&numbers);
        let mut text = String::new();
        table(&mut text, "Here", &summaries.iter().collect::<Vec<_>>());
        assert!(text.starts_with("Here, 2 seeds."), "{text}");
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
        let text = "before\n<!-- it: begin -->\n### One\n\nold\n<!-- it: end -->\nafter\n";
        fs::write(&readme, text).unwrap();
        put_between_marks(&readme, "it", "### One\n\nnew\n").unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"));
        assert!(text.contains("new") && !text.contains("old"));
        assert!(put_between_marks(&readme, "other", "### One").is_err());
        assert!(put_between_marks(&readme, "it", "").is_err());
    }

    #[test]
    fn tables_without_new_figures_stay() {
        let folder = tempfile::tempdir().unwrap();
        let readme = folder.path().join("README.md");
        let old = "### One\n\nWorld `a`, 5 seeds.\n\nold a\n\nWorld `b`, 5 seeds.\n\nold b\n\n### Two\n\nold two\n";
        fs::write(
            &readme,
            format!("<!-- it: begin -->\n\n{old}\n<!-- it: end -->\n"),
        )
        .unwrap();
        put_between_marks(&readme, "it", old).unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        assert_eq!(
            text,
            format!("<!-- it: begin -->\n\n{old}\n<!-- it: end -->\n")
        );
        let new = "### One\n\nWorld `b`, 2 seeds.\n\nnew b\n\nWorld `c`, 2 seeds.\n\nnew c\n\n### Three\n\nnew three\n";
        put_between_marks(&readme, "it", new).unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        let order = ["old a", "new b", "new c", "old two", "new three"];
        let places: Vec<usize> = order.iter().map(|what| text.find(what).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(!text.contains("old b"), "{text}");
    }
}
