//! Where experiments are made: teachers, explanations, students and answers, each a stage that is made once.
//!
//! Owns which inputs decide about each of them. What is compared with what is the programs' business.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use didact::core::{Problem, TokenBytes};
use didact::data::{PromptFormat, SupervisedExample, Tokenizer};
use didact::distill::evaluation::Judge;
use didact::distill::{
    Answers, AnswersConfig, CollectConfig, Collection, Done, Examination, ExplanationRecord,
    ResumableFile, Stages, answers, collect, weights_hash,
};
use didact::engine::LocalEngine;
use didact::models::Decoder;
use didact::rl::{
    FineTuneConfig, RolloutModels, StopFlag, StudentModel, TeacherConfig, TeacherModels,
    TeacherTask, TeacherTrainer, fine_tune,
};
use example_console::Console;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{Look, Model, Result, Storage, Taught};

/// What completions are sampled for, and how.
#[derive(Debug, Clone)]
pub struct Objective {
    /// What decides about a stage beside the configuration, the reward above all: a task cannot be hashed.
    pub aim: Value,
    /// Tokenizer, format and reward.
    pub task: TeacherTask,
    /// Steps, samples and rates.
    pub config: TeacherConfig,
}

/// A training by reinforcement.
#[derive(Debug, Clone)]
pub struct Training<'a> {
    /// What for.
    pub objective: Objective,
    /// What is trained.
    pub start: &'a Model,
    /// For whom explanations are.
    pub student: &'a Model,
    /// Whether they are for the model itself as it becomes.
    pub follows: bool,
    /// Problems to train on.
    pub train: &'a [Problem],
    /// Problems that it is looked at on.
    pub held_out: &'a [Problem],
}

/// Makes every stage of one world and seed once.
pub struct Lab {
    /// The world, as it is printed.
    pub world: String,
    /// Seeds every stage.
    pub seed: u64,
    /// Enters the inputs of every stage: what decides about all of them, such as the model below adapters, the prompt
    /// format and the judge of answers.
    pub identity: Map<String, Value>,
    /// Where stages are kept.
    pub stages: Stages,
    /// How their models are.
    pub storage: Box<dyn Storage>,
    /// Of every model.
    pub tokenizer: Arc<Tokenizer>,
    /// Of every prompt.
    pub format: PromptFormat,
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab")
            .field("world", &self.world)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Lab {
    /// What a stage is watched with.
    #[must_use]
    pub fn console() -> Console {
        Console::new().every(Duration::from_secs(10))
    }

    /// A stage; `inputs`, an object, and the lab's identity decide about it.
    ///
    /// # Errors
    /// What `work` fails with; what is on disk and cannot be read.
    pub fn stage<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        inputs: Value,
        work: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<Done<T>> {
        let mut all = self.identity.clone();
        if let Value::Object(inputs) = inputs {
            all.extend(inputs);
        }
        self.stages.run(name, &all, |folder| {
            let begin = Instant::now();
            let value = work(folder)?;
            println!(
                "{} {}: {name} made in {:.1} s",
                self.world,
                self.seed,
                begin.elapsed().as_secs_f64()
            );
            Ok(value)
        })
    }

    /// The stage of a model.
    ///
    /// # Errors
    /// As [`stage`](Self::stage); a model that cannot be written.
    pub fn model(
        &self,
        name: &str,
        inputs: Value,
        make: impl FnOnce() -> Result<Decoder>,
    ) -> Result<Model> {
        let done = self.stage(name, inputs, |folder| {
            let begin = Instant::now();
            self.keep(&make()?, folder, begin)
        })?;
        Ok(Model {
            folder: done.folder,
            ..done.value
        })
    }

    fn keep(&self, decoder: &Decoder, folder: &Path, begin: Instant) -> Result<Model> {
        let seconds = begin.elapsed().as_secs_f64();
        self.storage.keep(decoder, folder)?;
        Ok(Model {
            folder: folder.to_owned(),
            weights: weights_hash(decoder),
            seconds,
        })
    }

    /// A model's weights.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn load(&self, model: &Model) -> Result<Decoder> {
        self.storage.load(&model.folder)
    }

