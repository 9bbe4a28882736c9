//! The page around the sections: head, navigation, warnings and tables.

use std::fmt::Write as _;
use std::path::Path;

use super::chart::sparkline;
use super::html::{breakable, escaped, number, quantity};
use super::records::{Records, Stage, points};
use super::{accuracies, explanations, overview};
use crate::MetricsRecord;
use crate::metrics::describe;

/// The whole page.
pub(super) fn render(records: &Records) -> String {
    // What is trained by reinforcement comes first: it is what the run is for.
    let (rl, other): (Vec<&Stage>, Vec<&Stage>) = records.stages.iter().partition(|s| s.is_rl());
    let mut body = warnings(records);
    if records.stages.is_empty() {
        body.push_str("<p>No step has been recorded yet.</p>");
    }
    body.push_str(&accuracies::section(records));
    for stage in &rl {
        body.push_str(&overview::section(stage));
        body.push_str(&held_out(stage));
        body.push_str(&explanations::section(stage));
    }
    body.push_str(&overview::fine_tuning(&other));
    body.push_str(&summaries(records));
    body.push_str(&every_metric(records));
    body.push_str(&configuration(records));

    let name = escaped(&records.name);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{name}</title><style>{}</style></head><body><header class=\"top\"><h1>{name}</h1>{}{}</header>\
         <main>{body}</main></body></html>\n",
        include_str!("style.css"),
        made_with(records),
        navigation(records, &rl, &other)
    )
}

/// The command that made the run, or went on with it last, and what it ran on.
fn made_with(records: &Records) -> String {
    let Some(last) = records.environments.last() else {
        return String::new();
    };
    let mut command = last.command.clone();
    // Where the program lies says nothing.
    if let Some(program) = command.first_mut() {
        let name = Path::new(&*program).file_name();
        *program = name.unwrap_or_default().to_string_lossy().into_owned();
    }
    let revision = last.revision.as_deref().map_or_else(String::new, |r| {
        format!(" at {}", escaped(r.get(..10).unwrap_or(r)))
    });
    let more = match records.environments.len() {
        1 => String::new(),
        processes => format!(", the last of {processes} processes"),
    };
    format!(
        "<p class=\"note\"><code>{}</code>, Didact {}{revision}, {}, {} threads{more}</p>",
        escaped(&command.join(" ")),
        escaped(&last.didact),
        escaped(&last.platform),
        last.threads
    )
}

fn navigation(records: &Records, rl: &[&Stage], other: &[&Stage]) -> String {
    let mut out = String::from("<nav>");
    let mut link = |target: String, text: &str| {
        let _ = write!(
            out,
            "<a href=\"#{}\">{}</a>",
            escaped(&target),
            escaped(text)
        );
    };
    for stage in rl {
        link(format!("stage-{}", stage.name), &stage.name);
        if !stage.evaluation.is_empty() {
            link(format!("held-out-{}", stage.name), "held out");
        }
        if !(stage.steps.is_empty() && stage.pairs.is_empty()) {
            link(format!("explanations-{}", stage.name), "explanations");
        }
    }
    if other.iter().any(|s| !s.train.is_empty()) {
        link("fine-tuning".to_owned(), "fine-tuning");
    }
    if records.stages.iter().any(|s| !s.summary.is_empty()) {
        link("summaries".to_owned(), "whole stages");
    }
    link("metrics".to_owned(), "all metrics");
    out.push_str("</nav>");
    out
}

fn warnings(records: &Records) -> String {
    let mut out = String::new();
    if !records.warnings.is_empty() {
        out.push_str("<section class=\"warnings\"><h2>Warnings</h2><ul>");
        for warning in &records.warnings {
            let _ = write!(
                out,
                "<li><b>{}, step {}:</b> {}. <span>{}</span></li>",
                escaped(&warning.stage),
                warning.step,
                escaped(&warning.text),
                escaped(&warning.advice)
            );
        }
        out.push_str("</ul></section>");
    }
    if !records.problems.is_empty() {
        out.push_str("<section class=\"warnings\"><h2>Not read</h2><ul>");
        for problem in &records.problems {
            let _ = write!(out, "<li>{}</li>", escaped(problem));
        }
        out.push_str("</ul></section>");
    }
    out
}

/// The first, the best and the last look at held-out problems.
fn held_out(stage: &Stage) -> String {
    let (Some(first), Some(last)) = (stage.evaluation.first(), stage.evaluation.last()) else {
        return String::new();
    };
    let name = escaped(&stage.name);
    let mut out = format!(
        "<section id=\"held-out-{name}\"><h2>Held-out problems <small>{name}</small></h2>\
         <div class=\"wide\"><table><thead><tr><th>metric</th><th class=\"n\">step {}</th>\
         <th class=\"n\">step {}</th><th class=\"n\">change</th><th class=\"meaning\">meaning</th></tr></thead><tbody>",
        first.step, last.step
    );
    let mut names = Stage::names(&stage.evaluation);
    names.retain(|name| is_shown(name));
    // The reward first, then its terms, then the rest.
    names.sort_by_key(|name| {
        (
            !name.starts_with("eval/reward"),
            !name.starts_with("eval/penalty"),
        )
    });
    for name in &names {
        let description = describe(name);
        let unit = description.map_or("", |d| d.unit);
        let cell =
            |value: Option<f64>| value.map_or_else(|| "\u{2013}".to_owned(), |v| quantity(v, unit));
        let (before, after) = (first.metrics.get(name), last.metrics.get(name));
        let change = before.zip(after).filter(|_| first.step != last.step);
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"meaning\">{}</td></tr>",
            breakable(name.trim_start_matches("eval/")),
            cell(before),
            cell(after),
            cell(change.map(|(b, a)| a - b)),
            meaning(name)
        );
    }
    out.push_str("</tbody></table></div></section>");
    out
}

