//! What experiments are made of: bases, teachers, explanations, students, evaluations, each made once.
//!
//! Owns which inputs decide about each of them. What is compared with what is the rows' business.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arithmetic::language;
use arithmetic::schooling::{Lesson, School};
use arithmetic::widening::widened;
use didact::Device;
use didact::core::{Problem, TokenBytes};
use didact::data::{PromptFormat, Tokenizer};
use didact::distill::evaluation::Exactly;
use didact::distill::{
    Answers, AnswersConfig, CollectConfig, Collection, Examination, ExplanationRecord,
    ResumableFile, answers, collect, weights_hash,
};
use didact::engine::LocalEngine;
use didact::models::Decoder;
use didact::reward::RltConfig;
use didact::rl::advantage::CreditConfig;
use didact::rl::{
    EvaluationConfig, FineTuneConfig, PreparedProblem, RolloutModels, StudentModel, TeacherConfig,
    TeacherModels, TeacherTask, TeacherTrainer, fine_tune,
};
use example_console::Console;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Result;
use crate::data::Dataset;
use crate::plan::{Ablation, Budget, Setting, SizeName, TEMPERATURE};
use crate::solving;
use didact::distill::{Done, Stages};

/// A model that is on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    /// Where; as it is now, whatever was written when it was made.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
    /// The hash of its weights.
    pub(crate) weights: String,
    /// Seconds that making it took, not counting what it was made of.
    pub(crate) seconds: f64,
}

/// A look at held-out problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) step: u64,
    /// Mean reward: of a solver, its accuracy.
    pub(crate) reward: f64,
    /// All means.
    pub(crate) metrics: BTreeMap<String, f64>,
}

/// A model after reinforcement learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Taught {
    pub(crate) model: Model,
    pub(crate) looks: Vec<Look>,
    /// The mean reward of each step's batch.
    pub(crate) rewards: Vec<f64>,
    /// Sampled tokens.
    pub(crate) tokens: f64,
    /// Sampled texts.
    pub(crate) samples: f64,
}

/// What a model is trained for by reinforcement.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// To explain, with an ablation of the published reward.
    Explain(Ablation),
    /// To explain to itself.
    ExplainToItself,
    /// To solve: 1 for a right answer.
    Solve,
}

/// A training by reinforcement.
#[derive(Debug, Clone)]
pub(crate) struct Training<'a> {
    pub(crate) aim: Aim,
    pub(crate) budget: Budget,
    /// What is trained.
    pub(crate) start: &'a Model,
    /// For whom explanations are.
    pub(crate) student: &'a Model,
    pub(crate) train: &'a [Problem],
    pub(crate) held_out: &'a [Problem],
    /// Steps between looks at the held-out problems; 0 for the first and the last alone.
    pub(crate) every: u64,
}

/// Makes everything of one world and seed.
pub(crate) struct Lab {
    pub(crate) setting: Setting,
    pub(crate) seed: u64,
    pub(crate) train: Vec<Problem>,
    pub(crate) held_out: Vec<Problem>,
    stages: Stages,
    tokenizer: Arc<Tokenizer>,
    pub(crate) format: PromptFormat,
    device: Device,
    /// Stages worked on rather than found.
    worked: Cell<usize>,
}

