//! What a recipe would do, hold and take, before a weight is read.
//!
//! Owns putting together, stage by stage, what is made already, the resolved settings, the memory and the work, and
//! refusing what the stage would refuse. The formulas are those of [`MemoryEstimate`] and of `cost`.

use std::path::Path;
use std::sync::Arc;

use didact_core::Reward;
use didact_data::PromptFormat;
use didact_models::{DecoderConfig, LoraConfig};
use didact_rl::memory::{MemoryEstimate, MemoryPlace, PlannedModel, PlannedStudent, WeightStorage};
use didact_rl::rollout::{Role, TeacherTask};
use didact_rl::{Error as TrainingError, FineTuneConfig, TeacherConfig};
use serde::Serialize;
use serde_json::{Value, json};

use super::cost::{Cost, Work, training_passes};
use super::inputs::{Inputs, value};
use super::machine::Machine;
use super::{ProblemSizes, Recipe, Stage, StudentRl, Teach};
use crate::stage::{Place, Stages};
use crate::{Error, Result};

/// A recipe with nothing left open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecipePlan {
    /// What it is for.
    pub description: String,
    /// What the times count with.
    pub machine: Machine,
    /// What would be done, in order.
    pub stages: Vec<StagePlan>,
}

/// A stage with nothing left open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StagePlan {
    /// Its name.
    pub name: String,
    /// Its kind, as in the recipe.
    pub kind: String,
    /// The name of the folder that it is or would be made in; none while something that it reads is not there.
    pub folder: Option<String>,
    /// Whether it is made.
    pub done: bool,
    /// Its settings, every key given.
    pub settings: Value,
    /// What it holds in memory.
    pub memory: MemoryEstimate,
    /// Whether that fits into the machine's memory; none where it is not said how large that is.
    pub fits: Option<bool>,
    /// What it computes.
    pub work: Work,
    /// The least time that takes, in seconds.
    pub seconds: f64,
}

/// A model's sizes, and how its weights are kept.
struct Sized {
    config: DecoderConfig,
    weights: WeightStorage,
    place: MemoryPlace,
}

impl Sized {
    const fn planned<'a>(&'a self, adapter: Option<&'a LoraConfig>) -> PlannedModel<'a> {
        PlannedModel {
            config: &self.config,
            weights: self.weights,
            adapter,
            place: self.place,
        }
    }

    fn cost(&self) -> Cost {
        Cost::new(&self.config, self.weights)
    }

    fn context(&self) -> usize {
        self.config.max_position_embeddings
    }
}

/// What a stage would hold, do and be set to.
type Estimate = (Value, MemoryEstimate, Work);

impl Recipe {
    /// What its stages would do in `folder`, which need not exist, on `machine`.
    ///
    /// Models and problems that are not there are planned with the sizes that stand in for them.
    ///
    /// # Errors
    /// A setting that a stage refuses; a model or problems that are neither there nor described.
    pub fn plan(&self, folder: impl AsRef<Path>, machine: &Machine) -> Result<RecipePlan> {
        let format = self.prompt_format()?;
        let made = Stages::at(folder.as_ref());
        let mut inputs = Inputs::new(self, &format)?;
        let mut stages = Vec::new();
        for stage in &self.stages {
            let place = inputs.of(stage)?;
            let place = place
                .map(|read| made.place(stage.name(), &read))
                .transpose()?;
            if let Some(place) = &place {
                inputs.made(stage.name(), place.hash.clone());
                if place.done {
                    made.check(place)?;
                }
            }
            let estimate = self.estimate(stage, &format, machine.place());
            let (settings, memory, work) =
                estimate.map_err(|error| error.of_stage(stage.name()))?;
            let name =
                |place: &Place| Some(place.folder.file_name()?.to_string_lossy().into_owned());
            stages.push(StagePlan {
                name: stage.name().to_owned(),
                kind: stage.kind().to_owned(),
                folder: place.as_ref().and_then(name),
                done: place.is_some_and(|place| place.done),
                settings,
                fits: machine.memory.map(|most| memory.peak() <= most),
                memory,
                seconds: work.seconds(machine),
                work,
            });
        }
        Ok(RecipePlan {
            description: self.description.clone(),
            machine: machine.clone(),
            stages,
        })
    }

    fn sized(&self, name: &str, place: MemoryPlace) -> Result<Sized> {
        let source = self.models.get(name);
        Ok(Sized {
            config: self.model_sizes(self.origin(name))?,
            weights: source.map_or_else(|| self.trained_weights(name), |source| source.weights),
            place,
        })
    }

