//! What looks wrong in a run, with advice.
//!
//! Owns kinds, thresholds and wording. Knows numbers of past steps only: no model and no file.
//!
//! | kind | condition, over the metrics of training steps |
//! |---|---|
//! | `flat_groups` | `frac_reward_zero_std` is 1 in [`flat_steps`](WatchConfig::flat_steps) steps in a row |
//! | `reward_collapse` | mean `reward` lies [`reward_drop`](WatchConfig::reward_drop) group deviations below its best; or `reward_std` is below [`std_fraction`](WatchConfig::std_fraction) of what it was at first, and the reward no better |
//! | `length_drift` | `completions/mean_length` is [`length_factor`](WatchConfig::length_factor) times what it was at first, or a part of it that small |
//! | `truncation` | `completions/clipped_ratio` is above [`truncated`](WatchConfig::truncated) |
//! | `sampling_gap` | `sampling/logp_diff_mean` is above [`gap`](WatchConfig::gap) |
//!
//! All but the first look at means over the last [`window`](WatchConfig::window) steps; "at first" is the mean of as
//! many first steps. A kind is warned about once, and again only after as many steps without it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::config::{at_least_one, check, positive};
use crate::{Metrics, MetricsKind, MetricsRecord, Result};

/// What looks wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningKind {
    /// Every group's samples have one reward, so that nothing is learnt.
    FlatGroups,
    /// The reward fell far below what it was.
    RewardCollapse,
    /// Completions became much longer or shorter than they were.
    LengthDrift,
    /// Most completions were cut off by a limit.
    Truncation,
    /// Sampling and training disagree on log-probs.
    SamplingGap,
    /// Something outside the metrics, such as a checkpoint that could not be written.
    Run,
}

/// Something that looks wrong; the run goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The stage of the run.
    pub stage: String,
    /// Updates made so far.
    pub step: u64,
    /// What looks wrong.
    pub kind: WarningKind,
    /// The same in words, with the figures.
    pub text: String,
    /// What to do about it.
    pub advice: String,
}

/// When a run warns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Steps that are averaged over, at first and later. Default 4.
    pub window: usize,
    /// So many steps in a row with nothing but flat groups. Default 3.
    pub flat_steps: u64,
    /// So many mean deviations within groups, as they were at the best reward. Default 3.
    pub reward_drop: f64,
    /// Such a part of the first deviation within groups. Default 0.05.
    pub std_fraction: f64,
    /// So many times as long or as short as at first. Default 2.
    pub length_factor: f64,
    /// More than this share of completions cut off. Default 0.5.
    pub truncated: f64,
    /// A larger mean gap between sampling and training log-probs, in nats. Default 0.05.
    pub gap: f64,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            window: 4,
            flat_steps: 3,
            reward_drop: 3.0,
            std_fraction: 0.05,
            length_factor: 2.0,
            truncated: 0.5,
            gap: 0.05,
        }
    }
}

impl WatchConfig {
    /// Checks the thresholds.
    ///
    /// # Errors
    /// [`Error::Configuration`](crate::Error::Configuration) names the key.
    pub fn validate(&self) -> Result<()> {
        at_least_one("warnings.window", self.window as u64)?;
        at_least_one("warnings.flat_steps", self.flat_steps)?;
        for (key, value) in [
            ("warnings.reward_drop", self.reward_drop),
            ("warnings.std_fraction", self.std_fraction),
            ("warnings.truncated", self.truncated),
            ("warnings.gap", self.gap),
        ] {
            positive(key, value)?;
        }
        check(
            "warnings.length_factor",
            self.length_factor > 1.0 && self.length_factor.is_finite(),
            || format!("{} is not above 1", self.length_factor),
        )
    }
}

/// The numbers of a step that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Seen {
    reward: Option<f64>,
    deviation: Option<f64>,
    length: Option<f64>,
    truncated: Option<f64>,
    gap: Option<f64>,
}

