//! The figures of the README, as SVG.
//!
//! Owns the frame and the curves that they share: the vertical axis is the accuracy of students.

use std::fmt::Write as _;

use experiments::Summary;

pub(crate) mod ablations;
pub(crate) mod complements;
pub(crate) mod difficulty;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 96.0;
/// Of curves, in their order.
const COLOURS: [&str; 4] = ["#1f5fbf", "#c0392b", "#d98c1f", "#777777"];

/// Where an accuracy stands.
fn y(accuracy: f64) -> f64 {
    HEIGHT - BOTTOM - accuracy.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
}

/// A figure with its lines of equal accuracy; `below` is written under the horizontal axis, whose ticks are places and
/// texts. What is drawn stands before `</svg>`.
fn frame(ticks: &[(f64, String)], below: &str, drawn: &str) -> String {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut text = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' \
         font-size='12'>\n<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>\n"
    );
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
    for (at, tick) in ticks {
        let _ = writeln!(
            text,
            "<line x1='{at:.1}' x2='{at:.1}' y1='{TOP}' y2='{bottom}' stroke='#ddd'/>\
             <text x='{at:.1}' y='{:.1}' text-anchor='middle'>{tick}</text>",
            bottom + 16.0
        );
    }
    let _ = writeln!(
        text,
        "<text x='{:.1}' y='{:.1}' text-anchor='middle'>{below}</text>\n\
         <text transform='translate(16,{:.1}) rotate(-90)' text-anchor='middle'>accuracy of students S</text>",
        (LEFT + right) / 2.0,
        bottom + 54.0,
        (TOP + bottom) / 2.0
    );
    text.push_str(drawn);
    text.push_str("</svg>\n");
    text
}

/// Means with their intervals, each at its place on the horizontal axis, and the curve's name below the figure; `place`
/// is the curve's among those of the figure.
fn curve(drawn: &mut String, place: usize, name: &str, points: &[(f64, &Summary)]) {
    let colour = COLOURS[place % COLOURS.len()];
    let path: Vec<String> = points
        .iter()
        .map(|(at, summary)| format!("{at:.1},{:.1}", y(summary.mean())))
        .collect();
    let _ = writeln!(
        drawn,
        "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>",
        path.join(" ")
    );
    for (at, summary) in points {
        if let Some(interval) = summary.interval {
            let (low, high) = (y(interval.low), y(interval.high));
            let _ = writeln!(
                drawn,
                "<line x1='{at:.1}' x2='{at:.1}' y1='{low:.1}' y2='{high:.1}' stroke='{colour}' opacity='0.5'/>"
            );
        }
        let _ = writeln!(
            drawn,
            "<circle cx='{at:.1}' cy='{:.1}' r='3.5' fill='{colour}'/>",
            y(summary.mean())
        );
    }
    let begin = LEFT + 170.0 * place as f64;
    let below = HEIGHT - 14.0;
    let _ = writeln!(
        drawn,
        "<rect x='{begin:.1}' y='{:.1}' width='14' height='4' fill='{colour}'/>\
         <text x='{:.1}' y='{below:.1}'>{name}</text>",
        below - 6.0,
        begin + 20.0
    );
}
