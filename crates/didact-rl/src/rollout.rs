//! Explanations: sampled, scored by every model that the reward asks for, and turned into outcomes.
//!
//! Owns the way from a problem to a group of outcomes. Knows no loss, no gradient and no tensor: models are
//! the traits [`Generate`] and [`Score`].

use std::sync::Arc;

use didact_core::{
    Completion, Generate, GenerateRequest, Outcome, Problem, Reward, Sampling, Score, StopReason,
    StreamKey,
};
use didact_data::{Explained, Prompt, PromptFormat, Tokenizer};

use crate::{Error, Result};

mod record;
mod role;
mod scoring;

pub use record::{RolloutOrigin, RolloutRecord, ScoreRecord, token_texts};
pub use role::Role;
pub use scoring::score;
pub(crate) use scoring::{outcomes, sample_scores};

/// What a policy's texts are made with and judged by.
#[derive(Clone)]
pub struct TeacherTask {
    /// Turns text into ids for teacher and student alike.
    pub tokenizer: Arc<Tokenizer>,
    /// Tags, delimiters and system prompts.
    pub format: PromptFormat,
    /// Turns scores into rewards.
    pub reward: Arc<dyn Reward>,
    /// What the policy writes.
    pub role: Role,
}

impl std::fmt::Debug for TeacherTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TeacherTask")
            .field("format", &self.format)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A problem with the teacher's prompt for it.
#[derive(Debug, Clone)]
pub struct PreparedProblem {
    /// The problem.
    pub problem: Problem,
    /// The prompt, shared by all its samples.
    pub prompt: Prompt,
}

impl TeacherTask {
    /// The task of a teacher that explains.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>, format: PromptFormat, reward: Arc<dyn Reward>) -> Self {
        Self {
            tokenizer,
            format,
            reward,
            role: Role::Teacher,
        }
    }

    /// The same for a policy that does something else.
    #[must_use]
    pub const fn with_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// The tag that closes what the policy writes.
    #[must_use]
    pub fn end_tag(&self) -> &str {
        self.role.end_tag(&self.format)
    }

    /// Makes the policy's prompts for `problems`.
    ///
    /// # Errors
    /// A problem that the format cannot hold; one whose prompt is longer than `max_prompt_tokens`, by id.
    pub fn prepare(
        &self,
        problems: &[Problem],
        max_prompt_tokens: usize,
    ) -> Result<Vec<PreparedProblem>> {
        let prepare = |problem: &Problem| {
            let prompt = self.role.prompt(&self.format, &self.tokenizer, problem)?;
            if prompt.ids.len() > max_prompt_tokens {
                return Err(Error::TrainingData {
                    what: format!("problem {}", problem.id),
                    problem: format!(
                        "its prompt has {} tokens, but {max_prompt_tokens} are the limit; leave the problem \
                         out, raise max_prompt_tokens or choose a model with a longer context",
                        prompt.ids.len()
                    ),
                });
            }
            Ok(PreparedProblem {
                problem: problem.clone(),
                prompt,
            })
        };
        problems.iter().map(prepare).collect()
    }
}

/// Samples and scores, such as [`LocalEngine`](didact_engine::LocalEngine).
pub trait PolicyEngine: Generate + Score {}

impl<T: Generate + Score + ?Sized> PolicyEngine for T {}

/// The models that take part in a rollout.
pub struct RolloutModels<'a> {
    /// The teacher: samples, and scores as [`Scorer::Policy`](didact_core::Scorer::Policy).
    pub policy: &'a mut dyn PolicyEngine,
    /// Scores as [`Scorer::Reference`](didact_core::Scorer::Reference).
    pub reference: &'a mut dyn Score,
    /// Scores as [`Scorer::Student`](didact_core::Scorer::Student).
    pub student: &'a mut dyn Score,
    /// The longest sequence that policy and reference read, in tokens.
    pub teacher_context: usize,
    /// The longest sequence that the student reads, in tokens.
    pub student_context: usize,
}

impl std::fmt::Debug for RolloutModels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RolloutModels")
            .field("teacher_context", &self.teacher_context)
            .field("student_context", &self.student_context)
            .finish_non_exhaustive()
    }
}

/// How to sample groups.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The training step, or any number that names another use; with seed, problem and sample it names the
    /// random stream.
    pub stream: u64,
    /// Explanations of each problem.
    pub group_size: usize,
    /// How to sample them.
    pub sampling: &'a Sampling,
    /// The problems that groups were sampled of before with the same seed and stream: a problem among them goes
    /// on with other draws.
    pub earlier: &'a [usize],
}

/// Which log-probs training wants of every sampled token, beside those of the reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingScores {
    /// Those of the policy as it sampled ([`Sample::old_log_probs`]).
    pub old: bool,
    /// Those of the reference ([`Sample::reference_log_probs`]).
    pub reference: bool,
    /// The temperature of both.
    pub temperature: f64,
}

