//! The figures and charts of a stage.
//!
//! Owns which metrics are drawn together and what is said of them.

use std::fmt::Write as _;

use super::chart::{Chart, Series};
use super::html::{escaped, number, quantity};
use super::records::Stage;

/// The section of a stage of reinforcement learning.
pub(super) fn section(stage: &Stage) -> String {
    let charts = rl_charts(stage);
    let steps = stage.train.last().map_or(0, |r| r.step);
    let mut out = format!(
        "<section id=\"stage-{0}\"><h2>{0} <small>{1} steps</small></h2>",
        escaped(&stage.name),
        number(steps as f64)
    );
    out.push_str(&tiles(stage));
    out.push_str("<div class=\"charts\">");
    for chart in charts.iter().filter(|c| !c.is_empty()) {
        out.push_str(&chart.html());
    }
    out.push_str("</div></section>");
    out
}

/// The few figures that tell how the stage went.
fn tiles(stage: &Stage) -> String {
    let mut out = String::from("<dl class=\"tiles\">");
    let mut tile = |name: &str, value: String, note: String| {
        let _ = write!(
            out,
            "<div><dt>{name}</dt><dd>{value}</dd><dd class=\"note\">{note}</dd></div>"
        );
    };
    let mut change = |name: &str, points: Vec<(f64, f64)>, unit: &str| {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        let note = if points.len() > 1 {
            format!("{} at step {}", number(first.1), number(first.0))
        } else {
            format!("at step {}", number(last.0))
        };
        tile(name, with_unit(last.1, unit), note);
    };
    change("held-out reward", stage.held_out("reward"), "");
    change("training reward", stage.training("reward"), "");
    change("KL to the reference", stage.training("kl"), "nats");
    change("entropy", stage.training("entropy"), "nats");
    change(
        "mean length",
        stage.training("completions/mean_length"),
        "tokens",
    );
    let sum = |name: &str| stage.training(name).iter().map(|p| p.1).sum::<f64>();
    let (tokens, seconds) = (sum("completions/tokens"), sum("time/step"));
    if seconds > 0.0 {
        tile(
            "speed",
            with_unit((tokens / seconds).round(), "tokens/s"),
            format!("{} in all steps", duration(seconds)),
        );
    }
    if let Some(&(_, bytes)) = stage.training("memory/peak").last() {
        tile("peak memory", quantity(bytes, "bytes"), String::new());
    }
    out.push_str("</dl>");
    out
}

fn with_unit(value: f64, unit: &str) -> String {
    format!("{} <small>{unit}</small>", number(value))
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{} s", number((10.0 * seconds).round() / 10.0));
    }
    let minutes = (seconds / 60.0).round() as u64;
    match minutes / 60 {
        0 => format!("{minutes} min"),
        hours => format!("{hours} h {} min", minutes % 60),
    }
}

