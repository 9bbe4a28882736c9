//! What one step of a recipe says.
//!
//! Owns the keys of each kind of stage, and which models, problems and explanations it refers to. What is inside its tables belongs to
//! the crates that train, collect and evaluate.

use didact_data::AnswerPlace;
use didact_engine::EngineConfig;
use didact_models::LoraConfig;
use didact_reward::CorrectnessReward;
use didact_rl::{FineTuneConfig, TeacherConfig};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::evaluation::{Judge, Mathematics, SameText};
use crate::{AnswersConfig, CollectConfig};

/// One step of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stage {
    /// Supervised fine-tuning of a teacher in its format, on the problems' traces.
    WarmUp(WarmUp),
    /// Teacher RL.
    Teach(Teach),
    /// Explanations sampled, scored and chosen.
    Collect(Collect),
    /// Supervised fine-tuning of a student on explanations.
    Distill(Distill),
    /// RL of a student on verified answers.
    StudentRl(StudentRl),
    /// A student's answers, verified.
    Evaluate(Evaluate),
}

/// A stage of [`Stage::WarmUp`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// Names the stage and the model that it gives.
    pub name: String,
    /// The model that it begins with.
    pub model: String,
    /// Whose reasoning traces are learnt, or solutions where there is no trace.
    pub problems: String,
    /// Default: the published warm-up.
    #[serde(default)]
    pub training: FineTuneConfig,
    /// Trains an adapter, merged at the end, instead of the weights.
    #[serde(default)]
    pub adapter: Option<LoraConfig>,
}

/// A stage of [`Stage::Teach`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teach {
    /// Names the stage and the model that it gives.
    pub name: String,
    /// The teacher as it begins.
    pub model: String,
    /// Whom it explains to: a model's name; `initial`, the teacher as it begins; or `current`, the teacher as it is.
    pub student: String,
    /// What it explains.
    pub problems: String,
    /// Problems that it is looked at on, beside those that it is trained on.
    #[serde(default)]
    pub held_out: Option<String>,
    /// Default: the published training.
    #[serde(default)]
    pub training: TeacherConfig,
    /// Trains an adapter, merged at the end, instead of the weights.
    #[serde(default)]
    pub adapter: Option<LoraConfig>,
    /// Tokens of a completion that the time estimate counts with; without it, the most that are allowed.
    #[serde(default)]
    pub expected_completion_tokens: Option<usize>,
}

/// A stage of [`Stage::Collect`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collect {
    /// Names the stage and the explanations that it gives.
    pub name: String,
    /// The teacher.
    pub model: String,
    /// The student that the reward reads.
    pub student: String,
    /// What is explained.
    pub problems: String,
    /// How explanations are sampled.
    #[serde(default)]
    pub sampling: CollectSampling,
    /// How many are sampled and which are kept.
    #[serde(default)]
    pub collect: CollectConfig,
    /// As in [`Teach`].
    #[serde(default)]
    pub expected_completion_tokens: Option<usize>,
}

/// How the explanations of a [`Collect`] are sampled; each key is the one of [`TeacherConfig`] and has its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectSampling {
    /// Divides the logits.
    pub temperature: f64,
    /// Keeps the likeliest tokens that sum to this.
    pub top_p: f64,
    /// Keeps so many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the tokens that are at least so likely as a share of the likeliest.
    pub min_p: f64,
    /// At most so many tokens of an explanation.
    pub max_completion_tokens: usize,
    /// At most so many tokens of a prompt; without it, what the context leaves.
    pub max_prompt_tokens: Option<usize>,
    /// Whether sampling ends at the explanation's end tag, rather than at the end of the sequence.
    pub stop_at_end_tag: bool,
    /// How sampling is batched.
    pub engine: EngineConfig,
}

