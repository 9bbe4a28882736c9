//! Which explanations a student learns from.
//!
//! Owns ranking, filtering and de-duplication, and the count of what was dropped and why. Knows records only: what
//! was collected once can be chosen from in several ways.

use std::collections::{BTreeMap, HashSet};

use didact_core::{NamedValue, Outcome, Problem};
use didact_data::PromptFormat;
use serde::{Deserialize, Serialize};

use crate::collect::ExplanationRecord;
use crate::{Error, Result};

/// What counts as the same explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deduplicate {
    /// Nothing: duplicates are kept.
    Off,
    /// The same normalised text of the same problem.
    #[default]
    WithinProblem,
    /// The same normalised text, whichever problem it explains: what is said of several problems alike explains
    /// none of them.
    AcrossProblems,
}

/// Which of the collected explanations students learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectionConfig {
    /// At most this many of each problem, the best by reward. Default 1.
    pub per_problem: usize,
    /// Whether an explanation without its end tag may be kept: a student that learns from it learns a thought
    /// that breaks off. Default false.
    pub keep_unclosed: bool,
    /// At most this many tokens of question, explanation and solution together, such as the student's context;
    /// without it, any number.
    pub max_tokens: Option<usize>,
    /// At least this reward; without it, any.
    pub min_reward: Option<f64>,
    /// What counts as the same explanation. Default `within_problem`.
    pub deduplicate: Deduplicate,
}

impl Default for SelectionConfig {
    fn default() -> Self {
        Self {
            per_problem: 1,
            keep_unclosed: false,
            max_tokens: None,
            min_reward: None,
            deduplicate: Deduplicate::WithinProblem,
        }
    }
}

impl SelectionConfig {
    /// Refuses what means nothing.
    ///
    /// # Errors
    /// [`Error::Configuration`] names the key.
    pub fn validate(&self) -> Result<()> {
        let refuse = |key: &str, problem: String| {
            Err(Error::Configuration {
                key: format!("selection.{key}"),
                problem,
            })
        };
        if self.per_problem == 0 {
            return refuse("per_problem", "0 is too few; at least 1".to_owned());
        }
        match self.min_reward {
            Some(least) if !least.is_finite() => refuse(
                "min_reward",
                format!("{least} is no reward; without the key there is no limit"),
            ),
            _ => Ok(()),
        }
    }
}

/// Why an explanation was dropped: the first of these that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// It holds nothing but white space.
    Empty,
    /// It was not closed by its end tag.
    Unclosed,
    /// It holds a tag of the format: between a student's own tags that would end the thought, open another or pass
    /// for a solution.
    HoldsTag,
    /// Its example is longer than `max_tokens`.
    TooLong,
    /// The reward refused it, for one because it did not fit into a scorer's context.
    Unscored,
    /// Its reward is below `min_reward`.
    LowReward,
    /// One with the same normalised text ranks before it.
    Duplicate,
    /// Enough explanations of its problem rank before it.
    NotAmongBest,
}

impl DropReason {
    /// The reason as metrics and files name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unclosed => "unclosed",
            Self::HoldsTag => "holds_tag",
            Self::TooLong => "too_long",
            Self::Unscored => "unscored",
            Self::LowReward => "low_reward",
            Self::Duplicate => "duplicate",
            Self::NotAmongBest => "not_among_best",
        }
    }
}

/// An explanation that a student learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectedExplanation {
    /// The problem explained.
    #[serde(flatten)]
    pub problem: Problem,
    /// The explanation, without tags.
    pub explanation: String,
    /// Its tokens as sampled.
    pub tokens: usize,
    /// Its reward.
    pub reward: f64,
    /// The terms of the reward.
    pub terms: Vec<NamedValue>,
}

/// What was chosen and what was not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// The chosen explanations: in the order of the problems, and of one problem the best first.
    pub explanations: Vec<CollectedExplanation>,
    /// How many were dropped for each reason; with the chosen ones they are all.
    pub dropped: BTreeMap<DropReason, usize>,
    /// Problems of which no explanation was chosen.
    pub left_out: Vec<String>,
}

