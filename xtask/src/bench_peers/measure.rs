//! Pairs of runs: both sides in turns, their answers compared, never both computing at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::agreement::difference;
use super::inputs::{PROMPT, TEMPERATURE, Tokens, UNRELATED_PROMPT};
use super::machine::Machine;
use super::work::{Work, describe};
use super::worker::{Side, Sides, Worker};

/// Runs of a look aside.
const ASIDE_RUNS: usize = 3;
/// Works that are looked at aside, what is different, and the request's field that makes it so.
const ASIDES: [(Work, &str, (&str, &str)); 4] = [
    (Work::ScorePadded, "torch in bf16", ("dtype", "bfloat16")),
    (Work::UpdateGroup, "torch in bf16", ("dtype", "bfloat16")),
    (Work::ScorePadded, ONEDNN, ("products", "onednn")),
    (Work::UpdateGroup, ONEDNN, ("products", "onednn")),
];
const ONEDNN: &str = "torch in f32, products of linear layers by oneDNN";

/// The pairs of one work.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) work: Work,
    /// The peer's fastest setting, and all that were tried.
    pub(crate) setting: Value,
    pub(crate) tried: Value,
    /// Seconds, ours and theirs.
    pub(crate) pairs: Vec<(f64, f64)>,
    /// Needed operations, where they are counted.
    pub(crate) flops: Option<f64>,
    /// The largest relative difference of the two sides' numbers.
    pub(crate) difference: f64,
    /// What each side says of its last run.
    pub(crate) details: (Value, Value),
}

impl Row {
    /// Theirs over ours in time: median, least, most.
    pub(crate) fn ratio(&self) -> (f64, f64, f64) {
        let mut ratios: Vec<f64> = self
            .pairs
            .iter()
            .map(|(ours, theirs)| theirs / ours)
            .collect();
        ratios.sort_by(f64::total_cmp);
        (median(&ratios), ratios[0], ratios[ratios.len() - 1])
    }

    /// Median seconds of both sides.
    pub(crate) fn seconds(&self) -> (f64, f64) {
        let of = |side: fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = self.pairs.iter().map(side).collect();
            all.sort_by(f64::total_cmp);
            median(&all)
        };
        (of(|pair| pair.0), of(|pair| pair.1))
    }
}

/// The peer's median seconds under other circumstances.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) work: Work,
    pub(crate) circumstances: &'static str,
    pub(crate) seconds: f64,
}

/// Peak resident memory in bytes, each of a fresh process; `None` where the system does not say.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) ours_idle: Option<u64>,
    pub(crate) theirs_import: Option<u64>,
    pub(crate) ours_full: Option<u64>,
    pub(crate) theirs_full: Option<u64>,
    /// The peer with recomputed activations: slower, and smaller.
    pub(crate) theirs_checkpointing: Option<u64>,
    pub(crate) ours_lora: Option<u64>,
    pub(crate) theirs_lora: Option<u64>,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) asides: Vec<Aside>,
    pub(crate) memory: Option<Memory>,
    pub(crate) machine: Machine,
    pub(crate) threads: usize,
    pub(crate) versions: BTreeMap<String, String>,
    /// What each side says of the machine: matrix peak in f32, memory bandwidth.
    pub(crate) ours_machine: Value,
    pub(crate) theirs_machine: Value,
}

impl Results {
    /// The larger of both sides' matrix peaks, in floating-point operations a second.
    pub(crate) fn peak(&self) -> f64 {
        let of = |value: &Value| value["matrix_gflops"].as_f64().unwrap_or(0.0);
        1e9 * of(&self.ours_machine).max(of(&self.theirs_machine))
    }
}

/// Both sides at work.
pub(crate) struct Bench {
    sides: Sides,
    ours: Worker,
    theirs: Worker,
    pairs: usize,
    inputs: Value,
    settings: BTreeMap<Work, (Value, Value)>,
    results: Results,
}

