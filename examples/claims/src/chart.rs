//! The plot of row 1 over difficulty, as SVG.
//!
//! Owns places and colours. Knows summaries only.

use std::fmt::Write as _;

use crate::plot::{DIFFICULTY, ROW, TEACHERS};
use experiments::Summary;

const COLOURS: [&str; 4] = ["#1f5fbf", "#c0392b", "#d98c1f", "#777777"];
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 96.0;

/// The smallest success rate that the axis shows; smaller ones stand there.
const SMALLEST: f64 = 5e-4;

/// Where a success rate stands, on a logarithmic axis that ends at 1.
fn x(rate: f64) -> f64 {
    let share = (rate.max(SMALLEST) / SMALLEST).ln() / (1.0 / SMALLEST).ln();
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

/// Where an accuracy stands.
fn y(accuracy: f64) -> f64 {
    HEIGHT - BOTTOM - accuracy.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
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
    let mut text = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' \
         font-size='12'>\n<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>\n"
    );
    axes(&mut text, &points);
    for (place, teacher) in TEACHERS.iter().enumerate() {
        let found: Vec<(f64, &Summary)> = points
            .iter()
            .filter_map(|&(lengths, rate)| {
                let subject = format!("{teacher}, {lengths}");
                let accuracy = |s: &&&Summary| s.metric == "accuracy" && s.subject == subject;
                Some((rate, *of_plot.iter().find(accuracy)?))
            })
            .collect();
        line(&mut text, place, teacher, &found);
    }
    text.push_str("</svg>\n");
    Some(text)
}

fn axes(text: &mut String, points: &[(&str, f64)]) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in 0..=5 {
        let accuracy = f64::from(tick) / 5.0;
        let at = y(accuracy);
        let _ = writeln!(
            text,
            "<line x1='{LEFT}' x2='{right}' y1='{at:.1}' y2='{at:.1}' stroke='#ddd'/>\
             <text x='{:.1}' y='{:.1}' text-anchor='end'>{accuracy:.1}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for rate in [0.001, 0.01, 0.1, 1.0] {
        let at = x(rate);
        let _ = writeln!(
            text,
            "<line x1='{at:.1}' x2='{at:.1}' y1='{TOP}' y2='{bottom}' stroke='#ddd'/>\
             <text x='{at:.1}' y='{:.1}' text-anchor='middle'>{rate}</text>",
            bottom + 16.0
        );
    }
    for (lengths, rate) in points {
        let short = lengths.trim_end_matches(" operations");
        let _ = writeln!(
            text,
            "<text x='{:.1}' y='{:.1}' text-anchor='middle' fill='#999'>{short}</text>",
            x(*rate),
            bottom + 34.0
        );
    }
    let _ = writeln!(
        text,
        "<text x='{:.1}' y='{:.1}' text-anchor='middle'>B's success rate before RL; below, operations of the \
         problems</text>\n<text transform='translate(16,{:.1}) rotate(-90)' text-anchor='middle'>accuracy of students S\
         </text>",
        (LEFT + right) / 2.0,
        bottom + 54.0,
        (TOP + bottom) / 2.0
    );
}

/// One teacher's means with their intervals.
fn line(text: &mut String, place: usize, teacher: &str, found: &[(f64, &Summary)]) {
    let colour = COLOURS[place];
    let path: Vec<String> = found
        .iter()
        .map(|(rate, summary)| format!("{:.1},{:.1}", x(*rate), y(summary.mean())))
        .collect();
    let _ = writeln!(
        text,
        "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>",
        path.join(" ")
    );
    for (rate, summary) in found {
        let (at, mean) = (x(*rate), y(summary.mean()));
        if let Some(interval) = summary.interval {
            let (low, high) = (y(interval.low), y(interval.high));
            let _ = writeln!(
                text,
                "<line x1='{at:.1}' x2='{at:.1}' y1='{low:.1}' y2='{high:.1}' stroke='{colour}' opacity='0.5'/>"
            );
        }
        let _ = writeln!(
            text,
            "<circle cx='{at:.1}' cy='{mean:.1}' r='3.5' fill='{colour}'/>"
        );
    }
    let begin = LEFT + 150.0 * place as f64;
    let below = HEIGHT - 14.0;
    let _ = writeln!(
        text,
        "<rect x='{begin:.1}' y='{:.1}' width='14' height='4' fill='{colour}'/>\
         <text x='{:.1}' y='{below:.1}'>students of {teacher}</text>",
        below - 6.0,
        begin + 20.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::{Record, summaries};

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