/// Looks at the metrics of one stage, step by step.
///
/// What it says depends on these alone. It can be saved and read, so that a run that goes on from a checkpoint
/// warns as if it had not been interrupted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    config: WatchConfig,
    /// The first steps, at most a window of them.
    first: Vec<Seen>,
    /// The last steps, at most a window of them.
    last: VecDeque<Seen>,
    flat: u64,
    /// The best mean reward of a window with its deviation within groups.
    best: Option<(f64, f64)>,
    /// What was warned about, with the steps since that were fine.
    warned: BTreeMap<WarningKind, usize>,
}

impl Watch {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new(config: WatchConfig) -> Self {
        Self {
            config,
            first: Vec::new(),
            last: VecDeque::new(),
            flat: 0,
            best: None,
            warned: BTreeMap::new(),
        }
    }

    /// Looks at one more line of metrics, and says what looks wrong that it has not said already.
    ///
    /// Lines that are not of a training step are passed over.
    pub fn look(&mut self, record: &MetricsRecord) -> Vec<Warning> {
        if record.kind != MetricsKind::Train {
            return Vec::new();
        }
        self.take(&record.metrics);
        let mut warnings = Vec::new();
        for (kind, found) in [
            (WarningKind::FlatGroups, self.flat_groups()),
            (WarningKind::RewardCollapse, self.reward_collapse()),
            (WarningKind::LengthDrift, self.length_drift()),
            (WarningKind::Truncation, self.truncation()),
            (WarningKind::SamplingGap, self.sampling_gap()),
        ] {
            let Some((text, advice)) = found else {
                self.calm(kind);
                continue;
            };
            if self.warned.insert(kind, 0).is_none() {
                warnings.push(Warning {
                    stage: record.stage.clone(),
                    step: record.step,
                    kind,
                    text,
                    advice: advice.to_owned(),
                });
            }
        }
        warnings
    }

    fn take(&mut self, metrics: &Metrics) {
        let seen = Seen {
            reward: metrics.get("reward"),
            deviation: metrics.get("reward_std"),
            length: metrics.get("completions/mean_length"),
            truncated: metrics.get("completions/clipped_ratio"),
            gap: metrics.get("sampling/logp_diff_mean"),
        };
        if self.first.len() < self.config.window {
            self.first.push(seen);
        }
        self.last.push_back(seen);
        if self.last.len() > self.config.window {
            self.last.pop_front();
        }
        match metrics.get("frac_reward_zero_std") {
            Some(share) if share >= 1.0 => self.flat += 1,
            _ => self.flat = 0,
        }
        if self.last.len() == self.config.window
            && let Some(reward) = self.now(|s| s.reward)
            && self.best.is_none_or(|(best, _)| reward > best)
        {
            self.best = Some((reward, self.now(|s| s.deviation).unwrap_or(0.0)));
        }
    }

    /// Forgets a warning after a window of steps without its cause.
    fn calm(&mut self, kind: WarningKind) {
        if let Some(fine) = self.warned.get_mut(&kind) {
            *fine += 1;
            if *fine >= self.config.window {
                self.warned.remove(&kind);
            }
        }
    }

    fn now(&self, value: fn(&Seen) -> Option<f64>) -> Option<f64> {
        mean(self.last.iter().filter_map(value))
    }

    fn at_first(&self, value: fn(&Seen) -> Option<f64>) -> Option<f64> {
        mean(self.first.iter().filter_map(value))
    }

    fn flat_groups(&self) -> Option<(String, &'static str)> {
        (self.flat >= self.config.flat_steps).then(|| {
            (
                format!(
                    "in the last {} steps every group's samples had one reward: nothing is learnt",
                    self.flat
                ),
                "Choose problems of middling difficulty, sample more explanations of each or at a higher \
                 temperature; `dynamic_sampling` replaces flat groups, the curriculum `SkipSolved` leaves out what \
                 is solved. If it is so from the first step, see that the reward differs at all between samples in \
                 `rollouts/`.",
            )
        })
    }

