//! The reward that each teacher was trained for, against what its students learn.
//!
//! Owns places and labels. Knows summaries only.

use std::fmt::Write as _;

use experiments::Summary;

use super::{HEIGHT, LEFT, RIGHT, WIDTH, frame, y};
use crate::plan::Ablation;
use crate::rows::Row;

/// The lowest reward that the axis shows; lower ones stand there.
const LOWEST: f64 = -6.0;

/// Where a reward stands; 0 is the best that there is.
fn x(reward: f64) -> f64 {
    LEFT + (1.0 - reward.clamp(LOWEST, 0.0) / LOWEST) * (WIDTH - LEFT - RIGHT - 150.0)
}

/// The figure of the leaky world, if there is one.
pub(crate) fn svg(summaries: &[Summary]) -> Option<String> {
    let get = |subject: &str, metric: &str| {
        summaries.iter().find(|s| {
            s.row == Row::Ablations.name()
                && s.world == "leaky"
                && s.subject == subject
                && s.metric == metric
        })
    };
    let mut drawn = String::new();
    let mut taken: Vec<f64> = Vec::new();
    for ablation in Ablation::ALL {
        let name = ablation.name();
        let (Some(reward), Some(accuracy)) = (get(name, "own reward"), get(name, "accuracy"))
        else {
            continue;
        };
        let colour = match ablation {
            Ablation::Published => "#1f5fbf",
            Ablation::NoKl => "#c0392b",
            _ => "#777777",
        };
        let (at, height) = (x(reward.mean()), y(accuracy.mean()));
        if let (Some(across), Some(up)) = (reward.interval, accuracy.interval) {
            let _ = writeln!(
                drawn,
                "<path d='M{at:.1},{:.1}V{:.1}M{:.1},{height:.1}H{:.1}' stroke='{colour}' opacity='0.4'/>",
                y(up.low),
                y(up.high),
                x(across.low),
                x(across.high)
            );
        }
        // Labels of equal height are moved apart, at the bottom upwards.
        let mut label = height + 4.0;
        let step = if label > y(0.1) { -14.0 } else { 14.0 };
        while taken.iter().any(|other| (other - label).abs() < 14.0) {
            label += step;
        }
        taken.push(label);
        let _ = writeln!(
            drawn,
            "<circle cx='{at:.1}' cy='{height:.1}' r='4.5' fill='{colour}'/>\
             <text x='{:.1}' y='{label:.1}' fill='{colour}'>{name}</text>",
            WIDTH - RIGHT - 140.0
        );
        let _ = writeln!(
            drawn,
            "<line x1='{at:.1}' y1='{height:.1}' x2='{:.1}' y2='{:.1}' stroke='{colour}' stroke-dasharray='2 3'/>",
            WIDTH - RIGHT - 144.0,
            label - 4.0
        );
    }
    if taken.is_empty() {
        return None;
    }
    if let Some(before) = get("before RL", "accuracy") {
        let at = y(before.mean());
        let _ = writeln!(
            drawn,
            "<line x1='{LEFT}' x2='{:.1}' y1='{at:.1}' y2='{at:.1}' stroke='#555' stroke-dasharray='6 4'/>\
             <text x='{:.1}' y='{:.1}' fill='#555'>students of the teacher before RL</text>",
            WIDTH - RIGHT,
            LEFT + 8.0,
            at - 6.0
        );
    }
    let _ = writeln!(
        drawn,
        "<text x='{LEFT}' y='{:.1}'>world leaky; a reward of 0 is the best that there is; lines are 95 % intervals over \
         seeds</text>",
        HEIGHT - 14.0
    );
    let ticks: Vec<(f64, String)> = (0..=6)
        .map(|tick| (x(-f64::from(tick)), format!("{}", -tick)))
        .collect();
    let below = "reward that the teacher was trained for, at the end";
    Some(frame(&ticks, below, &drawn))
}

#[cfg(test)]
mod tests {
    use experiments::Record;
    use experiments::numbers::summaries;

    use super::*;

    #[test]
    fn every_ablation_is_a_point_with_its_name() {
        let mut numbers = Vec::new();
        for seed in [1, 2] {
            let mut record = Record::new(Row::Ablations.name(), "leaky", seed);
            for ablation in Ablation::ALL {
                record.put(ablation.name(), "", "own reward", -1.0);
                record.put(ablation.name(), "S", "accuracy", 0.3 * seed as f64);
            }
            numbers.extend(record.numbers);
        }
        let text = svg(&summaries(&numbers)).unwrap();
        assert_eq!(text.matches("<circle").count(), Ablation::ALL.len());
        assert!(Ablation::ALL.iter().all(|a| text.contains(a.name())));
        assert!(svg(&[]).is_none());
    }
}
