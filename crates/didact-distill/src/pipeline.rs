//! The whole loop: warm-up, teacher RL, explanations collected, students distilled, all of it evaluated.
//!
//! Owns the order of the stages and what is compared with what. Each stage is written elsewhere; where models,
//! problems and tokenizer come from is the caller's business.
//!
//! ```text
//! base ─ warm-up ─▶ teacher before RL ─ teacher RL ─▶ trained teacher
//!                        │ collect                        │ collect
//!                        ▼                                ▼
//! student ─ distil ─▶ student of it    student ─ distil ─▶ student of it      student as it is
//!                        └────────── held-out solution log-prob ──────────┘
//! ```
//!
//! Students of other sizes learn from the same explanations.

use std::sync::Arc;
use std::time::Instant;

use didact_core::{Problem, TokenBytes};
use didact_data::SupervisedExample;
use didact_engine::LocalEngine;
use didact_models::Decoder;
use didact_rl::rollout::RolloutModels;
use didact_rl::{
    Evaluation, FineTuneConfig, FineTuner, Metrics, MetricsKind, MetricsRecord, Observer,
    PreparedProblem, ResolvedTeacherConfig, RunDirectory, StopFlag, TeacherConfig, TeacherModels,
    TeacherTask, TeacherTrainer,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::collect::{CollectConfig, Collection, collect};
use crate::resumable::ResumableFile;
use crate::selection::{Selection, SelectionConfig, select};
use crate::student::{StudentEvaluation, StudentEvaluationConfig, Verify, evaluate_student};
use crate::{Error, Interval, Result, weights_hash};

/// What the pipeline works on.
#[derive(Debug, Clone)]
pub struct Task {
    /// Tokenizer, prompt format and reward.
    pub teacher: TeacherTask,
    /// The problems that the teacher is trained on and explains.
    pub train: Vec<Problem>,
    /// The problems that teachers and students are evaluated on.
    pub held_out: Vec<Problem>,
}

/// The models that the pipeline begins with, on a device that records gradients.
#[derive(Debug)]
pub struct Models {
    /// Becomes the teacher.
    pub teacher: Decoder,
    /// Judges explanations, frozen, and is what students are distilled from.
    pub student: Decoder,
    /// Students of other sizes that read the same tokens.
    pub others: Vec<NamedStudent>,
}

/// A student that learns from explanations which were judged by another.
#[derive(Debug)]
pub struct NamedStudent {
    /// Stands before the names of its stages; not empty, and unlike the others' names.
    pub name: String,
    /// The student before it learns.
    pub decoder: Decoder,
}

/// How each stage works.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// How the teacher learns its format before RL; without it, it begins as it is. The explanations of the
    /// warm-up are the problems' reasoning traces, or their solutions where they have none.
    pub warm_up: Option<FineTuneConfig>,
    /// Teacher RL.
    pub teacher: TeacherConfig,
    /// Which explanations students learn from.
    pub collect: CollectConfig,
    /// How students learn from explanations.
    pub distillation: FineTuneConfig,
    /// How students are evaluated.
    pub student: StudentEvaluationConfig,
    /// Whether stages write checkpoints to the run directory, so that the run can be resumed; each stage's
    /// `checkpoint` says when. Default false.
    pub checkpoints: bool,
}

/// A teacher's held-out figures before and after RL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeacherResults {
    /// Before RL.
    pub before: Evaluation,
    /// After RL.
    pub after: Evaluation,
    /// Mean reward after minus before, paired by problem.
    pub reward_difference: Option<Interval>,
    /// The same without the penalty for a missing end tag.
    pub reward_without_penalty_difference: Option<Interval>,
}

/// A student's held-out figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentResults {
    /// Which student: one of [`STUDENTS`], after `NAME_` for a student of another size.
    pub name: String,
    /// Whose explanations it learnt from: one of [`STUDENTS`].
    pub teacher: String,
    /// Numbers in its parameters.
    pub parameters: u64,
    /// Explanations that it learnt from.
    pub explanations: usize,
    /// Mean log-prob of the solution's tokens after the student's own thought, in nats.
    pub solution_log_prob: Option<Interval>,
    /// The same minus the undistilled student's, paired by problem.
    pub difference: Option<Interval>,
    /// The fraction of thoughts that it closed.
    pub closed: f64,
    /// The fraction of right answers, where answers were wanted.
    pub accuracy: Option<Interval>,
    /// The hash of its weights.
    pub weights: String,
}