/// Whether the table of held-out problems has it: no reductions of single terms.
fn is_shown(name: &str) -> bool {
    let Some(name) = name.strip_prefix("eval/") else {
        return false;
    };
    !(name.starts_with("raw/") || name.starts_with("reward/") && name.matches('/').count() > 1)
}

/// What a metric means, with names in it set as code.
fn meaning(name: &str) -> String {
    let text = describe(name).map_or("", |d| d.meaning);
    let mut out = String::new();
    for (place, part) in text.split('`').enumerate() {
        let part = escaped(part);
        if place % 2 == 1 {
            let _ = write!(out, "<code>{part}</code>");
        } else {
            out.push_str(&part);
        }
    }
    out
}

/// Figures of whole stages.
fn summaries(records: &Records) -> String {
    if records.stages.iter().all(|s| s.summary.is_empty()) {
        return String::new();
    }
    let mut out = String::from(
        "<section id=\"summaries\"><h2>Whole stages</h2><div class=\"wide\"><table><tbody>",
    );
    for stage in &records.stages {
        for record in &stage.summary {
            for (place, (name, value)) in figures(record).iter().enumerate() {
                let head = if place == 0 {
                    breakable(&stage.name)
                } else {
                    String::new()
                };
                let _ = write!(
                    out,
                    "<tr{}><td>{head}</td><td>{}</td><td class=\"n\">{value}</td></tr>",
                    if place == 0 { " class=\"first\"" } else { "" },
                    breakable(name),
                );
            }
        }
    }
    out.push_str("</tbody></table></div></section>");
    out
}

/// The numbers of a summary; a mean with its interval is one.
fn figures(record: &MetricsRecord) -> Vec<(String, String)> {
    let metrics = &record.metrics;
    let mut figures = Vec::new();
    for (name, value) in metrics.iter() {
        let (start, last) = name.rsplit_once('/').unwrap_or(("", name));
        let part = |part: &str| metrics.get(&format!("{start}/{part}"));
        let shown = match (last, part("mean"), part("low"), part("high"), part("count")) {
            ("mean", Some(mean), Some(low), Some(high), count) => {
                let count = count.map_or_else(String::new, |n| format!(" of {}", number(n)));
                let interval = format!(
                    "{} [{}, {}]{count}",
                    number(mean),
                    number(low),
                    number(high)
                );
                (start.to_owned(), interval)
            }
            ("low" | "high" | "count", Some(_), Some(_), Some(_), _) => continue,
            _ => {
                let unit = describe(name).map_or("", |d| d.unit);
                (name.to_owned(), quantity(value, unit))
            }
        };
        figures.push(shown);
    }
    figures
}

/// All names, with a small picture of each.
fn every_metric(records: &Records) -> String {
    let mut out = String::from("<section id=\"metrics\"><h2>All metrics</h2>");
    for stage in records.stages.iter().filter(|s| !s.train.is_empty()) {
        let _ = write!(
            out,
            "<details><summary>{}</summary><div class=\"wide\"><table><thead><tr><th>name</th><th></th>\
             <th class=\"n\">first</th><th class=\"n\">last</th><th class=\"n\">lowest</th><th class=\"n\">highest</th>\
             <th class=\"meaning\">meaning</th></tr></thead><tbody>",
            escaped(&stage.name)
        );
        for name in Stage::names(&stage.train) {
            let points = points(&stage.train, &name);
            let (Some(first), Some(last)) = (points.first(), points.last()) else {
                continue;
            };
            let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
            let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
            let description = describe(&name);
            let unit = description.map_or("", |d| d.unit);
            let _ = write!(
                out,
                "<tr><td><code>{}</code></td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"meaning\">{}</td></tr>",
                breakable(&name),
                sparkline(&points),
                quantity(first.1, unit),
                quantity(last.1, unit),
                quantity(low, unit),
                quantity(high, unit),
                meaning(&name)
            );
        }
        out.push_str("</tbody></table></div></details>");
    }
    out.push_str("</section>");
    out
}

fn configuration(records: &Records) -> String {
    let Some(configuration) = &records.configuration else {
        return String::new();
    };
    let text = serde_json::to_string_pretty(configuration).unwrap_or_default();
    format!(
        "<section id=\"configuration\"><h2>Configuration</h2><details><summary>as resolved</summary>\
         <pre>{}</pre></details></section>",
        escaped(&text)
    )
}
