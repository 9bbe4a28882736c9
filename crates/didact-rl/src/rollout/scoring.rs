//! One pass a model: which spans it scores of every sample, and what the reward makes of the scores.

use didact_core::{
    Error as CoreError, GroupScores, Outcome, Problem, Refusal, Reward, SampleScores, ScoreContext,
    ScoreRequest, ScoreSpec, Scorer, Span, SpanName, TokenLogProbs,
};
use didact_data::Prompt;

use super::{
    Group, PreparedProblem, RolloutModels, Sample, ScoreRecord, TeacherTask, TrainingScores,
};
use crate::{Error, Result};

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
            Scorer::Policy => models.policy.score(&table.requests),
            Scorer::Reference => models.reference.score(&table.requests),
            Scorer::Student => models.student.score(&table.requests),
        };
        let scored = scored.map_err(|error| table.name_sample(error, pass.scorer, groups))?;
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
    /// An engine knows requests only; people know samples.
    fn name_sample(&self, error: CoreError, scorer: Scorer, groups: &[Group]) -> Error {
        let CoreError::NonFiniteRequest {
            request,
            what,
            value,
        } = error
        else {
            return error.into();
        };
        let own = |place: &Place| matches!(place, Place::Request(index) if *index == request);
        let position = self.place.iter().position(own);
        let sample = position.and_then(|p| groups.iter().flat_map(|g| &g.samples).nth(p));
        Error::NonFiniteSample {
            sample: sample.map_or_else(|| format!("{request} (unknown)"), |s| s.id.clone()),
            what: format!("{what} as the {scorer:?} reads it"),
            value,
        }
    }

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
                return Err(Error::NonFiniteSample {
                    sample: self.id.clone(),
                    what: format!("the log-prob of token {}", span.start + offset),
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

/// What a reward reads of a sample.
pub(crate) fn sample_scores(sample: &Sample) -> SampleScores {
    SampleScores {
        id: sample.id.clone(),
        scores: sample.scores.iter().map(|s| s.log_probs.clone()).collect(),
        closed: sample.explained.closed,
        truncated: sample.completion.stop.is_truncated(),
        explanation: sample.explained.text.clone(),
        answered: sample.answered.clone(),
        completion_tokens: sample.completion.ids.len(),
    }
}

fn evaluate(task: &TeacherTask, problem: &Problem, group: &mut Group, step: u64) -> Result<()> {
    let samples = group.samples.iter().map(|sample| {
        let too_long = sample.scores.iter().any(|score| {
            let sequence = match score.spec.context {
                ScoreContext::Teacher => &sample.explained.teacher,
                ScoreContext::Student => &sample.explained.student,
            };
            let span = match score.spec.span {
                SpanName::Thought => sequence.thought,
                SpanName::Solution => sequence.solution,
            };
            span.is_some() && score.log_probs.is_none()
        });
        (!too_long).then(|| sample_scores(sample))
    });
    let outcomes = outcomes(&*task.reward, problem, step, samples.collect())?;
    for (sample, outcome) in group.samples.iter_mut().zip(outcomes) {
        sample.outcome = Some(outcome);
    }
    Ok(())
}

/// What a reward makes of a group; `None` stands for a sample that did not fit into a scorer's context, which the
/// reward does not see.
pub(crate) fn outcomes(
    reward: &dyn Reward,
    problem: &Problem,
    step: u64,
    samples: Vec<Option<SampleScores>>,
) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![Outcome::Refused(Refusal::TooLong); samples.len()];
    let (places, samples): (Vec<usize>, Vec<SampleScores>) = samples
        .into_iter()
        .enumerate()
        .filter_map(|(place, sample)| Some((place, sample?)))
        .unzip();
    if samples.is_empty() {
        return Ok(outcomes);
    }
    let scores = GroupScores {
        problem,
        step,
        samples,
    };
    let evaluated = reward.evaluate(&scores)?;
    if evaluated.len() != places.len() {
        return Err(Error::TrainingData {
            what: format!("problem {}", problem.id),
            problem: format!(
                "the reward gave {} outcomes for {} samples",
                evaluated.len(),
                places.len()
            ),
        });
    }
    for ((place, outcome), sample) in places.into_iter().zip(evaluated).zip(&scores.samples) {
        if let Some(value) = outcome.reward().filter(|reward| !reward.is_finite()) {
            return Err(Error::NonFiniteSample {
                sample: sample.id.clone(),
                what: "the reward".to_owned(),
                value,
            });
        }
        outcomes[place] = outcome;
    }
    Ok(outcomes)
}
