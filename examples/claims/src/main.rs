//! The claims about reinforcement-learned teachers, each as an experiment with tiny decoders.
//!
//! Owns the order of things: which rows are filled, in which worlds and for which seeds. Budgets are in `plan`,
//! experiments in `rows`, what they are made of in `lab` and `cast`.
#![forbid(unsafe_code)]

mod cast;
mod chart;
mod jobs;
mod lab;
mod options;
mod plan;
mod plot;
mod rows;
mod solving;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use fs_err as fs;

use crate::lab::Lab;
use crate::options::{Command, Options};
use crate::plan::{Setting, WorldName};

// Training makes and drops large temporaries at every step; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use experiments::{Result, numbers};

fn main() -> ExitCode {
    match start(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<()> {
    options.check()?;
    let out = options.out();
    if let Some(readme) = &options.write_readme {
        return table::write_readme(&out, readme);
    }
    fs::create_dir_all(&out)?;
    if let Some(Command::Plot { point, shared }) = options.command {
        return plot::run(options, point, shared);
    }
    if options.jobs > 1 {
        jobs::rows(options)?;
    } else {
        for world in options.worlds() {
            for seed in options.seeds(world) {
                fill(options, world, seed)?;
            }
        }
    }
    table::write(&out)
}

/// Finds the figures of every row in one world for one seed.
fn fill(options: &Options, world: WorldName, seed: u64) -> Result<()> {
    let setting = Setting::of(world, options.smoke);
    let lab = Lab::new(
        setting,
        seed,
        &options.device,
        &options.out().join("stages"),
    )?;
    for row in options.rows() {
        if !row.worlds().contains(&world) {
            continue;
        }
        let begin = Instant::now();
        let record = row.run(&lab)?;
        numbers::write(&options.out().join("numbers"), &record)?;
        println!(
            "{} {seed}: row {} filled after {:.0} s",
            world.name(),
            row.name(),
            begin.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
