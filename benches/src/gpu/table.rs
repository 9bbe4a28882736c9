//! The table of operations, as Markdown, and its place in the guide.
use std::fmt::Write as _;
use std::path::PathBuf;

use super::counts::Peaks;
use super::operations::Operation;
use super::sizes::Sizes;
use super::works::Work;

const BEGIN: &str = "<!-- cargo run --release -p didact-bench -- gpu --write-docs -->\n";
const END: &str = "<!-- end -->";

/// What was measured of a work: seconds, or why there are none.
pub(super) type Measured = Result<f64, String>;

/// A line for each work; with two more columns where they were measured.
pub(super) struct Table {
    peaks: Peaks,
    columns: Vec<&'static str>,
    lines: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(peaks: Peaks, measured: bool) -> Self {
        let mut columns = vec![
            "operation",
            "sizes",
            "bytes, least",
            "operations, least",
            "floor, µs",
            "bytes, ours",
            "operations, ours",
            "reads, ours",
            "expected, µs",
            "limit",
        ];
        if measured {
            columns.extend(["measured, µs", "over floor"]);
        }
        Self {
            peaks,
            columns,
            lines: Vec::new(),
        }
    }

    /// The prediction alone.
    pub(super) fn predicted(
        operations: &[&Operation],
        sizes: &Sizes,
        float: f64,
        peaks: Peaks,
    ) -> Self {
        let mut table = Self::new(peaks, false);
        for operation in operations {
            for work in (operation.works)(sizes, float) {
                table.add(operation.name, &work, None);
            }
        }
        table
    }

    pub(super) fn add(&mut self, operation: &str, work: &Work, measured: Option<&Measured>) {
        let counts = &work.counts;
        let (least, ours) = (counts.least, counts.ours());
        let floor = self.peaks.floor(counts);
        let mut line = vec![
            format!("{operation}, {}", work.pass),
            work.sizes.clone(),
            scaled(least.bytes),
            scaled(least.operations()),
            micros(floor),
            scaled(ours.bytes),
            scaled(ours.operations()),
            scaled(ours.reads),
            micros(self.peaks.expected(counts)),
            self.peaks.limit(counts).to_owned(),
        ];
        match measured {
            None => {}
            Some(Ok(seconds)) => {
                line.push(micros(*seconds));
                line.push(format!("{:.1}", seconds / floor));
            }
            Some(Err(reason)) => line.extend([reason.replace('|', "/"), "—".to_owned()]),
        }
        self.lines.push(line);
    }

    /// As Markdown whose columns stand below each other in a terminal too.
    pub(super) fn markdown(&self) -> String {
        let width = |column: usize| {
            let cells = self.lines.iter().map(|line| line[column].chars().count());
            cells.fold(self.columns[column].chars().count(), usize::max)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        let mut write_line = |cells: &[String]| {
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let _ = if is_text(column) {
                    write!(text, "| {cell:<width$} ")
                } else {
                    write!(text, "| {cell:>width$} ")
                };
            }
            text.push_str("|\n");
        };
        let head: Vec<_> = self.columns.iter().map(|&name| name.to_owned()).collect();
        write_line(&head);
        let rule: Vec<_> = widths
            .iter()
            .enumerate()
            .map(|(column, width)| {
                if is_text(column) {
                    "-".repeat(*width)
                } else {
                    format!("{}:", "-".repeat(width - 1))
                }
            })
            .collect();
        write_line(&rule);
        for line in &self.lines {
            write_line(line);
        }
        text
    }
}

/// Names, sizes and limits are text, the rest are numbers.
fn is_text(column: usize) -> bool {
    matches!(column, 0 | 1 | 9)
}

/// Three figures and a power of a thousand.
fn scaled(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let (mut scale, mut rest) = (0, number);
    while rest >= 999.5 && scale < 5 {
        (scale, rest) = (scale + 1, rest / 1000.0);
    }
    let unit = ["", " k", " M", " G", " T", " P"][scale];
    format!("{}{unit}", figures(rest))
}

fn micros(seconds: f64) -> String {
    figures(seconds * 1e6)
}

/// Three figures, or all before the point.
fn figures(number: f64) -> String {
    if number < 9.995 {
        format!("{number:.2}")
    } else if number < 99.95 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

/// What stands between the marks in the guide.
fn section(table: &Table) -> String {
    format!(
        "{BEGIN}\nPeaks: {}.\n\n{}\n{END}",
        table.peaks.describe(),
        table.markdown()
    )
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/src/gpu.md")
}

/// The page before the marks, between them with the marks, and behind them.
fn parts(text: &str) -> Option<[&str; 3]> {
    let begin = text.find(BEGIN)?;
    let end = begin + text[begin..].find(END)? + END.len();
    Some([&text[..begin], &text[begin..end], &text[end..]])
}

/// Puts the table into the guide.
///
/// # Errors
/// When the page cannot be read or written, or has no place for the table.
pub(super) fn write_docs(table: &Table) -> crate::Result<()> {
    let page = page();
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", page.display());
    let text = std::fs::read_to_string(&page).map_err(|error| wrong(&error))?;
    let [before, _, after] = parts(&text).ok_or_else(|| {
        wrong(&format!(
            "has no place for the table, {} … {END}",
            BEGIN.trim()
        ))
    })?;
    std::fs::write(&page, format!("{before}{}{after}", section(table)))
        .map_err(|error| wrong(&error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::tests::documented;

    #[test]
    fn the_guide_has_the_table_that_the_counts_give() {
        let text = std::fs::read_to_string(page()).expect("the guide");
        let [_, found, _] = parts(&text).expect("the table's place");
        let expected = section(&documented());
        assert_eq!(
            found, expected,
            "run `cargo run --release -p didact-bench -- gpu --write-docs`"
        );
    }

    #[test]
    fn numbers_have_three_figures() {
        assert_eq!(
            [0.0, 7.0, 999.4, 999.5, 1234.0, 3.35e12].map(scaled),
            ["0", "7.00", "999", "1.00 k", "1.23 k", "3.35 T"]
        );
        assert_eq!(
            [1e-6, 12.34e-6, 0.012].map(micros),
            ["1.00", "12.3", "12000"]
        );
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = format!("a\n{BEGIN}old{END}b");
        let [before, between, after] = parts(&text).expect("marks");
        assert_eq!((before, after), ("a\n", "b"));
        assert!(between.starts_with(BEGIN) && between.ends_with(END));
        assert_eq!(parts("no marks"), None);
    }
}