/// Chooses the explanations that students learn from, by reward among those that fit, are closed, not empty, free
/// of tags and new. Of equal rewards the one collected first ranks first.
///
/// # Errors
/// A setting that means nothing.
pub fn select(
    records: &[ExplanationRecord],
    format: &PromptFormat,
    config: &SelectionConfig,
) -> Result<Selection> {
    config.validate()?;
    let mut selection = Selection::default();
    let mut drop = |reason| *selection.dropped.entry(reason).or_insert(0) += 1;

    // Problems in the order of their first record.
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut problems: Vec<&str> = Vec::new();
    let mut ranked = Vec::new();
    for record in records {
        let id = record.problem.id.as_str();
        let place = *places.entry(id).or_insert_with(|| {
            problems.push(id);
            problems.len() - 1
        });
        match usable(record, format, config) {
            Ok((reward, terms)) => ranked.push((place, record, reward, terms)),
            Err(reason) => drop(reason),
        }
    }
    // The sort is stable, so of equal rewards the first collected stays first. Rewards are finite.
    ranked.sort_by(|a, b| b.2.total_cmp(&a.2));

    let mut seen = HashSet::new();
    let mut counts = vec![0_usize; problems.len()];
    let mut chosen = Vec::new();
    for (place, record, reward, terms) in ranked {
        let new = match config.deduplicate {
            Deduplicate::Off => true,
            Deduplicate::WithinProblem => seen.insert((place, normalised(&record.explanation))),
            Deduplicate::AcrossProblems => seen.insert((0, normalised(&record.explanation))),
        };
        if !new {
            drop(DropReason::Duplicate);
        } else if counts[place] == config.per_problem {
            drop(DropReason::NotAmongBest);
        } else {
            counts[place] += 1;
            chosen.push((place, record, reward, terms));
        }
    }
    // Stable again: of one problem the best stays first.
    chosen.sort_by_key(|&(place, ..)| place);
    selection.explanations = chosen
        .into_iter()
        .map(|(_, record, reward, terms)| CollectedExplanation {
            problem: record.problem.clone(),
            explanation: record.explanation.clone(),
            tokens: record.tokens,
            reward,
            terms: terms.to_vec(),
        })
        .collect();
    selection.left_out = problems
        .iter()
        .zip(&counts)
        .filter(|&(_, &count)| count == 0)
        .map(|(&id, _)| id.to_owned())
        .collect();
    Ok(selection)
}

/// The reward of an explanation that may be chosen with its terms, or why it may not.
fn usable<'a>(
    record: &'a ExplanationRecord,
    format: &PromptFormat,
    config: &SelectionConfig,
) -> Result<(f64, &'a [NamedValue]), DropReason> {
    let text = usable_text(format, &record.explanation);
    if text == Err(DropReason::Empty) {
        return Err(DropReason::Empty);
    }
    if !record.closed && !config.keep_unclosed {
        return Err(DropReason::Unclosed);
    }
    text?;
    if config
        .max_tokens
        .is_some_and(|most| record.student_tokens > most)
    {
        return Err(DropReason::TooLong);
    }
    let Outcome::Scored { reward, terms } = &record.outcome else {
        return Err(DropReason::Unscored);
    };
    if config.min_reward.is_some_and(|least| *reward < least) {
        return Err(DropReason::LowReward);
    }
    Ok((*reward, terms))
}

/// Whether a student's example can be made of a text.
pub(crate) fn usable_text(format: &PromptFormat, text: &str) -> Result<(), DropReason> {
    if text.trim().is_empty() {
        return Err(DropReason::Empty);
    }
    let tags = [
        &format.teacher.explanation,
        &format.student.thought,
        &format.solution,
    ];
    let holds = |tag: &String| text.contains(tag.as_str());
    if tags
        .iter()
        .any(|tags| holds(&tags.start) || holds(&tags.end))
    {
        return Err(DropReason::HoldsTag);
    }
    Ok(())
}

