//! What the stages of a run will do and hold in memory, before a weight is read.
//!
//! Owns which models each stage needs at once. How much one stage takes is said by
//! [`MemoryEstimate`]; this module trains nothing and writes nothing.

use std::fmt;

use didact_core::Problem;
use didact_rl::memory::{MemoryEstimate, PlannedModel, PlannedStudent};
use didact_rl::{Error as TrainingError, FineTuneConfig, TeacherConfig, TeacherTask};
use serde::Serialize;

use crate::{Error, PipelineConfig, Result, Task};

/// One stage with nothing left open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStage {
    /// Its name in the run's records.
    pub stage: String,
    /// Its resolved configuration, as the run directory keeps it.
    pub configuration: serde_json::Value,
    /// What it will hold in memory.
    pub memory: MemoryEstimate,
}

impl PlannedStage {
    /// Teacher RL on `problems`.
    ///
    /// # Errors
    /// What the trainer would refuse before its first step: a configuration key, a prompt longer than allowed, a
    /// tokenizer without an end of sequence.
    pub fn teacher(
        task: &TeacherTask,
        problems: &[Problem],
        policy: &PlannedModel<'_>,
        student: &PlannedStudent<'_>,
        config: &TeacherConfig,
    ) -> Result<Self> {
        let eos = task.tokenizer.eos();
        let eos: Vec<_> = eos.into_iter().collect();
        let context = policy.config.max_position_embeddings;
        let mut resolved = config.resolve(context, &eos, task.end_tag())?;
        resolved.credit = resolved.credit.with_terms_of(&task.reward.token_terms())?;
        resolved.curriculum.build(resolved.seed, problems)?;
        let prepared = task.prepare(problems, resolved.max_prompt_tokens)?;
        let prompts = prepared.iter().map(|p| p.prompt.ids.len());
        let longest = prompts.max().unwrap_or(0);
        Ok(Self {
            memory: MemoryEstimate::of_teacher(policy, student, &resolved, longest)?,
            configuration: json(&resolved)?,
            stage: resolved.stage,
        })
    }

    /// Supervised fine-tuning on `examples` examples, the longest of `longest` tokens.
    ///
    /// # Errors
    /// A configuration key.
    pub fn fine_tune(
        model: &PlannedModel<'_>,
        config: &FineTuneConfig,
        examples: usize,
        longest: usize,
    ) -> Result<Self> {
        let resolved = config.resolve(examples, model.config.max_position_embeddings)?;
        Ok(Self {
            memory: MemoryEstimate::of_fine_tune(model, &resolved, longest)?,
            configuration: json(&resolved)?,
            stage: resolved.stage,
        })
    }
}

fn json(resolved: &impl Serialize) -> Result<serde_json::Value> {
    let path = "config.json".into();
    let read = |source| Error::from(TrainingError::Json { path, source });
    serde_json::to_value(resolved).map_err(read)
}

/// The configuration as JSON, then the table of the memory.
impl fmt::Display for PlannedStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {:#}\n", self.stage, self.configuration)?;
        writeln!(f, "{}", self.memory)
    }
}

/// The training stages of [`pipeline::run`](crate::pipeline::run), in their order.
///
/// The student's explanations are taken to be as long as `teacher.max_completion_tokens` allows. Collecting and
/// evaluating hold less than the training before them.
///
/// # Errors
/// What a stage refuses before its first step.
pub fn plan(
    task: &Task,
    teacher: &PlannedModel<'_>,
    student: &PlannedModel<'_>,
    others: &[PlannedModel<'_>],
    config: &PipelineConfig,
) -> Result<Vec<PlannedStage>> {
    let examples = task.train.len();
    let tokens_of = |problem: &Problem| -> Result<usize> {
        let explanation = problem.reasoning_trace.as_ref();
        let explanation = explanation.unwrap_or(&problem.solution);
        let TeacherTask {
            tokenizer, format, ..
        } = &task.teacher;
        let example = format.teacher_example(tokenizer, problem, explanation)?;
        Ok(example.ids.len())
    };
    let mut longest = 0;
    for problem in &task.train {
        longest = longest.max(tokens_of(problem)?);
    }
    let mut stages = Vec::new();
    if let Some(warm_up) = &config.warm_up {
        let mut stage = PlannedStage::fine_tune(teacher, warm_up, examples, longest)?;
        stage.memory = stage.memory.with("student", student.bytes()?);
        stages.push(stage);
    }
    let separate = PlannedStudent::Separate(*student);
    let mut stage = PlannedStage::teacher(
        &task.teacher,
        &task.train,
        teacher,
        &separate,
        &config.teacher,
    )?;
    if config.teacher.reference_mixing.is_some() {
        // Until the reference is first mixed it is this.
        stage.memory = stage.memory.with("teacher before RL", teacher.bytes()?);
    }
    stages.push(stage);
    let explained = config.collect.problems.unwrap_or(examples).min(examples);
    let collected = explained * config.collect.samples;
    for student in std::iter::once(student).chain(others) {
        let read = longest + config.teacher.max_completion_tokens;
        let read = read.min(student.config.max_position_embeddings);
        let mut stage = PlannedStage::fine_tune(student, &config.distillation, collected, read)?;
        stage.memory = stage.memory.with("student as it began", student.bytes()?);
        stages.push(stage);
    }
    Ok(stages)
}
