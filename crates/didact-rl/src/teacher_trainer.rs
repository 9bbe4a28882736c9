//! A teacher's reinforcement learning, step by step.
//!
//! Owns the order of things: the curriculum picks problems, the policy samples explanations, every model scores
//! what the reward asks for, rewards become advantages, the training step updates the policy, the engines get
//! the new version. Each of these is written elsewhere.

use std::sync::Arc;
use std::time::Instant;

use didact_core::{Curriculum, Problem, ProblemResult, TokenBytes};
use didact_engine::LocalEngine;
use didact_models::Decoder;

use crate::config::{ResolvedTeacherConfig, TeacherConfig};
use crate::evaluation::{Evaluation, evaluate_teacher};
use crate::metrics::{Metrics, peak_memory};
use crate::observer::{MetricsKind, MetricsRecord, Observer, Phase, Progress};
use crate::reference_policy::ReferencePolicy;
use crate::rollout::{
    Group, PreparedProblem, RolloutModels, RolloutOrigin, SampleOptions, TeacherTask,
};
use crate::step::{StepOptions, Trainer, TrainingSequence};
use crate::warnings::Watch;
use crate::{Error, Result};

mod collect;
mod metrics;
mod student;

use self::metrics::{add_speed, rollout_metrics, update_metrics};
use self::student::Student;
pub use self::student::StudentModel;

/// Names the evaluation's random streams among those of the training steps.
const EVALUATION_STREAM: u64 = 1 << 63;

/// The models of a teacher's training.
#[derive(Debug)]
pub struct TeacherModels {
    /// The teacher as it begins; the reference is a copy of it.
    pub policy: Decoder,
    /// The model that the explanations are for.
    pub student: StudentModel,
}

/// What a run of teacher training gives.
#[derive(Debug, Clone, PartialEq)]
pub struct TeacherReport {
    /// The looks at the held-out problems: before the first step, in between, after the last. Empty where no
    /// problem is held out.
    pub evaluations: Vec<Evaluation>,
    /// The metrics of each step.
    pub steps: Vec<Metrics>,
}

/// Trains a teacher.
pub struct TeacherTrainer {
    config: ResolvedTeacherConfig,
    task: TeacherTask,
    problems: Vec<PreparedProblem>,
    held_out: Vec<PreparedProblem>,
    curriculum: Box<dyn Curriculum>,
    trainer: Trainer,
    engines: Engines,
    watch: Watch,
}

/// The models that sample and score.
struct Engines {
    policy: LocalEngine,
    reference: ReferencePolicy,
    student: Student,
}

impl Engines {
    fn models(&mut self) -> RolloutModels<'_> {
        RolloutModels {
            teacher_context: self.policy.decoder().config().max_position_embeddings,
            student_context: self.student.context,
            policy: &mut self.policy,
            reference: &mut self.reference,
            student: &mut self.student.engine,
        }
    }

    /// Runs `policy` from now on, as version `version`.
    fn update_policy(&mut self, policy: &Decoder, version: u64) {
        self.policy.update_weights(policy.clone(), version);
        self.student.follow(policy, version);
    }
}

impl std::fmt::Debug for TeacherTrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TeacherTrainer")
            .field("config", &self.config)
            .field("problems", &self.problems.len())
            .field("held_out", &self.held_out.len())
            .field("updates", &self.trainer.updates())
            .finish_non_exhaustive()
    }
}

