//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use experiments::Seeds;

use crate::plan::{PLOT_SEEDS, WorldName};
use crate::rows::Row;

/// The claims about reinforcement-learned teachers, each as an experiment.
///
/// What is made once is kept: a run that was ended goes on where it was, and rows share what they have in common.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// A row to fill; may be given several times. Default: all.
    #[arg(long, value_enum)]
    row: Vec<Row>,
    /// A world to fill it in; may be given several times. Default: all that the row is about.
    #[arg(long, value_enum)]
    world: Vec<WorldName>,
    /// The seeds, as `3` or `1..5`. Default: 1..5, in the sparse world 6..10, for the plot 6..8.
    #[arg(long, global = true)]
    seeds: Option<Seeds>,
    /// Where everything is kept; runs/claims by default, runs/claims-smoke of a smoke test.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// Where tensors live: cpu, or as the build has them cuda:0, rocm:0, metal, vulkan, wgpu.
    #[arg(long, global = true, default_value = "cpu", value_parser = is_device)]
    pub(crate) device: String,
    /// Processes at a time. With more than one, each has one thread.
    #[arg(long, global = true, default_value_t = 1)]
    pub(crate) jobs: usize,
    /// Sizes so small that the run proves only that every stage works.
    #[arg(long, global = true)]
    pub(crate) smoke: bool,
    /// Writes the tables found so far into this README, between its marks, and runs nothing.
    #[arg(long, value_name = "README", num_args = 0..=1, default_missing_value = "examples/claims/README.md")]
    pub(crate) write_readme: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Command {
    /// Row 1 over difficulty: accuracy of students of A, B and C against B's first success rate.
    Plot {
        /// Only this point, by its place.
        #[arg(long)]
        point: Option<usize>,
        /// Only what all points share.
        #[arg(long, conflicts_with = "point")]
        shared: bool,
    },
}

fn is_device(name: &str) -> Result<String, didact::kernels::Error> {
    didact::kernels::device(name).map(|_| name.to_owned())
}

impl Options {
    pub(crate) fn out(&self) -> PathBuf {
        let default = if self.smoke {
            "runs/claims-smoke"
        } else {
            "runs/claims"
        };
        self.out.clone().unwrap_or_else(|| default.into())
    }

    /// Refuses what the command would not look at.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.command.is_some() && !(self.row.is_empty() && self.world.is_empty()) {
            return Err(
                "the plot is of row 1 in the sparse world; leave --row and --world out".to_owned(),
            );
        }
        Ok(())
    }

    /// The seeds of a world, or those of the plot.
    pub(crate) fn seeds(&self, world: WorldName) -> RangeInclusive<u64> {
        let all = world.seeds();
        let default = match self.command {
            None => all,
            Some(Command::Plot { .. }) => *all.start()..=all.start() + PLOT_SEEDS - 1,
        };
        self.seeds.as_ref().map_or(default, Seeds::range)
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        if self.row.is_empty() {
            Row::ALL.to_vec()
        } else {
            self.row.clone()
        }
    }

    pub(crate) fn worlds(&self) -> Vec<WorldName> {
        if self.world.is_empty() {
            WorldName::ALL.to_vec()
        } else {
            self.world.clone()
        }
    }
}
