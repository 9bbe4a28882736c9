//! One stage of a recipe at work.
//!
//! Owns which trainer, collector or evaluation makes each kind of stage, and its figures. How these work is written elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use didact_core::{Problem, Reward, TokenBytes};
use didact_data::{SupervisedExample, Tokenizer};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::{Decoder, LoraConfig};
use didact_rl::rollout::{Role, RolloutModels};
use didact_rl::{
    Evaluation, FineTuneConfig, FineTuner, Observer, RunDirectory, StudentModel, TeacherConfig,
    TeacherModels, TeacherTask, TeacherTrainer,
};
use serde_json::Value;

use super::run::Run;
use super::source::Located;
use super::{Collect, Distill, Evaluate, Stage, StudentRl, Teach, WarmUp};
use crate::{
    CollectedExplanation, Collection, Error, Examination, Interval, Result, ResumableFile,
    Selection, SelectionConfig, answers, collect, dataset, json_lines, select,
};

const MODEL: &str = "model";
const EXPLANATIONS: &str = "explanations.jsonl";

/// The draws of adapters' first weights.
const ADAPTER_SEED: u64 = 1;

/// One stage at work.
pub(super) struct Making<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) name: &'a str,
    pub(super) folder: &'a Path,
    pub(super) folders: &'a BTreeMap<&'a str, PathBuf>,
}

type Figures = BTreeMap<String, f64>;

