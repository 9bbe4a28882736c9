//! The published reward of reinforcement-learned teachers, and its published options.
//!
//! Knows the constants of one paper; the machinery is that of any [`TeacherReward`].

use didact_core::{ScoreContext, ScoreSpec, Scorer, SpanName};
use serde::{Deserialize, Serialize};

use crate::{KlEstimator, Reduction, Result, Signal, TeacherReward, TeacherRewardConfig};
use crate::{TermConfig, TotalConfig, Transform};

/// The reward of reinforcement-learned teachers (arXiv 2506.08388), with every option of its published
/// implementation.
///
/// With `a_j` the student's log-probs of the solution's tokens after reading the explanation, and `p_k`,
/// `q_k` the log-probs of the explanation's tokens under the teacher (which has seen the solution) and
/// under the student (which has not):
///
/// ```text
/// r_SS   = Σ_i solution_coefficients[i] · reduce_i( max(f(a), solution_floor) )
/// r_KL   = − Σ_i kl_coefficients[i] · reduce_i( min(g(d), kl_ceiling) ),   d_k = p_k − q_k  or its K3
/// reward = r_SS + r_KL + missing_tag_penalty (unless the explanation was closed)
/// ```
///
/// The default is the published run: `r_SS = mean a + 0.01·min a`, `r_KL = −3·mean d − 0.03·max d`, K1, both
/// temperatures 0.7, penalty −1, no transform, no clip.
///
/// Both totals, with and without the teacher's entropy, are logged whichever is the reward. The
/// metrics correspond to the published ones like this (`solution_coefficients` with mean and min,
/// `kl_coefficients` with mean and max; `R` is any reduction):
///
/// | published | here |
/// |---|---|
/// | `answer_log_prob_{mean,min}` | `reward/solution_log_prob/{mean,min}` |
/// | `solution_log_prob_reward` | `reward/solution_log_prob` |
/// | `reasoning_kl_{mean,max}` | `reward/kl/{mean,max}` |
/// | `thought_processed_kl` | `reward/kl/mean` |
/// | `kl_reward` | `reward/kl` |
/// | `no_entropy_reasoning_kl_{mean,max}` | `reward/student_surprisal/{mean,max}` |
/// | `processed_kl_no_entropy` | `reward/student_surprisal/mean` |
/// | `kl_reward_no_entropy` | `reward/student_surprisal` |
/// | `match_reward` | `penalty/missing_tag` |
/// | `total_teacher_likelihood_reward` | `total/with_entropy` |
/// | `total_tl_reward_no_entropy` | `total/without_entropy` |
/// | `unprocessed_answer_log_prob/_R` | `raw/solution_log_prob/R` |
/// | `unprocessed_thought_kl/_R` | `raw/kl/R` |
/// | `no_entropy_unprocessed_thought_kl/_R` | `raw/student_surprisal/R` |
/// | `thought_kl_scores`, `kl_scores_no_entropy` | not logged: means over unlike reductions |
///
/// **Where this departs from the published implementation**, on purpose:
/// - An explanation or solution without tokens is refused, where the original puts `−1` or `3.4e38`
///   into the sum. So a single empty sample cannot spoil a metric of a whole window either.
/// - All arithmetic on log-probs is f64, where the original keeps the model's bf16: its K3 is 0 for
///   `|d| ≤ 0.06` there, and its means keep 8 bits.
/// - The two models must read equally many tokens, where the original prints a warning and subtracts unrelated ones.
/// - A coefficient 0 is allowed, where the original stops on the scalar 0.
///
/// A missing end tag costs what was published, so a likely explanation that was cut off can still beat a
/// complete one; a larger penalty is one field away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RltConfig {
    /// One a reduction. Default: `[1, 0.01]`.
    pub solution_coefficients: Vec<f64>,
    /// Default: mean and min.
    pub solution_reductions: Vec<Reduction>,
    /// `f`, applied to the solution's log-probs. Default: none.
    pub solution_transform: Transform,
    /// Lower clip of `f(a)`. The published `clip_log_prob` is its negative, so that a negative
    /// `clip_log_prob` is a positive floor, for probabilities. Default: no clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solution_floor: Option<f64>,
    /// One a reduction; positive, since the sum is subtracted. Default: `[3, 0.03]`.
    pub kl_coefficients: Vec<f64>,
    /// Default: mean and max.
    pub kl_reductions: Vec<Reduction>,
    /// `g`, applied to the estimates. Default: none. `exp_norm` is unbounded below on the signed K1 and on
    /// nothing else: pair it with K3.
    pub kl_transform: Transform,
    /// Upper clip of `g(d)`. Default: no clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_ceiling: Option<f64>,
    /// K1 is signed, K3 is Schulman's. Default: K1. The variant without entropy has no estimator.
    pub kl_estimator: KlEstimator,
    /// Whether the reward compares the student with the teacher (`d = p − q`, default), or penalises the
    /// student's surprise alone (`d = −q`), leaving out the teacher's entropy.
    pub include_teacher_entropy: bool,
    /// Divides the student's logits. Default: 0.7, the sampling temperature of the published run; 1 takes
    /// the student's distribution as it is.
    pub student_temperature: f64,
    /// Divides the teacher's logits. Default: 0.7; should be the temperature that the teacher samples at.
    pub teacher_temperature: f64,
    /// Who is the teacher in the KL: the policy (default), or the reference model.
    pub teacher: Scorer,
    /// Added where the end tag is missing; at most 0. Default: −1.
    pub missing_tag_penalty: f64,
    /// Whether the reductions of the raw values are logged too. Default: true.
    pub log_raw: bool,
}