    /// A model trained by reinforcement.
    ///
    /// # Errors
    /// As [`stage`](Self::stage); what the trainer refuses.
    pub fn teach(&self, name: &str, training: &Training<'_>) -> Result<Taught> {
        let Training {
            objective: Objective { aim, task, config },
            start,
            student,
            follows,
            train,
            held_out,
        } = training;
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
                student: if *follows {
                    StudentModel::Current
                } else {
                    self.load(student)?.into()
                },
            };
            let mut trainer = TeacherTrainer::new(models, task.clone(), train, held_out, config)?;
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
            let samples = config.steps as usize * config.problems_per_step * config.group_size;
            let model = self.keep(&trainer.into_policy()?, folder, begin)?;
            Ok(Taught {
                // Looks at held-out problems are no part of the training.
                model: Model { seconds, ..model },
                looks,
                rewards,
                tokens,
                samples: samples as f64,
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

    /// Explanations of a teacher, `samples` of each problem, sampled and rewarded under `student` as in a training for
    /// `objective`.
    ///
    /// # Errors
    /// As [`stage`](Self::stage); what collecting refuses.
    pub fn explanations(
        &self,
        name: &str,
        [teacher, student]: [&Model; 2],
        problems: &[Problem],
        samples: usize,
        objective: &Objective,
    ) -> Result<Vec<ExplanationRecord>> {
        let Objective { aim, task, config } = objective;
        let inputs = json!({
            "teacher": teacher.weights,
            "student": student.weights,
            "problems": questions(problems),
            "samples": samples,
            "aim": aim,
            "config": config,
        });
        let done = self.stage(&format!("explanations_{name}"), inputs, |folder| {
            let decoder = self.load(teacher)?;
            let context = decoder.config().max_position_embeddings;
            let eos: Vec<_> = self.tokenizer.eos().into_iter().collect();
            let end = &self.format.teacher.explanation.end;
            let sampling = config.resolve(context, &eos, end)?.sampling;
            let mut policy = self.engine(decoder.clone());
            let mut reference = self.engine(decoder);
            let mut student = self.engine(self.load(student)?);
            let mut models = RolloutModels {
                policy: &mut policy,
                reference: &mut reference,
                student: &mut student,
                teacher_context: context,
                student_context: context,
            };
            let mut collection = Collection {
                models: &mut models,
                task,
                sampling: &sampling,
                stage: "collect",
                stop: StopFlag::new(),
            };
            let config = CollectConfig {
                samples,
                seed: self.seed,
                ..CollectConfig::default()
            };
            let file = ResumableFile::new(collected(folder), json!(teacher.weights));
            let problems = task.prepare(problems, context)?;
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

    /// A solver's answers to problems.
    ///
    /// # Errors
    /// As [`stage`](Self::stage); what the evaluation refuses.
    pub fn answers(
        &self,
        name: &str,
        solver: &Model,
        problems: &[Problem],
        task: &TeacherTask,
        judge: &dyn Judge,
        config: &AnswersConfig,
    ) -> Result<Answers> {
        let inputs = json!({
            "solver": solver.weights,
            "problems": questions(problems),
            "config": config,
        });
        let done = self.stage(&format!("answers_{name}"), inputs, |folder| {
            let decoder = self.load(solver)?;
            let context = decoder.config().max_position_embeddings;
            let mut student = self.engine(decoder);
            let mut examination = Examination {
                student: &mut student,
                context,
                task,
                judge,
                stage: "answers",
                stop: StopFlag::new(),
            };
            let file = ResumableFile::new(answered(folder), json!(solver.weights));
            let problems = task.prepare(problems, context)?;
            answers(
                &mut examination,
                &problems,
                config,
                Some(&file),
                &mut Self::console(),
            )?;
            Ok(())
        })?;
        Ok(Answers::read(answered(&done.folder))?)
    }

    /// A model fine-tuned on examples, which `hash` names.
    ///
    /// # Errors
    /// As [`stage`](Self::stage); what fine-tuning refuses.
    pub fn tuned(
        &self,
        name: &str,
        start: &Model,
        config: &FineTuneConfig,
        examples: &[SupervisedExample],
        hash: &str,
    ) -> Result<Model> {
        let inputs = json!({"start": start.weights, "examples": hash, "config": config});
        self.model(&format!("student_{name}"), inputs, || {
            let start = self.load(start)?;
            Ok(fine_tune(start, examples, config, &mut Self::console())?.decoder)
        })
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
    let none = String::new();
    for problem in problems {
        let answer = problem.answer.as_ref().unwrap_or(&none);
        for text in [&problem.id, &problem.question, &problem.solution, answer] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
    }
    hash.finalize().to_hex().to_string()
}
