//! A pipeline as data: models, problems, and the stages that lead from them to students and their accuracy.
//!
//! Owns the names that stages refer to each other by, and reading a recipe from one TOML file. What a stage does and
//! costs is said by `making` and `plan`; what is inside a stage's tables belongs to the crates that train, collect and
//! evaluate.
//!
//! A stage that trains gives a model under its own name. Stages stand in their order and refer to what stands above
//! them, so data flows one way:
//!
//! ```
//! use didact_distill::recipe::Recipe;
//!
//! let recipe = Recipe::from_toml("small.toml", r#"
//!     format = "think"
//!     models.base.path = "models/base"
//!     problems.train.path = "train.jsonl"
//!     problems.test.path = "test.jsonl"
//!
//!     [[stages]]
//!     kind = "teach"
//!     name = "teacher"
//!     model = "base"
//!     student = "base"
//!     problems = "train"
//!     training = { steps = 20, group_size = 8, max_completion_tokens = 100 }
//!
//!     [[stages]]
//!     kind = "collect"
//!     name = "explanations"
//!     model = "teacher"
//!     student = "base"
//!     problems = "train"
//!
//!     [[stages]]
//!     kind = "distill"
//!     name = "student"
//!     model = "base"
//!     explanations = "explanations"
//!
//!     [[stages]]
//!     kind = "evaluate"
//!     name = "accuracy"
//!     model = "student"
//!     problems = "test"
//! "#)?;
//! assert_eq!(recipe.stages.len(), 4);
//! # Ok::<(), didact_distill::Error>(())
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use didact_data::PromptFormat;
use didact_reward::RltConfig;
use didact_rl::memory::WeightStorage;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{Error, Result};

mod cost;
mod inputs;
mod machine;
mod making;
mod plan;
mod run;
mod source;
mod stage;
mod table;

pub use cost::Work;
pub use machine::Machine;
pub use plan::{RecipePlan, StagePlan};
pub use run::{Run, StageOutcome};
pub use stage::{
    Collect, CollectSampling, Distill, Evaluate, JudgeName, Stage, StudentRl, Teach, WarmUp,
};

/// A whole pipeline. Paths are relative to the folder that it was read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// `thought` (the published tags), `think`, or the path of a TOML file that [`PromptFormat`] reads.
    pub format: String,
    /// What teachers are rewarded by. Default: the published reward.
    #[serde(default)]
    pub reward: RltConfig,
    /// What the time estimate counts with; without it, what is measured where the plan is made.
    #[serde(default)]
    pub machine: Option<Machine>,
    /// Models that are there before the first stage, by name.
    pub models: BTreeMap<String, ModelSource>,
    /// Problems by name.
    pub problems: BTreeMap<String, ProblemSource>,
    /// What is done, in this order.
    #[serde(deserialize_with = "stages")]
    pub stages: Vec<Stage>,
    /// The file that it was read from, or one that stands for it.
    #[serde(skip)]
    path: PathBuf,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSource {
    /// A folder in Hugging Face's layout, or a GGUF file.
    pub path: PathBuf,
    /// A `config.json` to plan with where nothing is at `path`.
    #[serde(default)]
    pub sizes: Option<PathBuf>,
    /// How its weights are kept in memory; 8 and 4 bits are frozen, so that training needs an adapter. Default `f32`.
    #[serde(default)]
    pub weights: WeightStorage,
}

/// Where problems come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProblemSource {
    /// A file that [`read_problems`](didact_data::read_problems) reads.
    pub path: PathBuf,
    /// Only the first so many; without it, all.
    #[serde(default)]
    pub first: Option<usize>,
    /// Stands before each question, such as how the answer has to be written. Default nothing.
    #[serde(default)]
    pub question_prefix: String,
    /// What to plan with where nothing is at `path`.
    #[serde(default)]
    pub expected: Option<ProblemSizes>,
}

/// How many problems there are and how long they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProblemSizes {
    /// How many.
    pub count: usize,
    /// Tokens of the longest prompt that a teacher reads.
    pub prompt_tokens: usize,
    /// Tokens of the longest example: question, trace and solution.
    pub example_tokens: usize,
}

/// Reads stages one by one, so that errors name the stage.
fn stages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Stage>, D::Error> {
    use serde::de::Error;
    let stage = |(index, value): (usize, Value)| {
        let name = value.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| format!("number {}", index + 1), str::to_owned);
        serde_json::from_value(value).map_err(|e| D::Error::custom(format!("stage {name}: {e}")))
    };
    let values = Vec::<Value>::deserialize(deserializer)?;
    values.into_iter().enumerate().map(stage).collect()
}