    fn reward_collapse(&self) -> Option<(String, &'static str)> {
        const ADVICE: &str = "Lower the learning rate or raise `loss.beta`; look at the last rollouts for what the \
                              policy writes now, and go on from an earlier checkpoint.";
        let (best, deviation) = self.best?;
        let reward = self.now(|s| s.reward)?;
        let limit = self.config.reward_drop * deviation;
        if deviation > 0.0 && best - reward > limit {
            return Some((
                format!(
                    "the mean reward fell to {reward:.3} from its best, {best:.3}: {:.1} times the deviation within \
                     groups there, {deviation:.3}",
                    (best - reward) / deviation
                ),
                ADVICE,
            ));
        }
        let (first, spread) = (
            self.at_first(|s| s.reward)?,
            self.at_first(|s| s.deviation)?,
        );
        let now = self.now(|s| s.deviation)?;
        let collapsed = spread > 0.0 && now < self.config.std_fraction * spread && reward <= first;
        collapsed.then(|| {
            (
                format!(
                    "rewards within groups differ by {now:.4} only, {spread:.4} at first, and their mean, \
                     {reward:.3}, is no better than at first, {first:.3}"
                ),
                ADVICE,
            )
        })
    }

    fn length_drift(&self) -> Option<(String, &'static str)> {
        let (first, now) = (self.at_first(|s| s.length)?, self.now(|s| s.length)?);
        let factor = self.config.length_factor;
        if first > 0.0 && now >= factor * first {
            return Some((
                format!("completions have {now:.1} tokens, {first:.1} at first"),
                "Longer may be better, or filler: read the rollouts. A loss that weighs tokens alike \
                 (`aggregation`), a lower `max_completion_tokens` or a penalty on length in the reward works \
                 against it.",
            ));
        }
        (now * factor <= first).then(|| {
            (
                format!("completions have {now:.1} tokens, {first:.1} at first"),
                "Shorter may be to the point, or nothing at all: read the rollouts. If explanations vanish, the \
                 divergence term outweighs the solution's: lower its coefficients (`didact_rl::rescore` shows on \
                 the recorded samples what others would reward).",
            )
        })
    }

    fn truncation(&self) -> Option<(String, &'static str)> {
        let share = self.now(|s| s.truncated)?;
        (share > self.config.truncated).then(|| {
            (
                format!("{:.0} % of the completions were cut off by a limit", 100.0 * share),
                "Raise `max_completion_tokens`, warm up on shorter explanations, or raise the penalty for a missing \
                 end tag; `mask_truncated` keeps completions that were cut off out of the loss.",
            )
        })
    }

    fn sampling_gap(&self) -> Option<(String, &'static str)> {
        let gap = self.now(|s| s.gap)?;
        (gap > self.config.gap).then(|| {
            (
                format!(
                    "sampling and training disagree by {gap:.4} nats a token, more than {}",
                    self.config.gap
                ),
                "Look at `sampling/logp_diff_by_position/*`: a gap that grows with the position points at the cache \
                 or at positions, an even one at precision. Decode in the training's precision, or set \
                 `loss.correction`.",
            )
        })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, values: &[(&str, f64)]) -> MetricsRecord {
        let mut metrics = Metrics::new();
        for (name, value) in [
            ("reward", -1.0),
            ("reward_std", 0.5),
            ("frac_reward_zero_std", 0.0),
            ("completions/mean_length", 40.0),
            ("completions/clipped_ratio", 0.1),
            ("sampling/logp_diff_mean", 1e-6),
        ] {
            metrics.set(name, value);
        }
        for (name, value) in values {
            metrics.set(*name, *value);
        }
        MetricsRecord {
            stage: "teacher".into(),
            kind: MetricsKind::Train,
            step,
            metrics,
        }
    }