impl Making<'_> {
    pub(super) fn make(&self, stage: &Stage, observer: &mut dyn Observer) -> Result<Figures> {
        let begin = Instant::now();
        let mut figures = match stage {
            Stage::WarmUp(stage) => self.warm_up(stage, observer),
            Stage::Teach(stage) => self.teach(stage, observer),
            Stage::Collect(stage) => self.collect(stage, observer),
            Stage::Distill(stage) => self.distill(stage, observer),
            Stage::StudentRl(stage) => self.student_rl(stage, observer),
            Stage::Evaluate(stage) => self.evaluate(stage, observer),
        }?;
        figures.insert("seconds".to_owned(), begin.elapsed().as_secs_f64());
        Ok(figures)
    }

    fn located(&self, name: &str) -> Result<Located> {
        if let Some(folder) = self.folders.get(name) {
            return Ok(Located {
                path: folder.join(MODEL),
                weights: self.run.recipe.trained_weights(name),
            });
        }
        let recipe = self.run.recipe;
        let source = &recipe.models[name];
        recipe
            .find_model(source)
            .ok_or_else(|| recipe.missing("models", name, &source.path, "sizes"))
    }

    fn load(&self, name: &str) -> Result<Decoder> {
        self.located(name)?.load(&self.run.device)
    }

    /// The model that a stage trains.
    fn begin(&self, name: &str, adapter: Option<&LoraConfig>) -> Result<Decoder> {
        let located = self.located(name)?;
        let decoder = located.load(&self.run.device)?;
        Ok(match adapter {
            Some(adapter) => located.in_precision(decoder.with_adapter(adapter, ADAPTER_SEED)?),
            None => decoder,
        })
    }

    fn problems(&self, name: &str) -> Result<Vec<Problem>> {
        let recipe = self.run.recipe;
        let found = recipe.find_problems(name, &self.run.format)?;
        let path = &recipe.problems[name].path;
        found.ok_or_else(|| recipe.missing("problems", name, path, "expected"))
    }

    fn held_out(&self, name: Option<&str>) -> Result<Vec<Problem>> {
        name.map_or(Ok(Vec::new()), |name| self.problems(name))
    }

    /// The task of models that read the same tokens.
    fn task(&self, models: &[&str], reward: Arc<dyn Reward>) -> Result<TeacherTask> {
        let tokenizer = self.tokenizer(models)?;
        Ok(TeacherTask::new(tokenizer, self.run.format.clone(), reward))
    }

    fn tokenizer(&self, models: &[&str]) -> Result<Arc<Tokenizer>> {
        let first = self.located(models[0])?.tokenizer()?;
        for other in &models[1..] {
            if self.located(other)?.tokenizer()?.fingerprint() != first.fingerprint() {
                return Err(Error::Stage {
                    stage: self.name.to_owned(),
                    problem: format!(
                        "{} and {other} have different tokenizers, but scores are compared token by token; choose \
                         models of one family",
                        models[0]
                    ),
                });
            }
        }
        Ok(first)
    }

    fn directory(&self) -> Result<RunDirectory> {
        let path = self.folder.join("run");
        Ok(if path.join("metrics.jsonl").is_file() {
            RunDirectory::resume(path)?
        } else {
            RunDirectory::create(path)?
        })
    }

    /// Leaves the trained model, with its tokenizer, for the stages that follow.
    fn keep(&self, decoder: &Decoder, tokenizer: &Tokenizer) -> Result<()> {
        let folder = self.folder.join(MODEL);
        // Quantised weights have no place in a folder but as what they are worth with their adapter.
        decoder.merge_adapter().save_folder(&folder)?;
        Ok(tokenizer.save_folder(&folder)?)
    }

    fn interrupted<T>(&self, step: u64) -> Result<T> {
        Err(Error::Interrupted {
            stage: self.name.to_owned(),
            step,
            directory: self.folder.join("run"),
        })
    }

    fn fine_tune(
        &self,
        decoder: Decoder,
        examples: &[SupervisedExample],
        config: &FineTuneConfig,
        observer: &mut dyn Observer,
    ) -> Result<(Decoder, Figures)> {
        let config = FineTuneConfig {
            stage: self.name.to_owned(),
            ..config.clone()
        };
        let mut directory = self.directory()?;
        let mut tuner = FineTuner::new(decoder, examples, &config)?
            .with_stop(self.run.stop.clone())
            .with_checkpoints(directory.checkpoints(self.name)?)?;
        tuner.resume_latest()?;
        if tuner.run(&mut (&mut directory, observer))? {
            return self.interrupted(tuner.steps());
        }
        didact_rl::report::write(directory.path())?;
        let steps = tuner.steps();
        let tuned = tuner.finish()?;
        let figures = [
            ("steps", steps as f64),
            ("examples", (examples.len() - tuned.left_out) as f64),
            ("left_out", tuned.left_out as f64),
        ];
        let figures = figures.map(|(name, value)| (name.to_owned(), value));
        Ok((tuned.decoder, figures.into()))
    }

    fn warm_up(&self, stage: &WarmUp, observer: &mut dyn Observer) -> Result<Figures> {
        let tokenizer = self.tokenizer(&[&stage.model])?;
        let example = |problem: &Problem| {
            let trace = problem.reasoning_trace.as_ref();
            let trace = trace.unwrap_or(&problem.solution);
            Ok(self
                .run
                .format
                .teacher_example(&tokenizer, problem, trace)?)
        };
        let problems = self.problems(&stage.problems)?;
        let examples = problems.iter().map(example).collect::<Result<Vec<_>>>()?;
        let decoder = self.begin(&stage.model, stage.adapter.as_ref())?;
        let (decoder, figures) = self.fine_tune(decoder, &examples, &stage.training, observer)?;
        self.keep(&decoder, &tokenizer)?;
        Ok(figures)
    }

    fn distill(&self, stage: &Distill, observer: &mut dyn Observer) -> Result<Figures> {
        let tokenizer = self.tokenizer(&[&stage.model])?;
        let path = self.folders[stage.explanations.as_str()].join(EXPLANATIONS);
        let explanations: Vec<CollectedExplanation> = json_lines::read(&path)?;
        let example = |e: &CollectedExplanation| {
            let format = &self.run.format;
            Ok(format.student_example(&tokenizer, &e.problem, &e.explanation)?)
        };
        let examples = explanations
            .iter()
            .map(example)
            .collect::<Result<Vec<_>>>()?;
        let decoder = self.begin(&stage.model, stage.adapter.as_ref())?;
        let (decoder, figures) = self.fine_tune(decoder, &examples, &stage.training, observer)?;
        self.keep(&decoder, &tokenizer)?;
        Ok(figures)
    }

    fn teach(&self, stage: &Teach, observer: &mut dyn Observer) -> Result<Figures> {
        let mut models = vec![stage.model.as_str()];
        let student = match stage.student.as_str() {
            "initial" => StudentModel::Initial,
            "current" => StudentModel::Current,
            name => {
                models.push(name);
                self.load(name)?.into()
            }
        };
        let reward = Arc::new(self.run.recipe.reward.resolve()?);
        let learning = Learning {
            task: self.task(&models, reward)?,
            policy: self.begin(&stage.model, stage.adapter.as_ref())?,
            student,
            problems: [
                self.problems(&stage.problems)?,
                self.held_out(stage.held_out.as_deref())?,
            ],
        };
        self.reinforce(learning, &stage.training, observer)
    }

    fn student_rl(&self, stage: &StudentRl, observer: &mut dyn Observer) -> Result<Figures> {
        let reward = Arc::new(stage.reward.clone());
        let learning = Learning {
            task: self.task(&[&stage.model], reward)?.with_role(Role::Solver {
                answer: stage.answer,
            }),
            policy: self.begin(&stage.model, stage.adapter.as_ref())?,
            student: StudentModel::Initial,
            problems: [
                self.problems(&stage.problems)?,
                self.held_out(stage.held_out.as_deref())?,
            ],
        };
        self.reinforce(learning, &stage.training, observer)
    }

    fn reinforce(
        &self,
        learning: Learning,
        config: &TeacherConfig,
        observer: &mut dyn Observer,
    ) -> Result<Figures> {
        let Learning {
            task,
            policy,
            student,
            problems: [train, held_out],
        } = learning;
        let config = TeacherConfig {
            stage: self.name.to_owned(),
            ..config.clone()
        };
        let mut directory = self.directory()?;
        let models = TeacherModels { policy, student };
        let mut trainer = TeacherTrainer::new(models, task.clone(), &train, &held_out, &config)?
            .with_stop(self.run.stop.clone())
            .with_checkpoints(directory.checkpoints(self.name)?)?;
        trainer.resume_latest()?;
        let report = trainer.run(&mut (&mut directory, observer))?;
        if report.interrupted {
            return self.interrupted(trainer.steps());
        }
        let mut figures = Figures::new();
        figures.insert("steps".to_owned(), trainer.steps() as f64);
        if let [before, .., after] = report.evaluations.as_slice() {
            let rewards = |e: &Evaluation| e.problems.iter().map(|p| p.reward).collect::<Vec<_>>();
            let (before, after) = (rewards(before), rewards(after));
            let of = |values: &[Option<f64>]| {
                let values: Vec<f64> = values.iter().flatten().copied().collect();
                Interval::of(&values)
            };
            add(&mut figures, "reward_before", of(&before));
            add(&mut figures, "reward_after", of(&after));
            let difference = Interval::of_differences(&before, &after);
            add(&mut figures, "reward_difference", difference);
        }
        didact_rl::report::write(directory.path())?;
        self.keep(&trainer.into_policy()?, &task.tokenizer)?;
        Ok(figures)
    }

    fn engine(
        &self,
        decoder: Decoder,
        config: &EngineConfig,
        tokenizer: &Arc<Tokenizer>,
    ) -> LocalEngine {
        let token_bytes: Arc<dyn TokenBytes> = tokenizer.clone();
        LocalEngine::new(decoder, config.clone()).with_token_bytes(token_bytes)
    }

    fn collect(&self, stage: &Collect, observer: &mut dyn Observer) -> Result<Figures> {
        let reward = Arc::new(self.run.recipe.reward.resolve()?);
        let task = self.task(&[&stage.model, &stage.student], reward)?;
        let (teacher, student) = (self.load(&stage.model)?, self.load(&stage.student)?);
        let [teacher_context, student_context] =
            [&teacher, &student].map(|decoder| decoder.config().max_position_embeddings);
        let eos: Vec<_> = task.tokenizer.eos().into_iter().collect();
        let sampling = stage.sampling.as_in_training();
        let resolved = sampling.resolve(teacher_context, &eos, task.end_tag())?;
        let mut problems = self.problems(&stage.problems)?;
        problems.truncate(stage.collect.problems.unwrap_or(usize::MAX));
        let problems = task.prepare(&problems, resolved.max_prompt_tokens)?;
        let engine =
            |decoder: &Decoder| self.engine(decoder.clone(), &sampling.engine, &task.tokenizer);
        let mut models = RolloutModels {
            policy: &mut engine(&teacher),
            reference: &mut engine(&teacher),
            student: &mut engine(&student),
            teacher_context,
            student_context,
        };
        let mut collection = Collection {
            models: &mut models,
            task: &task,
            sampling: &resolved.sampling,
            stage: self.name,
            stop: self.run.stop.clone(),
        };
        let file = self.lines("collected.jsonl");
        let records = collect(
            &mut collection,
            &problems,
            &stage.collect,
            Some(&file),
            observer,
        )?;
        let config = &stage.collect.selection;
        let selection = SelectionConfig {
            // A longer example could not be learnt from.
            max_tokens: config.max_tokens.or(Some(student_context)),
            ..config.clone()
        };
        let Selection {
            explanations,
            left_out,
            dropped,
        } = select(&records, &task.format, &selection)?;
        if explanations.is_empty() {
            let reasons = dropped
                .iter()
                .map(|(reason, count)| format!("{count} {}", reason.name()));
            let reasons: Vec<String> = reasons.collect();
            return Err(Error::Stage {
                stage: self.name.to_owned(),
                problem: format!(
                    "none of {} explanations can be learnt from ({}); all are in {}, and which of them are kept is \
                     said by collect.selection",
                    records.len(),
                    reasons.join(", "),
                    file.path.display()
                ),
            });
        }
        let path = |name: &str| self.folder.join(name);
        json_lines::write(path(EXPLANATIONS), &explanations)?;
        dataset::write_chat(path("chat.jsonl"), &task.format, &explanations)?;
        let written = path("completions.jsonl");
        dataset::write_completions(written, &task.tokenizer, &task.format, &explanations)?;
        let rewards: Vec<f64> = explanations.iter().map(|e| e.reward).collect();
        let mut figures = Figures::from([
            ("explanations".to_owned(), explanations.len() as f64),
            ("left_out".to_owned(), left_out.len() as f64),
        ]);
        for (reason, count) in dropped {
            figures.insert(format!("dropped/{}", reason.name()), count as f64);
        }
        add(&mut figures, "reward", Interval::of(&rewards));
        Ok(figures)
    }

    /// A file of this stage that is gone on with. Its folder is named by all that decides its lines.
    fn lines(&self, name: &str) -> ResumableFile {
        ResumableFile::new(self.folder.join(name), Value::Null)
    }

    fn evaluate(&self, stage: &Evaluate, observer: &mut dyn Observer) -> Result<Figures> {
        // Nothing is rewarded here; a task has a reward.
        let reward = Arc::new(self.run.recipe.reward.resolve()?);
        let task = self.task(&[&stage.model], reward)?;
        let student = self.load(&stage.model)?;
        let context = student.config().max_position_embeddings;
        let mut problems = self.problems(&stage.problems)?;
        problems.truncate(stage.answers.problems.unwrap_or(usize::MAX));
        let problems = task.prepare(&problems, context)?;
        let judge = stage.judge.judge();
        let mut examination = Examination {
            student: &mut self.engine(student, &EngineConfig::default(), &task.tokenizer),
            context,
            task: &task,
            judge: judge.as_ref(),
            stage: self.name,
            stop: self.run.stop.clone(),
        };
        let file = self.lines("answers.jsonl");
        let answers = answers(
            &mut examination,
            &problems,
            &stage.answers,
            Some(&file),
            observer,
        )?;
        let mut figures = Figures::new();
        add(&mut figures, "greedy_accuracy", answers.greedy_accuracy());
        if stage.answers.samples > 0 {
            add(
                &mut figures,
                &format!("avg@{}", stage.answers.samples),
                answers.avg_at_k(),
            );
        }
        for &k in &stage.pass_at {
            add(&mut figures, &format!("pass@{k}"), answers.pass_at_k(k));
        }
        add(
            &mut figures,
            "solution_log_prob",
            answers.solution_log_prob(),
        );
        figures.insert("closed".to_owned(), answers.closed());
        figures.insert("tokens".to_owned(), answers.mean_tokens());
        Ok(figures)
    }
}

/// What RL begins with.
struct Learning {
    task: TeacherTask,
    policy: Decoder,
    student: StudentModel,
    problems: [Vec<Problem>; 2],
}

fn add(figures: &mut Figures, name: &str, interval: Option<Interval>) {
    let Some(Interval {
        mean, low, high, ..
    }) = interval
    else {
        return;
    };
    for (part, value) in [("mean", mean), ("low", low), ("high", high)] {
        figures.insert(format!("{name}/{part}"), value);
    }
}
