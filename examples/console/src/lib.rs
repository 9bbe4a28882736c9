//! What the examples print while they run: a progress bar on a terminal, plain lines elsewhere; and what Ctrl-C does.
//!
//! Owns the choice and the wording of the figures shown; knows nothing of how they come about.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use didact::rl::{
    MetricsKind, MetricsRecord, Observer, Phase, Progress, Result, StopFlag, Warning,
};
use indicatif::{ProgressBar, ProgressStyle};

/// The figures of a line, in their order: the name in `metrics.jsonl` and the word shown for it.
const SHOWN: [(&str, &str); 10] = [
    ("loss", "loss"),
    ("reward", "reward"),
    ("reward/solution_log_prob", "solution"),
    ("reward/kl", "divergence"),
    ("missing_tag_ratio", "unclosed"),
    ("completions/mean_length", "tokens"),
    ("solution_log_prob", "solution log-prob"),
    ("accuracy", "accuracy"),
    ("kl", "kl"),
    ("grad_norm", "gradient"),
];

/// What a shell calls a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// A flag that the first Ctrl-C sets; the second ends the program at once.
///
/// # Errors
/// A system that hands no signals over.
pub fn stop_on_ctrl_c() -> Result<StopFlag, ctrlc::Error> {
    let stop = StopFlag::new();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.set() {
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!("stopping after this step; Ctrl-C again ends at once");
    })?;
    Ok(stop)
}

/// Watches a run and prints it.
#[derive(Debug)]
pub struct Console {
    started: Instant,
    bar: Option<ProgressBar>,
    interval: Duration,
    shown: BTreeMap<String, Instant>,
}

impl Console {
    /// A bar if standard error is a terminal, lines otherwise.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template(
                "{elapsed_precise} {prefix:12} {wide_bar} {pos}/{len} {msg}",
            ) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            started: Instant::now(),
            bar,
            interval: Duration::ZERO,
            shown: BTreeMap::new(),
        }
    }

    /// The same, with a line of a stage's updates only this often: tiny models make more steps than anyone wants to
    /// read. Evaluations are all shown.
    #[must_use]
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Whether a line of this stage's updates is due.
    fn is_due(&mut self, stage: &str) -> bool {
        let due = self
            .shown
            .get(stage)
            .is_none_or(|last| last.elapsed() >= self.interval);
        if due {
            self.shown.insert(stage.to_owned(), Instant::now());
        }
        due
    }

    /// Prints a line above the bar.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// Prints the heading of a part of the run, with the time since the start.
    pub fn heading(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs();
        self.line(&format!(
            "\n[{:02}:{:02}] {text}",
            seconds / 60,
            seconds % 60
        ));
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Console {
    fn on_progress(&mut self, progress: &Progress<'_>) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.set_prefix(progress.stage.to_owned());
            bar.set_length(progress.steps);
            bar.set_position(progress.step);
            bar.set_message(match progress.phase {
                Phase::Generate => "sampling",
                Phase::Score => "scoring",
                Phase::Update => "updating",
                Phase::Evaluate => "evaluating",
            });
        }
        Ok(())
    }

    fn on_warning(&mut self, warning: &Warning) -> Result<()> {
        self.line(&format!(
            "{:12} step {:3}  warning: {}\n             {}",
            warning.stage, warning.step, warning.text, warning.advice
        ));
        Ok(())
    }

    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        if record.kind == MetricsKind::Train && !self.is_due(&record.stage) {
            return Ok(());
        }
        let figures: Vec<String> = SHOWN
            .iter()
            .filter_map(|(name, word)| {
                let held_out = format!("eval/{name}");
                let value = record
                    .metrics
                    .get(name)
                    .or_else(|| record.metrics.get(&held_out));
                value.map(|value| format!("{word} {:.3}", rounded(value)))
            })
            .collect();
        // The summary of a whole run is the caller's to show.
        if figures.is_empty() {
            return Ok(());
        }
        let kind = match record.kind {
            MetricsKind::Train => "step",
            MetricsKind::Evaluation => "held-out, step",
            MetricsKind::Summary => "after step",
        };
        self.line(&format!(
            "{:12} {kind} {:3}  {}",
            record.stage,
            record.step,
            figures.join("  ")
        ));
        Ok(())
    }
}

/// `value` to three digits, where nothing is left of a small negative number but its sign.
fn rounded(value: f64) -> f64 {
    if value.abs() < 5e-4 { 0.0 } else { value }
}