    /// How many problems there are under a name, and how long they are to a model.
    fn problem_sizes(
        &self,
        name: &str,
        model: &str,
        format: &PromptFormat,
    ) -> Result<ProblemSizes> {
        let source = &self.problems[name];
        let located = self.find_model(&self.models[self.origin(model)]);
        let problems = self.find_problems(name, format)?;
        if let (Some(problems), Some(located)) = (problems, located) {
            let tokenizer = located.tokenizer()?;
            let mut sizes = ProblemSizes {
                count: problems.len(),
                prompt_tokens: 0,
                example_tokens: 0,
            };
            for problem in &problems {
                let prompt = format.teacher_prompt(&tokenizer, problem)?;
                let trace = problem
                    .reasoning_trace
                    .as_ref()
                    .unwrap_or(&problem.solution);
                let example = format.teacher_example(&tokenizer, problem, trace)?;
                sizes.prompt_tokens = sizes.prompt_tokens.max(prompt.ids.len());
                sizes.example_tokens = sizes.example_tokens.max(example.ids.len());
            }
            return Ok(sizes);
        }
        let mut sizes = source.expected.ok_or_else(|| {
            let origin = self.origin(model);
            let [problems, model] =
                [&source.path, &self.models[origin].path].map(|path| self.at(path));
            self.refusal(format!(
                "problems.{name}: how long they are is said by the problems at {} and the tokenizer of {} together, \
                 but not both are there; put them there, or give `expected` to plan without",
                problems.display(),
                model.display()
            ))
        })?;
        sizes.count = sizes.count.min(source.first.unwrap_or(usize::MAX));
        Ok(sizes)
    }

    /// Refuses problems that a stage would refuse, where they and the model are there.
    fn check_problems(
        &self,
        stage: &Stage,
        format: &PromptFormat,
        reward: &Arc<dyn Reward>,
        max_prompt_tokens: usize,
    ) -> Result<()> {
        let Some(located) = self.find_model(&self.models[self.origin(stage.model())]) else {
            return Ok(());
        };
        let mut task = TeacherTask::new(located.tokenizer()?, format.clone(), reward.clone());
        if let Stage::StudentRl(stage) = stage {
            task = task.with_role(Role::Solver {
                answer: stage.answer,
            });
        }
        let judge = match stage {
            Stage::Evaluate(stage) => Some(stage.judge.judge()),
            _ => None,
        };
        for (key, name) in stage.problems() {
            let Some(mut problems) = self.find_problems(name, format)? else {
                continue;
            };
            problems.truncate(stage.first_problems().unwrap_or(usize::MAX));
            task.prepare(&problems, max_prompt_tokens)?;
            for problem in &problems {
                reward.accepts(problem)?;
                if let Some(judge) = &judge {
                    judge.accepts(problem).map_err(|why| Error::Stage {
                        stage: stage.name().to_owned(),
                        problem: format!("problem {}: {why}", problem.id),
                    })?;
                }
            }
            if let (
                Stage::Teach(Teach { training, .. }) | Stage::StudentRl(StudentRl { training, .. }),
                "problems",
            ) = (stage, key)
            {
                training.curriculum.build(training.seed, &problems)?;
            }
        }
        Ok(())
    }

