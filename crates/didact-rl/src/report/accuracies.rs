//! What the run came to: the accuracies of the students, side by side.
//!
//! Owns the bars. Where accuracies come from is the pipeline's business: every summary that holds a mean with its
//! interval under a name that ends in `accuracy` is one.

use std::fmt::Write as _;

use super::html::{escaped, number};
use super::records::Records;

/// One bar: a name, a mean and its interval, all in `[0, 1]`.
struct Bar {
    name: String,
    mean: f64,
    low: f64,
    high: f64,
}

fn bars(records: &Records) -> Vec<Bar> {
    let mut bars = Vec::new();
    for record in records.stages.iter().flat_map(|stage| &stage.summary) {
        for (name, mean) in record.metrics.iter() {
            let Some(start) = name.strip_suffix("/accuracy/mean") else {
                continue;
            };
            let part = |part: &str| record.metrics.get(&format!("{start}/accuracy/{part}"));
            if let (Some(low), Some(high)) = (part("low"), part("high")) {
                bars.push(Bar {
                    name: start.replace('_', " "),
                    mean,
                    low: low.clamp(0.0, 1.0),
                    high: high.clamp(0.0, 1.0),
                });
            }
        }
    }
    // The best last, which is where a reader ends.
    bars.sort_by(|a, b| a.mean.total_cmp(&b.mean));
    bars
}

/// The section; empty where no accuracy was found out.
pub(super) fn section(records: &Records) -> String {
    let bars = bars(records);
    if bars.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section id=\"accuracies\"><h2>Right answers to held-out problems</h2><div class=\"bars\">",
    );
    for Bar {
        name,
        mean,
        low,
        high,
    } in bars
    {
        let percent = |value: f64| number((1000.0 * value).round() / 10.0);
        let _ = write!(
            out,
            "<div><span>{}</span><svg viewBox=\"0 0 100 12\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"all\" width=\"100\" height=\"12\"/><rect class=\"c0\" width=\"{:.2}\" height=\"12\"/>\
             <rect class=\"range\" x=\"{:.2}\" y=\"4\" width=\"{:.2}\" height=\"4\"/></svg>\
             <span class=\"n\"><b>{} %</b> <small>[{}, {}]</small></span></div>",
            escaped(&name),
            100.0 * mean,
            100.0 * low,
            100.0 * (high - low),
            percent(mean),
            percent(low),
            percent(high),
        );
    }
    out.push_str("</div></section>");
    out
}