    /// The steps at which `kind` was warned about, where the values of step `i` are `values(i)`.
    fn warned<'a>(
        kind: WarningKind,
        steps: u64,
        values: impl Fn(u64) -> Vec<(&'a str, f64)>,
    ) -> Vec<u64> {
        let mut watch = Watch::new(WatchConfig::default());
        let mut found = Vec::new();
        for step in 1..=steps {
            for warning in watch.look(&line(step, &values(step))) {
                assert_eq!(warning.kind, kind, "{warning:?}");
                found.push(warning.step);
            }
            let text = serde_json::to_string(&watch).unwrap();
            let read: Watch = serde_json::from_str(&text).unwrap();
            assert_eq!(read, watch);
            watch = read;
        }
        found
    }

    #[test]
    fn a_quiet_run_is_not_warned_about() {
        let rising = |step: u64| {
            // Success also takes the spread away.
            let step = step as f64;
            vec![
                ("reward", -9.0 + step.min(8.0)),
                ("reward_std", 5.0 / (step * step)),
            ]
        };
        assert!(warned(WarningKind::Run, 30, rising).is_empty());
    }

    #[test]
    fn flat_groups_are_named_once_until_they_recover() {
        let flat = |step: u64| {
            let share = f64::from(u8::from(step != 6 && !(12..16).contains(&step)));
            vec![("frac_reward_zero_std", share)]
        };
        // Three in a row; a step between is no recovery; four are.
        assert_eq!(warned(WarningKind::FlatGroups, 20, flat), [3, 18]);
    }

    #[test]
    fn a_collapse_is_measured_by_the_spread_within_groups() {
        let falls = |step: u64| vec![("reward", if step < 10 { -1.0 } else { -4.0 })];
        // The mean of four crosses three deviations, 1.5, with the third.
        assert_eq!(warned(WarningKind::RewardCollapse, 20, falls), [12]);
        let little = |step: u64| vec![("reward", if step < 10 { -1.0 } else { -2.4 })];
        assert!(warned(WarningKind::RewardCollapse, 20, little).is_empty());
        let same = |step: u64| vec![("reward_std", if step < 10 { 0.5 } else { 0.0 })];
        assert_eq!(warned(WarningKind::RewardCollapse, 20, same), [13]);
    }

    #[test]
    fn lengths_may_double_or_halve() {
        let of = |factor: f64| {
            move |step: u64| {
                let grown = 40.0 * if step > 10 { factor } else { 1.0 };
                vec![("completions/mean_length", grown)]
            }
        };
        assert_eq!(warned(WarningKind::LengthDrift, 20, of(2.0)), [14]);
        assert_eq!(warned(WarningKind::LengthDrift, 20, of(0.5)), [14]);
        assert!(warned(WarningKind::LengthDrift, 20, of(1.9)).is_empty());
    }

    #[test]
    fn cut_off_completions_and_gaps_are_named_at_once() {
        let cut = |_| vec![("completions/clipped_ratio", 0.6)];
        assert_eq!(warned(WarningKind::Truncation, 9, cut), [1]);
        let gap = |_| vec![("sampling/logp_diff_mean", 0.2)];
        assert_eq!(warned(WarningKind::SamplingGap, 9, gap), [1]);
    }

    #[test]
    fn evaluations_are_not_steps() {
        let mut watch = Watch::new(WatchConfig::default());
        let mut record = line(1, &[("completions/clipped_ratio", 1.0)]);
        record.kind = MetricsKind::Evaluation;
        assert!(watch.look(&record).is_empty());
    }

    #[test]
    fn thresholds_that_mean_nothing_are_refused() {
        WatchConfig::default().validate().unwrap();
        let config = WatchConfig {
            length_factor: 1.0,
            ..WatchConfig::default()
        };
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .contains("length_factor")
        );
        let config = WatchConfig {
            window: 0,
            ..WatchConfig::default()
        };
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .contains("window")
        );
    }
}
