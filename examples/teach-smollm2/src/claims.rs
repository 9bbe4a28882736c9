//! Rows 1, 3 and 7 of the claims, with SmolLM2 on grade-school problems.
//!
//! Owns what is compared. Budgets are in `plan`, what experiments are made of in `cast`, the measures of a text in
//! `manner`. All training is of adapters, kept beside the one model; what is made once is kept.

mod cast;
mod manner;
mod plan;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use didact::core::Problem;
use didact::distill::ExplanationRecord;
use experiments::numbers::{self, read, summaries, write_beside};
use experiments::statistics::{pearson, spearman};
use experiments::table::{pooled, put_between_marks, table};
use experiments::{Dataset, Model, Record, Seeds, Summary};

use crate::Result;
use crate::options::Options;
use crate::source::Source;
use cast::Cast;
use manner::Manner;
use plan::{BUCKETS, CHOICE, Plan};

/// What is claimed, by row.
const ROWS: [(&str, &str); 3] = [
    (
        "1",
        "a teacher trained to explain beats one trained to solve",
    ),
    ("3", "its explanations are to the point"),
    ("7", "the reward predicts the student"),
];

/// The problems, as tables name them.
const WORLD: &str = "gsm_symbolic";

/// Where stages and figures are kept by default.
const OUT: &str = "runs/teach-smollm2-claims";

/// Fills all rows for the seeds.
pub(crate) fn run(
    options: &Options,
    seeds: &Seeds,
    [train, held_out]: [&[Problem]; 2],
) -> Result<()> {
    let out = options.out_or(OUT);
    if let Some(readme) = &options.write_readme {
        write(&out)?;
        let tables = fs_err::read_to_string(out.join("claims.md"))?;
        return put_between_marks(readme, "claims", &tables);
    }
    let source = Source::find(options.model.as_deref())?;
    let tokenizer = Arc::new(source.tokenizer()?);
    let decoder = source.weights(&options.device.clone().autodiff())?;
    drop(source);
    for seed in seeds.range() {
        let plan = Plan {
            seed,
            smoke: options.smoke,
        };
        let cast = Cast::new(plan, &decoder, &tokenizer, [train, held_out], &out)?;
        for (row, _) in ROWS {
            let mut record = Record::new(row, WORLD, seed);
            match row {
                "1" => teachers(&cast, &mut record)?,
                "3" => manners(&cast, &mut record)?,
                _ => buckets(&cast, &mut record)?,
            }
            numbers::write(&out.join("numbers"), &record)?;
            println!("{WORLD} {seed}: row {row} filled");
        }
    }
    write(&out)
}

/// Row 1: students of each teacher.
fn teachers(cast: &Cast, record: &mut Record) -> Result<()> {
    let before = cast.warmed_teacher()?;
    let explainer = cast.explainer()?;
    let (solver_before, solver) = (cast.warmed_solver()?, cast.solver()?);
    let of_before = cast.explanations("C", &before, CHOICE)?;
    let first: Vec<ExplanationRecord> = of_before.iter().step_by(CHOICE).cloned().collect();
    let of_trained = cast.explanations("A", &explainer.model, 1)?;
    let tries = cast.tries(&solver.model)?;
    let unclosed = cast.keeps_unclosed();

    let c = Dataset::first(&first, unclosed);
    let a = Dataset::first(&of_trained, unclosed);
    let b = cast.right(&tries);
    let fewest = cast.tokens_of(&a)?.min(cast.tokens_of(&c)?);
    let names = ["C (A before RL)", "A (RLT)", "B (correctness RL)"];
    let same = |name: &str| format!("{name}, same tokens");
    student(cast, record, "nothing (base)", &cast.base()?)?;
    for (name, data) in [
        (names[0].to_owned(), &c),
        (names[1].to_owned(), &a),
        (names[2].to_owned(), &b),
        (same(names[0]), &cast.within(&c, fewest)?),
        (same(names[1]), &cast.within(&a, fewest)?),
        (
            "C, best of 8 by reward".to_owned(),
            &Dataset::best(&of_before, unclosed),
        ),
        (
            "the worked solutions as explanations".to_owned(),
            &cast.worked(),
        ),
    ] {
        record.put(&name, "", "explanations", data.len() as f64);
        record.put(&name, "", "tokens", cast.tokens_of(data)? as f64);
        student(cast, record, &name, &cast.student(data)?)?;
    }
    // How often a solver is right, which is what it is rewarded for.
    for (when, own) in [("before", &solver_before), ("after", &solver.model)] {
        let right = cast.examined(own)?.0;
        record.put(names[2], "", format!("own accuracy {when} RL"), right);
    }
    let right = tries.records().iter().filter(|r| r.correct).count();
    let rate = right as f64 / tries.records().len().max(1) as f64;
    record.put(names[2], "", "right tries", rate);
    for (name, taught) in [(names[1], &explainer), (names[2], &solver)] {
        record.put(name, "", "seconds of RL", taught.model.seconds);
        record.put(name, "", "sampled tokens", taught.tokens);
        let rewards = taught.looks.first().zip(taught.looks.last());
        if let Some((first, last)) = rewards {
            record.put(name, "", "reward before RL", first.reward);
            record.put(name, "", "reward after RL", last.reward);
        }
    }
    Ok(())
}

