//! The figures as a table, as JSON, and in the guide.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value, json};

use super::machine::today;
use super::measure::{Memory, Results, Row};
use super::work::{Work, describe};
use crate::command::{self, Outcome};

const BEGIN: &str =
    "<!-- bench-peers: begin; written by `cargo xtask bench-peers --write-docs` -->";
const END: &str = "<!-- bench-peers: end -->";

/// One JSON object.
pub(crate) fn json(results: &Results) -> Value {
    let row = |work: Work| results.rows.iter().find(|row| row.work == work);
    let mut ratios = Map::new();
    for work in Work::TIMED {
        let median = row(work).map(|row| row.ratio().0);
        ratios.insert(work.name().to_owned(), json!(median));
    }
    let memory = results.memory.as_ref();
    ratios.insert(
        "memory_full".to_owned(),
        json!(memory.and_then(memory_full)),
    );
    ratios.insert(
        "memory_lora".to_owned(),
        json!(memory.and_then(memory_lora)),
    );
    let works: Map<String, Value> = results
        .rows
        .iter()
        .map(|row| (row.work.name().to_owned(), work_json(results, row)))
        .collect();
    let asides: Vec<Value> = results
        .asides
        .iter()
        .map(|aside| {
            json!({
                "work": aside.work.name(),
                "circumstances": aside.circumstances,
                "theirs_seconds": aside.seconds,
                "theirs_tokens_per_second": aside.work.tokens() as f64 / aside.seconds,
            })
        })
        .collect();
    json!({
        "ratios": ratios,
        "works": works,
        "asides": asides,
        "memory": memory.map(memory_json),
        "date": today(),
        "threads": results.threads,
        "machine": {
            "processor": results.machine.processor,
            "cores": results.machine.cores,
            "memory_bytes": results.machine.memory,
            "matrix_peak_flops": results.peak(),
            "ours": results.ours_machine,
            "theirs": results.theirs_machine,
        },
        "versions": results.versions,
    })
}

fn work_json(results: &Results, row: &Row) -> Value {
    let (median, least, most) = row.ratio();
    let (ours, theirs) = row.seconds();
    let tokens = row.work.tokens() as f64;
    json!({
        "ratio": { "median": median, "min": least, "max": most },
        "seconds": row.pairs.iter().map(|(ours, theirs)| json!({ "ours": ours, "theirs": theirs })).collect::<Vec<_>>(),
        "tokens": tokens,
        "ours_tokens_per_second": tokens / ours,
        "theirs_tokens_per_second": tokens / theirs,
        "flops": row.flops,
        "ours_share_of_peak": share(results, row, ours),
        "theirs_share_of_peak": share(results, row, theirs),
        "largest_difference": row.difference,
        "theirs_setting": row.setting,
        "theirs_tried": row.tried,
        "ours_details": row.details.0,
        "theirs_details": row.details.1,
    })
}

fn memory_json(memory: &Memory) -> Value {
    json!({
        "ours_idle": memory.ours_idle,
        "theirs_import": memory.theirs_import,
        "ours_full": memory.ours_full,
        "theirs_full": memory.theirs_full,
        "theirs_full_checkpointing": memory.theirs_checkpointing,
        "ours_lora": memory.ours_lora,
        "theirs_lora": memory.theirs_lora,
    })
}

fn memory_full(memory: &Memory) -> Option<f64> {
    Some(memory.ours_full? as f64 / memory.theirs_full? as f64)
}

fn memory_lora(memory: &Memory) -> Option<f64> {
    Some(memory.ours_lora? as f64 / memory.theirs_lora? as f64)
}

/// Needed operations a second over the machine's matrix peak.
fn share(results: &Results, row: &Row, seconds: f64) -> Option<f64> {
    let peak = results.peak();
    (peak > 0.0).then(|| row.flops.map(|flops| flops / seconds / peak))?
}