impl Bench {
    /// Starts both sides and hands them the inputs.
    pub(crate) fn new(sides: Sides, pairs: usize) -> Result<Self, String> {
        eprintln!("bench-peers: starting both sides");
        let (mut ours, ready) = sides.start(Side::Ours)?;
        let mut versions = ready.versions;
        let (mut theirs, ready) = sides.start(Side::Theirs)?;
        versions.extend(ready.versions);
        let ours_machine = ours.ask(&json!({ "work": "machine" }))?.details;
        let theirs_machine = theirs.ask(&json!({ "work": "machine" }))?.details;

        let tokens = Tokens::new();
        let mut log_probs = |sequences: &[Vec<u32>], prompt: usize| {
            let request = json!({
                "work": "log_probs", "sequences": sequences, "prompt": prompt, "temperature": TEMPERATURE,
            });
            let mut answer = ours.ask(&request)?;
            answer
                .check
                .remove("log_probs")
                .ok_or_else(|| "no log-probs came back".to_owned())
        };
        let group = log_probs(&tokens.teacher, PROMPT)?;
        let unrelated = log_probs(&tokens.unrelated, UNRELATED_PROMPT)?;
        let inputs = json!({ "work": "inputs", "inputs": tokens.inputs(&group, &unrelated) });
        ours.ask(&inputs)?;
        theirs.ask(&inputs)?;
        let results = Results {
            rows: Vec::new(),
            asides: Vec::new(),
            memory: None,
            machine: Machine::this(),
            threads: sides.threads(),
            versions,
            ours_machine,
            theirs_machine,
        };
        Ok(Self {
            sides,
            ours,
            theirs,
            pairs,
            inputs,
            settings: BTreeMap::new(),
            results,
        })
    }

    /// Measures one work.
    pub(crate) fn measure(&mut self, work: Work) -> Result<(), String> {
        match work {
            Work::Memory => self.memory(),
            Work::Asides => self.asides(),
            timed => self.pairs(timed),
        }
    }

    /// What was measured. The matrix peaks are measured once more: a neighbour may have disturbed the first time.
    pub(crate) fn finish(mut self) -> Result<Results, String> {
        let again = self.ours.ask(&json!({ "work": "machine" }))?.details;
        self.results.ours_machine = better(self.results.ours_machine, again);
        let again = self.theirs.ask(&json!({ "work": "machine" }))?.details;
        self.results.theirs_machine = better(self.results.theirs_machine, again);
        Ok(self.results)
    }

    fn pairs(&mut self, work: Work) -> Result<(), String> {
        let (setting, tried) = self.setting(work)?;
        let name = work.name();
        let asked = json!({ "work": name, "setting": setting });
        let mut row = Row {
            work,
            setting,
            tried,
            pairs: Vec::new(),
            flops: None,
            difference: 0.0,
            details: (Value::Null, Value::Null),
        };
        // The first of each side warms up, and is compared like the others.
        for pair in 0..=self.pairs {
            let (ours, theirs) = if pair % 2 == 0 {
                let ours = self.ours.ask(&asked)?;
                (ours, self.theirs.ask(&asked)?)
            } else {
                let theirs = self.theirs.ask(&asked)?;
                (self.ours.ask(&asked)?, theirs)
            };
            row.difference = row.difference.max(difference(name, &ours, &theirs)?);
            let what = if pair == 0 {
                "warm-up".to_owned()
            } else {
                format!("pair {pair} of {}", self.pairs)
            };
            eprintln!(
                "bench-peers: {name}, {what}: {:.3} s, theirs {:.3} s, ratio {:.2}",
                ours.seconds,
                theirs.seconds,
                theirs.seconds / ours.seconds
            );
            row.flops = ours.flops;
            if pair > 0 {
                row.pairs.push((ours.seconds, theirs.seconds));
            }
            row.details = (ours.details, theirs.details);
        }
        self.results.rows.push(row);
        Ok(())
    }