/// The first key whose number is not finite.
fn not_finite(path: &str, value: &toml::Value) -> Option<String> {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match value {
        toml::Value::Float(number) => (!number.is_finite()).then(|| path.to_owned()),
        toml::Value::Table(table) => table
            .iter()
            .find_map(|(key, value)| not_finite(&below(key), value)),
        toml::Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| not_finite(&below(&(index + 1).to_string()), value)),
        _ => None,
    }
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::File`]; as [`from_toml`](Self::from_toml).
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(Error::file(path, "reading"))?;
        Self::from_toml(path, &text)
    }

    /// The recipe that `text` holds; paths in it are relative to the folder of `path`.
    ///
    /// # Errors
    /// [`Error::Recipe`] names the file and what in it is wrong.
    pub fn from_toml(path: impl AsRef<Path>, text: &str) -> Result<Self> {
        let path = path.as_ref();
        let refuse = |problem: String| Error::Recipe {
            path: path.to_owned(),
            problem,
        };
        let table: toml::Table = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
        if let Some(key) = not_finite("", &toml::Value::Table(table)) {
            return Err(refuse(format!(
                "{key}: a number that is not finite means nothing here"
            )));
        }
        let mut recipe: Self = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
        path.clone_into(&mut recipe.path);
        recipe.validate().map_err(refuse)?;
        Ok(recipe)
    }

    /// A recipe made in a program, whose paths are relative to `folder`.
    ///
    /// # Errors
    /// [`Error::Recipe`] where a name means nothing.
    pub fn new(
        folder: impl Into<PathBuf>,
        format: impl Into<String>,
        models: BTreeMap<String, ModelSource>,
        problems: BTreeMap<String, ProblemSource>,
        stages: Vec<Stage>,
    ) -> Result<Self> {
        let recipe = Self {
            description: String::new(),
            format: format.into(),
            reward: RltConfig::default(),
            machine: None,
            models,
            problems,
            stages,
            path: folder.into().join("recipe"),
        };
        recipe
            .validate()
            .map_err(|problem| recipe.refusal(problem))?;
        Ok(recipe)
    }

    /// The prompt format.
    ///
    /// # Errors
    /// A file that [`PromptFormat::from_toml_file`] refuses.
    pub fn prompt_format(&self) -> Result<PromptFormat> {
        Ok(match self.format.as_str() {
            "thought" => PromptFormat::thought(),
            "think" => PromptFormat::think(),
            path => PromptFormat::from_toml_file(self.at(path))?,
        })
    }

    /// Where a path of the recipe is.
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The name of the model in [`models`](Self::models) that `name` was trained from.
    fn origin<'a>(&'a self, name: &'a str) -> &'a str {
        let stage = self.stages.iter().find(|stage| stage.name() == name);
        stage.map_or(name, |stage| self.origin(stage.model()))
    }

    /// Every name is one thing, and stands above where it is used.
    fn validate(&self) -> Result<(), String> {
        if self.stages.is_empty() {
            return Err("it has no [[stages]]".to_owned());
        }
        for reserved in ["initial", "current"] {
            if self.models.contains_key(reserved) {
                return Err(format!(
                    "models.{reserved}: the name means a teacher that is its own student; choose another"
                ));
            }
        }
        for (name, source) in &self.problems {
            if source.first == Some(0) {
                return Err(format!(
                    "problems.{name}.first: 0 leaves no problem; at least 1"
                ));
            }
        }
        let mut models: Vec<&str> = self.models.keys().map(String::as_str).collect();
        let mut collected: Vec<&str> = Vec::new();
        let mut names: Vec<&str> = models.clone();
        let known = |what: &str, names: &[&str]| match names {
            [] => format!("there is no {what} above it"),
            names => format!("{what}s above it: {}", names.join(", ")),
        };
        for stage in &self.stages {
            let name = stage.name();
            let wrong = |key: &str, problem: String| Err(format!("stage {name}: {key}: {problem}"));
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
                return wrong(
                    "name",
                    "a folder is called after it: letters, digits, `_`, `-` and `.`".to_owned(),
                );
            }
            if names.contains(&name) || ["initial", "current"].contains(&name) {
                return wrong("name", "it is taken; choose another".to_owned());
            }
            for (key, wanted) in [("model", Some(stage.model())), ("student", stage.student())] {
                if let Some(wanted) = wanted.filter(|wanted| !models.contains(wanted)) {
                    return wrong(
                        key,
                        format!("{wanted} is no model; {}", known("model", &models)),
                    );
                }
            }
            for (key, wanted) in stage.problems() {
                if !self.problems.contains_key(wanted) {
                    return wrong(key, format!("there is no [problems.{wanted}]"));
                }
            }
            if let Some(wanted) = stage.explanations()
                && !collected.contains(&wanted)
            {
                let known = known("stage of kind collect", &collected);
                return wrong("explanations", format!("{wanted} collects none; {known}"));
            }
            if let Some(other) = stage.other_name() {
                return wrong(
                    "training.stage",
                    format!("{other}, but the stage is called by its own name; leave the key out"),
                );
            }
            let source = self.models.get(stage.model());
            if source.is_some_and(|source| source.weights.bits().is_some())
                && stage.gives_model()
                && stage.adapter().is_none()
            {
                return wrong(
                    "adapter",
                    format!(
                        "the weights of models.{} are quantised, so they are frozen; give the stage an adapter to \
                         train, or keep them as f32 or half",
                        stage.model()
                    ),
                );
            }
            if let Stage::Evaluate(evaluate) = stage {
                let most = evaluate.answers.samples;
                if let Some(k) = evaluate.pass_at.iter().find(|&&k| k == 0 || k > most) {
                    return wrong(
                        "pass_at",
                        format!("{k} is not from 1 to answers.samples, {most}"),
                    );
                }
            }
            names.push(name);
            match stage {
                Stage::Collect(_) => collected.push(name),
                _ if stage.gives_model() => models.push(name),
                _ => {}
            }
        }
        Ok(())
    }
}
