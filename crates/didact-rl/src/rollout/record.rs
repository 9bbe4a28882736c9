//! What a run keeps of its samples.
//!
//! Owns the lines of the rollout files: enough to look at every token and to reward a sample again with other
//! coefficients ([`crate::rescore`]), without a model and without a tokenizer. Knows no file.

use didact_core::{
    Outcome, ScoreContext, ScoreSpec, Scorer, Span, SpanName, StopReason, TokenBytes, TokenId,
    TokenLogProbs,
};
use serde::{Deserialize, Serialize};

use super::{PreparedProblem, Sample, TeacherTask};
use crate::MetricsKind;

/// Which part of a run samples are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolloutOrigin<'a> {
    /// The stage of the run.
    pub stage: &'a str,
    /// What they were sampled for.
    pub kind: MetricsKind,
    /// For training the step that they were trained in, counted from 1; for an evaluation the updates made
    /// before it.
    pub step: u64,
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

/// What a run keeps of one sample: enough to score it again with other coefficients.
///
/// The teacher's sequence is `prompt_ids ++ ids`, the student's is `student_ids`; spans and log-probs count the
/// positions of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// The stage of the run.
    pub stage: String,
    /// What it was sampled for.
    pub kind: MetricsKind,
    /// For training the step that it was trained in, counted from 1; for an evaluation the updates made before
    /// it.
    pub step: u64,
    /// The problem's id.
    pub problem: String,
    /// The place of its group in the step, from 0.
    pub group: usize,
    /// Its number among the samples of its problem in the step, from 0.
    pub sample: usize,
    /// The version of the weights that sampled it.
    pub policy_version: u64,
    /// What the student is asked.
    pub question: String,
    /// The solution that was explained.
    pub solution: String,
    /// The bare final answer, where the problem has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The field that the problem belongs to, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The explanation's text, or a solver's thought.
    pub text: String,
    /// What it answered the question with, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// Why sampling ended.
    pub stop: StopReason,
    /// Whether the explanation was closed by its end tag.
    pub closed: bool,
    /// Sampled tokens that straddle explanation and end tag, and belong to neither.
    pub straddling: usize,
    /// Reward and terms, or why there are none.
    pub outcome: Option<Outcome>,
    /// The advantage that it was trained with; none where it was not trained on.
    pub advantage: Option<f64>,
    /// The advantages of the single sampled tokens, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_advantages: Option<Vec<f64>>,
    /// The teacher's prompt.
    pub prompt_ids: Vec<TokenId>,
    /// The sampled ids.
    pub ids: Vec<TokenId>,
    /// The texts of the sampled ids ([`token_texts`]).
    pub tokens: Vec<String>,
    /// Everything that the student reads: question, explanation, solution.
    pub student_ids: Vec<TokenId>,
    /// The texts of the solution's ids.
    pub solution_tokens: Vec<String>,
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
    /// The scores that the reward asked for, in its order.
    pub scores: Vec<ScoreRecord>,
}

impl RolloutRecord {
    /// What the student makes of each token of the solution, in nats, where the reward asked for it.
    #[must_use]
    pub fn solution_log_probs(&self) -> Option<Vec<f64>> {
        self.span_log_probs(
            &[Scorer::Student],
            ScoreContext::Student,
            SpanName::Solution,
        )
    }

    /// What teacher (the policy, else the reference) and student make of each token of the explanation, in nats, where
    /// the reward asked for it. Their difference is what the divergence term reduces.
    #[must_use]
    pub fn explanation_log_probs(&self) -> [Option<Vec<f64>>; 2] {
        let teachers = [Scorer::Policy, Scorer::Reference];
        [
            self.span_log_probs(&teachers, ScoreContext::Teacher, SpanName::Thought),
            self.span_log_probs(&[Scorer::Student], ScoreContext::Student, SpanName::Thought),
        ]
    }

    /// Where in [`tokens`](Self::tokens) the explanation begins.
    #[must_use]
    pub fn explanation_start(&self) -> usize {
        let start = self.teacher_thought.map_or(0, |span| span.start);
        start.saturating_sub(self.prompt_ids.len())
    }

    /// The log-probs of `span` by the first scorer that was recorded.
    fn span_log_probs(
        &self,
        scorers: &[Scorer],
        context: ScoreContext,
        span: SpanName,
    ) -> Option<Vec<f64>> {
        let found = scorers.iter().find_map(|&scorer| {
            self.scores.iter().find(|score| {
                let ScoreSpec {
                    scorer: by,
                    context: within,
                    span: of,
                    ..
                } = score.spec;
                (by, within, of) == (scorer, context, span)
            })
        })?;
        let values = found.log_probs.as_ref()?.values();
        Some(values.iter().map(|&value| f64::from(value)).collect())
    }