impl Default for RltConfig {
    fn default() -> Self {
        Self {
            solution_coefficients: vec![1.0, 0.01],
            solution_reductions: vec![Reduction::Mean, Reduction::Min],
            solution_transform: Transform::None,
            solution_floor: None,
            kl_coefficients: vec![3.0, 0.03],
            kl_reductions: vec![Reduction::Mean, Reduction::Max],
            kl_transform: Transform::None,
            kl_ceiling: None,
            kl_estimator: KlEstimator::K1,
            include_teacher_entropy: true,
            student_temperature: 0.7,
            teacher_temperature: 0.7,
            teacher: Scorer::Policy,
            missing_tag_penalty: -1.0,
            log_raw: true,
        }
    }
}

/// Name of the solution's term in metrics.
pub const SOLUTION_TERM: &str = "solution_log_prob";
/// Name of the KL term in metrics.
pub const KL_TERM: &str = "kl";
/// Name of the KL term without the teacher's entropy in metrics.
pub const SURPRISAL_TERM: &str = "student_surprisal";
/// Name of the total with the teacher's entropy in metrics.
pub const TOTAL_WITH_ENTROPY: &str = "with_entropy";
/// Name of the total without the teacher's entropy in metrics.
pub const TOTAL_WITHOUT_ENTROPY: &str = "without_entropy";

impl RltConfig {
    /// The same reward, spelt out as terms.
    #[must_use]
    pub fn to_terms(&self) -> TeacherRewardConfig {
        let student = |span| ScoreSpec {
            scorer: Scorer::Student,
            context: ScoreContext::Student,
            span,
            temperature: self.student_temperature,
        };
        let teacher = ScoreSpec {
            scorer: self.teacher,
            context: ScoreContext::Teacher,
            span: SpanName::Thought,
            temperature: self.teacher_temperature,
        };
        let kl = |name: &str, signal| TermConfig {
            name: name.to_owned(),
            signal,
            transform: self.kl_transform,
            floor: None,
            ceiling: self.kl_ceiling,
            reductions: self.kl_reductions.clone(),
            coefficients: self.kl_coefficients.iter().map(|k| -k).collect(),
        };
        let terms = vec![
            TermConfig {
                name: SOLUTION_TERM.to_owned(),
                signal: Signal::LogProb {
                    score: student(SpanName::Solution),
                },
                transform: self.solution_transform,
                floor: self.solution_floor,
                ceiling: None,
                reductions: self.solution_reductions.clone(),
                coefficients: self.solution_coefficients.clone(),
            },
            kl(
                KL_TERM,
                Signal::Divergence {
                    score: teacher,
                    baseline: student(SpanName::Thought),
                    estimator: self.kl_estimator,
                },
            ),
            kl(
                SURPRISAL_TERM,
                Signal::Surprisal {
                    score: student(SpanName::Thought),
                },
            ),
        ];
        let total = |name: &str, second: &str| TotalConfig {
            name: name.to_owned(),
            terms: vec![SOLUTION_TERM.to_owned(), second.to_owned()],
        };
        let mut totals = vec![
            total(TOTAL_WITH_ENTROPY, KL_TERM),
            total(TOTAL_WITHOUT_ENTROPY, SURPRISAL_TERM),
        ];
        if !self.include_teacher_entropy {
            totals.reverse();
        }
        TeacherRewardConfig {
            terms,
            totals,
            missing_tag_penalty: self.missing_tag_penalty,
            log_raw: self.log_raw,
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// As [`TeacherRewardConfig::resolve`].
    pub fn resolve(&self) -> Result<TeacherReward> {
        self.to_terms().resolve()
    }
}

/// The reward of the published run of arXiv 2506.08388: [`RltConfig::default`], spelt out as terms.
///
/// ```text
/// reward = mean a + 0.01·min a − 3·mean(p − q) − 0.03·max(p − q) − [end tag missing]
/// ```
///
/// `a`: the student's log-probs of the solution; `p`, `q`: teacher's and student's of the explanation; all
/// at temperature 0.7.
#[must_use]
pub fn rlt() -> TeacherRewardConfig {
    RltConfig::default().to_terms()
}