    /// What the stage would hold, do and be set to.
    ///
    /// # Errors
    /// What the stage would refuse, as far as that can be told before a weight is read.
    pub(super) fn estimate(
        &self,
        stage: &Stage,
        format: &PromptFormat,
        place: MemoryPlace,
    ) -> Result<Estimate> {
        let model = self.sized(stage.model(), place)?;
        let reward: Arc<dyn Reward> = match stage {
            Stage::StudentRl(stage) => Arc::new(stage.reward.clone()),
            _ => Arc::new(self.reward.resolve()?),
        };
        let check =
            |max_prompt_tokens| self.check_problems(stage, format, &reward, max_prompt_tokens);
        let sizes = |name: &str| self.problem_sizes(name, stage.model(), format);
        match stage {
            Stage::WarmUp(stage) => {
                let ProblemSizes {
                    count,
                    example_tokens,
                    ..
                } = sizes(&stage.problems)?;
                let adapter = stage.adapter.as_ref();
                fine_tune(&model, &stage.training, adapter, count, example_tokens)
            }
            Stage::Distill(stage) => {
                let (count, tokens) = self.explained(&stage.explanations, format)?;
                let tokens = tokens.min(model.context());
                fine_tune(
                    &model,
                    &stage.training,
                    stage.adapter.as_ref(),
                    count,
                    tokens,
                )
            }
            Stage::Teach(stage) => {
                let separate = match stage.student.as_str() {
                    "initial" | "current" => None,
                    name => Some(self.sized(name, place)?),
                };
                let student = match (&separate, stage.student.as_str()) {
                    (Some(student), _) => PlannedStudent::Separate(student.planned(None)),
                    (None, "current") => PlannedStudent::Current,
                    (None, _) => PlannedStudent::Initial,
                };
                let learning = Learning {
                    training: &stage.training,
                    adapter: stage.adapter.as_ref(),
                    completion: stage.expected_completion_tokens,
                    end_tag: &format.teacher.explanation.end,
                };
                check(learning.prompt_limit(&model)?)?;
                // A teacher that is its own student reads its explanations with its own weights.
                let reader = Some(separate.as_ref().unwrap_or(&model).cost());
                learning.estimate(&model, &student, reader, sizes(&stage.problems)?)
            }
            Stage::StudentRl(stage) => {
                let learning = Learning {
                    training: &stage.training,
                    adapter: stage.adapter.as_ref(),
                    completion: stage.expected_completion_tokens,
                    end_tag: &format.solution.end,
                };
                let student = PlannedStudent::Initial;
                check(learning.prompt_limit(&model)?)?;
                learning.estimate(&model, &student, None, sizes(&stage.problems)?)
            }
            Stage::Collect(stage) => {
                let student = self.sized(&stage.student, place)?;
                let sizes = sizes(&stage.problems)?;
                let end_tag = &format.teacher.explanation.end;
                stage.collect.validate()?;
                let sampling = stage.sampling.as_in_training();
                let resolved = sampling.resolve(model.context(), &[0], end_tag)?;
                check(resolved.max_prompt_tokens)?;
                let longest = resolved.sampling.max_tokens;
                let prompts = stage
                    .collect
                    .problems
                    .unwrap_or(usize::MAX)
                    .min(sizes.count);
                let counts = [prompts, prompts * stage.collect.samples];
                let engine = &stage.sampling.engine;
                let memory = MemoryEstimate::of_sampling(
                    &model.planned(None),
                    Some(&student.planned(None)),
                    engine,
                    counts,
                    [sizes.prompt_tokens, longest],
                )?;
                let mut work = Work::default();
                let tokens = [
                    sizes.prompt_tokens,
                    stage.expected_completion_tokens.unwrap_or(longest),
                ];
                let batch = engine.max_batch.get() as f64;
                let (counts, tokens) = (counts.map(number), tokens.map(number));
                model.cost().add_sampling(&mut work, counts, tokens, batch);
                for reader in [&model, &student] {
                    reader
                        .cost()
                        .add_scoring(&mut work, counts[1], tokens[0] + tokens[1]);
                }
                let settings = json!({ "sampling": resolved.sampling, "collect": stage.collect });
                Ok((settings, memory, work))
            }
            Stage::Evaluate(stage) => {
                let sizes = sizes(&stage.problems)?;
                let answers = &stage.answers;
                answers.validate()?;
                check(model.context())?;
                let prompts = answers.problems.unwrap_or(usize::MAX).min(sizes.count);
                let counts = [
                    prompts,
                    prompts * (answers.samples + usize::from(answers.greedy)),
                ];
                let longest = answers.max_completion_tokens;
                let engine = didact_engine::EngineConfig::default();
                let memory = MemoryEstimate::of_sampling(
                    &model.planned(None),
                    None,
                    &engine,
                    counts,
                    [sizes.prompt_tokens, longest],
                )?;
                let mut work = Work::default();
                let tokens = [
                    sizes.prompt_tokens,
                    stage.expected_completion_tokens.unwrap_or(longest),
                ];
                let batch = engine.max_batch.get() as f64;
                let (counts, tokens) = (counts.map(number), tokens.map(number));
                model.cost().add_sampling(&mut work, counts, tokens, batch);
                Ok((value(stage)?, memory, work))
            }
        }
    }

    /// How many explanations a stage collects at most, and how long an example of one is at most.
    fn explained(&self, name: &str, format: &PromptFormat) -> Result<(usize, usize)> {
        let stage = self.stages.iter().find(|stage| stage.name() == name);
        let Some(Stage::Collect(stage)) = stage else {
            return Err(Error::Stage {
                stage: name.to_owned(),
                problem: "it collects no explanations".to_owned(),
            });
        };
        let sizes = self.problem_sizes(&stage.problems, &stage.model, format)?;
        let problems = stage
            .collect
            .problems
            .unwrap_or(usize::MAX)
            .min(sizes.count);
        let kept = stage
            .collect
            .selection
            .per_problem
            .min(stage.collect.samples);
        let completion = stage.expected_completion_tokens;
        let completion = completion.unwrap_or(stage.sampling.max_completion_tokens);
        Ok((problems * kept.max(1), sizes.prompt_tokens + completion))
    }
}

