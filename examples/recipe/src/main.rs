//! Plans and makes a pipeline that one TOML file describes.
//!
//! Owns the command line and what is printed; the pipeline itself is `didact::distill::recipe`.
#![forbid(unsafe_code)]

mod problems;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use didact::Device;
use didact::distill::recipe::{Machine, Run, StageOutcome};
use didact::distill::{Error, Recipe};
use example_console::{Console, INTERRUPTED, stop_on_ctrl_c};

// Training makes and drops large temporaries at every step; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Plans and makes a pipeline: stages that are made already are skipped, one that was begun is gone on with.
#[derive(Debug, Parser)]
struct Options {
    /// The recipe.
    #[arg(default_value = "recipes/arithmetic/recipe.toml")]
    recipe: PathBuf,
    /// Where stages are made, a folder each; runs/<name of the recipe's folder> by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where tensors live: cpu, or as the build has them cuda:0, rocm:0, metal, vulkan, wgpu.
    #[arg(long, default_value = "cpu", value_parser = didact::kernels::device)]
    device: Device,
    /// Prints the stages, their memory and the least time they take, and makes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Prints the plan or the outcomes as JSON, with every setting.
    #[arg(long)]
    json: bool,
    /// Writes the arithmetic problems, their prompt format and nothing else to this folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "dry_run", "json"])]
    make_problems: Option<PathBuf>,
}

impl Options {
    fn out(&self) -> PathBuf {
        let folder = self.recipe.parent().and_then(|folder| folder.file_name());
        let default = || PathBuf::from("runs").join(folder.unwrap_or("recipe".as_ref()));
        self.out.clone().unwrap_or_else(default)
    }
}

fn main() -> ExitCode {
    match start(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<ExitCode> {
    if let Some(folder) = &options.make_problems {
        problems::write(folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let recipe = Recipe::read(&options.recipe)?;
    let out = options.out();
    if options.dry_run {
        let measured = || Machine::measured(&options.device);
        let machine = recipe.machine.clone().unwrap_or_else(measured);
        let plan = recipe.plan(&out, &machine)?;
        if options.json {
            println!("{}", serde_json::to_string_pretty(&plan)?);
        } else {
            println!("{plan}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    make(&recipe, options, &out)
}

fn make(recipe: &Recipe, options: &Options, out: &Path) -> Result<ExitCode> {
    let mut console = Console::new().every(Duration::from_secs(4));
    let run =
        Run::new(recipe, out, options.device.clone().autodiff())?.with_stop(stop_on_ctrl_c()?);
    let mut made = |outcome: &StageOutcome| {
        if !options.json {
            println!("{}", shown(outcome));
        }
    };
    match run.run(&mut console, &mut made) {
        Ok(outcomes) if options.json => println!("{}", serde_json::to_string_pretty(&outcomes)?),
        Ok(_) => println!("everything is in {}", out.display()),
        Err(Error::Interrupted { .. }) => {
            console.line("stopped; the same command goes on");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// A stage's figures, intervals as one.
fn shown(outcome: &StageOutcome) -> String {
    let mut intervals: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    let mut text = format!("{} ({})", outcome.name, outcome.kind);
    for (name, &value) in &outcome.figures {
        let part = name.rsplit_once('/');
        let place =
            part.and_then(|(_, part)| ["mean", "low", "high"].iter().position(|p| *p == part));
        match (part, place) {
            (Some((name, _)), Some(place)) => {
                intervals.entry(name).or_insert([f64::NAN; 3])[place] = value;
            }
            _ => {
                let _ = write!(text, "  {name} {}", number(value));
            }
        }
    }
    for (name, [mean, low, high]) in intervals {
        text.push_str(&format!(
            "\n    {name:20} {mean:8.3}  [{low:.3}, {high:.3}]"
        ));
    }
    let state = if outcome.skipped {
        "made before"
    } else {
        "made"
    };
    format!("{text}\n    {state}, in {}", outcome.folder.display())
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> Recipe {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../recipes")
            .join(name);
        Recipe::read(path).unwrap()
    }

    #[test]
    fn every_recipe_that_is_shipped_can_be_planned() {
        for name in [
            "arithmetic/recipe.toml",
            "paper/recipe.toml",
            "paper/7b-on-one-gpu/24-gb.toml",
            "paper/7b-on-one-gpu/80-gb.toml",
        ] {
            let recipe = shipped(name);
            let machine = recipe.machine.clone().unwrap_or_else(|| Machine {
                name: "a machine".into(),
                operations_per_second: 1e12,
                bytes_per_second: 1e12,
                memory: None,
            });
            let plan = recipe.plan("nowhere", &machine).unwrap();
            assert_eq!(plan.stages.len(), recipe.stages.len());
            assert!(plan.peak() > 0 && plan.seconds() > 0.0);
        }
    }

    #[test]
    fn figures_are_shown_with_their_intervals() {
        let figures = [
            ("a/mean", 1.0),
            ("a/low", 0.5),
            ("a/high", 1.5),
            ("steps", 3.0),
            ("seconds", 0.25),
        ];
        let outcome = StageOutcome {
            name: "teacher".into(),
            kind: "teach".into(),
            folder: "out/teacher-0".into(),
            skipped: false,
            figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
        };
        let text = shown(&outcome);
        assert!(
            text.contains("steps 3") && text.contains("seconds 0.25"),
            "{text}"
        );
        assert!(
            text.contains("1.000  [0.500, 1.500]") && text.contains("made, in"),
            "{text}"
        );
    }
}
