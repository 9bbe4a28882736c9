//! A plan as a table.

use std::fmt;

use super::{Machine, RecipePlan, Work};

/// A table of the stages.
impl fmt::Display for RecipePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.description.is_empty() {
            writeln!(f, "{}\n", self.description.trim())?;
        }
        let width = self.stages.iter().map(|stage| stage.name.len()).max();
        let width = width.unwrap_or(0).max("stage".len());
        // What a machine without a GPU has no use for is not there.
        let gpu = |text: String| match self.machine.memory {
            Some(_) => text,
            None => String::new(),
        };
        writeln!(
            f,
            "{:width$}  {:10}  {:>9}{}  {:>9}  {:>9}  {:>9}  {:>9}  state",
            "stage",
            "kind",
            "memory",
            gpu(format!("  {:4}  {:>9}", "fits", "on host")),
            "trained",
            "sampled",
            "scored",
            "at least"
        )?;
        for stage in &self.stages {
            let Work {
                trained_tokens,
                sampled_tokens,
                scored_tokens,
                ..
            } = stage.work;
            let fits = match stage.fits {
                Some(true) => "yes",
                Some(false) => "no",
                None => "",
            };
            let host = bytes(stage.memory.host());
            writeln!(
                f,
                "{:width$}  {:10}  {:>9}{}  {:>9}  {:>9}  {:>9}  {:>9}  {}",
                stage.name,
                stage.kind,
                bytes(stage.memory.peak()),
                gpu(format!("  {fits:4}  {host:>9}")),
                tokens(trained_tokens),
                tokens(sampled_tokens),
                tokens(scored_tokens),
                duration(stage.seconds),
                match (stage.done, &stage.folder) {
                    (true, Some(folder)) => format!("made, in {folder}"),
                    (false, Some(folder)) => format!("to be made, in {folder}"),
                    _ => "to be made; something that it reads is not there yet".to_owned(),
                }
            )?;
        }
        let Machine {
            name,
            operations_per_second,
            bytes_per_second,
            memory,
        } = &self.machine;
        let of = memory.map_or_else(String::new, |memory| format!(" of {}", bytes(memory)));
        write!(
            f,
            "\n{}{of} at most; at least {} on {name}, at {:.3e} operations and {:.3e} bytes a second",
            bytes(self.peak()),
            duration(self.seconds()),
            operations_per_second,
            bytes_per_second,
        )
    }
}

fn bytes(count: u64) -> String {
    let megabytes = count as f64 / 1e6;
    if megabytes < 1e3 {
        format!("{megabytes:.1} MB")
    } else {
        format!("{:.1} GB", megabytes / 1e3)
    }
}

fn tokens(count: f64) -> String {
    match count {
        count if count < 0.5 => "-".to_owned(),
        count if count < 1e3 => format!("{count:.0}"),
        count if count < 1e6 => format!("{:.1} k", count / 1e3),
        count if count < 1e9 => format!("{:.1} M", count / 1e6),
        count => format!("{:.1} G", count / 1e9),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds if seconds < 7200.0 => format!("{:.1} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}
