//! The students of row 4 over the steps of their own reinforcement learning, as SVG.
//!
//! Owns where points stand. Knows summaries only.

use experiments::Summary;

use super::{LEFT, RIGHT, WIDTH, curve, frame};
use crate::rows::Row;
use crate::rows::complements::{STARTS, start_name, step_of};

/// The figure of the dense world, if there is one.
pub(crate) fn svg(summaries: &[Summary]) -> Option<String> {
    let looks: Vec<(u64, &Summary)> = summaries
        .iter()
        .filter(|s| s.row == Row::Complements.name() && s.world == "dense")
        .filter_map(|s| Some((step_of(&s.metric)?, s)))
        .collect();
    let last = looks.iter().map(|look| look.0).max()?;
    let (left, right) = (LEFT + 16.0, WIDTH - RIGHT - 24.0);
    let x = |step: u64| left + step as f64 / last.max(1) as f64 * (right - left);
    let mut drawn = String::new();
    for (place, start) in STARTS.into_iter().enumerate() {
        let subject = start_name(start);
        // Curves that meet would hide each other's intervals: each stands a little to the right of the one before.
        let mut points: Vec<(f64, &Summary)> = looks
            .iter()
            .filter(|look| look.1.subject == subject)
            .map(|&(step, summary)| (x(step) + 4.0 * place as f64, summary))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let short = subject.split(" (").next().unwrap_or_default();
        curve(&mut drawn, place, short, &points);
    }
    let mut steps: Vec<u64> = looks.iter().map(|look| look.0).collect();
    steps.sort_unstable();
    steps.dedup();
    let ticks: Vec<(f64, String)> = steps
        .into_iter()
        .map(|step| (x(step), step.to_string()))
        .collect();
    let below = "steps of the student's own RL; lines are 95 % intervals over seeds";
    Some(frame(&ticks, below, &drawn))
}

#[cfg(test)]
mod tests {
    use experiments::Record;
    use experiments::numbers::summaries;

    use super::*;
    use crate::rows::complements::look_name;

    #[test]
    fn every_start_has_a_curve_in_the_order_of_its_steps() {
        let mut record = Record::new(Row::Complements.name(), "dense", 1);
        for start in STARTS {
            // 5 stands before 10, whatever the order of their names.
            for step in [10, 0, 5] {
                record.put(start_name(start), "S", look_name(step), step as f64 / 10.0);
            }
        }
        let text = svg(&summaries(&record.numbers)).unwrap();
        assert_eq!(text.matches("<polyline").count(), STARTS.len());
        let first = text.split("points='").nth(1).unwrap();
        let places: Vec<f64> = first[..first.find('\'').unwrap()]
            .split([' ', ','])
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(places[0] < places[2] && places[2] < places[4], "{places:?}");
        assert!(places[1] > places[3] && places[3] > places[5], "{places:?}");
        assert!(svg(&[]).is_none());
    }
}
