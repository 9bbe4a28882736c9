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

use crate::checkpoint::{RunState, Saving};
use crate::config::{ResolvedTeacherConfig, TeacherConfig};
use crate::evaluation::{Evaluation, evaluate_teacher};
use crate::metrics::{Metrics, peak_memory};
use crate::non_finite::Skipped;
use crate::observer::{MetricsKind, MetricsRecord, Observer, Phase, Progress};
use crate::optimizer::OptimizerState;
use crate::parking::Parked;
use crate::reference_policy::ReferencePolicy;
use crate::rollout::{
    Group, PreparedProblem, RolloutModels, RolloutOrigin, RolloutRecord, SampleOptions, TeacherTask,
};
use crate::step::{StepOptions, Trainer};
use crate::stop::StopFlag;
use crate::warnings::Watch;
use crate::{Error, Result};

mod collect;
mod metrics;
mod resume;
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
    /// The looks at the held-out problems: before the first step, in between, after the last, those before a
    /// resumption included. Empty where no problem is held out.
    pub evaluations: Vec<Evaluation>,
    /// The metrics of each step that this trainer made; those of an earlier process are in its records.
    pub steps: Vec<Metrics>,
    /// Whether it was asked to stop before the last step.
    pub interrupted: bool,
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
    /// Counters, and the evaluations so far.
    state: RunState,
    saving: Option<Saving>,
    stop: StopFlag,
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
            .field("steps", &self.state.step)
            .finish_non_exhaustive()
    }
}