/// The table for a terminal.
pub(crate) fn text(results: &Results) -> String {
    let table = rows(results);
    let widths: Vec<usize> = (0..table[0].len())
        .map(|column| {
            table
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in &table {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    for line in notes(results) {
        let _ = write!(out, "\n{line}");
    }
    out
}

/// The same for the guide.
fn markdown(results: &Results) -> String {
    let mut out = String::new();
    for (index, row) in rows(results).iter().enumerate() {
        let _ = writeln!(out, "| {} |", row.join(" | "));
        if index == 0 {
            let _ = writeln!(out, "|---|{}---|", "--:|".repeat(row.len() - 2));
        }
    }
    for line in notes(results) {
        let _ = write!(out, "\n- {line}");
    }
    out
}

fn rows(results: &Results) -> Vec<[String; 7]> {
    let header = [
        "work",
        "Didact, tokens/s",
        "peer, tokens/s",
        "ratio",
        "Didact, of peak",
        "peer, of peak",
        "the peer's fastest setting",
    ];
    let mut table = vec![header.map(str::to_owned)];
    let percent =
        |share: Option<f64>| share.map_or("–".to_owned(), |s| format!("{:.0} %", 100.0 * s));
    for row in &results.rows {
        let (median, least, most) = row.ratio();
        let (ours, theirs) = row.seconds();
        let tokens = row.work.tokens() as f64;
        table.push([
            row.work.title().to_owned(),
            format!("{:.0}", tokens / ours),
            format!("{:.0}", tokens / theirs),
            format!("{median:.2} [{least:.2} … {most:.2}]"),
            percent(share(results, row, ours)),
            percent(share(results, row, theirs)),
            describe(&row.setting),
        ]);
    }
    for aside in &results.asides {
        let mut cells = ["–"; 7].map(str::to_owned);
        cells[0] = format!("{}; {}", aside.work.title(), aside.circumstances);
        cells[2] = format!("{:.0}", aside.work.tokens() as f64 / aside.seconds);
        table.push(cells);
    }
    table
}

fn notes(results: &Results) -> Vec<String> {
    let gigabytes = |bytes: Option<u64>| {
        bytes.map_or("unknown".to_owned(), |b| {
            format!("{:.2} GB", b as f64 / 1e9)
        })
    };
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let mut notes = Vec::new();
    if let Some(memory) = &results.memory {
        let ratio = |ratio: Option<f64>, missing: &str| {
            ratio.map_or(missing.to_owned(), |r| format!("ratio {r:.2}"))
        };
        notes.push(format!(
            "Peak resident memory of the whole step, each in a fresh process: Didact {}, peer {} ({}); peer with \
             recomputed activations {}. Before any work: Didact {}, peer after its imports {}.",
            gigabytes(memory.ours_full),
            gigabytes(memory.theirs_full),
            ratio(memory_full(memory), "no ratio"),
            gigabytes(memory.theirs_checkpointing),
            gigabytes(memory.ours_idle),
            gigabytes(memory.theirs_import),
        ));
        notes.push(format!(
            "The same with LoRA of rank 16 on every linear layer: Didact {}, peer {} ({}).",
            gigabytes(memory.ours_lora),
            gigabytes(memory.theirs_lora),
            ratio(memory_lora(memory), "no ratio"),
        ));
    }
    notes.push(format!(
        "Matrix peak in f32: {:.0} GFLOP/s by the gemm crate, {:.0} by torch, which does {:.0} in bf16; the larger \
         one in f32 is what shares are of. Memory is read at {:.0} GB/s.",
        number(&results.ours_machine["matrix_gflops"]),
        number(&results.theirs_machine["matrix_gflops"]),
        number(&results.theirs_machine["matrix_bf16_gflops"]),
        number(&results.ours_machine["bandwidth_gb"]),
    ));
    let worst = results.rows.iter().map(|row| row.difference);
    notes.push(format!(
        "Both sides did the same work: log-probs of tokens, losses and gradient norms differ by at most {:.0e} of \
         their size.",
        worst.fold(0.0, f64::max)
    ));
    let pairs = results.rows.iter().map(|row| row.pairs.len()).min();
    let versions: Vec<String> = results
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    notes.push(format!(
        "{}, {}, {} cores, {} of memory; threads of each side: {}; pairs a work: {}; {}.",
        today(),
        results.machine.processor,
        results.machine.cores,
        gigabytes(results.machine.memory),
        results.threads,
        pairs.unwrap_or(0),
        versions.join(", ")
    ));
    notes
}

/// Puts the table between the markers of the guide's page.
pub(crate) fn write_docs(results: &Results) -> Outcome {
    let path = command::root().join("docs/src/performance.md");
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let page = fs::read_to_string(&path).map_err(failed)?;
    let page = replaced(&page, &markdown(results))
        .ok_or_else(|| format!("{} lacks the lines {BEGIN} and {END}", path.display()))?;
    let beside = path.with_extension("md.partial");
    fs::write(&beside, page).map_err(failed)?;
    fs::rename(&beside, &path).map_err(failed)?;
    eprintln!("bench-peers: wrote {}", path.display());
    Ok(())
}

fn replaced(page: &str, part: &str) -> Option<String> {
    let begin = page.find(BEGIN)? + BEGIN.len();
    let end = begin + page[begin..].find(END)?;
    Some(format!("{}\n\n{part}\n\n{}", &page[..begin], &page[end..]))
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::super::measure::Aside;
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replaced(&page, "new").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replaced(&once, "new").unwrap(), once);
        assert_eq!(replaced("no markers", "new"), None);
    }

    fn results() -> Results {
        let row = Row {
            work: Work::ScorePadded,
            setting: json!({ "threads": 1, "batch": 4 }),
            tried: Value::Null,
            pairs: vec![(1.0, 3.0)],
            flops: Some(5e11),
            difference: 1e-5,
            details: (Value::Null, Value::Null),
        };
        let aside = Aside {
            work: Work::UpdateGroup,
            circumstances: "in bf16",
            seconds: 2.0,
        };
        let memory = Memory {
            ours_full: Some(3 << 30),
            theirs_full: Some(4 << 30),
            ..Memory::default()
        };
        Results {
            rows: vec![row],
            asides: vec![aside],
            memory: Some(memory),
            machine: Machine::this(),
            threads: 2,
            versions: [("torch".to_owned(), "2".to_owned())].into(),
            ours_machine: json!({ "matrix_gflops": 1000.0, "bandwidth_gb": 30.0 }),
            theirs_machine: json!({ "matrix_gflops": 900.0, "matrix_bf16_gflops": 1800.0 }),
        }
    }

    #[test]
    fn the_object_holds_every_ratio_and_null_for_what_was_not_measured() {
        let object = json(&results());
        assert_eq!(object["ratios"].as_object().unwrap().len(), 9);
        assert_eq!(object["ratios"]["score_padded"], 3.0);
        assert_eq!(object["ratios"]["memory_full"], 0.75);
        assert_eq!(object["ratios"]["memory_lora"], Value::Null);
        assert_eq!(object["ratios"]["step"], Value::Null);
        let work = &object["works"]["score_padded"];
        assert_eq!(work["ours_share_of_peak"], 0.5);
        assert_eq!(work["ours_tokens_per_second"], 2.0 * 16.0 * 440.0);
    }

    #[test]
    fn the_table_of_the_guide_has_equal_rows() {
        let page = markdown(&results());
        let (table, notes) = page.split_once("\n\n").unwrap();
        let columns: Vec<usize> = table.lines().map(|l| l.matches('|').count()).collect();
        assert_eq!(columns, [8; 4]);
        assert!(notes.lines().all(|line| line.starts_with("- ")));
        assert!(table.contains("| 3.00 [3.00 … 3.00] | 50 % | 17 % | 1 thread, batches of 4 |"));
    }

    #[test]
    fn the_guide_has_the_markers() {
        let path = command::root().join("docs/src/performance.md");
        assert!(replaced(&fs::read_to_string(path).unwrap(), "new").is_some());
    }
}