impl StudentResults {
    fn new(
        [name, teacher]: [&str; 2],
        explanations: usize,
        evaluation: &StudentEvaluation,
        undistilled: &[Option<f64>],
        student: &Decoder,
    ) -> Self {
        Self {
            name: name.to_owned(),
            teacher: teacher.to_owned(),
            parameters: student.config().parameter_count().unwrap_or(u64::MAX),
            explanations,
            solution_log_prob: evaluation.solution_log_prob(),
            difference: Interval::of_differences(undistilled, &evaluation.solution_log_probs()),
            closed: evaluation.closed(),
            accuracy: evaluation.accuracy(),
            weights: weights_hash(student),
        }
    }
}

/// Everything that the pipeline found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineResults {
    /// The teacher before and after RL.
    pub teacher: TeacherResults,
    /// The hash of the trained teacher's weights.
    pub teacher_weights: String,
    /// The students: undistilled, of the teacher before RL, of the trained teacher; then those of other sizes in the same
    /// order. One whose teacher closed no explanation is not there.
    pub students: Vec<StudentResults>,
    /// Solution log-prob of the trained teacher's student minus that of the student of the teacher before RL,
    /// paired by problem.
    pub student_difference: Option<Interval>,
    /// The whole pipeline's duration.
    pub seconds: f64,
}

/// The names of the three students of a size, in the order of [`PipelineResults::students`].
pub const STUDENTS: [&str; 3] = ["undistilled", "of_teacher_before_rl", "of_trained_teacher"];

/// Runs every stage and writes the run directory.
///
/// Given a directory that was [resumed](RunDirectory::resume), it goes on from the checkpoints in it: a stage that
/// was complete takes up its model, one that was not goes on after its last checkpoint, and what costs little, such
/// as collecting, is done again, with the same outcome. Task, models and configuration must be those of before.
///
/// Beside the files of [`RunDirectory`], which the metrics of all stages go to, there are
/// `collected_before.jsonl` and `collected_after.jsonl` (every explanation sampled), `explanations_before.jsonl` and
/// `explanations_after.jsonl` (those that students learn from), `student_<name>.jsonl`, `results.json`, the settings and the
/// prompt format as `pipeline.json` and `format.json`, and the
/// trained teacher and its students as `teacher/`, `student/` and `NAME_student/`, which transformers opens.
///
/// # Errors
/// A configuration key; a problem that does not fit; a stage that has nothing to work on; a non-finite number;
/// a file that cannot be written.
pub fn run(
    task: &Task,
    models: Models,
    config: &PipelineConfig,
    directory: &mut RunDirectory,
    observer: &mut dyn Observer,
    verify: Option<&dyn Verify>,
) -> Result<PipelineResults> {
    let never = StopFlag::new();
    run_until(&never, task, models, config, directory, observer, verify)
}

/// [`run`], which ends with [`Error::Interrupted`] after the training step in which `stop` is set, once that step has
/// its checkpoint.
///
/// # Errors
/// As [`run`]; [`Error::Interrupted`].
pub fn run_until(
    stop: &StopFlag,
    task: &Task,
    models: Models,
    config: &PipelineConfig,
    directory: &mut RunDirectory,
    observer: &mut dyn Observer,
    verify: Option<&dyn Verify>,
) -> Result<PipelineResults> {
    let begin = Instant::now();
    directory.write_json("pipeline.json", config)?;
    directory.write_json("format.json", &task.teacher.format)?;
    let mut stage = Stages {
        task,
        config,
        directory,
        observer,
        verify,
        stop,
    };

    stage.check(&models)?;
    let teacher = stage.warm_up(models.teacher)?;
    let before = teacher.clone();
    let (after, teacher_results) = stage.teach(teacher, &models.student)?;
    stage.save(&after, "teacher")?;
    let explanations_before = stage.collect("before", &before, &models.student)?;
    let explanations_after = stage.collect("after", &after, &models.student)?;
    drop(before);
    let teacher_weights = weights_hash(&after);
    drop(after);

    let collected = [&explanations_before, &explanations_after];
    let (mut students, distilled) = stage.students("", &models.student, collected)?;
    for NamedStudent { name, decoder } in &models.others {
        students.extend(stage.students(&format!("{name}_"), decoder, collected)?.0);
    }
    let results = PipelineResults {
        teacher: teacher_results,
        teacher_weights,
        students,
        student_difference: match distilled.as_slice() {
            [before, after] => Interval::of_differences(before, after),
            _ => None,
        },
        seconds: begin.elapsed().as_secs_f64(),
    };
    stage.summarise(&results)?;
    stage.directory.sync()?;
    stage.directory.write_json("results.json", &results)?;
    Ok(results)
}