impl TeacherTrainer {
    /// A trainer that has not made a step yet, with the configuration's curriculum over `problems`.
    ///
    /// # Errors
    /// A configuration key, such as mixing a policy with an adapter into its reference or parking what frees nothing; no problems; a problem that the reward refuses or a prompt longer than allowed, by problem; a policy that is frozen; a
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
        let mut config = config.resolve(context, &[eos], task.end_tag())?;
        config.credit = config.credit.with_terms_of(&task.reward.token_terms())?;
        if problems.is_empty() {
            return Err(Error::TrainingData {
                what: "teacher training".to_owned(),
                problem: "no problem was given".to_owned(),
            });
        }
        for problem in problems.iter().chain(held_out) {
            task.reward.accepts(problem)?;
        }
        let prepared = task.prepare(problems, config.max_prompt_tokens)?;
        let held_out = task.prepare(held_out, config.max_prompt_tokens)?;
        let options = StepOptions {
            temperature: config.sampling.temperature,
            max_grad_norm: config.max_grad_norm,
            micro_batch_tokens: config.micro_batch_tokens,
            recompute_layers: config.recompute_layers,
        };
        let parked = if config.park_weights {
            Parked::of(&models.policy, &models.student)?
        } else {
            Parked::default()
        };
        let trainer = Trainer::new(models.policy, config.optimizer, options)?;
        let token_bytes: Arc<dyn TokenBytes> = task.tokenizer.clone();
        let policy = LocalEngine::new(trainer.policy()?.clone(), config.engine.clone())
            .with_token_bytes(token_bytes);
        let reference = ReferencePolicy::parked(
            trainer.policy()?,
            config.reference,
            config.engine.clone(),
            parked.reference.as_ref(),
        )?;
        let student = Student::new(
            models.student,
            trainer.policy()?,
            reference.decoder(),
            &config.engine,
            parked.student.as_ref(),
        );
        let curriculum = config.curriculum.build(config.seed, problems)?;
        let state = RunState {
            watch: Some(Watch::new(config.warnings)),
            ..RunState::default()
        };
        Ok(Self {
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
            state,
            saving: None,
            stop: StopFlag::new(),
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

    /// The number of updates made: steps, less those that were skipped.
    #[must_use]
    pub const fn updates(&self) -> u64 {
        self.trainer.updates()
    }

    /// Steps made, those of an earlier process included.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.state.step
    }

    /// The optimizer's state; see [`Optimizer::state`](crate::Optimizer::state).
    ///
    /// # Errors
    /// As there.
    pub fn optimizer_state(&self) -> Result<OptimizerState> {
        self.trainer.optimizer_state()
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

    /// The reference as it is now; with `park_weights`, in host memory.
    #[must_use]
    pub const fn reference(&self) -> &ReferencePolicy {
        &self.engines.reference
    }

    /// The student as it is now; with `park_weights`, in host memory unless its weights are the policy's.
    #[must_use]
    pub const fn student(&self) -> &Decoder {
        self.engines.student.engine.decoder()
    }

    /// Makes all steps that are left, with the looks at held-out problems before, between and after them, or those
    /// until it is asked to stop.
    ///
    /// # Errors
    /// As [`step`](Self::step) and [`evaluate`](Self::evaluate); a checkpoint that cannot be written, where the
    /// configuration says so.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<TeacherReport> {
        let resolved = serde_json::to_value(&self.config)
            .map_err(|e| Error::json(std::path::Path::new("config.json"), e))?;
        observer.on_configuration(&self.config.stage, &resolved)?;
        let (mut steps, mut interrupted) = (Vec::new(), false);
        // A run that was asked to stop left out the look that was due.
        self.evaluate_if_due(observer)?;
        while self.steps() < self.config.steps && !interrupted {
            let metrics = self.step(observer)?;
            let (step, config) = (self.steps(), &self.config.checkpoint);
            let mut due = config.is_due(step, self.config.steps)
                | config.improves(&mut self.state.best, step, &metrics);
            steps.push(metrics);
            interrupted = self.stop.is_set() && step < self.config.steps;
            if !interrupted {
                due |= self.evaluate_if_due(observer)?;
            }
            if due || interrupted {
                self.save(observer)?;
            }
        }
        observer.sync()?;
        Ok(TeacherReport {
            evaluations: self.state.evaluations.clone(),
            steps,
            interrupted,
        })
    }

    /// Whether what was found is the best so far.
    fn evaluate_if_due(&mut self, observer: &mut dyn Observer) -> Result<bool> {
        let (step, every) = (self.steps(), self.config.evaluation.every);
        let due =
            step == 0 || step == self.config.steps || (every > 0 && step.is_multiple_of(every));
        let done = self
            .state
            .evaluations
            .last()
            .is_some_and(|e| e.step == step);
        if !due || done {
            return Ok(false);
        }
        let Some(evaluation) = self.evaluate(observer)? else {
            return Ok(false);
        };
        let config = &self.config.checkpoint;
        let best = step > 0 && config.improves(&mut self.state.best, step, &evaluation.metrics);
        self.state.evaluations.push(evaluation);
        Ok(best)
    }

    /// Makes one step and returns its metrics.
    ///
    /// # Errors
    /// What an engine, the reward, the loss or the observer refuses; a non-finite number, by sample or tensor, where
    /// the configuration does not let it be left out.
    pub fn step(&mut self, observer: &mut dyn Observer) -> Result<Metrics> {
        let mut skipped = Skipped::new(self.config.non_finite, 0);
        let mut metrics = Metrics::new();
        let outcome = self.update(observer, &mut metrics, &mut skipped);
        let (records, error) = match outcome {
            Ok(records) => (Some(records), None),
            Err(error) if skipped.allows_step(&error, self.state.skipped_in_a_row) => {
                (None, Some(error))
            }
            Err(error) => return Err(error),
        };
        self.state.step += 1;
        self.state.skipped_in_a_row = match error {
            None => 0,
            Some(_) => self.state.skipped_in_a_row + 1,
        };
        if let Some(bytes) = peak_memory() {
            metrics.set("memory/peak", bytes as f64);
        }
        let origin = self.origin(MetricsKind::Train);
        let (stage, step) = (origin.stage, origin.step);
        skipped.report(error.as_ref(), stage, step, &mut metrics, observer)?;
        if let Some(records) = records {
            observer.on_rollouts(origin, &records)?;
        }
        let record = MetricsRecord {
            stage: stage.to_owned(),
            kind: MetricsKind::Train,
            step,
            metrics,
        };
        observer.on_metrics(&record)?;
        let watch = self.state.watch.as_mut();
        for warning in watch.map_or_else(Vec::new, |watch| watch.look(&record)) {
            observer.on_warning(&warning)?;
        }
        Ok(record.metrics)
    }

    /// Everything of a step but its records, which it returns.
    fn update(
        &mut self,
        observer: &mut dyn Observer,
        metrics: &mut Metrics,
        skipped: &mut Skipped,
    ) -> Result<Vec<RolloutRecord>> {
        let step = self.steps();
        let collected = self.collect(step, observer, metrics, skipped)?;
        let advantages = self.advantages(&collected.kept)?;
        metrics.extend(rollout_metrics(collected.all()));

        self.announce(observer, Phase::Update)?;
        let begin = Instant::now();
        let sequences = self.training_sequences(&collected.kept, &advantages);
        let learning_rate = self.config.schedule.rate(step);
        // The engine lets go of the policy's memory, which the update then changes in place.
        let held = self.engines.reference.decoder().clone();
        self.engines.update_policy(&held, step);
        let outcome = self.trainer.step_leaving_out(
            sequences.iter().collect(),
            &self.config.loss,
            learning_rate,
            skipped,
        );
        // After a step that failed halfway there is no policy; its own error says why.
        if let Ok(policy) = self.trainer.policy() {
            self.engines.update_policy(policy, step + 1);
        }
        let (report, trained) = outcome?;
        let mixed = self
            .engines
            .reference
            .follow(self.trainer.policy()?, step + 1)?;
        metrics.set("time/update", begin.elapsed().as_secs_f64());
        add_speed(metrics);

        metrics.extend(update_metrics(&trained, &report));
        metrics.set("lr", learning_rate);
        metrics.set("reference/mixed", f64::from(u8::from(mixed)));
        let results: Vec<ProblemResult> = collected.all().map(problem_result).collect();
        self.curriculum.observe(step, &results);
        Ok(self.records(&collected, &advantages, skipped))
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
        let step = self.steps();
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
            step: self.steps(),
        }
    }

    fn announce(&self, observer: &mut dyn Observer, phase: Phase) -> Result<()> {
        let (step, steps) = (self.steps(), self.config.steps);
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