impl TeacherTrainer {
    /// A trainer that has not made a step yet, with the configuration's curriculum over `problems`.
    ///
    /// # Errors
    /// A configuration key, such as mixing a policy with an adapter into its reference; no problems; a prompt longer than allowed, by problem; a policy that is frozen; a
    /// tokenizer without an end of sequence.
    pub fn new(
        models: TeacherModels,
        task: TeacherTask,
        problems: &[Problem],
        held_out: &[Problem],
        config: &TeacherConfig,
    ) -> Result<Self> {
        let context = models.policy.config().max_position_embeddings;
        let eos = task.tokenizer.eos().ok_or_else(|| Error::TrainingData {
            what: format!("tokenizer {}", task.tokenizer.name()),
            problem: "it names no end of sequence, so no completion could end".to_owned(),
        })?;
        let mut config = config.resolve(context, &[eos], &task.format.teacher.explanation.end)?;
        config.credit = config.credit.with_terms_of(&task.reward.token_terms())?;
        if problems.is_empty() {
            return Err(Error::TrainingData {
                what: "teacher training".to_owned(),
                problem: "no problem was given".to_owned(),
            });
        }
        let prepared = task.prepare(problems, config.max_prompt_tokens)?;
        let held_out = task.prepare(held_out, config.max_prompt_tokens)?;
        let options = StepOptions {
            temperature: config.sampling.temperature,
            max_grad_norm: config.max_grad_norm,
            micro_batch_tokens: config.micro_batch_tokens,
            recompute_layers: config.recompute_layers,
        };
        let trainer = Trainer::new(models.policy, config.optimizer, options)?;
        let token_bytes: Arc<dyn TokenBytes> = task.tokenizer.clone();
        let policy = LocalEngine::new(trainer.policy()?.clone(), config.engine.clone())
            .with_token_bytes(token_bytes);
        let reference =
            ReferencePolicy::new(trainer.policy()?, config.reference, config.engine.clone())?;
        let student = Student::new(
            models.student,
            trainer.policy()?,
            reference.decoder(),
            &config.engine,
        );
        let curriculum = config.curriculum.build(config.seed, problems)?;
        Ok(Self {
            watch: Watch::new(config.warnings),
            config,
            task,
            problems: prepared,
            held_out,
            curriculum,
            trainer,
            engines: Engines {
                policy,
                reference,
                student,
            },
        })
    }

    /// The same with problems chosen by `curriculum`.
    #[must_use]
    pub fn with_curriculum(mut self, curriculum: Box<dyn Curriculum>) -> Self {
        self.curriculum = curriculum;
        self
    }

    /// The configuration with nothing left open.
    #[must_use]
    pub const fn config(&self) -> &ResolvedTeacherConfig {
        &self.config
    }

    /// The number of updates made.
    #[must_use]
    pub const fn updates(&self) -> u64 {
        self.trainer.updates()
    }

    /// The policy as it is now.
    ///
    /// # Errors
    /// [`Error::LostPolicy`] after an update that failed halfway.
    pub fn policy(&self) -> Result<&Decoder> {
        self.trainer.policy()
    }

    /// The policy as it is now, without everything around it.
    ///
    /// # Errors
    /// As [`policy`](Self::policy).
    pub fn into_policy(self) -> Result<Decoder> {
        self.trainer.into_policy()
    }

    /// The reference as it is now.
    #[must_use]
    pub const fn reference(&self) -> &ReferencePolicy {
        &self.engines.reference
    }

    /// The student as it is now.
    #[must_use]
    pub const fn student(&self) -> &Decoder {
        self.engines.student.engine.decoder()
    }

    /// Makes all steps that are left, with the looks at held-out problems before, between and after them.
    ///
    /// # Errors
    /// As [`step`](Self::step) and [`evaluate`](Self::evaluate).
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<TeacherReport> {
        let resolved = serde_json::to_value(&self.config)
            .map_err(|e| Error::json(std::path::Path::new("config.json"), e))?;
        observer.on_configuration(&self.config.stage, &resolved)?;
        let mut report = TeacherReport {
            evaluations: Vec::new(),
            steps: Vec::new(),
        };
        report.evaluations.extend(self.evaluate(observer)?);
        while self.updates() < self.config.steps {
            report.steps.push(self.step(observer)?);
            let every = self.config.evaluation.every;
            let due = every > 0 && self.updates().is_multiple_of(every);
            if due || self.updates() == self.config.steps {
                report.evaluations.extend(self.evaluate(observer)?);
            }
        }
        Ok(report)
    }