fn student(cast: &Cast, record: &mut Record, name: &str, student: &Model) -> Result<()> {
    let (accuracy, log_prob) = cast.examined(student)?;
    record.put(name, "", "solution log-prob", log_prob);
    record.put(name, "", "accuracy", accuracy);
    Ok(())
}

/// Row 3: explanations of held-out problems before and after RL.
fn manners(cast: &Cast, record: &mut Record) -> Result<()> {
    for (subject, teacher) in [
        ("before RL", cast.warmed_teacher()?),
        ("after RL", cast.explainer()?.model),
    ] {
        let records = cast.held_out_explanations(subject, &teacher)?;
        let mean = |of: &dyn Fn(&ExplanationRecord) -> Option<f64>| {
            let values: Vec<f64> = records.iter().filter_map(of).collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let share = |holds: bool| Some(f64::from(u8::from(holds)));
        record.put(subject, "", "closed", mean(&|r| share(r.closed)));
        record.put(subject, "", "tokens", mean(&|r| Some(r.tokens as f64)));
        let mut all = Manner::default();
        for found in &records {
            all.add(&found.problem, &found.explanation);
        }
        for (metric, value) in all.figures() {
            record.put(subject, "", metric, value);
        }
        record.put(subject, "", "reward", mean(&|r| r.outcome.reward()));
        for term in ["reward/solution_log_prob", "reward/kl"] {
            record.put(subject, "", term, mean(&|r| r.outcome.term(term)));
        }
    }
    Ok(())
}

/// Row 7: a student of each bucket of the explanations of the teacher before RL.
fn buckets(cast: &Cast, record: &mut Record) -> Result<()> {
    let records = cast.explanations("C", &cast.warmed_teacher()?, CHOICE)?;
    // Few end in time, so those that are cut off stay.
    let sets = Dataset::by_quantile(&records, CHOICE, BUCKETS, true);
    let mut pairs = Vec::new();
    for (place, data) in sets.iter().enumerate() {
        let Some(reward) = data.mean_reward() else {
            return Err("too few explanations to fill the buckets".into());
        };
        let subject = format!("bucket {}", place + 1);
        let (_, log_prob) = cast.examined(&cast.student_of_bucket(data)?)?;
        record.put(&subject, "", "explanations", data.len() as f64);
        record.put(&subject, "", "mean reward", reward);
        record.put(&subject, "", "solution log-prob", log_prob);
        pairs.push((reward, log_prob));
    }
    record.put("all buckets", "", "Pearson's correlation", pearson(&pairs));
    record.put(
        "all buckets",
        "",
        "Spearman's correlation",
        spearman(&pairs),
    );
    Ok(())
}

/// Writes `claims.json` and `claims.md` of all figures on disk.
fn write(out: &Path) -> Result<()> {
    let numbers = read(&out.join("numbers"))?;
    let found = summaries(&numbers);
    let all = serde_json::json!({"summaries": found, "numbers": numbers});
    let text = serde_json::to_string_pretty(&all)?;
    write_beside(&out.join("claims.json"), &text)?;
    let mut text = String::new();
    for (row, claim) in ROWS {
        let of_row: Vec<&Summary> = found.iter().filter(|s| s.row == row).collect();
        if of_row.is_empty() {
            continue;
        }
        let _ = writeln!(text, "### Row {row}: {claim}\n");
        table(&mut text, &format!("Problems `{WORLD}`"), &of_row);
        if row == "7" {
            pooled(&mut text, &of_row, ["mean reward", "solution log-prob"]);
        }
    }
    let path = out.join("claims.md");
    write_beside(&path, &text)?;
    println!("{} holds the tables", path.display());
    Ok(())
}
