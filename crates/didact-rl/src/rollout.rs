//! Explanations: sampled, scored by every model that the reward asks for, and turned into outcomes.
//!
//! Owns the way from a problem to a group of outcomes. Knows no loss, no gradient and no tensor: models are
//! the traits [`Generate`] and [`Score`].

use std::sync::Arc;

use didact_core::{
    Completion, Generate, GenerateRequest, GroupScores, Outcome, Problem, Refusal, Reward,
    SampleScores, Sampling, Score, ScoreContext, ScoreRequest, ScoreSpec, Scorer, Span, SpanName,
    StopReason, StreamKey, TokenId, TokenLogProbs,
};
use didact_data::{Explained, Prompt, PromptFormat, Tokenizer, from_tokens};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What explanations are made with and judged by.
#[derive(Clone)]
pub struct TeacherTask {
    /// Turns text into ids for teacher and student alike.
    pub tokenizer: Arc<Tokenizer>,
    /// Tags, delimiters and system prompts.
    pub format: PromptFormat,
    /// Turns scores into rewards.
    pub reward: Arc<dyn Reward>,
}

impl std::fmt::Debug for TeacherTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TeacherTask")
            .field("format", &self.format)
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
    /// Makes the prompts of `problems`.
    ///
    /// # Errors
    /// A problem that the format cannot hold; one whose prompt is longer than `max_prompt_tokens`, by id.
    pub fn prepare(
        &self,
        problems: &[Problem],
        max_prompt_tokens: usize,
    ) -> Result<Vec<PreparedProblem>> {
        let prepare = |problem: &Problem| {
            let prompt = self.format.teacher_prompt(&self.tokenizer, problem)?;
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
    /// The teacher: samples, and scores as [`Scorer::Policy`].
    pub policy: &'a mut dyn PolicyEngine,
    /// Scores as [`Scorer::Reference`].
    pub reference: &'a mut dyn Score,
    /// Scores as [`Scorer::Student`].
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

/// One score that the reward asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// What was asked for.
    #[serde(flatten)]
    pub spec: ScoreSpec,
    /// The log-probs of the span; none where it is empty or the sequence is too long for the scorer.
    pub log_probs: Option<TokenLogProbs>,
}

/// One explanation.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Names it in errors: the problem's id and the sample's index.
    pub id: String,
    /// What was sampled.
    pub completion: Completion,
    /// The same in the teacher's and the student's format, with spans.
    pub explained: Explained,
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
    let mut requests = Vec::with_capacity(chosen.len() * options.group_size);
    for &problem in chosen {
        for sample in 0..options.group_size {
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
    for &problem in chosen {
        let PreparedProblem {
            problem: source,
            prompt,
        } = &problems[problem];
        let mut samples = Vec::with_capacity(options.group_size);
        for (index, completion) in completions.by_ref().take(options.group_size).enumerate() {
            samples.push(Sample {
                id: format!("{}#{index}", source.id),
                explained: from_tokens(
                    &task.format,
                    &task.tokenizer,
                    source,
                    prompt,
                    &completion.ids,
                )?,
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

/// Scores the samples with the models that the reward asks for, and evaluates the reward.
///
/// # Errors
/// What an engine or the reward refuses; a non-finite log-prob or reward, by sample.
pub fn score(
    models: &mut RolloutModels<'_>,
    task: &TeacherTask,
    problems: &[PreparedProblem],
    groups: &mut [Group],
    step: u64,
    training: Option<TrainingScores>,
) -> Result<()> {
    let specs = task.reward.requests();
    let mut tables = Vec::new();
    for pass in passes(&specs, training) {
        let context = match pass.scorer {
            Scorer::Policy | Scorer::Reference => models.teacher_context,
            Scorer::Student => models.student_context,
        };
        let table = pass.requests(problems, groups, context);
        let scored = match pass.scorer {
            Scorer::Policy => models.policy.score(&table.requests)?,
            Scorer::Reference => models.reference.score(&table.requests)?,
            Scorer::Student => models.student.score(&table.requests)?,
        };
        tables.push((pass, table.placed(scored)));
    }
    let mut position = 0;
    for group in &mut *groups {
        for sample in &mut group.samples {
            for (pass, table) in &tables {
                sample.take(
                    pass,
                    &table[position],
                    &specs,
                    training,
                    problems[group.problem].prompt.ids.len(),
                )?;
            }
            // The reward finds its scores in the order in which it asked for them.
            sample
                .scores
                .sort_by_key(|s| specs.iter().position(|spec| *spec == s.spec));
            position += 1;
        }
        evaluate(task, &problems[group.problem].problem, group, step)?;
    }
    Ok(())
}

/// One forward pass over all samples: a model reads one context at one temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pass {
    scorer: Scorer,
    context: ScoreContext,
    temperature: f64,
    thought: bool,
    solution: bool,
    /// All sampled tokens, which include the thought.
    completion: bool,
}

fn passes(specs: &[ScoreSpec], training: Option<TrainingScores>) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    let mut pass_of = |scorer, context, temperature: f64| {
        let same =
            |p: &Pass| (p.scorer, p.context, p.temperature) == (scorer, context, temperature);
        passes.iter().position(same).unwrap_or_else(|| {
            let (thought, solution, completion) = (false, false, false);
            passes.push(Pass {
                scorer,
                context,
                temperature,
                thought,
                solution,
                completion,
            });
            passes.len() - 1
        })
    };
    let mut wanted = Vec::new();
    for spec in specs {
        wanted.push((
            pass_of(spec.scorer, spec.context, spec.temperature),
            Some(spec.span),
        ));
    }
    if let Some(training) = training {
        for (scorer, needed) in [
            (Scorer::Policy, training.old),
            (Scorer::Reference, training.reference),
        ] {
            if needed {
                wanted.push((
                    pass_of(scorer, ScoreContext::Teacher, training.temperature),
                    None,
                ));
            }
        }
    }
    for (index, span) in wanted {
        match span {
            Some(SpanName::Thought) => passes[index].thought = true,
            Some(SpanName::Solution) => passes[index].solution = true,
            None => passes[index].completion = true,
        }
    }
    passes
}

/// The requests of one pass, and for each sample which one is its own.
struct PassRequests {
    requests: Vec<ScoreRequest>,
    place: Vec<Place>,
}

/// What a pass has of one sample.
#[derive(Debug, Clone)]
enum Place {
    /// No span of it holds a token.
    Nothing,
    /// Its sequence is longer than the scorer's context.
    TooLong,
    /// The index of its request.
    Request(usize),
}

/// What a pass found out about one sample.
#[derive(Debug, Clone)]
enum Found {
    Nothing,
    TooLong,
    LogProbs(Vec<TokenLogProbs>),
}

impl Pass {
    fn requests(
        &self,
        problems: &[PreparedProblem],
        groups: &[Group],
        context: usize,
    ) -> PassRequests {
        let mut requests = Vec::new();
        let mut place = Vec::new();
        for group in groups {
            let prompt = &problems[group.problem].prompt;
            for sample in &group.samples {
                let request = self.request(prompt, sample);
                place.push(match request {
                    Some(request)
                        if request.prefix.len() + request.continuation.len() > context =>
                    {
                        Place::TooLong
                    }
                    Some(request) => {
                        requests.push(request);
                        Place::Request(requests.len() - 1)
                    }
                    None => Place::Nothing,
                });
            }
        }
        PassRequests { requests, place }
    }

    fn request(&self, prompt: &Prompt, sample: &Sample) -> Option<ScoreRequest> {
        let sequence = match self.context {
            ScoreContext::Teacher => &sample.explained.teacher,
            ScoreContext::Student => &sample.explained.student,
        };
        let mut spans = Vec::new();
        if self.completion {
            spans.extend(completion_span(prompt, sample).non_empty());
        } else if self.thought {
            spans.extend(sequence.thought);
        }
        if self.solution {
            spans.extend(sequence.solution);
        }
        if spans.is_empty() {
            return None;
        }
        Some(match self.context {
            // The sampled ids as they are, whatever a format appends to them.
            ScoreContext::Teacher => ScoreRequest {
                prefix: prompt.ids.clone(),
                continuation: sample.completion.ids.clone(),
                spans,
                temperature: self.temperature,
            },
            ScoreContext::Student => ScoreRequest::new(sequence, spans, self.temperature),
        })
    }

    fn answers(&self, spec: &ScoreSpec) -> bool {
        (self.scorer, self.context, self.temperature)
            == (spec.scorer, spec.context, spec.temperature)
    }
}

impl PassRequests {
    fn placed(self, scored: Vec<Vec<TokenLogProbs>>) -> Vec<Found> {
        let mut scored: Vec<Option<Vec<TokenLogProbs>>> = scored.into_iter().map(Some).collect();
        let mut find = |place| match place {
            Place::Nothing => Found::Nothing,
            Place::TooLong => Found::TooLong,
            Place::Request(index) => Found::LogProbs(
                scored
                    .get_mut(index)
                    .and_then(Option::take)
                    .unwrap_or_default(),
            ),
        };
        self.place.into_iter().map(&mut find).collect()
    }
}

fn completion_span(prompt: &Prompt, sample: &Sample) -> Span {
    Span::new(
        prompt.ids.len(),
        prompt.ids.len() + sample.completion.ids.len(),
    )
}

impl Sample {
    /// Keeps what one pass found out.
    fn take(
        &mut self,
        pass: &Pass,
        found: &Found,
        specs: &[ScoreSpec],
        training: Option<TrainingScores>,
        prompt_tokens: usize,
    ) -> Result<()> {
        let read = |span: Span| -> Result<Option<TokenLogProbs>> {
            let Found::LogProbs(spans) = found else {
                return Ok(None);
            };
            // A span that is wholly inside another was not asked for by itself.
            let holder = spans
                .iter()
                .find(|l| l.span().start <= span.start && span.end <= l.span().end)
                .ok_or_else(|| Error::TrainingData {
                    what: format!("sample {}", self.id),
                    problem: format!(
                        "no log-probs came back of tokens {}..{}",
                        span.start, span.end
                    ),
                })?;
            let values = holder.of_span(span)?;
            if let Some((offset, value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
                return Err(Error::NonFinite {
                    what: format!(
                        "log-prob of token {} of sample {}",
                        span.start + offset,
                        self.id
                    ),
                    value: f64::from(*value),
                });
            }
            Ok(Some(TokenLogProbs::new(span.start, values.to_vec())))
        };
        let mut scores = Vec::new();
        for spec in specs.iter().filter(|spec| pass.answers(spec)) {
            let sequence = match spec.context {
                ScoreContext::Teacher => &self.explained.teacher,
                ScoreContext::Student => &self.explained.student,
            };
            let span = match spec.span {
                SpanName::Thought => sequence.thought,
                SpanName::Solution => sequence.solution,
            };
            let log_probs = span.map(&read).transpose()?.flatten();
            scores.push(ScoreRecord {
                spec: *spec,
                log_probs,
            });
        }
        let trained = training
            .filter(|t| pass.context == ScoreContext::Teacher && pass.temperature == t.temperature);
        if let Some(training) = trained {
            let span = Span::new(prompt_tokens, prompt_tokens + self.completion.ids.len());
            let whole = || Ok::<_, Error>(read(span)?.map(TokenLogProbs::into_values));
            match pass.scorer {
                Scorer::Policy if training.old => self.old_log_probs = whole()?,
                Scorer::Reference if training.reference => self.reference_log_probs = whole()?,
                _ => {}
            }
        }
        self.scores.extend(scores);
        Ok(())
    }
}

fn evaluate(task: &TeacherTask, problem: &Problem, group: &mut Group, step: u64) -> Result<()> {
    let too_long = |sample: &Sample| {
        sample.scores.iter().any(|score| {
            let sequence = match score.spec.context {
                ScoreContext::Teacher => &sample.explained.teacher,
                ScoreContext::Student => &sample.explained.student,
            };
            let span = match score.spec.span {
                SpanName::Thought => sequence.thought,
                SpanName::Solution => sequence.solution,
            };
            span.is_some() && score.log_probs.is_none()
        })
    };
    let scored: Vec<usize> = (0..group.samples.len())
        .filter(|&i| !too_long(&group.samples[i]))
        .collect();
    let samples = scored.iter().map(|&i| {
        let sample = &group.samples[i];
        SampleScores {
            id: sample.id.clone(),
            scores: sample.scores.iter().map(|s| s.log_probs.clone()).collect(),
            closed: sample.explained.closed,
            truncated: sample.completion.stop.is_truncated(),
            explanation: sample.explained.text.clone(),
            completion_tokens: sample.completion.ids.len(),
        }
    });
    let scores = GroupScores {
        problem,
        step,
        samples: samples.collect(),
    };
    let outcomes = if scored.is_empty() {
        Vec::new()
    } else {
        task.reward.evaluate(&scores)?
    };
    if outcomes.len() != scored.len() {
        return Err(Error::TrainingData {
            what: format!("problem {}", problem.id),
            problem: format!(
                "the reward gave {} outcomes for {} samples",
                outcomes.len(),
                scored.len()
            ),
        });
    }
    for sample in &mut group.samples {
        sample.outcome = Some(Outcome::Refused(Refusal::TooLong));
    }
    for (&index, outcome) in scored.iter().zip(outcomes) {
        let sample = &mut group.samples[index];
        if let Some(reward) = outcome.reward().filter(|reward| !reward.is_finite()) {
            let what = format!("reward of sample {}", sample.id);
            return Err(Error::NonFinite {
                what,
                value: reward,
            });
        }
        sample.outcome = Some(outcome);
    }
    Ok(())
}

/// What a run keeps of one sample: enough to score it again with other coefficients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// Updates made before it was sampled.
    pub step: u64,
    /// The problem's id.
    pub problem: String,
    /// The sample's index in its group.
    pub sample: usize,
    /// The version of the weights that sampled it.
    pub policy_version: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// The sampled ids.
    pub ids: Vec<TokenId>,
    /// The explanation's text.
    pub text: String,
    /// Why sampling ended.
    pub stop: StopReason,
    /// Whether the explanation was closed by its end tag.
    pub closed: bool,
    /// Sampled tokens that straddle explanation and end tag, and belong to neither.
    pub straddling: usize,
    /// The explanation's tokens in the teacher's sequence.
    pub teacher_thought: Option<Span>,
    /// The explanation's tokens in the student's sequence.
    pub student_thought: Option<Span>,
    /// The solution's tokens in the student's sequence.
    pub student_solution: Option<Span>,
    /// Log-probs of the sampled ids as they were sampled.
    pub sampling_log_probs: Vec<f32>,
    /// Log-probs of the sampled ids under the policy before the update, where training asked for them.
    pub old_log_probs: Option<Vec<f32>>,
    /// Log-probs of the sampled ids under the reference, where training asked for them.
    pub reference_log_probs: Option<Vec<f32>>,
    /// The scores that the reward asked for.
    pub scores: Vec<ScoreRecord>,
    /// Reward and terms, or why there are none.
    pub outcome: Option<Outcome>,
    /// The advantage that it was trained with.
    pub advantage: Option<f64>,
}

impl RolloutRecord {
    /// What to keep of the `index`-th sample of a group.
    #[must_use]
    pub fn new(
        step: u64,
        problem: &PreparedProblem,
        index: usize,
        sample: &Sample,
        advantage: Option<f64>,
    ) -> Self {
        Self {
            step,
            problem: problem.problem.id.clone(),
            sample: index,
            policy_version: sample.completion.policy_version,
            prompt_tokens: problem.prompt.ids.len(),
            ids: sample.completion.ids.clone(),
            text: sample.explained.text.clone(),
            stop: sample.completion.stop,
            closed: sample.explained.closed,
            straddling: sample.explained.straddling,
            teacher_thought: sample.explained.teacher.thought,
            student_thought: sample.explained.student.thought,
            student_solution: sample.explained.student.solution,
            sampling_log_probs: sample.completion.sampling_log_probs.clone(),
            old_log_probs: sample.old_log_probs.clone(),
            reference_log_probs: sample.reference_log_probs.clone(),
            scores: sample.scores.clone(),
            outcome: sample.outcome.clone(),
            advantage,
        }
    }
}
