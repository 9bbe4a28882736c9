//! Several worlds and seeds at once, each in a process of its own with one thread.
//!
//! Two processes with one thread use two cores better than one with two, since decoders this small leave a second
//! thread little to do; worlds and seeds share no stage, so nobody waits for anybody.

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use crate::Result;
use crate::options::Options;

/// Fills every world and seed, `options.jobs` at a time; each process writes its own figures.
pub(crate) fn rows(options: &Options) -> Result<()> {
    let mut commands = Vec::new();
    for world in options.worlds() {
        for seed in options.seeds(world) {
            let mut command = itself(options, seed)?;
            command.args(["--world", world.name()]);
            for row in options.rows() {
                command.args(["--row", row.name()]);
            }
            commands.push(command);
        }
    }
    run(commands, options.jobs)
}

/// This program once more, for one seed and with one thread.
pub(crate) fn itself(options: &Options, seed: u64) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env("RAYON_NUM_THREADS", "1");
    command.arg("--out").arg(options.out());
    command.args(["--device", &options.device]);
    command.args(["--seeds", &seed.to_string()]);
    if options.smoke {
        command.arg("--smoke");
    }
    Ok(command)
}

/// Runs all, so many at a time.
pub(crate) fn run(mut waiting: Vec<Command>, jobs: usize) -> Result<()> {
    waiting.reverse();
    let mut running: Vec<Child> = Vec::new();
    let mut failed = 0;
    while !(waiting.is_empty() && running.is_empty()) {
        while running.len() < jobs
            && let Some(mut command) = waiting.pop()
        {
            running.push(command.spawn()?);
        }
        let mut still = Vec::new();
        for mut child in running {
            match child.try_wait()? {
                None => still.push(child),
                Some(status) => failed += usize::from(!status.success()),
            }
        }
        running = still;
        sleep(Duration::from_millis(200));
    }
    if failed > 0 {
        return Err(format!(
            "{failed} of the processes failed, see above; the same command goes on where they ended"
        )
        .into());
    }
    Ok(())
}
