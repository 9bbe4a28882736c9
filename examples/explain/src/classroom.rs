//! A teacher and a student in memory.
//!
//! Owns loading them and having explanations sampled, or taken as written, and scored. Knows nothing of the terminal.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use didact::Device;
use didact::core::{Problem, Sampling, TokenBytes};
use didact::data::{PromptFormat, Tokenizer};
use didact::engine::{EngineConfig, LocalEngine};
use didact::gguf::Gguf;
use didact::models::Decoder;
use didact::reward::rlt;
use didact::rl::rollout::{
    Group, PreparedProblem, RolloutOrigin, RolloutRecord, Sample, SampleOptions, sample, score,
};
use didact::rl::{MetricsKind, RolloutModels, TeacherTask};

use crate::Result;

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    pub(crate) run: &'a Path,
    pub(crate) teacher: Option<&'a Path>,
    pub(crate) student: Option<&'a Path>,
    pub(crate) format: Option<&'a str>,
    pub(crate) device: &'a Device,
}

pub(crate) struct Classroom {
    task: TeacherTask,
    policy: LocalEngine,
    student: LocalEngine,
    teacher_context: usize,
    student_context: usize,
}

impl Classroom {
    pub(crate) fn open(places: &Places<'_>) -> Result<Self> {
        let teacher = places
            .teacher
            .map_or_else(|| places.run.join("teacher"), Path::to_owned);
        let student = places
            .student
            .map_or_else(|| places.run.join("base"), Path::to_owned);
        let (tokenizer, teacher) = model(&teacher, "--teacher", places.device)?;
        let (its, student) = model(&student, "--student", places.device)?;
        if its.fingerprint() != tokenizer.fingerprint() {
            return Err(
                "teacher and student have different tokenizers, but are compared token by token"
                    .into(),
            );
        }
        let tokenizer = Arc::new(tokenizer);
        let contexts = [&teacher, &student].map(|d| d.config().max_position_embeddings);
        let engine = |decoder: Decoder| {
            let token_bytes: Arc<dyn TokenBytes> = tokenizer.clone();
            LocalEngine::new(decoder, EngineConfig::default()).with_token_bytes(token_bytes)
        };
        Ok(Self {
            policy: engine(teacher),
            student: engine(student),
            teacher_context: contexts[0],
            student_context: contexts[1],
            task: TeacherTask::new(tokenizer, format(places)?, Arc::new(rlt().resolve()?)),
        })
    }

    /// Explanations of the teacher's own, sampled at a temperature and of at most so many tokens.
    pub(crate) fn explain(
        &mut self,
        problem: &Problem,
        samples: usize,
        (temperature, max_tokens): (f64, usize),
        seed: u64,
    ) -> Result<Vec<RolloutRecord>> {
        let prepared = self.prepare(problem)?;
        let room = self.teacher_context - prepared[0].prompt.ids.len();
        let mut sampling = Sampling::new(temperature, max_tokens.min(room))
            .with_stop_tokens(self.task.tokenizer.eos().into_iter().collect::<Vec<_>>());
        sampling.stop_strings.push(self.task.end_tag().to_owned());
        let options = SampleOptions {
            seed,
            stream: 0,
            group_size: samples,
            sampling: &sampling,
            earlier: &[],
        };
        let groups = sample(&mut self.policy, &self.task, &prepared, &[0], options)?;
        self.score(&prepared, groups)
    }

    /// A written explanation.
    pub(crate) fn judge(&mut self, problem: &Problem, text: &str) -> Result<Vec<RolloutRecord>> {
        let prepared = self.prepare(problem)?;
        let samples = vec![Sample::written(&self.task, &prepared[0], text)?];
        self.score(
            &prepared,
            vec![Group {
                problem: 0,
                samples,
            }],
        )
    }

    fn prepare(&self, problem: &Problem) -> Result<Vec<PreparedProblem>> {
        let most = self.teacher_context - 1;
        Ok(self.task.prepare(std::slice::from_ref(problem), most)?)
    }

    fn score(
        &mut self,
        prepared: &[PreparedProblem],
        mut groups: Vec<Group>,
    ) -> Result<Vec<RolloutRecord>> {
        // The published reward asks policy and student alone.
        let mut reference = self.policy.clone();
        let mut models = RolloutModels {
            policy: &mut self.policy,
            reference: &mut reference,
            student: &mut self.student,
            teacher_context: self.teacher_context,
            student_context: self.student_context,
        };
        score(&mut models, &self.task, prepared, &mut groups, 0, None)?;
        let origin = RolloutOrigin {
            stage: "explain",
            kind: MetricsKind::Evaluation,
            step: 0,
        };
        let samples = groups.iter().flat_map(|group| &group.samples);
        let record = |sample| RolloutRecord::new(origin, &self.task, &prepared[0], 0, sample);
        Ok(samples.map(record).collect())
    }
}

/// A model with its tokenizer: a Hugging Face folder or a GGUF file, which `option` names.
fn model(path: &Path, option: &str, device: &Device) -> Result<(Tokenizer, Decoder)> {
    if path.is_dir() {
        let decoder = Decoder::load_folder(path, device)?;
        return Ok((Tokenizer::from_folder(path)?, decoder));
    }
    if !path.is_file() {
        return Err(format!(
            "{}: there is no model; make a run with `cargo run --release -p quickstart`, or name a folder or a GGUF \
             file with {option}",
            path.display()
        )
        .into());
    }
    let gguf = Gguf::open(path)?;
    let decoder = Decoder::load_gguf(&gguf, device)?;
    Ok((Tokenizer::from_gguf(&gguf)?, decoder))
}

fn format(places: &Places<'_>) -> Result<PromptFormat> {
    match places.format {
        Some("thought") => Ok(PromptFormat::thought()),
        Some("think") => Ok(PromptFormat::think()),
        Some(path) => Ok(PromptFormat::from_toml_file(path)?),
        None => {
            let path = places.run.join("format.json");
            let text = fs::read_to_string(&path).map_err(|e| {
                format!(
                    "{}: {e}; name the prompt format with --format",
                    path.display()
                )
            })?;
            let format: PromptFormat =
                serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            format
                .validate()
                .map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(format)
        }
    }
}
