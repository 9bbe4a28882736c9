//! Row 1 over difficulty: students of A, B and C in the sparse world, by the length of the problems.
//!
//! Owns what each point compares. B's learning rate is chosen among several, with and without a curriculum of easier
//! problems that takes as many steps in all.

use std::time::Instant;

use arithmetic::world::ProblemSet;

use crate::Result;
use crate::jobs;
use crate::lab::{Aim, Lab, Training};
use crate::options::Options;
use crate::plan::{
    Ablation, Budget, CURRICULUM, POINTS, SOLVER_RATES, Setting, SizeName, TRIES, WorldName,
};
use crate::table;
use experiments::Dataset;
use experiments::numbers::{self, Record};
use experiments::{Model, Taught};

/// The name of the plot's figures.
pub(crate) const ROW: &str = "plot";

/// The metric that the points are placed by.
pub(crate) const DIFFICULTY: &str = "B's first success rate";

/// Whose students are compared.
pub(crate) const TEACHERS: [&str; 4] = ["A", "B", "B with a curriculum", "C"];

/// Makes all points, or one of them, or what they share.
pub(crate) fn run(options: &Options, point: Option<usize>, shared: bool) -> Result<()> {
    if options.jobs > 1 && point.is_none() && !shared {
        // Points of one seed share its bases, so these come first.
        let mut first = Vec::new();
        let mut then = Vec::new();
        for seed in options.seeds(WorldName::Sparse) {
            let mut command = jobs::itself(options, seed)?;
            command.args(["plot", "--shared"]);
            first.push(command);
            for place in 0..POINTS.len() {
                let mut command = jobs::itself(options, seed)?;
                command.args(["plot", "--point", &place.to_string()]);
                then.push(command);
            }
        }
        jobs::run(first, options.jobs)?;
        jobs::run(then, options.jobs)?;
        return table::write(&options.out());
    }
    for seed in options.seeds(WorldName::Sparse) {
        let places = match point {
            Some(place) if place >= POINTS.len() => {
                return Err(format!("there are {} points, from 0", POINTS.len()).into());
            }
            Some(place) => place..place + 1,
            None => 0..POINTS.len(),
        };
        for (place, &operations) in POINTS
            .iter()
            .enumerate()
            .take(places.end)
            .skip(places.start)
        {
            let setting = Setting {
                operations,
                ..Setting::of(WorldName::Sparse, options.smoke)
            };
            let lab = Lab::new(
                setting,
                seed,
                &options.device,
                &options.out().join("stages"),
            )?;
            if shared {
                lab.base(SizeName::L)?;
                lab.warmed(SizeName::S)?;
                break;
            }
            let begin = Instant::now();
            let mut record = Record::new(ROW, "sparse", seed);
            find(&lab, &mut record)?;
            let folder = options.out().join("numbers");
            numbers::write_as(&folder, &format!("plot-{place}-{seed}"), &record)?;
            println!(
                "plot {seed}: {} to {} operations after {:.0} s",
                operations.0,
                operations.1,
                begin.elapsed().as_secs_f64()
            );
        }
    }
    if point.is_none() && !shared {
        table::write(&options.out())?;
    }
    Ok(())
}

/// One point.
fn find(lab: &Lab, record: &mut Record) -> Result<()> {
    let (from, to) = lab.setting.operations;
    let label = format!("{from}_{to}");
    let at = |who: &str| format!("{who}, {from} to {to} operations");
    let large = lab.base(SizeName::L)?;

    let first = lab.answers(&format!("plot_{label}_first"), &large, &lab.held_out, TRIES)?;
    let right = first.records().iter().filter(|r| r.correct).count();
    let rate = right as f64 / first.records().len().max(1) as f64;
    record.put(at("all"), "", DIFFICULTY, rate);

    let explainer = lab.explainer(Ablation::Published, SizeName::S)?;
    let before = lab.warmed(SizeName::S)?;
    let plain = chosen(lab, &large, false)?;
    let eased = chosen(lab, &large, true)?;
    let data = |name: &str, model: &Model, solves: bool| -> Result<Dataset> {
        let name = format!("plot_{label}_{name}");
        if solves {
            lab.solved(&name, model, &lab.train)
        } else {
            lab.explained(&name, model, &lab.train)
        }
    };
    for (who, name, data) in [
        (TEACHERS[0], "A", data("A", &explainer.model, false)?),
        (TEACHERS[1], "B", data("B", &plain.model, true)?),
        (TEACHERS[2], "eased", data("eased", &eased.model, true)?),
        (TEACHERS[3], "C", data("C", &before, false)?),
    ] {
        let name = format!("plot_{label}_of_{name}");
        let accuracy = lab.taught_accuracy(&name, SizeName::S, &data, &lab.held_out)?;
        record.put(at(who), SizeName::S.name(), "accuracy", accuracy);
        record.put(at(who), "", "explanations", data.len() as f64);
    }
    for (who, taught) in [(TEACHERS[1], plain), (TEACHERS[2], eased)] {
        let own = taught.looks.last().map_or(0.0, |look| look.reward);
        record.put(at(who), "", "own accuracy after RL", own);
    }
    Ok(())
}

/// The best of the solvers of several learning rates.
fn chosen(lab: &Lab, base: &Model, eased: bool) -> Result<Taught> {
    let mut best: Option<Taught> = None;
    for rate in SOLVER_RATES {
        let taught = solver(lab, base, rate, eased)?;
        let accuracy = |taught: &Taught| taught.looks.last().map_or(0.0, |look| look.reward);
        if best
            .as_ref()
            .is_none_or(|best| accuracy(&taught) > accuracy(best))
        {
            best = Some(taught);
        }
    }
    best.ok_or_else(|| "no learning rate is to be tried".into())
}

/// A solver; with a curriculum its steps are shared among problems of growing length.
fn solver(lab: &Lab, base: &Model, rate: f64, eased: bool) -> Result<Taught> {
    let (from, to) = lab.setting.operations;
    let mut parts: Vec<(usize, usize)> = Vec::new();
    if eased {
        parts.extend(CURRICULUM.iter().map(|share| {
            let longest = ((to as f64 * share).round() as usize).max(1);
            (longest.min(from).saturating_sub(1).max(1), longest)
        }));
    }
    parts.push((from, to));
    let steps = (lab.setting.solver.steps / parts.len() as u64).max(1);
    let mut taught: Option<Taught> = None;
    for (place, &operations) in parts.iter().enumerate() {
        let train = lab.setting.world.problems(&ProblemSet {
            operations,
            ..lab.setting.train_set(lab.seed)
        });
        let start = taught.as_ref().map_or(base, |taught| &taught.model);
        let kind = if eased { "eased" } else { "solver" };
        let next = lab.teach(
            &format!("plot_{from}_{to}_{kind}_{rate:e}_{place}"),
            &Training {
                aim: Aim::Solve,
                budget: Budget {
                    steps,
                    learning_rate: rate,
                    ..lab.setting.solver
                },
                start,
                student: base,
                train: &train,
                held_out: &lab.held_out,
                every: 0,
            },
        )?;
        taught = Some(next);
    }
    taught.ok_or_else(|| "a solver has at least one part".into())
}