/// One explanation.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Names it in errors: the problem's id and the sample's index.
    pub id: String,
    /// Its number among the samples of its problem in one step, from 0.
    pub index: usize,
    /// What was sampled.
    pub completion: Completion,
    /// The same in the teacher's and the student's format, with spans.
    pub explained: Explained,
    /// What it answers the question with, if anything ([`SampleScores::answered`](didact_core::SampleScores)).
    pub answered: Option<String>,
    /// The reward's scores, in the order of its requests. Empty before [`score`].
    pub scores: Vec<ScoreRecord>,
    /// The policy's log-probs of the completion's tokens, where asked for.
    pub old_log_probs: Option<Vec<f32>>,
    /// The reference's log-probs of the completion's tokens, where asked for.
    pub reference_log_probs: Option<Vec<f32>>,
    /// What the reward made of it; `None` before [`score`].
    pub outcome: Option<Outcome>,
}

/// The explanations of one problem.
#[derive(Debug, Clone)]
pub struct Group {
    /// Index of the problem among those given.
    pub problem: usize,
    /// The explanations, in the order they were drawn.
    pub samples: Vec<Sample>,
}

impl Group {
    /// The rewards, `None` where a sample was refused or not scored yet.
    pub fn rewards(&self) -> impl Iterator<Item = Option<f64>> {
        self.samples
            .iter()
            .map(|s| s.outcome.as_ref().and_then(Outcome::reward))
    }
}

impl Sample {
    /// An explanation that somebody else wrote, as the policy would have written it: closed, and sampled at no log-prob.
    ///
    /// # Errors
    /// An explanation that is empty or contains its own end tag; what the tokenizer and its chat template refuse.
    pub fn written(task: &TeacherTask, problem: &PreparedProblem, text: &str) -> Result<Self> {
        let (format, tokenizer) = (&task.format, &task.tokenizer);
        let PreparedProblem { problem, prompt } = problem;
        let example = format.teacher_example(tokenizer, problem, text)?;
        // Where the tokens of a whole text do not begin with the prompt's, no policy could write just these.
        let ids = match example.ids.strip_prefix(prompt.ids.as_ref()) {
            Some(completion) => completion.to_vec(),
            None => tokenizer.encode(&format!("{text}{}", task.end_tag()))?.ids,
        };
        let completion = Completion {
            sampling_log_probs: vec![0.0; ids.len()],
            ids,
            stop: StopReason::StopString,
            policy_version: 0,
        };
        let (explained, answered) =
            task.role
                .read(format, tokenizer, problem, prompt, &completion)?;
        Ok(Self {
            id: format!("{}#written", problem.id),
            index: 0,
            completion,
            explained,
            answered,
            scores: Vec::new(),
            old_log_probs: None,
            reference_log_probs: None,
            outcome: None,
        })
    }

    /// Makes it as it was before [`score`].
    pub(crate) fn forget_scores(&mut self) {
        self.scores.clear();
        self.old_log_probs = None;
        self.reference_log_probs = None;
        self.outcome = None;
    }
}

impl SampleOptions<'_> {
    /// The number of a group's first sample: a problem that is chosen twice goes on counting, so that its second
    /// group takes other draws.
    fn first_index(&self, chosen: &[usize], problem: usize) -> usize {
        let before = self.earlier.iter().chain(chosen);
        before.filter(|&&other| other == problem).count() * self.group_size
    }
}

/// Samples `options.group_size` explanations of each of the problems `chosen`.
///
/// # Errors
/// What the engine or the prompt format refuses.
pub fn sample(
    policy: &mut dyn PolicyEngine,
    task: &TeacherTask,
    problems: &[PreparedProblem],
    chosen: &[usize],
    options: SampleOptions<'_>,
) -> Result<Vec<Group>> {
    let mut requests = Vec::new();
    for (place, &problem) in chosen.iter().enumerate() {
        let first = options.first_index(&chosen[..place], problem);
        for sample in first..first + options.group_size {
            requests.push(GenerateRequest {
                prompt: problems[problem].prompt.ids.clone(),
                sampling: options.sampling.clone(),
                stream: StreamKey {
                    run_seed: options.seed,
                    step: options.stream,
                    problem: problem as u64,
                    sample: sample as u64,
                }
                .stream(),
            });
        }
    }
    let mut completions = policy.generate(&requests)?.into_iter();
    let mut groups = Vec::with_capacity(chosen.len());
    for (place, &problem) in chosen.iter().enumerate() {
        let first = options.first_index(&chosen[..place], problem);
        let PreparedProblem {
            problem: source,
            prompt,
        } = &problems[problem];
        let mut samples = Vec::with_capacity(options.group_size);
        for (index, completion) in (first..).zip(completions.by_ref().take(options.group_size)) {
            let (format, tokenizer) = (&task.format, &task.tokenizer);
            let (explained, answered) =
                task.role
                    .read(format, tokenizer, source, prompt, &completion)?;
            samples.push(Sample {
                id: format!("{}#{index}", source.id),
                index,
                explained,
                answered,
                completion,
                scores: Vec::new(),
                old_log_probs: None,
                reference_log_probs: None,
                outcome: None,
            });
        }
        groups.push(Group { problem, samples });
    }
    Ok(groups)
}
