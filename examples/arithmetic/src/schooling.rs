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
use serde::Serialize;

use crate::Result;
use crate::chain::Chain;
use crate::draws::Draws;
use crate::world::{Habits, World};

/// How large a decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Width of the hidden states.
    pub hidden: usize,
    /// Width of the gated MLP.
    pub mlp: usize,
    /// Layers.
    pub layers: usize,
    /// Heads, each with keys of its own.
    pub heads: usize,
    /// The longest text that it reads, in tokens.
    pub context: usize,
}

impl Size {
    /// 0.1 million parameters.
    pub const TINY: Self = Self {
        hidden: 64,
        mlp: 168,
        layers: 2,
        heads: 4,
        context: 192,
    };

    /// The decoder's configuration.
    ///
    /// # Errors
    /// What the decoder refuses.
    pub fn config(self, tokenizer: &Tokenizer) -> Result<DecoderConfig> {
        let vocabulary = tokenizer.vocabulary_size();
        let Self {
            hidden,
            mlp,
            layers,
            heads,
            context,
        } = self;
        Ok(DecoderConfig::new(DecoderOptions {
            max_position_embeddings: context,
            // Texts are short: wavelengths of up to some hundreds of tokens.
            rope_theta: 1_000.0,
            eos_token_ids: tokenizer.eos().into_iter().collect(),
            ..DecoderOptions::new(Family::Llama, vocabulary, hidden, mlp, layers, heads)
        })?)
    }

    /// A decoder of this size that knows nothing.
    ///
    /// # Errors
    /// What the decoder refuses.
    pub fn fresh(self, tokenizer: &Tokenizer, seed: u64, device: &Device) -> Result<Decoder> {
        let decoder = Decoder::init(&self.config(tokenizer)?, seed, device);
        Ok(decoder.map_parameters(&mut Enlarge))
    }
}

/// Makes fresh weights larger: 0.06 rather than 0.02, which suits widths of some hundreds and would cost a
/// width of 64 more than twice as many updates before the arithmetic arrives.
struct Enlarge;

impl ParameterMapper for Enlarge {
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
#[derive(Debug, Clone, Serialize)]
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
    /// How many of the texts have no more operations than `plain_operations` and a trace without habits.
    pub plain_share: f64,
    /// Operations of those, from and to.
    pub plain_operations: (usize, usize),
    /// How many of the texts are the teacher's: question and solution, then the trace.
    pub teacher_share: f64,
}

/// Updates that [`Lesson::until`] looks at.
const WINDOW: usize = 20;

/// At school each text has a table of its own, one of so many: what is looked up is to be read, not to be known.
const STRANGE_TABLES: usize = 1 << 40;

/// Names the schooling's draws among those of a run.
const DRAWS: u64 = 1;

/// What texts are made with, and who watches.
#[derive(Debug)]
pub struct School<'a> {
    /// What the texts are about.
    pub world: World,
    /// How texts become tokens.
    pub tokenizer: &'a Tokenizer,
    /// How problems and traces become texts.
    pub format: &'a PromptFormat,
    /// Seeds weights and texts.
    pub seed: u64,
}

impl School<'_> {
    /// Trains a decoder through `lessons`, never on a held-out question. Also names the lessons that ended before
    /// their loss was where it should be.
    ///
    /// # Errors
    /// A non-finite number; what the observer refuses.
    pub fn attend(
        &self,
        decoder: Decoder,
        lessons: &[Lesson],
        observer: &mut dyn Observer,
    ) -> Result<(Decoder, Vec<&'static str>)> {
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
        let plain = lesson.plain_share > 0.0 && draws.chance(lesson.plain_share);
        let ((from, to), habits) = if plain {
            (lesson.plain_operations, Habits::NONE)
        } else {
            (lesson.operations, lesson.habits)
        };
        let mut world = self.world;
        if world.looks_up() {
            world.table = draws.below(STRANGE_TABLES) as u64;
        }
        let chain = Chain::draw(world, draws.between(from, to), draws);
        if chain.is_held_out() {
            return Ok(None);
        }
        let trace = chain.trace(habits, draws);
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