fn rl_charts(stage: &Stage) -> Vec<Chart> {
    let line = |name: &str, metric: &str| Series::line(name, stage.training(metric));
    let held_out = |metric: &str| Series::dots("held out", stage.held_out(metric));
    let shifted = |sign: f64| -> Vec<(f64, f64)> {
        let deviations = stage.training("reward_std");
        let rewards = stage.training("reward").into_iter().zip(deviations);
        rewards.map(|(r, d)| (r.0, r.1 + sign * d.1)).collect()
    };
    let reward = line("training", "reward").with_band(&shifted(-1.0), &shifted(1.0));
    let length = line("mean", "completions/mean_length").with_band(
        &stage.training("completions/min_length"),
        &stage.training("completions/max_length"),
    );
    let (terms, terms_note) = terms(stage);
    let mixed = stage.training("reference/mixed").into_iter();
    let mixed: Vec<f64> = mixed.filter(|p| p.1 > 0.0).map(|p| p.0).collect();
    let mixed_note = if mixed.is_empty() {
        ""
    } else {
        " At the dotted lines the reference followed the policy."
    };
    vec![
        Chart {
            title: "Reward".into(),
            note: "Mean over samples; the band is the mean deviation within groups.".to_owned(),
            series: vec![reward, held_out("reward")],
            ..Chart::default()
        },
        Chart {
            title: "Terms of the reward".into(),
            note: terms_note,
            series: terms,
            ..Chart::default()
        },
        Chart {
            title: "KL to the reference".into(),
            unit: "nats",
            note: format!("Estimate, mean over sampled tokens.{mixed_note}"),
            series: vec![line("kl", "kl")],
            from_zero: true,
            marks: mixed,
            ..Chart::default()
        },
        Chart {
            title: "Entropy".into(),
            unit: "nats",
            note: "Of the policy's next-token distribution, mean over sampled tokens.".to_owned(),
            series: vec![line("entropy", "entropy")],
            from_zero: true,
            ..Chart::default()
        },
        Chart {
            title: "Length".into(),
            unit: "tokens",
            note: "Of completions; the band reaches from the shortest to the longest.".to_owned(),
            series: vec![length, held_out("completions/mean_length")],
            from_zero: true,
            ..Chart::default()
        },
        Chart {
            title: "What teaches little".into(),
            unit: "share",
            note: "Completions cut off by a limit, without end tag, without reward; groups of equal rewards."
                .to_owned(),
            series: vec![
                line("cut off", "completions/clipped_ratio"),
                line("no end tag", "missing_tag_ratio"),
                line("refused", "refused/ratio"),
                line("flat groups", "frac_reward_zero_std"),
            ],
            from_zero: true,
            ..Chart::default()
        },
        Chart {
            title: "Gap between sampling and training".into(),
            unit: "nats",
            note: "Distance of a token's log-prob as sampled and as trained on.".to_owned(),
            series: vec![
                line("mean", "sampling/logp_diff_mean"),
                line("largest", "sampling/logp_diff_max"),
            ],
            logarithmic: true,
            from_zero: true,
            ..Chart::default()
        },
        by_position(stage),
        Chart {
            title: "Ratios that are clipped".into(),
            unit: "share",
            series: clipped(stage),
            from_zero: true,
            ..Chart::default()
        },
        Chart {
            title: "Gradient norm".into(),
            note: "Before clipping.".to_owned(),
            series: vec![line("norm", "grad_norm")],
            from_zero: true,
            ..Chart::default()
        },
        Chart {
            title: "Learning rate".into(),
            series: vec![line("lr", "lr")],
            from_zero: true,
            ..Chart::default()
        },
        Chart {
            title: "Time of a step".into(),
            unit: "s",
            series: vec![
                line("sampling", "time/generate"),
                line("scoring", "time/score"),
                line("update", "time/update"),
            ],
            from_zero: true,
            ..Chart::default()
        },
    ]
}

/// `reward/T` and `penalty/P`, without the reductions below them, and what is to be said of them.
///
/// A reward may log terms that do not count, such as those of other totals. Where one choice of terms adds up to
/// the reward at every step, the others are drawn no more than named.
fn terms(stage: &Stage) -> (Vec<Series>, String) {
    let names: Vec<String> = Stage::names(&stage.train)
        .into_iter()
        .filter(|name| {
            let rest = name
                .strip_prefix("reward/")
                .or_else(|| name.strip_prefix("penalty/"));
            rest.is_some_and(|rest| !rest.contains('/'))
        })
        .collect();
    let word = |name: &String| {
        let rest = name.split_once('/').map_or("", |(_, rest)| rest);
        rest.replace('_', " ")
    };
    let (counting, others): (Vec<String>, Vec<String>) = match counting(stage, &names) {
        Some(chosen) => names.into_iter().partition(|name| chosen.contains(name)),
        None => (names, Vec::new()),
    };
    let mut note = "As they count, coefficients included.".to_owned();
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(word).collect();
        note += &format!(" Logged, but no part of the reward: {}.", others.join(", "));
    }
    let series = counting
        .iter()
        .map(|name| Series::line(&word(name), stage.training(name)));
    (series.collect(), note)
}