    /// What to keep of a sample of the step's group number `group`; its advantages are not known yet.
    #[must_use]
    pub fn new(
        origin: RolloutOrigin<'_>,
        task: &TeacherTask,
        problem: &PreparedProblem,
        group: usize,
        sample: &Sample,
    ) -> Self {
        let PreparedProblem { problem, prompt } = problem;
        let student_ids = sample.explained.student.ids();
        let solution = sample.explained.student.solution;
        let solution_ids = solution.and_then(|span| student_ids.get(span.range()));
        Self {
            stage: origin.stage.to_owned(),
            kind: origin.kind,
            step: origin.step,
            problem: problem.id.clone(),
            group,
            sample: sample.index,
            policy_version: sample.completion.policy_version,
            question: problem.question.clone(),
            solution: problem.solution.clone(),
            answer: problem.answer.clone(),
            domain: problem.domain.clone(),
            text: sample.explained.text.clone(),
            answered: sample.answered.clone(),
            stop: sample.completion.stop,
            closed: sample.explained.closed,
            straddling: sample.explained.straddling,
            outcome: sample.outcome.clone(),
            advantage: None,
            token_advantages: None,
            prompt_ids: prompt.ids.to_vec(),
            ids: sample.completion.ids.clone(),
            tokens: token_texts(&*task.tokenizer, &sample.completion.ids),
            solution_tokens: token_texts(&*task.tokenizer, solution_ids.unwrap_or_default()),
            student_ids,
            teacher_thought: sample.explained.teacher.thought,
            student_thought: sample.explained.student.thought,
            student_solution: solution,
            sampling_log_probs: sample.completion.sampling_log_probs.clone(),
            old_log_probs: sample.old_log_probs.clone(),
            reference_log_probs: sample.reference_log_probs.clone(),
            scores: sample.scores.clone(),
        }
    }

    /// The name that errors know the sample by: the problem's id and the sample's number.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}#{}", self.problem, self.sample)
    }

    /// The tokens that `spec` scores, in positions of the sequence that its scorer reads.
    #[must_use]
    pub const fn span(&self, spec: &ScoreSpec) -> Option<Span> {
        match (spec.context, spec.span) {
            (ScoreContext::Teacher, SpanName::Thought) => self.teacher_thought,
            (ScoreContext::Student, SpanName::Thought) => self.student_thought,
            (ScoreContext::Student, SpanName::Solution) => self.student_solution,
            (ScoreContext::Teacher, SpanName::Solution) => None,
        }
    }

    /// The ids whose log-probs `score` holds, in order; `None` where it holds none, or more than the sequence.
    #[must_use]
    pub fn scored_ids(&self, score: &ScoreRecord) -> Option<Vec<TokenId>> {
        let span = score.log_probs.as_ref()?.span();
        let length = match score.spec.context {
            ScoreContext::Teacher => self.prompt_ids.len() + self.ids.len(),
            ScoreContext::Student => self.student_ids.len(),
        };
        if span.end > length {
            return None;
        }
        let id = |position: usize| match score.spec.context {
            ScoreContext::Teacher => match position.checked_sub(self.prompt_ids.len()) {
                None => self.prompt_ids[position],
                Some(after) => self.ids[after],
            },
            ScoreContext::Student => self.student_ids[position],
        };
        Some(span.range().map(id).collect())
    }
}

/// The text of each id, such that all together are the text of the whole.
///
/// A character that several tokens make up belongs to the last of them; the others have an empty text. Bytes
/// that are no text become `\u{fffd}`.
#[must_use]
pub fn token_texts(tokens: &dyn TokenBytes, ids: &[TokenId]) -> Vec<String> {
    let mut texts = Vec::with_capacity(ids.len());
    let mut pending = Vec::new();
    for (index, &id) in ids.iter().enumerate() {
        pending.extend_from_slice(tokens.token_bytes(id));
        let last = index + 1 == ids.len();
        let complete = match std::str::from_utf8(&pending) {
            Ok(_) => pending.len(),
            // A character has begun; its other bytes may follow.
            Err(error) if error.error_len().is_none() && !last => error.valid_up_to(),
            Err(error) => whole_characters(&pending, error.valid_up_to(), last),
        };
        let rest = pending.split_off(complete);
        texts.push(String::from_utf8_lossy(&pending).into_owned());
        pending = rest;
    }
    texts
}

/// How many bytes can be told now: all but a character that has begun at their end.
fn whole_characters(bytes: &[u8], mut at: usize, last: bool) -> usize {
    if last {
        return bytes.len();
    }
    while let Err(error) = std::str::from_utf8(&bytes[at..]) {
        match error.error_len() {
            Some(length) => at += error.valid_up_to() + length,
            None => return at + error.valid_up_to(),
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each id is a list of bytes.
    struct Listed(Vec<Vec<u8>>);

    impl TokenBytes for Listed {
        fn token_bytes(&self, id: TokenId) -> &[u8] {
            &self.0[id as usize]
        }

        fn is_special(&self, _id: TokenId) -> bool {
            false
        }
    }

    fn texts(tokens: &[&[u8]]) -> Vec<String> {
        let listed = Listed(tokens.iter().map(|t| t.to_vec()).collect());
        let ids: Vec<TokenId> = (0..tokens.len() as TokenId).collect();
        token_texts(&listed, &ids)
    }

    #[test]
    fn a_split_character_belongs_to_its_last_token() {
        assert_eq!(texts(&[b"a\xe2", b"\x82", b"\xacb"]), ["a", "", "€b"]);
        assert_eq!(texts(&[b"\xff", b"x"]), ["\u{fffd}", "x"]);
        assert_eq!(texts(&[b"\xff\xe2\x82", b"\xac"]), ["\u{fffd}", "€"]);
        assert_eq!(texts(&[b"a", b"\xe2\x82"]), ["a", "\u{fffd}"]);
        assert!(texts(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_texts_together_are_the_text(
            tokens in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![Just(b'a'), Just(0xe2), Just(0x82), Just(0xac), any::<u8>()], 0..4),
                0..12,
            )
        ) {
            let whole = String::from_utf8_lossy(&tokens.concat()).into_owned();
            let ids: Vec<TokenId> = (0..tokens.len() as TokenId).collect();
            let found = token_texts(&Listed(tokens), &ids);
            prop_assert_eq!(found.len(), ids.len());
            prop_assert_eq!(found.concat(), whole);
        }
    }
}
