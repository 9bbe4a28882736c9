//! How well a teacher does on problems that it is not trained on.
//!
//! Owns the figures of held-out explanations, problem by problem, so that two looks can be compared in pairs.
//! Knows no training.

use didact_core::Outcome;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::metrics::{Means, Metrics};
use crate::rollout::{
    Group, PreparedProblem, RolloutModels, RolloutOrigin, RolloutRecord, SampleOptions,
    TeacherTask, sample, score,
};

/// The name under which a reward logs its penalty for an explanation without end tag.
const MISSING_TAG: &str = "penalty/missing_tag";

/// The explanations of one held-out problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemEvaluation {
    /// The problem's id.
    pub problem: String,
    /// Mean reward of the explanations that have one; `None` where all were refused.
    pub reward: Option<f64>,
    /// The same without the penalty for a missing end tag.
    pub reward_without_penalty: Option<f64>,
    /// Explanations that lack their end tag, as a fraction.
    pub missing_tag_ratio: f64,
    /// Explanations without a reward, as a fraction.
    pub refused_ratio: f64,
}

/// One look at the held-out problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Updates made before.
    pub step: u64,
    /// The problems in the order given.
    pub problems: Vec<ProblemEvaluation>,
    /// Means over all explanations: `eval/reward`, `eval/reward_without_penalty`, every term behind `eval/`,
    /// `eval/missing_tag_ratio`, `eval/refused/ratio`, `eval/completions/mean_length`,
    /// `eval/completions/clipped_ratio`.
    pub metrics: Metrics,
}

/// Samples, scores and evaluates explanations of `problems`; `origin` says for which look.
///
/// The draws depend on `options` alone, so that looks at two teachers take the same ones.
///
/// # Errors
/// What an engine or the reward refuses.
pub fn evaluate_teacher(
    models: &mut RolloutModels<'_>,
    task: &TeacherTask,
    problems: &[PreparedProblem],
    options: SampleOptions<'_>,
    origin: RolloutOrigin<'_>,
) -> Result<(Evaluation, Vec<RolloutRecord>)> {
    let chosen: Vec<usize> = (0..problems.len()).collect();
    let mut groups = sample(models.policy, task, problems, &chosen, options)?;
    let step = origin.step;
    score(models, task, problems, &mut groups, step, None)?;
    let mut means = Means::new();
    let mut records = Vec::new();
    let mut found = Vec::with_capacity(groups.len());
    for (place, group) in groups.iter().enumerate() {
        let problem = &problems[group.problem];
        found.push(evaluate_problem(&problem.problem.id, group, &mut means));
        let samples = group.samples.iter();
        records.extend(samples.map(|s| RolloutRecord::new(origin, task, problem, place, s)));
    }
    let mut metrics = Metrics::new();
    metrics.extend_prefixed("eval/", &means.metrics());
    Ok((
        Evaluation {
            step,
            problems: found,
            metrics,
        },
        records,
    ))
}

fn evaluate_problem(id: &str, group: &Group, means: &mut Means) -> ProblemEvaluation {
    let count = group.samples.len().max(1) as f64;
    let (mut reward_sum, mut penalty_sum, mut scored, mut open) = (0.0, 0.0, 0_usize, 0_usize);
    for sample in &group.samples {
        means.add(
            "completions/mean_length",
            sample.completion.ids.len() as f64,
        );
        means.add(
            "completions/clipped_ratio",
            f64::from(u8::from(sample.completion.stop.is_truncated())),
        );
        means.add(
            "missing_tag_ratio",
            f64::from(u8::from(!sample.explained.closed)),
        );
        open += usize::from(!sample.explained.closed);
        let reward = sample.outcome.as_ref().and_then(Outcome::reward);
        means.add("refused/ratio", f64::from(u8::from(reward.is_none())));
        let (Some(reward), Some(outcome)) = (reward, &sample.outcome) else {
            continue;
        };
        let penalty = outcome.term(MISSING_TAG).unwrap_or(0.0);
        (reward_sum, penalty_sum, scored) =
            (reward_sum + reward, penalty_sum + penalty, scored + 1);
        means.add("reward", reward);
        means.add("reward_without_penalty", reward - penalty);
        if let Outcome::Scored { terms, .. } = outcome {
            for term in terms {
                means.add(term.name.clone(), term.value);
            }
        }
    }
    let mean = |sum: f64| (scored > 0).then(|| sum / scored as f64);
    ProblemEvaluation {
        problem: id.to_owned(),
        reward: mean(reward_sum),
        reward_without_penalty: mean(reward_sum - penalty_sum),
        missing_tag_ratio: open as f64 / count,
        refused_ratio: (group.samples.len() - scored) as f64 / count,
    }
}