    /// The peer's fastest setting for `work`, tried once a run.
    fn setting(&mut self, work: Work) -> Result<(Value, Value), String> {
        if let Some(known) = self.settings.get(&work) {
            return Ok(known.clone());
        }
        let found = if work == Work::Step {
            // Those of its parts.
            let (mut setting, _) = self.setting(Work::UpdateGroup)?;
            let (generation, _) = self.setting(Work::GenerateB16)?;
            setting["cache"] = generation["cache"].clone();
            (setting, Value::Null)
        } else {
            eprintln!(
                "bench-peers: {}: looking for the peer's fastest setting",
                work.name()
            );
            let asked = json!({ "work": work.name(), "tune": true });
            let answer = self.theirs.ask(&asked)?;
            (answer.setting, answer.tried)
        };
        eprintln!("bench-peers: {}: {}", work.name(), describe(&found.0));
        self.settings.insert(work, found.clone());
        Ok(found)
    }

    fn asides(&mut self) -> Result<(), String> {
        for (work, circumstances, (field, value)) in ASIDES {
            let (setting, _) = self.setting(work)?;
            let mut asked = json!({ "work": work.name(), "setting": setting });
            asked[field] = value.into();
            self.theirs.ask(&asked)?;
            let mut all = Vec::new();
            for _ in 0..ASIDE_RUNS.min(self.pairs) {
                all.push(self.theirs.ask(&asked)?.seconds);
            }
            all.sort_by(f64::total_cmp);
            let seconds = median(&all);
            eprintln!(
                "bench-peers: {}, {circumstances}: {seconds:.3} s",
                work.name()
            );
            self.results.asides.push(Aside {
                work,
                circumstances,
                seconds,
            });
        }
        Ok(())
    }

    /// Peak memory of the whole step. The second step is the first in which the optimizer's moments are there all the
    /// while.
    fn memory(&mut self) -> Result<(), String> {
        let (setting, _) = self.setting(Work::Step)?;
        let with = |key: &str| {
            let mut setting = setting.clone();
            setting[key] = true.into();
            setting
        };
        let mut memory = Memory::default();
        (memory.ours_idle, memory.ours_full) = self.peak(Side::Ours, &setting)?;
        (memory.theirs_import, memory.theirs_full) = self.peak(Side::Theirs, &setting)?;
        (_, memory.theirs_checkpointing) = self.peak(Side::Theirs, &with("checkpointing"))?;
        (_, memory.theirs_lora) = self.peak(Side::Theirs, &with("lora"))?;
        (_, memory.ours_lora) = self.peak(Side::Ours, &with("lora"))?;
        self.results.memory = Some(memory);
        Ok(())
    }

    /// Peak resident memory of a fresh process before any work, and after two whole steps.
    fn peak(&self, side: Side, setting: &Value) -> Result<(Option<u64>, Option<u64>), String> {
        let (mut worker, ready) = self.sides.start(side)?;
        worker.ask(&self.inputs)?;
        for _ in 0..2 {
            worker.ask(&json!({ "work": "step", "setting": setting }))?;
        }
        let answer = worker.ask(&json!({ "work": "memory" }))?;
        let peak = answer.details["peak_bytes"].as_u64();
        eprintln!(
            "bench-peers: peak memory of {side:?}, {}: {:.2} GB",
            describe(setting),
            peak.unwrap_or(0) as f64 / 1e9
        );
        Ok((ready.peak_bytes, peak))
    }
}

fn better(first: Value, second: Value) -> Value {
    let peak = |value: &Value| value["matrix_gflops"].as_f64().unwrap_or(0.0);
    if peak(&second) > peak(&first) {
        second
    } else {
        first
    }
}

/// Of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        0.5 * (sorted[middle - 1] + sorted[middle])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_pairs() {
        let row = Row {
            work: Work::Step,
            setting: Value::Null,
            tried: Value::Null,
            pairs: vec![(1.0, 2.0), (2.0, 12.0), (1.0, 3.0), (1.0, 100.0)],
            flops: None,
            difference: 0.0,
            details: (Value::Null, Value::Null),
        };
        assert_eq!(row.ratio(), (4.5, 2.0, 100.0));
        assert_eq!(row.seconds(), (1.0, 7.5));
    }
}
