//! Sample explanations, coloured by token.
//!
//! Owns how one sample is laid out, and in which order samples stand.

use std::fmt::Write as _;

use didact_core::{Outcome, StopReason};

use super::html::{escaped, number};
use super::records::Stage;
use super::tokens::{self, Scale};
use crate::rollout::RolloutRecord;

/// The section of a stage; nothing where it has no samples.
pub(super) fn section(stage: &Stage) -> String {
    if stage.steps.is_empty() && stage.pairs.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<section id=\"explanations-{0}\"><h2>Explanations <small>{0}</small></h2>{1}{2}",
        escaped(&stage.name),
        Scale::Difference.legend(),
        Scale::LogProb.legend()
    );
    if !stage.pairs.is_empty() {
        out.push_str(
            "<h3>The same held-out problems, before and after</h3><p class=\"note\">Those whose reward gained \
             most, middlingly and least.</p>",
        );
        for (before, after) in &stage.pairs {
            let _ = write!(
                out,
                "<div class=\"problem\">{}<div class=\"pair\">",
                question(after)
            );
            for (record, when) in [(before, "before"), (after, "after")] {
                let name = format!("{when}, {} updates", record.step);
                out.push_str(&sample(&name, record, false));
            }
            out.push_str("</div></div>");
        }
    }
    for step in &stage.steps {
        let _ = write!(
            out,
            "<h3>Training step {}</h3><p class=\"note\">Best, median and worst of {} samples with a \
             reward.</p>",
            step.step, step.rewarded
        );
        out.push_str("<div class=\"three\">");
        for (what, record) in &step.chosen {
            let _ = write!(out, "<div class=\"problem\">{}", question(record));
            out.push_str(&sample(what, record, true));
            out.push_str("</div>");
        }
        out.push_str("</div>");
    }
    out.push_str("</section>");
    out
}

fn question(record: &RolloutRecord) -> String {
    format!(
        "<h4>{}</h4><p class=\"text question\">{}</p>",
        escaped(&record.problem),
        escaped(&record.question)
    )
}

fn sample(name: &str, record: &RolloutRecord, trained: bool) -> String {
    let mut out = format!("<article><header><b>{}</b>", escaped(name));
    let reward = match &record.outcome {
        Some(Outcome::Scored { reward, .. }) => format!("reward {}", number(*reward)),
        Some(Outcome::Refused(refusal)) => format!("no reward: {refusal}"),
        None => "no reward".to_owned(),
    };
    let _ = write!(out, "<span>{}</span>", escaped(&reward));
    if trained {
        let advantage = record.advantage;
        let text = advantage.map_or_else(
            || "not trained on".to_owned(),
            |a| format!("advantage {}", number(a)),
        );
        let _ = write!(out, "<span>{text}</span>");
    }
    let _ = write!(out, "<span>{} tokens</span>", record.ids.len());
    let stop = match record.stop {
        StopReason::StopToken | StopReason::StopString => None,
        StopReason::MaxTokens => Some("cut off: longest completion"),
        StopReason::ContextFull => Some("cut off: context full"),
    };
    for flag in stop
        .into_iter()
        .chain((!record.closed).then_some("end tag missing"))
    {
        let _ = write!(out, "<span class=\"flag\">{flag}</span>");
    }
    let _ = write!(
        out,
        "</header><h5>explanation</h5><p>{}</p><h5>solution</h5><p>{}</p>",
        tokens::explanation(record),
        tokens::solution(record)
    );
    if let Some(Outcome::Scored { terms, .. }) = &record.outcome {
        out.push_str("<details><summary>terms of the reward</summary><table>");
        for term in terms.iter().filter(|t| !t.name.starts_with("raw/")) {
            let _ = write!(
                out,
                "<tr><td>{}</td><td class=\"n\">{}</td></tr>",
                escaped(&term.name),
                number(term.value)
            );
        }
        out.push_str("</table></details>");
    }
    out.push_str("</article>");
    out
}
