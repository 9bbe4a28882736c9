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

mod results;
mod stages;

use std::time::Instant;

use didact_core::Problem;
use didact_models::Decoder;
use didact_rl::{FineTuneConfig, Observer, RunDirectory, StopFlag, TeacherConfig, TeacherTask};
use serde::{Deserialize, Serialize};

use self::stages::Stages;
use crate::collect::CollectConfig;
use crate::student::{StudentEvaluationConfig, Verify};
use crate::{Interval, Result, weights_hash};

pub use self::results::{PipelineResults, STUDENTS, StudentResults, TeacherResults};

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

/// [`run`], which ends with [`Error::Interrupted`](crate::Error::Interrupted) after the training
/// step in which `stop` is set, once that step has its checkpoint, or after the batch of explanations that is being collected.
///
/// # Errors
/// As [`run`]; [`Error::Interrupted`](crate::Error::Interrupted).
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