fn fine_tune(
    model: &Sized,
    config: &FineTuneConfig,
    adapter: Option<&LoraConfig>,
    examples: usize,
    tokens: usize,
) -> Result<Estimate> {
    let resolved = config.resolve(examples, model.context())?;
    let memory = MemoryEstimate::of_fine_tune(&model.planned(adapter), &resolved, tokens)?;
    let mut work = Work::default();
    let passes = training_passes(adapter.is_some(), config.recompute_layers);
    let sequences = resolved.steps as f64 * number(resolved.batch_size.min(examples));
    let tokens = number(tokens.min(resolved.max_tokens));
    model
        .cost()
        .add_training(&mut work, sequences, tokens, passes);
    Ok((value(&resolved)?, memory, work))
}

/// RL of a teacher or a student.
struct Learning<'a> {
    training: &'a TeacherConfig,
    adapter: Option<&'a LoraConfig>,
    completion: Option<usize>,
    end_tag: &'a str,
}

impl Learning<'_> {
    /// The longest prompt that is allowed.
    fn prompt_limit(&self, model: &Sized) -> Result<usize> {
        // Which tokens end a completion changes no size.
        let resolved = self.training.resolve(model.context(), &[0], self.end_tag)?;
        if self.adapter.is_some() && self.training.reference_mixing.is_some() {
            return Err(TrainingError::Configuration {
                key: "reference_mixing".to_owned(),
                problem:
                    "the stage trains an adapter, whose reference stays as it is; set it to false"
                        .to_owned(),
            }
            .into());
        }
        Ok(resolved.max_prompt_tokens)
    }

    fn estimate(
        &self,
        model: &Sized,
        student: &PlannedStudent<'_>,
        reader: Option<Cost>,
        sizes: ProblemSizes,
    ) -> Result<Estimate> {
        let config = self.training;
        // Which tokens end a completion changes no size.
        let resolved = config.resolve(model.context(), &[0], self.end_tag)?;
        let prompt = sizes.prompt_tokens.min(resolved.max_prompt_tokens);
        let planned = model.planned(self.adapter);
        if config.park_weights && model.place == MemoryPlace::Host {
            return Err(TrainingError::Configuration {
                key: "park_weights".to_owned(),
                problem: "weights are parked beside a GPU, but [machine] names no `memory` of one; give it, or leave \
                          the key out"
                    .to_owned(),
            }
            .into());
        }
        let memory = MemoryEstimate::of_teacher(&planned, student, &resolved, prompt)?;

        let mut step = Work::default();
        let cost = model.cost();
        let completion = self.completion.unwrap_or(resolved.sampling.max_tokens);
        let counts = [
            config.problems_per_step,
            config.problems_per_step * config.group_size,
        ];
        let [counts, tokens] = [counts, [prompt, completion]].map(|pair| pair.map(number));
        let batch = number(config.engine.max_batch.get());
        cost.add_sampling(&mut step, counts, tokens, batch);
        let (samples, whole) = (counts[1], tokens[0] + tokens[1]);
        // The policy's own log-probs and the reference's; a student's where one reads.
        for reader in [
            Some(cost),
            (resolved.loss.beta() > 0.0).then_some(cost),
            reader,
        ]
        .into_iter()
        .flatten()
        {
            reader.add_scoring(&mut step, samples, whole);
        }
        let passes = training_passes(self.adapter.is_some(), config.recompute_layers);
        cost.add_training(&mut step, samples, whole, passes);
        Ok((value(&resolved)?, memory, step.times(config.steps as f64)))
    }
}

#[allow(clippy::cast_precision_loss)]
const fn number(count: usize) -> f64 {
    count as f64
}

impl RecipePlan {
    /// The least time of the stages that are not made, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let left = self.stages.iter().filter(|stage| !stage.done);
        left.fold(0.0, |sum, stage| sum + stage.seconds)
    }

    /// The most bytes that any stage that is not made holds.
    #[must_use]
    pub fn peak(&self) -> u64 {
        let left = self.stages.iter().filter(|stage| !stage.done);
        left.map(|stage| stage.memory.peak()).max().unwrap_or(0)
    }
}