struct Stages<'a> {
    task: &'a Task,
    config: &'a PipelineConfig,
    directory: &'a mut RunDirectory,
    observer: &'a mut dyn Observer,
    verify: Option<&'a dyn Verify>,
    stop: &'a StopFlag,
}

impl Stages<'_> {
    /// Refuses what a later stage would refuse, before hours are spent on the earlier ones.
    fn check(&self, models: &Models) -> Result<()> {
        let refuse = |key: &str, problem: &str| {
            Err(Error::Configuration {
                key: key.to_owned(),
                problem: problem.to_owned(),
            })
        };
        if self.task.held_out.is_empty() {
            return refuse(
                "held_out",
                "no problem is held out to compare before and after on",
            );
        }
        if self.config.collect.samples == 0 {
            return refuse("collect.samples", "0 is too few; at least 1");
        }
        if self.config.student.answers && self.verify.is_none() {
            return refuse("student.answers", "nothing is given to verify answers with");
        }
        let teacher = &models.teacher;
        let context = teacher.config().max_position_embeddings;
        let resolved = self.resolve_teacher(teacher)?;
        for problems in [&self.task.train, &self.task.held_out] {
            self.task
                .teacher
                .prepare(problems, resolved.max_prompt_tokens)?;
        }
        let examples = self.task.train.len();
        if let Some(warm_up) = &self.config.warm_up {
            warm_up.resolve(examples, context)?;
        }
        let others = models.others.iter().map(|other| &other.decoder);
        for student in std::iter::once(&models.student).chain(others) {
            let context = student.config().max_position_embeddings;
            self.config.distillation.resolve(examples, context)?;
        }
        let mut names: Vec<&str> = models
            .others
            .iter()
            .map(|other| other.name.as_str())
            .collect();
        names.sort_unstable();
        if names.contains(&"") || names.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("others", "each student needs a name of its own");
        }
        Ok(())
    }

    /// A student as it is and as it becomes by either set of explanations; and the solution's log-probs, problem by
    /// problem, of those that learnt.
    fn students(
        &mut self,
        prefix: &str,
        student: &Decoder,
        collected: [&Selection; 2],
    ) -> Result<(Vec<StudentResults>, Vec<Vec<Option<f64>>>)> {
        let name = format!("{prefix}{}", STUDENTS[0]);
        let evaluation = self.evaluate(&name, student)?;
        let undistilled = evaluation.solution_log_probs();
        let names = [name.as_str(), STUDENTS[0]];
        let mut students = vec![StudentResults::new(
            names,
            0,
            &evaluation,
            &undistilled,
            student,
        )];
        let mut distilled = Vec::new();
        for (teacher, collected) in STUDENTS[1..].iter().zip(collected) {
            let count = collected.explanations.len();
            // A teacher that closed no explanation has no student; the rest of the run still tells something.
            if count == 0 {
                continue;
            }
            let name = format!("{prefix}{teacher}");
            let student = self.distill(&name, student.clone(), collected)?;
            let evaluation = self.evaluate(&name, &student)?;
            students.push(StudentResults::new(
                [&name, teacher],
                count,
                &evaluation,
                &undistilled,
                &student,
            ));
            distilled.push(evaluation.solution_log_probs());
            if *teacher == STUDENTS[2] {
                self.save(&student, &format!("{prefix}student"))?;
            }
        }
        Ok((students, distilled))
    }

    fn resolve_teacher(&self, teacher: &Decoder) -> Result<ResolvedTeacherConfig> {
        let task = &self.task.teacher;
        let context = teacher.config().max_position_embeddings;
        let eos: Vec<_> = task.tokenizer.eos().into_iter().collect();
        Ok(self.config.teacher.resolve(context, &eos, task.end_tag())?)
    }

    fn warm_up(&mut self, teacher: Decoder) -> Result<Decoder> {
        let Some(config) = &self.config.warm_up else {
            return Ok(teacher);
        };
        let TeacherTask {
            tokenizer, format, ..
        } = &self.task.teacher;
        let examples: Vec<SupervisedExample> = self
            .task
            .train
            .iter()
            .map(|problem| {
                let trace = problem
                    .reasoning_trace
                    .as_ref()
                    .unwrap_or(&problem.solution);
                format.teacher_example(tokenizer, problem, trace)
            })
            .collect::<Result<_, _>>()?;
        self.fine_tune(teacher, &examples, config)
    }

    fn teach(&mut self, teacher: Decoder, student: &Decoder) -> Result<(Decoder, TeacherResults)> {
        let models = TeacherModels {
            policy: teacher,
            student: student.clone().into(),
        };
        let Task {
            teacher: task,
            train,
            held_out,
        } = self.task;
        let mut trainer =
            TeacherTrainer::new(models, task.clone(), train, held_out, &self.config.teacher)?
                .with_stop(self.stop.clone());
        if self.config.checkpoints {
            let store = self.directory.checkpoints(&self.config.teacher.stage)?;
            trainer = trainer.with_checkpoints(store)?;
            trainer.resume_latest()?;
        }
        let mut observers = (&mut *self.directory, &mut *self.observer);
        let mut report = trainer.run(&mut observers)?;
        if report.interrupted {
            return self.interrupted(&self.config.teacher.stage, trainer.steps());
        }
        let (Some(after), false) = (report.evaluations.pop(), report.evaluations.is_empty()) else {
            return Err(Error::Stage {
                stage: self.config.teacher.stage.clone(),
                problem: "no held-out problem was given to compare before and after on".to_owned(),
            });
        };
        let before = report.evaluations.swap_remove(0);
        let paired = |value: fn(&didact_rl::ProblemEvaluation) -> Option<f64>| {
            let column = |e: &Evaluation| e.problems.iter().map(value).collect::<Vec<_>>();
            Interval::of_differences(&column(&before), &column(&after))
        };
        let results = TeacherResults {
            reward_difference: paired(|p| p.reward),
            reward_without_penalty_difference: paired(|p| p.reward_without_penalty),
            before,
            after,
        };
        Ok((trainer.into_policy()?, results))
    }

    fn fine_tune(
        &mut self,
        decoder: Decoder,
        examples: &[SupervisedExample],
        config: &FineTuneConfig,
    ) -> Result<Decoder> {
        let mut tuner = FineTuner::new(decoder, examples, config)?.with_stop(self.stop.clone());
        if self.config.checkpoints {
            tuner = tuner.with_checkpoints(self.directory.checkpoints(&config.stage)?)?;
            tuner.resume_latest()?;
        }
        let mut observers = (&mut *self.directory, &mut *self.observer);
        if tuner.run(&mut observers)? {
            return self.interrupted(&config.stage, tuner.steps());
        }
        Ok(tuner.finish()?.decoder)
    }

    fn interrupted<T>(&self, stage: &str, step: u64) -> Result<T> {
        Err(Error::Interrupted {
            stage: stage.to_owned(),
            step,
            directory: self.directory.path().to_owned(),
        })
    }

    fn engine(&self, decoder: &Decoder) -> LocalEngine {
        let token_bytes: Arc<dyn TokenBytes> = self.task.teacher.tokenizer.clone();
        LocalEngine::new(decoder.clone(), self.config.teacher.engine.clone())
            .with_token_bytes(token_bytes)
    }

    fn prepare(&self, problems: &[Problem], decoder: &Decoder) -> Result<Vec<PreparedProblem>> {
        let context = decoder.config().max_position_embeddings;
        Ok(self.task.teacher.prepare(problems, context)?)
    }

    fn collect(&mut self, when: &str, teacher: &Decoder, student: &Decoder) -> Result<Selection> {
        let stage = format!("collect_{when}");
        let problems = self.prepare(&self.task.train, teacher)?;
        let context = teacher.config().max_position_embeddings;
        let sampling = self.resolve_teacher(teacher)?.sampling;
        let (mut policy, mut reference) = (self.engine(teacher), self.engine(teacher));
        let mut student = self.engine(student);
        let student_context = student.decoder().config().max_position_embeddings;
        // A longer example could not be learnt from.
        let longest = self
            .config
            .distillation
            .max_tokens
            .map_or(student_context, |most| most.min(student_context));
        let weights = json!({
            "teacher": weights_hash(teacher),
            "student": weights_hash(student.decoder()),
        });
        let mut models = RolloutModels {
            teacher_context: context,
            student_context,
            policy: &mut policy,
            reference: &mut reference,
            student: &mut student,
        };
        let file = ResumableFile::new(
            self.directory
                .path()
                .join(format!("collected_{when}.jsonl")),
            weights,
        );
        let mut collection = Collection {
            models: &mut models,
            task: &self.task.teacher,
            sampling: &sampling,
            stage: &stage,
        };
        let config = &self.config.collect;
        let records = collect(
            &mut collection,
            &problems,
            config,
            Some(&file),
            self.observer,
        )?;
        let selection = SelectionConfig {
            max_tokens: config.selection.max_tokens.or(Some(longest)),
            ..config.selection.clone()
        };
        let collected = select(&records, &self.task.teacher.format, &selection)?;
        self.directory.write_json_lines(
            &format!("explanations_{when}.jsonl"),
            &collected.explanations,
        )?;
        let mut metrics = Metrics::new();
        let count = collected.explanations.len();
        metrics.set("explanations", count as f64);
        metrics.set("left_out", collected.left_out.len() as f64);
        for (reason, dropped) in &collected.dropped {
            metrics.set(format!("dropped/{}", reason.name()), *dropped as f64);
        }
        if count > 0 {
            let mean = |value: &dyn Fn(&crate::CollectedExplanation) -> f64| {
                collected.explanations.iter().map(value).sum::<f64>() / count as f64
            };
            metrics.set("reward", mean(&|e| e.reward));
            metrics.set("completions/mean_length", mean(&|e| e.tokens as f64));
        }
        self.record(&stage, count as u64, metrics)?;
        Ok(collected)
    }

    fn distill(&mut self, name: &str, student: Decoder, collected: &Selection) -> Result<Decoder> {
        let config = FineTuneConfig {
            stage: format!("distill_{name}"),
            ..self.config.distillation.clone()
        };
        let TeacherTask {
            tokenizer, format, ..
        } = &self.task.teacher;
        let examples: Vec<SupervisedExample> = collected
            .explanations
            .iter()
            .map(|e| format.student_example(tokenizer, &e.problem, &e.explanation))
            .collect::<Result<_, _>>()?;
        self.fine_tune(student, &examples, &config)
    }

    /// Writes a model with its tokenizer, as a folder that transformers opens.
    fn save(&self, decoder: &Decoder, name: &str) -> Result<()> {
        let folder = self.directory.path().join(name);
        decoder.save_folder(&folder)?;
        Ok(self.task.teacher.tokenizer.save_folder(&folder)?)
    }

    fn evaluate(&mut self, name: &str, student: &Decoder) -> Result<StudentEvaluation> {
        let begin = Instant::now();
        let problems = self.prepare(&self.task.held_out, student)?;
        let evaluation = evaluate_student(
            &mut self.engine(student),
            student.config().max_position_embeddings,
            &self.task.teacher,
            &problems,
            &self.config.student,
            self.verify,
        )?;
        self.directory
            .write_json_lines(&format!("student_{name}.jsonl"), &evaluation.records)?;
        let mut metrics = Metrics::new();
        if let Some(interval) = evaluation.solution_log_prob() {
            metrics.set("solution_log_prob", interval.mean);
        }
        if let Some(accuracy) = evaluation.accuracy() {
            metrics.set("accuracy", accuracy.mean);
        }
        metrics.set("missing_tag_ratio", 1.0 - evaluation.closed());
        metrics.set("time/evaluate", begin.elapsed().as_secs_f64());
        self.record(&format!("student_{name}"), 0, metrics)?;
        Ok(evaluation)
    }

    fn summarise(&mut self, results: &PipelineResults) -> Result<()> {
        let mut metrics = Metrics::new();
        let mut set = |name: &str, interval: Option<Interval>| {
            let Some(interval) = interval else { return };
            metrics.set(format!("{name}/count"), interval.count as f64);
            metrics.set(format!("{name}/mean"), interval.mean);
            metrics.set(format!("{name}/low"), interval.low);
            metrics.set(format!("{name}/high"), interval.high);
        };
        set(
            "teacher/reward_difference",
            results.teacher.reward_difference,
        );
        set(
            "teacher/reward_without_penalty_difference",
            results.teacher.reward_without_penalty_difference,
        );
        for student in &results.students {
            set(
                &format!("{}/solution_log_prob", student.name),
                student.solution_log_prob,
            );
            set(&format!("{}/accuracy", student.name), student.accuracy);
        }
        set("student_difference", results.student_difference);
        metrics.set("time/pipeline", results.seconds);
        self.record("pipeline", 0, metrics)
    }

    fn record(&mut self, stage: &str, step: u64, metrics: Metrics) -> Result<()> {
        let record = MetricsRecord {
            stage: stage.to_owned(),
            kind: MetricsKind::Summary,
            step,
            metrics,
        };
        self.directory.append_metrics(&record)?;
        Ok(self.observer.on_metrics(&record)?)
    }
}
