//! The stages of the pipeline: what each takes from the run, and which files and metrics it leaves.
//!
//! Owns nothing of their order.

use std::sync::Arc;
use std::time::Instant;

use didact_core::{Problem, TokenBytes};
use didact_data::SupervisedExample;
use didact_engine::LocalEngine;
use didact_models::Decoder;
use didact_rl::rollout::RolloutModels;
use didact_rl::{
    Evaluation, FineTuneConfig, FineTuner, Metrics, MetricsKind, MetricsRecord, Observer,
    PreparedProblem, ProblemEvaluation, ResolvedTeacherConfig, RunDirectory, StopFlag,
    TeacherModels, TeacherTask, TeacherTrainer,
};
use serde_json::json;

use super::{
    Models, PipelineConfig, PipelineResults, STUDENTS, StudentResults, Task, TeacherResults,
};
use crate::collect::{Collection, collect};
use crate::resumable::ResumableFile;
use crate::selection::{Selection, SelectionConfig, select};
use crate::student::{StudentEvaluation, Verify, evaluate_student};
use crate::{CollectedExplanation, Error, Interval, Result, weights_hash};

/// The stages of one run.
pub(super) struct Stages<'a> {
    pub(super) task: &'a Task,
    pub(super) config: &'a PipelineConfig,
    pub(super) directory: &'a mut RunDirectory,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) verify: Option<&'a dyn Verify>,
    pub(super) stop: &'a StopFlag,
}

impl Stages<'_> {
    /// Refuses what a later stage would refuse, before hours are spent on the earlier ones.
    pub(super) fn check(&self, models: &Models) -> Result<()> {
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
    pub(super) fn students(
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

    pub(super) fn warm_up(&mut self, teacher: Decoder) -> Result<Decoder> {
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

    pub(super) fn teach(
        &mut self,
        teacher: Decoder,
        student: &Decoder,
    ) -> Result<(Decoder, TeacherResults)> {
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
        let paired = |value: fn(&ProblemEvaluation) -> Option<f64>| {
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

    pub(super) fn collect(
        &mut self,
        when: &str,
        teacher: &Decoder,
        student: &Decoder,
    ) -> Result<Selection> {
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
            stop: self.stop.clone(),
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
            let mean = |value: &dyn Fn(&CollectedExplanation) -> f64| {
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
    pub(super) fn save(&self, decoder: &Decoder, name: &str) -> Result<()> {
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

    pub(super) fn summarise(&mut self, results: &PipelineResults) -> Result<()> {
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