impl Default for CollectSampling {
    fn default() -> Self {
        let TeacherConfig {
            temperature,
            top_p,
            top_k,
            min_p,
            max_completion_tokens,
            max_prompt_tokens,
            stop_at_end_tag,
            engine,
            ..
        } = TeacherConfig::default();
        Self {
            temperature,
            top_p,
            top_k,
            min_p,
            max_completion_tokens,
            max_prompt_tokens,
            stop_at_end_tag,
            engine,
        }
    }
}

impl CollectSampling {
    /// The training that samples like this.
    pub(super) fn as_in_training(&self) -> TeacherConfig {
        let Self {
            temperature,
            top_p,
            top_k,
            min_p,
            max_completion_tokens,
            max_prompt_tokens,
            stop_at_end_tag,
            engine,
        } = self.clone();
        TeacherConfig {
            temperature,
            top_p,
            top_k,
            min_p,
            max_completion_tokens,
            max_prompt_tokens,
            stop_at_end_tag,
            engine,
            ..TeacherConfig::default()
        }
    }
}

/// A stage of [`Stage::Distill`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distill {
    /// Names the stage and the model that it gives.
    pub name: String,
    /// The student that it begins with.
    pub model: String,
    /// The stage whose explanations are learnt.
    pub explanations: String,
    /// Default, key by key: the published distillation.
    #[serde(
        default = "FineTuneConfig::published_distillation",
        deserialize_with = "distillation"
    )]
    pub training: FineTuneConfig,
    /// Trains an adapter, merged at the end, instead of the weights.
    #[serde(default)]
    pub adapter: Option<LoraConfig>,
}

/// A stage of [`Stage::StudentRl`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentRl {
    /// Names the stage and the model that it gives.
    pub name: String,
    /// The student that it begins with.
    pub model: String,
    /// What it solves.
    pub problems: String,
    /// Problems that it is looked at on, beside those that it is trained on.
    #[serde(default)]
    pub held_out: Option<String>,
    /// Default: the published training's numbers.
    #[serde(default)]
    pub training: TeacherConfig,
    /// What a right answer is worth.
    #[serde(default)]
    pub reward: CorrectnessReward,
    /// Where the answer is looked for. Default `solution`.
    #[serde(default)]
    pub answer: AnswerPlace,
    /// Trains an adapter, merged at the end, instead of the weights.
    #[serde(default)]
    pub adapter: Option<LoraConfig>,
    /// As in [`Teach`].
    #[serde(default)]
    pub expected_completion_tokens: Option<usize>,
}

/// A stage of [`Stage::Evaluate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Names the stage.
    pub name: String,
    /// The student.
    pub model: String,
    /// What it answers.
    pub problems: String,
    /// Which answers are sampled.
    #[serde(default)]
    pub answers: AnswersConfig,
    /// What a right answer is.
    #[serde(default)]
    pub judge: JudgeName,
    /// The k of pass@k, each at most `answers.samples`.
    #[serde(default)]
    pub pass_at: Vec<usize>,
    /// As in [`Teach`].
    #[serde(default)]
    pub expected_completion_tokens: Option<usize>,
}

/// What a right answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeName {
    /// One equal to the expected in the sense of mathematics.
    #[default]
    Mathematics,
    /// The expected text itself, but for space around it.
    Exact,
}

/// Every key that is not given is the published distillation's, not the warm-up's.
fn distillation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FineTuneConfig, D::Error> {
    use serde::de::Error;
    let given = serde_json::Map::<String, Value>::deserialize(deserializer)?;
    let preset = serde_json::to_value(FineTuneConfig::published_distillation());
    let mut whole = preset.map_err(D::Error::custom)?;
    for (key, value) in given {
        whole[key] = value;
    }
    serde_json::from_value(whole).map_err(D::Error::custom)
}

impl JudgeName {
    pub(super) fn judge(self) -> Box<dyn Judge> {
        match self {
            Self::Mathematics => Box::new(Mathematics::default()),
            Self::Exact => Box::new(SameText),
        }
    }
}