/// The only choice among `names` that adds up to the reward at every step, if there is exactly one but for terms
/// that are 0 throughout.
fn counting(stage: &Stage, names: &[String]) -> Option<Vec<String>> {
    const MOST: usize = 10;
    let rows: Vec<(f64, Vec<f64>)> = stage
        .train
        .iter()
        .filter_map(|record| {
            let terms = names
                .iter()
                .map(|name| record.metrics.get(name).unwrap_or(0.0));
            Some((record.metrics.get("reward")?, terms.collect()))
        })
        .collect();
    if rows.is_empty() || names.is_empty() || names.len() > MOST {
        return None;
    }
    let zero = |place: usize| rows.iter().all(|(_, terms)| terms[place] == 0.0);
    let zeros: Vec<bool> = (0..names.len()).map(zero).collect();
    let taken = |choice: usize, place: usize| choice >> place & 1 == 1;
    let adds_up = |choice: &usize| {
        // Terms that are 0 cannot be told apart from those that do not count: they are shown.
        (0..names.len()).all(|place| !zeros[place] || taken(*choice, place))
            && rows.iter().all(|(reward, terms)| {
                let chosen = (0..names.len()).filter(|&place| taken(*choice, place));
                let sum: f64 = chosen.map(|place| terms[place]).sum();
                let size: f64 = terms.iter().map(|t| t.abs()).sum();
                (sum - reward).abs() <= 1e-9 * size.max(reward.abs())
            })
    };
    let mut choices = (1..1_usize << names.len()).filter(adds_up);
    let choice = choices.next()?;
    if choices.next().is_some() {
        return None;
    }
    let chosen = (0..names.len()).filter(|&place| taken(choice, place));
    Some(chosen.map(|place| names[place].clone()).collect())
}

/// Nothing where the loss clips no ratio.
fn clipped(stage: &Stage) -> Vec<Series> {
    let any = stage
        .training("clip_ratio/region_mean")
        .iter()
        .any(|p| p.1 > 0.0);
    if !any {
        return Vec::new();
    }
    vec![
        Series::line("below", stage.training("clip_ratio/low_mean")),
        Series::line("above", stage.training("clip_ratio/high_mean")),
    ]
}

/// The mean gap by position, over the first and the last steps.
fn by_position(stage: &Stage) -> Chart {
    const START: &str = "sampling/logp_diff_by_position/";
    let names: Vec<String> = Stage::names(&stage.train)
        .into_iter()
        .filter(|name| name.starts_with(START))
        .collect();
    let places: Vec<String> = names
        .iter()
        .map(|name| {
            let first: u64 = name[START.len()..].parse().unwrap_or(0);
            number(first as f64)
        })
        .collect();
    let part = stage.train.len().div_ceil(4);
    let mean = |records: &[crate::MetricsRecord]| -> Vec<(f64, f64)> {
        let of = |name: &String| {
            let values: Vec<f64> = records.iter().filter_map(|r| r.metrics.get(name)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let values = names.iter().map(of).enumerate();
        values
            .filter_map(|(place, v)| Some((place as f64, v?)))
            .collect()
    };
    let mut series = vec![Series::dots(
        "last",
        mean(&stage.train[stage.train.len() - part..]),
    )];
    if stage.train.len() > 1 {
        series.insert(0, Series::dots("first", mean(&stage.train[..part])));
    }
    Chart {
        title: "Gap by position".into(),
        unit: "nats",
        note: "Mean over the tokens from this position of the sequence to twice it, in the first and the last \
               quarter of the steps. A line that rises points at the cache or at positions."
            .to_owned(),
        series,
        logarithmic: true,
        from_zero: true,
        places,
        ..Chart::default()
    }
}

/// The losses of all stages of supervised fine-tuning; nothing where there is none.
pub(super) fn fine_tuning(stages: &[&Stage]) -> String {
    let charts: Vec<String> = stages
        .iter()
        .filter(|stage| !stage.train.is_empty())
        .map(|stage| {
            let loss = Series::line("loss", stage.training("loss"));
            Chart {
                title: stage.name.clone().into(),
                unit: "nats",
                series: vec![loss],
                from_zero: true,
                ..Chart::default()
            }
            .html()
        })
        .collect();
    if charts.is_empty() {
        return String::new();
    }
    format!(
        "<section id=\"fine-tuning\"><h2>Supervised fine-tuning</h2><p class=\"note\">The loss of a \
         supervised token before each update.</p><div class=\"charts\">{}</div></section>",
        charts.concat()
    )
}
