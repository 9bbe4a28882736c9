//! The plot of row 1 over difficulty, as SVG.
//!
//! Owns where points stand. Knows summaries only.

use std::fmt::Write as _;

use experiments::Summary;

use super::{BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, curve, frame};
use crate::plot::{DIFFICULTY, ROW, TEACHERS};

/// The smallest success rate that the axis shows; smaller ones stand there.
const SMALLEST: f64 = 5e-4;

/// Where a success rate stands, on a logarithmic axis that ends at 1.
fn x(rate: f64) -> f64 {
    let share = (rate.max(SMALLEST) / SMALLEST).ln() / (1.0 / SMALLEST).ln();
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

/// The plot, if there are figures for it.
pub(crate) fn svg(summaries: &[Summary]) -> Option<String> {
    let of_plot: Vec<&Summary> = summaries.iter().filter(|s| s.row == ROW).collect();
    // Points by what they are called after the teacher: the lengths of their problems.
    let mut points: Vec<(&str, f64)> = of_plot
        .iter()
        .filter(|s| s.metric == DIFFICULTY)
        .filter_map(|s| Some((s.subject.strip_prefix("all, ")?, s.mean())))
        .collect();
    if points.is_empty() {
        return None;
    }
    points.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut text = String::new();
    for (lengths, rate) in &points {
        let short = lengths.trim_end_matches(" operations");
        let _ = writeln!(
            text,
            "<text x='{:.1}' y='{:.1}' text-anchor='middle' fill='#999'>{short}</text>",
            x(*rate),
            HEIGHT - BOTTOM + 34.0
        );
    }
    for (place, teacher) in TEACHERS.iter().enumerate() {
        let found: Vec<(f64, &Summary)> = points
            .iter()
            .filter_map(|&(lengths, rate)| {
                let subject = format!("{teacher}, {lengths}");
                let accuracy = |s: &&&Summary| s.metric == "accuracy" && s.subject == subject;
                Some((x(rate), *of_plot.iter().find(accuracy)?))
            })
            .collect();
        curve(&mut text, place, &format!("of {teacher}"), &found);
    }
    let ticks = [0.001, 0.01, 0.1, 1.0].map(|rate| (x(rate), rate.to_string()));
    let below = "B's success rate before RL; below, operations of the problems";
    Some(frame(&ticks, below, &text))
}

#[cfg(test)]
mod tests {
    use experiments::Record;
    use experiments::numbers::summaries;

    use super::*;

    #[test]
    fn every_teacher_has_a_line_through_its_points() {
        let mut numbers = Vec::new();
        for seed in [1, 2, 3] {
            let mut record = Record::new(ROW, "sparse", seed);
            for (lengths, rate) in [("2 to 3", 0.4), ("8 to 10", 0.0)] {
                record.put(format!("all, {lengths} operations"), "", DIFFICULTY, rate);
                for teacher in TEACHERS {
                    let subject = format!("{teacher}, {lengths} operations");
                    record.put(subject, "S", "accuracy", 0.1 * seed as f64);
                }
            }
            numbers.extend(record.numbers);
        }
        let text = svg(&summaries(&numbers)).unwrap();
        assert_eq!(text.matches("<polyline").count(), TEACHERS.len());
        assert_eq!(text.matches("<circle").count(), 2 * TEACHERS.len());
        // A rate of 0 stands at the axis' left end.
        assert!(text.contains(&format!("cx='{LEFT:.1}'")), "{text}");
        assert!(svg(&[]).is_none());
    }
}