impl Stage {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::WarmUp(stage) => &stage.name,
            Self::Teach(stage) => &stage.name,
            Self::Collect(stage) => &stage.name,
            Self::Distill(stage) => &stage.name,
            Self::StudentRl(stage) => &stage.name,
            Self::Evaluate(stage) => &stage.name,
        }
    }

    /// What it is, as in a recipe.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::WarmUp(_) => "warm_up",
            Self::Teach(_) => "teach",
            Self::Collect(_) => "collect",
            Self::Distill(_) => "distill",
            Self::StudentRl(_) => "student_rl",
            Self::Evaluate(_) => "evaluate",
        }
    }

    pub(super) const fn gives_model(&self) -> bool {
        !matches!(self, Self::Collect(_) | Self::Evaluate(_))
    }

    /// The model that it begins with or looks at.
    pub(super) fn model(&self) -> &str {
        match self {
            Self::WarmUp(stage) => &stage.model,
            Self::Teach(stage) => &stage.model,
            Self::Collect(stage) => &stage.model,
            Self::Distill(stage) => &stage.model,
            Self::StudentRl(stage) => &stage.model,
            Self::Evaluate(stage) => &stage.model,
        }
    }

    /// The student that its reward reads, if that is a model of its own.
    pub(super) fn student(&self) -> Option<&str> {
        match self {
            Self::Teach(stage) if !["initial", "current"].contains(&stage.student.as_str()) => {
                Some(&stage.student)
            }
            Self::Collect(stage) => Some(&stage.student),
            _ => None,
        }
    }

    /// The keys and names of the problems that it reads.
    pub(super) fn problems(&self) -> Vec<(&'static str, &str)> {
        let mut names = Vec::new();
        let (problems, held_out) = match self {
            Self::WarmUp(stage) => (&stage.problems, &None),
            Self::Teach(stage) => (&stage.problems, &stage.held_out),
            Self::Collect(stage) => (&stage.problems, &None),
            Self::StudentRl(stage) => (&stage.problems, &stage.held_out),
            Self::Evaluate(stage) => (&stage.problems, &None),
            Self::Distill(_) => return names,
        };
        names.push(("problems", problems.as_str()));
        names.extend(held_out.as_deref().map(|name| ("held_out", name)));
        names
    }

    /// How many of its problems it takes at most, where it says so.
    pub(super) const fn first_problems(&self) -> Option<usize> {
        match self {
            Self::Collect(stage) => stage.collect.problems,
            Self::Evaluate(stage) => stage.answers.problems,
            _ => None,
        }
    }

    /// What it trains instead of the weights, if that is not all of them.
    pub(super) const fn adapter(&self) -> Option<&LoraConfig> {
        match self {
            Self::WarmUp(stage) => stage.adapter.as_ref(),
            Self::Teach(stage) => stage.adapter.as_ref(),
            Self::Distill(stage) => stage.adapter.as_ref(),
            Self::StudentRl(stage) => stage.adapter.as_ref(),
            Self::Collect(_) | Self::Evaluate(_) => None,
        }
    }

    /// The name that `training` gives it beside its own, where that is not the default.
    pub(super) fn other_name(&self) -> Option<&str> {
        let (given, default) = match self {
            Self::WarmUp(stage) => (&stage.training.stage, FineTuneConfig::default().stage),
            Self::Distill(stage) => (
                &stage.training.stage,
                FineTuneConfig::published_distillation().stage,
            ),
            Self::Teach(Teach { training, .. }) | Self::StudentRl(StudentRl { training, .. }) => {
                (&training.stage, TeacherConfig::default().stage)
            }
            Self::Collect(_) | Self::Evaluate(_) => return None,
        };
        (*given != default).then_some(given)
    }

    pub(super) fn explanations(&self) -> Option<&str> {
        match self {
            Self::Distill(stage) => Some(&stage.explanations),
            _ => None,
        }
    }
}
