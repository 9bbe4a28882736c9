//! The figures of the README, as SVG.
//!
//! Owns the frame that they share: the vertical axis is the accuracy of students.

use std::fmt::Write as _;

pub(crate) mod ablations;
pub(crate) mod difficulty;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 96.0;

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
