//! The decoder's schooling: from random weights to worked arithmetic.
//!
//! Owns the phases of pre-training and the texts of each. The arithmetic arrives suddenly and not at the same
//! step for every seed, so the first phase lasts until its loss says that it is there.

use std::sync::Arc;
use std::time::Instant;

use burn::module::Param;
use burn::tensor::Tensor;
use didact::Device;
use didact::core::{Span, TokenId};
use didact::data::{PromptFormat, SupervisedExample, Tokenizer};
use didact::models::{Decoder, DecoderConfig, DecoderOptions, Family, ParameterMapper};
use didact::rl::loss::SftLoss;
use didact::rl::{
    AdamWConfig, MetricsKind, MetricsRecord, Observer, Phase, Progress, Schedule, StepOptions,
    Trainer, TrainingSequence,
};

use crate::Result;
use crate::draws::Draws;
use crate::world::{Chain, Habits};

/// The decoder's sizes: 0.1 million parameters.
///
/// # Errors
/// What the decoder refuses.
pub fn decoder_config(tokenizer: &Tokenizer) -> Result<DecoderConfig> {
    Ok(DecoderConfig::new(DecoderOptions {
        max_position_embeddings: 192,
        // Texts are short: wavelengths of up to some hundreds of tokens.
        rope_theta: 1_000.0,
        eos_token_ids: tokenizer.eos().into_iter().collect(),
        ..DecoderOptions::new(Family::Llama, tokenizer.vocabulary_size(), 64, 168, 2, 4)
    })?)
}

/// Makes fresh weights larger: 0.06 rather than 0.02, which suits widths of some hundreds and would cost a
/// width of 64 more than twice as many updates before the arithmetic arrives.
struct Widen;

impl ParameterMapper for Widen {
    fn map<const D: usize>(&mut self, _path: &str, weights: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Norms have one dimension and stay as they are.
        if D < 2 {
            weights
        } else {
            weights.map(|w| (w.detach() * 3.0).detach().require_grad())
        }
    }
}

/// One phase of the schooling.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// The name that its metrics carry.
    pub stage: &'static str,
    /// At most so many updates.
    pub steps: u64,
    /// Ends once the mean loss of the last 20 updates is below this.
    pub until: Option<f64>,
    /// Texts of each update.
    pub texts: usize,
    /// The learning rate by update.
    pub schedule: Schedule,
    /// Operations of a chain, from and to.
    pub operations: (usize, usize),
    /// How the traces are written.
    pub habits: Habits,
    /// How many of the texts are the teacher's: question and solution, then the trace.
    pub teacher_share: f64,
}

/// Updates that [`Lesson::until`] looks at.
const WINDOW: usize = 20;

/// Names the schooling's draws among those of a run.
const DRAWS: u64 = 1;

/// What texts are made with, and who watches.
#[derive(Debug)]
pub struct School<'a> {
    /// How texts become tokens.
    pub tokenizer: &'a Tokenizer,
    /// How problems and traces become texts.
    pub format: &'a PromptFormat,
    /// Seeds weights and texts.
    pub seed: u64,
}

impl School<'_> {
    /// Trains a fresh decoder through `lessons`, never on a held-out question. Also names the lessons that ended
    /// before their loss was where it should be.
    ///
    /// # Errors
    /// A non-finite number; what the observer refuses.
    pub fn attend(
        &self,
        lessons: &[Lesson],
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<(Decoder, Vec<&'static str>)> {
        let decoder = Decoder::init(&decoder_config(self.tokenizer)?, self.seed, device);
        let decoder = decoder.map_parameters(&mut Widen);
        let optimizer = AdamWConfig {
            beta2: 0.99,
            weight_decay: 0.01,
            ..AdamWConfig::default()
        };
        let options = StepOptions {
            temperature: 1.0,
            max_grad_norm: 1.0,
            micro_batch_tokens: 16_384,
            recompute_layers: false,
        };
        let mut trainer = Trainer::new(decoder, optimizer, options)?;
        let mut text = 0;
        let mut missed = Vec::new();
        for lesson in lessons {
            if !self.teach(&mut trainer, lesson, &mut text, observer)? {
                missed.push(lesson.stage);
            }
        }
        Ok((trainer.into_policy()?, missed))
    }

    /// Whether the loss came to where it should be.
    fn teach(
        &self,
        trainer: &mut Trainer,
        lesson: &Lesson,
        text: &mut u64,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let mut losses = Vec::new();
        for step in 0..lesson.steps {
            let (stage, steps) = (lesson.stage, lesson.steps);
            observer.on_progress(&Progress {
                stage,
                phase: Phase::Update,
                step,
                steps,
            })?;
            let begin = Instant::now();
            let mut sequences = Vec::with_capacity(lesson.texts);
            while sequences.len() < lesson.texts {
                let example = self.example(lesson, &mut Draws::new(self.seed, DRAWS, *text))?;
                *text += 1;
                sequences.extend(example.map(sequence));
            }
            let chosen: Vec<&TrainingSequence> = sequences.iter().collect();
            let rate = lesson.schedule.rate(step);
            let report = trainer.step(&chosen, &SftLoss, rate)?;
            losses.push(report.loss);
            let mut metrics = report.metrics();
            metrics.set("lr", rate);
            metrics.set("time/update", begin.elapsed().as_secs_f64());
            observer.on_metrics(&MetricsRecord {
                stage: stage.to_owned(),
                kind: MetricsKind::Train,
                step: step + 1,
                metrics,
            })?;
            let last = &losses[losses.len().saturating_sub(WINDOW)..];
            let mean = last.iter().sum::<f64>() / last.len() as f64;
            if last.len() == WINDOW && lesson.until.is_some_and(|until| mean < until) {
                return Ok(true);
            }
        }
        Ok(lesson.until.is_none())
    }

    /// A text of the lesson; none where the draw is held out.
    fn example(&self, lesson: &Lesson, draws: &mut Draws) -> Result<Option<SupervisedExample>> {
        let operations = draws.between(lesson.operations.0, lesson.operations.1);
        let chain = Chain::draw(operations, draws);
        if chain.is_held_out() {
            return Ok(None);
        }
        let trace = chain.trace(lesson.habits, draws);
        let problem = chain.problem(String::new(), String::new());
        Ok(Some(if draws.chance(lesson.teacher_share) {
            self.format
                .teacher_example(self.tokenizer, &problem, &trace)?
        } else {
            self.format
                .student_example(self.tokenizer, &problem, &trace)?
        }))
    }
}

/// The whole text as one segment: no two texts share their beginning.
fn sequence(example: SupervisedExample) -> TrainingSequence {
    TrainingSequence {
        id: example.text,
        prefix: Arc::from([] as [TokenId; 0]),
        continuation: example.ids,
        trained: Span::new(example.supervised.start, example.supervised.end),
        advantage: 0.0.into(),
        old_log_probs: None,
        reference_log_probs: None,
        sampling_log_probs: None,
    }
}