/// A text without what does not make it another explanation: upper case, and the kind and number of white space.
/// Punctuation stays, since it carries mathematics.
fn normalised(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// The explanations from the best reward to the worst, those without one left out; of equal rewards the one
/// collected first.
#[must_use]
pub fn ranking(records: &[ExplanationRecord]) -> Vec<&ExplanationRecord> {
    let mut ranked: Vec<_> = records
        .iter()
        .filter_map(|record| Some((record, record.outcome.reward()?)))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.into_iter().map(|(record, _)| record).collect()
}

#[cfg(test)]
mod tests {
    use didact_core::{Refusal, StopReason};
    use proptest::prelude::*;

    use super::*;

    fn record(problem: usize, sample: usize, text: &str, reward: Option<f64>) -> ExplanationRecord {
        ExplanationRecord {
            problem: Problem {
                id: format!("p{problem}"),
                question: "q".to_owned(),
                solution: "s".to_owned(),
                answer: None,
                reasoning_trace: None,
                domain: None,
            },
            sample,
            explanation: text.to_owned(),
            tokens: 3,
            stop: StopReason::StopString,
            closed: true,
            student_tokens: text.len(),
            outcome: match reward {
                Some(reward) => Outcome::Scored {
                    reward,
                    terms: Vec::new(),
                },
                None => Outcome::Refused(Refusal::TooLong),
            },
        }
    }

    fn chosen(records: &[ExplanationRecord], config: &SelectionConfig) -> (Vec<String>, Selection) {
        let selection = select(records, &PromptFormat::think(), config).unwrap();
        let texts = selection.explanations.iter().map(|e| e.explanation.clone());
        (texts.collect(), selection)
    }

    #[test]
    fn the_best_explanation_that_a_student_can_learn_from_is_kept() {
        let mut open = record(1, 1, "better, but open", Some(-1.0));
        open.closed = false;
        let records = [
            record(1, 0, "good", Some(-2.0)),
            open,
            record(1, 2, "best, but </think> ends the thought", Some(0.0)),
            record(1, 3, " \n", Some(1.0)),
            record(1, 4, "<explanation>opened once more", Some(2.0)),
            record(1, 5, "not scored", None),
            record(1, 6, "GOOD\n", Some(-3.0)),
            record(1, 7, "worse", Some(-4.0)),
            record(
                0,
                0,
                "too long for whoever reads it, and it goes on and on",
                Some(0.0),
            ),
        ];
        let config = SelectionConfig {
            max_tokens: Some(40),
            ..SelectionConfig::default()
        };
        let (texts, selection) = chosen(&records, &config);
        assert_eq!(texts, ["good"]);
        assert_eq!(selection.left_out, ["p0"]);
        let reasons = [
            (DropReason::Empty, 1),
            (DropReason::Unclosed, 1),
            (DropReason::HoldsTag, 2),
            (DropReason::TooLong, 1),
            (DropReason::Unscored, 1),
            (DropReason::Duplicate, 1),
            (DropReason::NotAmongBest, 1),
        ];
        assert_eq!(selection.dropped, BTreeMap::from(reasons));

        let config = SelectionConfig {
            keep_unclosed: true,
            per_problem: 2,
            min_reward: Some(-1.5),
            ..config
        };
        let (texts, selection) = chosen(&records, &config);
        assert_eq!(texts, ["better, but open"]);
        assert_eq!(selection.dropped[&DropReason::LowReward], 3);
    }

    #[test]
    fn duplicates_of_other_problems_are_dropped_where_asked_for() {
        let records = [
            record(0, 0, "The same.", Some(-2.0)),
            record(1, 0, "the  same.", Some(-1.0)),
        ];
        let with = |deduplicate| SelectionConfig {
            deduplicate,
            ..SelectionConfig::default()
        };
        assert_eq!(
            chosen(&records, &with(Deduplicate::WithinProblem)).0.len(),
            2
        );
        let (texts, selection) = chosen(&records, &with(Deduplicate::AcrossProblems));
        assert_eq!(texts, ["the  same."]);
        assert_eq!(selection.left_out, ["p0"]);
    }

    #[test]
    fn nothing_of_each_problem_is_refused() {
        let config = SelectionConfig {
            per_problem: 0,
            ..SelectionConfig::default()
        };
        let error = select(&[], &PromptFormat::think(), &config)
            .unwrap_err()
            .to_string();
        assert!(error.contains("selection.per_problem"), "{error}");
    }

    proptest! {
        #[test]
        fn every_explanation_is_chosen_or_counted_once(
            made in proptest::collection::vec((0usize..4, 0usize..5, -3i32..3, any::<bool>()), 0..40),
            per_problem in 1usize..4,
            across: bool,
        ) {
            let records: Vec<_> = made
                .iter()
                .enumerate()
                .map(|(sample, &(problem, text, reward, closed))| ExplanationRecord {
                    closed,
                    ..record(problem, sample, &"x ".repeat(text), Some(f64::from(reward)))
                })
                .collect();
            let config = SelectionConfig {
                per_problem,
                deduplicate: if across { Deduplicate::AcrossProblems } else { Deduplicate::WithinProblem },
                ..SelectionConfig::default()
            };
            let (_, selection) = chosen(&records, &config);
            let dropped: usize = selection.dropped.values().sum();
            prop_assert_eq!(selection.explanations.len() + dropped, records.len());
            for pair in selection.explanations.windows(2) {
                prop_assert!(pair[0].problem.id != pair[1].problem.id || pair[0].reward >= pair[1].reward);
            }
            let ranked = ranking(&records);
            prop_assert!(ranked.windows(2).all(|w| w[0].outcome.reward() >= w[1].outcome.reward()));
            // The best one that may be chosen is chosen.
            let best = ranked.iter().find(|r| r.closed && !r.explanation.trim().is_empty());
            if let Some(best) = best {
                let kept = selection.explanations.iter().any(|e| e.explanation == best.explanation);
                prop_assert!(kept, "{best:?}");
            }
        }
    }
}
