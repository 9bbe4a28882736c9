//! Rewards the samples of a run again with other coefficients, and by a formula of one's own, without a model.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use didact::core::{GroupScores, Outcome, Reward, ScoreSpec};
use didact::reward::{KlEstimator, RltConfig, TeacherReward};
use didact::rl::rescore::{Agreement, Rescorer};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// The directory of a run whose reward was the published one.
    #[arg(default_value = "runs/quickstart-1")]
    run: PathBuf,
}

fn main() -> ExitCode {
    match start(&Options::parse().run) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(run: &Path) -> Result<String> {
    let mut text = format!(
        "{:34} {:>8} {:>10} {:>13} {:>11}\n",
        "reward", "samples", "all ranks", "within groups", "other best"
    );
    for (name, reward) in rewards()? {
        let samples = Rescorer::new(&*reward).run(run)?;
        let found = Agreement::of(&samples);
        let shown =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
        text += &format!(
            "{name:34} {:>8} {:>10} {:>13} {:>9.0} %\n",
            found.samples,
            shown(found.rank_correlation),
            shown(found.group_rank_correlation),
            100.0 * found.other_best
        );
    }
    Ok(text)
}

/// The published reward, and what one may wonder about it.
fn rewards() -> Result<Vec<(&'static str, Box<dyn Reward>)>> {
    let published = RltConfig::default;
    let with = |config: RltConfig| -> Result<Box<dyn Reward>> { Ok(Box::new(config.resolve()?)) };
    Ok(vec![
        ("as published", with(published())?),
        (
            "divergence counts a tenth",
            with(RltConfig {
                kl_coefficients: vec![0.3, 0.003],
                ..published()
            })?,
        ),
        (
            "divergence counts ten times",
            with(RltConfig {
                kl_coefficients: vec![30.0, 0.3],
                ..published()
            })?,
        ),
        (
            "divergence by K3",
            with(RltConfig {
                kl_estimator: KlEstimator::K3,
                ..published()
            })?,
        ),
        (
            "without the teacher's entropy",
            with(RltConfig {
                include_teacher_entropy: false,
                ..published()
            })?,
        ),
        (
            "no penalty for a missing tag",
            with(RltConfig {
                missing_tag_penalty: 0.0,
                ..published()
            })?,
        ),
        (
            "one's own: a price for length",
            Box::new(Short {
                published: published().resolve()?,
                per_token: 0.02,
            }),
        ),
    ])
}

/// The published reward less a price for each sampled token. It asks for what was recorded, so it can be evaluated.
struct Short {
    published: TeacherReward,
    per_token: f64,
}

impl Reward for Short {
    fn requests(&self) -> Vec<ScoreSpec> {
        self.published.requests()
    }

    fn evaluate(&self, group: &GroupScores<'_>) -> didact::core::Result<Vec<Outcome>> {
        let mut outcomes = self.published.evaluate(group)?;
        for (outcome, sample) in outcomes.iter_mut().zip(&group.samples) {
            if let Outcome::Scored { reward, .. } = outcome {
                *reward -= self.per_token * sample.completion_tokens as f64;
            }
        }
        Ok(outcomes)
    }
}