impl Lab {
    /// Everything is kept in a folder of its own below `root`.
    pub(crate) fn new(setting: Setting, seed: u64, root: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            tokenizer: Arc::new(language::tokenizer(&setting.world, folder.path())?),
            format: language::format()?,
            device: Device::flex().autodiff(),
            train: setting.world.problems(&setting.train_set(seed)),
            held_out: setting.world.problems(&setting.held_out_set(seed)),
            worked: Cell::new(0),
            stages: Stages::open(root.join(format!("{}-{seed}", setting.name.name())))?,
            setting,
            seed,
        })
    }

    /// The console of a stage.
    fn console() -> Console {
        Console::new().every(Duration::from_secs(10))
    }

    /// A stage of this world and seed. What it says goes to its line.
    fn stage<T: Serialize + serde::de::DeserializeOwned>(
        &self,
        name: &str,
        mut inputs: Value,
        work: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<Done<T>> {
        let world = self.setting.name.name();
        inputs["seed"] = json!(self.seed);
        inputs["world"] = json!(self.setting.world);
        self.stages.run(name, &inputs, |folder| {
            let begin = Instant::now();
            let value = work(folder)?;
            self.worked.set(self.worked.get() + 1);
            println!(
                "{world} {}: {name} made in {:.1} s",
                self.seed,
                begin.elapsed().as_secs_f64()
            );
            Ok(value)
        })
    }

    fn keep(decoder: &Decoder, folder: &Path, begin: Instant) -> Result<Model> {
        let seconds = begin.elapsed().as_secs_f64();
        decoder.save_folder(folder.join("model"))?;
        Ok(Model {
            folder: folder.to_owned(),
            weights: weights_hash(decoder),
            seconds,
        })
    }

    fn found(done: Done<Model>) -> Model {
        Model {
            folder: done.folder,
            ..done.value
        }
    }

    pub(crate) fn load(&self, model: &Model) -> Result<Decoder> {
        Ok(Decoder::load_folder(
            model.folder.join("model"),
            &self.device,
        )?)
    }

    fn school(&self) -> School<'_> {
        School {
            world: self.setting.world,
            tokenizer: &self.tokenizer,
            format: &self.format,
            seed: self.seed,
        }
    }

    fn attend(&self, decoder: Decoder, lessons: &[Lesson]) -> Result<Decoder> {
        let (decoder, missed) = self
            .school()
            .attend(decoder, lessons, &mut Self::console())?;
        for lesson in missed {
            println!("{lesson} ended before its loss was low enough; expect poor arithmetic");
        }
        Ok(decoder)
    }

    /// A model that has grown up with the world's traces.
    pub(crate) fn base(&self, size: SizeName) -> Result<Model> {
        let small = match size {
            SizeName::S => None,
            SizeName::L => Some(self.base(SizeName::S)?),
        };
        let lessons = if small.is_some() {
            &self.setting.school_wide
        } else {
            &self.setting.school
        };
        let inputs = json!({
            "size": size.size(),
            "lessons": lessons,
            "widened": small.as_ref().map(|small| &small.weights),
        });
        let done = self.stage(&format!("base_{}", size.name()), inputs, |folder| {
            let begin = Instant::now();
            let decoder = match &small {
                None => size
                    .size()
                    .fresh(&self.tokenizer, self.seed, &self.device)?,
                Some(small) => {
                    let config = size.size().config(&self.tokenizer)?;
                    widened(&self.load(small)?, &config, self.seed)?
                }
            };
            Self::keep(&self.attend(decoder, lessons)?, folder, begin)
        })?;
        Ok(Self::found(done))
    }

    /// Parameters of a size.
    pub(crate) fn parameters(&self, size: SizeName) -> Result<f64> {
        let config = size.size().config(&self.tokenizer)?;
        Ok(config.parameter_count().unwrap_or(0) as f64)
    }

    /// A base that has learnt the teacher's format: the teacher before reinforcement learning.
    pub(crate) fn warmed(&self, size: SizeName) -> Result<Model> {
        let base = self.base(size)?;
        let lesson = std::slice::from_ref(&self.setting.warm_up);
        let inputs = json!({"base": base.weights, "lessons": lesson});
        let done = self.stage(&format!("warmed_{}", size.name()), inputs, |folder| {
            let begin = Instant::now();
            Self::keep(&self.attend(self.load(&base)?, lesson)?, folder, begin)
        })?;
        Ok(Self::found(done))
    }

    fn task(&self, aim: &Aim) -> Result<TeacherTask> {
        let reward = match aim {
            Aim::Explain(ablation) => ablation.reward(),
            Aim::ExplainToItself => RltConfig::default(),
            Aim::Solve => {
                return Ok(solving::task(self.tokenizer.clone(), self.format.clone()));
            }
        };
        Ok(TeacherTask::new(
            self.tokenizer.clone(),
            self.format.clone(),
            Arc::new(reward.resolve()?),
        ))
    }

    /// Longest completion, in tokens.
    fn tokens(&self, aim: &Aim) -> usize {
        let Setting {
            explanation_tokens,
            answer_tokens,
            ..
        } = self.setting;
        match aim {
            Aim::Explain(_) | Aim::ExplainToItself => explanation_tokens,
            Aim::Solve => explanation_tokens + answer_tokens,
        }
    }

    /// A model trained by reinforcement.
    pub(crate) fn teach(&self, name: &str, training: &Training<'_>) -> Result<Taught> {
        let Training {
            aim,
            budget,
            start,
            student,
            train,
            held_out,
            every,
        } = training;
        let config = TeacherConfig {
            credit: match aim {
                Aim::Explain(ablation) => ablation.credit(),
                Aim::ExplainToItself | Aim::Solve => CreditConfig::Sequence,
            },
            evaluation: Some(EvaluationConfig {
                every: *every,
                ..EvaluationConfig::default()
            }),
            ..self
                .setting
                .reinforcement(*budget, self.seed, self.tokens(aim))
        };
        let inputs = json!({
            "aim": aim,
            "start": start.weights,
            "student": student.weights,
            "config": config,
            "train": questions(train),
            "held_out": questions(held_out),
        });
        let done = self.stage(name, inputs, |folder| {
            let begin = Instant::now();
            let models = TeacherModels {
                policy: self.load(start)?,
                student: match aim {
                    Aim::ExplainToItself => StudentModel::Current,
                    Aim::Explain(_) | Aim::Solve => self.load(student)?.into(),
                },
            };
            let task = self.task(aim)?;
            let mut trainer = TeacherTrainer::new(models, task, train, held_out, &config)?;
            let report = trainer.run(&mut Self::console())?;
            let sum = |name: &str| -> f64 { report.steps.iter().filter_map(|m| m.get(name)).sum() };
            let looks = report.evaluations.iter().map(|look| Look {
                step: look.step,
                reward: look.metrics.get("eval/reward").unwrap_or(0.0),
                metrics: look
                    .metrics
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            });
            let rewards = report.steps.iter().filter_map(|m| m.get("reward"));
            let (looks, rewards) = (looks.collect(), rewards.collect());
            let (tokens, seconds) = (sum("completions/tokens"), sum("time/step"));
            let samples = (budget.steps as usize * budget.problems * budget.group) as f64;
            let model = Self::keep(&trainer.into_policy()?, folder, begin)?;
            Ok(Taught {
                // Looks at held-out problems are no part of the training.
                model: Model { seconds, ..model },
                looks,
                rewards,
                tokens,
                samples,
            })
        })?;
        Ok(Taught {
            model: Model {
                folder: done.folder,
                ..done.value.model
            },
            ..done.value
        })
    }

    fn engine(&self, decoder: Decoder) -> LocalEngine {
        let token_bytes: Arc<dyn TokenBytes> = self.tokenizer.clone();
        LocalEngine::new(decoder, Default::default()).with_token_bytes(token_bytes)
    }

    fn prepared(&self, task: &TeacherTask, problems: &[Problem]) -> Result<Vec<PreparedProblem>> {
        Ok(task.prepare(problems, SizeName::S.size().context)?)
    }

    /// Explanations of a teacher with their rewards by the published reward under the base S, `samples` of each
    /// problem.
    pub(crate) fn explanations(
        &self,
        name: &str,
        teacher: &Model,
        problems: &[Problem],
        samples: usize,
    ) -> Result<Vec<ExplanationRecord>> {
        let student = self.base(SizeName::S)?;
        let aim = Aim::Explain(Ablation::Published);
        let budget = self.setting.teacher;
        let config = self
            .setting
            .reinforcement(budget, self.seed, self.tokens(&aim));
        let inputs = json!({
            "teacher": teacher.weights,
            "student": student.weights,
            "problems": questions(problems),
            "samples": samples,
            "tokens": config.max_completion_tokens,
        });
        let done = self.stage(&format!("explanations_{name}"), inputs, |folder| {
            let task = self.task(&aim)?;
            let decoder = self.load(teacher)?;
            let context = decoder.config().max_position_embeddings;
            let eos: Vec<_> = self.tokenizer.eos().into_iter().collect();
            let end = &self.format.teacher.explanation.end;
            let sampling = config.resolve(context, &eos, end)?.sampling;
            let mut policy = self.engine(decoder.clone());
            let mut reference = self.engine(decoder);
            let mut student = self.engine(self.load(&student)?);
            let mut models = RolloutModels {
                policy: &mut policy,
                reference: &mut reference,
                student: &mut student,
                teacher_context: context,
                student_context: context,
            };
            let mut collection = Collection {
                models: &mut models,
                task: &task,
                sampling: &sampling,
                stage: "collect",
            };
            let config = CollectConfig {
                samples,
                seed: self.seed,
                ..CollectConfig::default()
            };
            let file = ResumableFile::new(collected(folder), json!(teacher.weights));
            let problems = self.prepared(&task, problems)?;
            collect(
                &mut collection,
                &problems,
                &config,
                Some(&file),
                &mut Self::console(),
            )?;
            Ok(())
        })?;
        Ok(didact::distill::json_lines::read(collected(&done.folder))?)
    }

    /// A solver's answers to problems, `samples` to each.
    pub(crate) fn answers(
        &self,
        name: &str,
        solver: &Model,
        problems: &[Problem],
        samples: usize,
    ) -> Result<Answers> {
        let config = AnswersConfig {
            greedy: false,
            samples,
            temperature: TEMPERATURE,
            top_p: 1.0,
            max_completion_tokens: self.tokens(&Aim::Solve),
            seed: self.seed,
            ..AnswersConfig::default()
        };
        let inputs = json!({
            "solver": solver.weights,
            "problems": questions(problems),
            "config": config,
        });
        let done = self.stage(&format!("answers_{name}"), inputs, |folder| {
            let task = self.task(&Aim::Explain(Ablation::Published))?;
            let decoder = self.load(solver)?;
            let context = decoder.config().max_position_embeddings;
            let mut student = self.engine(decoder);
            let mut examination = Examination {
                student: &mut student,
                context,
                task: &task,
                judge: &Exactly(solving::is_right),
                stage: "answers",
            };
            let file = ResumableFile::new(answered(folder), json!(solver.weights));
            let problems = self.prepared(&task, problems)?;
            answers(
                &mut examination,
                &problems,
                &config,
                Some(&file),
                &mut Self::console(),
            )?;
            Ok(())
        })?;
        Ok(Answers::read(answered(&done.folder))?)
    }

    /// The fraction of held-out problems that a model answers right.
    pub(crate) fn accuracy(&self, name: &str, model: &Model, problems: &[Problem]) -> Result<f64> {
        let answers = self.answers(name, model, problems, 1)?;
        let right = answers.records().iter().filter(|r| r.correct).count();
        Ok(right as f64 / answers.records().len().max(1) as f64)
    }

    /// A model that has learnt from explanations; itself where there are none.
    pub(crate) fn student(
        &self,
        name: &str,
        start: &Model,
        size: SizeName,
        data: &Dataset,
    ) -> Result<Model> {
        if data.is_empty() {
            return Ok(start.clone());
        }
        let config = self.setting.distillation(size, self.seed);
        let examples = data.examples(&self.tokenizer, &self.format)?;
        self.tuned(name, start, &config, &examples, &data.hash())
    }

    /// A model fine-tuned on examples, which `hash` names.
    pub(crate) fn tuned(
        &self,
        name: &str,
        start: &Model,
        config: &FineTuneConfig,
        examples: &[didact::data::SupervisedExample],
        hash: &str,
    ) -> Result<Model> {
        let inputs = json!({"start": start.weights, "examples": hash, "config": config});
        let done = self.stage(&format!("student_{name}"), inputs, |folder| {
            let begin = Instant::now();
            let start = self.load(start)?;
            let tuned = fine_tune(start, examples, config, &mut Self::console())?;
            Self::keep(&tuned.decoder, folder, begin)
        })?;
        Ok(Self::found(done))
    }

    /// As many of a data set's explanations as fit into so many tokens.
    pub(crate) fn within(&self, data: &Dataset, tokens: usize) -> Result<Dataset> {
        data.within(tokens, &self.tokenizer, &self.format)
    }

    /// Tokens that a student reads of a data set in one pass.
    pub(crate) fn tokens_of(&self, data: &Dataset) -> Result<usize> {
        let examples = data.examples(&self.tokenizer, &self.format)?;
        Ok(examples.iter().map(|example| example.ids.len()).sum())
    }

    /// The examples of a teacher that would give these explanations.
    pub(crate) fn teacher_examples(
        &self,
        data: &Dataset,
    ) -> Result<Vec<didact::data::SupervisedExample>> {
        let example = |e: &crate::data::Explained| {
            let format = &self.format;
            Ok(format.teacher_example(&self.tokenizer, &e.problem, &e.explanation)?)
        };
        data.explained.iter().map(example).collect()
    }

    /// The examples of a student that reads these explanations.
    pub(crate) fn student_examples(
        &self,
        data: &Dataset,
    ) -> Result<Vec<didact::data::SupervisedExample>> {
        data.examples(&self.tokenizer, &self.format)
    }
}

fn collected(folder: &Path) -> PathBuf {
    folder.join("collected.jsonl")
}

fn answered(folder: &Path) -> PathBuf {
    folder.join("answers.jsonl")
}

/// A hash of problems' texts.
fn questions(problems: &[Problem]) -> String {
    let mut hash = blake3::Hasher::new();
    for problem in problems {
        for text in [&problem.id, &problem.question, &problem.solution] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
    }
    hash.finalize().to_hex().to_string()
}
