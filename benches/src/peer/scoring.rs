//! Scores explanations: a teacher's and a student's pass.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use didact_core::{Score as _, ScoreRequest, Span, TokenLogProbs};
use didact_engine::{EngineConfig, LocalEngine};

use super::flops::{Forward, flops};
use super::inputs::Score;
use super::{Answer, load};
use crate::Result;

/// Teacher and student, loaded apart as two models are.
pub(crate) struct Scorers {
    pub(crate) teacher: LocalEngine,
    student: LocalEngine,
}

impl Scorers {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        Ok(Self {
            teacher: LocalEngine::new(load(folder)?, EngineConfig::default()),
            student: LocalEngine::new(load(folder)?, EngineConfig::default()),
        })
    }

    /// Both passes. The check holds the log-probs of all spans, sample by sample.
    pub(crate) fn score(&mut self, score: &Score, temperature: f64) -> Result<Answer> {
        let span = |[start, end]: [usize; 2]| Span::new(start, end);
        let all = Span::new(score.thought[0], score.solution[1]);
        let teacher = requests(&score.teacher, score.prompt, &[all], temperature);
        let spans = [span(score.thought), span(score.solution)];
        let student = requests(&score.student, score.prompt, &spans, temperature);

        let begin = Instant::now();
        let by_teacher = self.teacher.score(&teacher)?;
        let by_student = self.student.score(&student)?;
        let seconds = begin.elapsed().as_secs_f64();

        let config = self.teacher.decoder().config();
        let count = |ids: &[Vec<u32>]| {
            // The last token asked for is only a target.
            let read = all.end - 1;
            let sequences = ids.iter().map(|ids| (&ids[..score.prompt], read));
            Forward::shared(sequences, ids.len() * all.len())
        };
        let operations =
            flops(config, count(&score.teacher)) + flops(config, count(&score.student));
        Ok(Answer {
            seconds,
            check: [
                ("teacher", flat(&by_teacher)),
                ("student", flat(&by_student)),
            ]
            .into(),
            flops: Some(operations),
            ..Answer::default()
        })
    }

    /// The teacher's log-probs of everything after the prompts, one check value a token.
    pub(crate) fn log_probs(
        &mut self,
        sequences: &[Vec<u32>],
        prompt: usize,
        temperature: f64,
    ) -> Result<Answer> {
        let length = sequences.first().ok_or("no sequences")?.len();
        let span = Span::new(prompt, length);
        let scored = self
            .teacher
            .score(&requests(sequences, prompt, &[span], temperature))?;
        Ok(Answer {
            check: [("log_probs", flat(&scored))].into(),
            ..Answer::default()
        })
    }
}

/// Requests for `spans` of `sequences`, whose first `prompt` ids their group shares.
pub(crate) fn requests(
    sequences: &[Vec<u32>],
    prompt: usize,
    spans: &[Span],
    temperature: f64,
) -> Vec<ScoreRequest> {
    sequences
        .iter()
        .map(|ids| ScoreRequest {
            prefix: Arc::from(&ids[..prompt]),
            continuation: ids[prompt..].to_vec(),
            spans: spans.to_vec(),
            temperature,
        })
        .collect()
}

fn flat(scored: &[Vec<TokenLogProbs>]) -> Vec<f64> {
    let values = scored.iter().flatten().flat_map(TokenLogProbs::values);
    values.map(|&value| f64::from(value)).collect()
}