    /// Makes one step and returns its metrics.
    ///
    /// # Errors
    /// What an engine, the reward, the loss or the observer refuses; a non-finite number, by sample or tensor.
    pub fn step(&mut self, observer: &mut dyn Observer) -> Result<Metrics> {
        let step = self.updates();
        let mut metrics = Metrics::new();
        let collected = self.collect(step, observer, &mut metrics)?;
        let advantages = self.advantages(&collected.kept)?;
        metrics.extend(rollout_metrics(collected.all()));

        self.announce(observer, Phase::Update)?;
        let begin = Instant::now();
        let sequences = self.training_sequences(&collected.kept, &advantages);
        let chosen_sequences: Vec<&TrainingSequence> = sequences.iter().collect();
        let learning_rate = self.config.schedule.rate(step);
        // The engine lets go of the policy's memory, which the update then changes in place.
        let held = self.engines.reference.decoder().clone();
        self.engines.update_policy(&held, step);
        let report = self
            .trainer
            .step(&chosen_sequences, &self.config.loss, learning_rate);
        let updates = self.trainer.updates();
        // After a step that failed halfway there is no policy; its own error says why.
        if let Ok(policy) = self.trainer.policy() {
            self.engines.update_policy(policy, updates);
        }
        let report = report?;
        let mixed = self
            .engines
            .reference
            .follow(self.trainer.policy()?, updates)?;
        metrics.set("time/update", begin.elapsed().as_secs_f64());
        add_speed(&mut metrics);

        metrics.extend(update_metrics(&sequences, &report));
        metrics.set("lr", learning_rate);
        metrics.set("reference/mixed", f64::from(u8::from(mixed)));
        if let Some(bytes) = peak_memory() {
            metrics.set("memory/peak", bytes as f64);
        }
        let results: Vec<ProblemResult> = collected.all().map(problem_result).collect();
        self.curriculum.observe(step, &results);
        let step = self.updates();
        let records = self.records(&collected, &advantages);
        observer.on_rollouts(self.origin(MetricsKind::Train), &records)?;
        let record = MetricsRecord {
            stage: self.config.stage.clone(),
            kind: MetricsKind::Train,
            step,
            metrics,
        };
        observer.on_metrics(&record)?;
        for warning in self.watch.look(&record) {
            observer.on_warning(&warning)?;
        }
        Ok(record.metrics)
    }

    /// Looks at the held-out problems; nothing where there are none.
    ///
    /// # Errors
    /// What an engine, the reward or the observer refuses.
    pub fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<Option<Evaluation>> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        self.announce(observer, Phase::Evaluate)?;
        let begin = Instant::now();
        let step = self.updates();
        let options = SampleOptions {
            seed: self.config.evaluation.seed,
            stream: EVALUATION_STREAM,
            group_size: self.config.evaluation.samples,
            sampling: &self.config.sampling,
            earlier: &[],
        };
        let origin = RolloutOrigin {
            stage: &self.config.stage,
            kind: MetricsKind::Evaluation,
            step,
        };
        let mut models = self.engines.models();
        let (evaluation, samples) =
            evaluate_teacher(&mut models, &self.task, &self.held_out, options, origin)?;
        let mut metrics = evaluation.metrics.clone();
        metrics.set("time/evaluate", begin.elapsed().as_secs_f64());
        observer.on_rollouts(origin, &samples)?;
        observer.on_metrics(&MetricsRecord {
            stage: self.config.stage.clone(),
            kind: MetricsKind::Evaluation,
            step,
            metrics,
        })?;
        Ok(Some(evaluation))
    }

    #[cfg(test)]
    pub(crate) fn student_context_for_tests(&mut self, tokens: usize) {
        self.engines.student.context = tokens;
    }

    fn origin(&self, kind: MetricsKind) -> RolloutOrigin<'_> {
        RolloutOrigin {
            stage: &self.config.stage,
            kind,
            step: self.updates(),
        }
    }

    fn announce(&self, observer: &mut dyn Observer, phase: Phase) -> Result<()> {
        let (step, steps) = (self.updates(), self.config.steps);
        observer.on_progress(&Progress {
            stage: &self.config.stage,
            phase,
            step,
            steps,
        })
    }
}

fn problem_result(group: &Group) -> ProblemResult {
    ProblemResult {
        problem: group.problem,
        rewards: group.rewards().collect(),
    }
}
