//! How much memory a run will take, before it begins.
//!
//! Owns formulas over the sizes of models and steps. Knows no tensor and measures nothing: `memory/peak` of a run's
//! metrics is what was taken.
//!
//! Bytes on the CPU, where tensors are exact to the byte; a GPU's pools hold more than is asked for. With `P` numbers
//! in a model's parameters, `T` in those that are trained, `H` hidden width, `I` the MLP's, `Q` query width (heads
//! times their width), `K` key width, `L` layers, `V` vocabulary, `m` tokens of the largest micro-batch, and four bytes
//! a number unless said otherwise:
//!
//! | part | bytes |
//! |---|---|
//! | weights | `4·P`; frozen projections of 8 or 4 bits take 1.125 or 0.625 a number |
//! | reference | `4·P`; under an adapter nothing, since it is the base below it |
//! | student | its own weights; in self-teaching nothing, but `4·P` for an initial student beside a mixed reference |
//! | optimizer | AdamW `8·T`; Muon `4` a number of the layers' matrices, `8` of the rest; and `4·T` of master weights in half precision |
//! | gradients | `4·T`, where a step has several micro-batches to add up |
//! | activations | `4·m·(L·a + 2·H)` with `a = 4·H + 2·Q + 2·K + 3·I`, and `Q + K` more with norms of heads: what the backward pass reads again |
//! | … computed again | `4·m·(L·H + a + 2·H)` |
//! | backward pass | `4·m·(3·I + 4·H)`, a tile of logits, and `4·V·H` where the output embedding is trained |
//! | keys and values | `8·L·K` a token that is held at once, or the engine's `cache_bytes` if that is less |
//! | sampling | `16·V` a sequence sampled at once |
//! | scoring | `4·n·(4·H + 2·Q + 3·I)` for `n` tokens in a pass |
//!
//! As the backward pass goes down, activations are freed and gradients `4·T` come; the larger of the two counts. What
//! takes turns is not added: the peak is what is always there, and the largest of sampling, scoring, updating and
//! mixing the reference. Program, tokenizer and texts come on top, some tens of megabytes.

use std::fmt;

use didact_engine::EngineConfig;
use didact_models::{DecoderConfig, LoraConfig, WeightPrecision};
use serde::{Deserialize, Serialize};

use crate::config::{ReferenceRule, ResolvedTeacherConfig};
use crate::fine_tune::ResolvedFineTuneConfig;
use crate::optimizer::OptimizerConfig;
use crate::{Error, Result};

/// How a model's weights are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightStorage {
    /// Four bytes a number.
    #[default]
    F32,
    /// Two bytes a number.
    Half,
    /// Frozen projections of 8 bits, with f16 scale and minimum for each 32; the rest f32.
    EightBit,
    /// Frozen projections of 4 bits, with f16 scale and minimum for each 32; the rest f32.
    FourBit,
}

/// A model as it will be in memory.
#[derive(Debug, Clone, Copy)]
pub struct PlannedModel<'a> {
    /// Its sizes.
    pub config: &'a DecoderConfig,
    /// How its weights are kept.
    pub weights: WeightStorage,
    /// What is trained beside them; without it, they are trained themselves.
    pub adapter: Option<&'a LoraConfig>,
}

impl PlannedModel<'_> {
    /// Bytes of its weights and of its adapter.
    ///
    /// # Errors
    /// An adapter that means nothing for the model; sizes beyond 64 bits.
    pub fn bytes(&self) -> Result<u64> {
        let sizes = Sizes::new(self)?;
        Ok(sizes.weight_bytes + 4 * sizes.adapter)
    }
}

impl<'a> From<&'a DecoderConfig> for PlannedModel<'a> {
    fn from(config: &'a DecoderConfig) -> Self {
        Self {
            config,
            weights: WeightStorage::F32,
            adapter: None,
        }
    }
}

/// The student as it will be in memory; see [`StudentModel`](crate::StudentModel).
#[derive(Debug, Clone, Copy)]
pub enum PlannedStudent<'a> {
    /// A model of its own.
    Separate(PlannedModel<'a>),
    /// The policy as it began.
    Initial,
    /// The policy as it is.
    Current,
}

/// When a part of the memory is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryPhase {
    /// From the first step to the last.
    Throughout,
    /// While completions are sampled.
    Sampling,
    /// While models read completions.
    Scoring,
    /// While gradients are computed.
    Updating,
    /// While the reference follows the policy.
    Mixing,
}

/// One part of the memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPart {
    /// What it holds.
    pub name: String,
    /// When.
    pub phase: MemoryPhase,
    /// How many bytes.
    pub bytes: u64,
}

/// The memory that a stage will take, part by part.
///
/// ```
/// use didact_models::{DecoderConfig, DecoderOptions, Family};
/// use didact_rl::TeacherConfig;
/// use didact_rl::memory::{MemoryEstimate, PlannedStudent};
///
/// let model = DecoderConfig::new(DecoderOptions::new(Family::Llama, 1000, 64, 128, 2, 4))?;
/// let config = TeacherConfig { max_completion_tokens: 100, ..TeacherConfig::published() };
/// let config = config.resolve(model.max_position_embeddings, &[0], "</explanation>")?;
/// let estimate = MemoryEstimate::of_teacher(&(&model).into(), &PlannedStudent::Initial, &config, 50)?;
/// println!("{estimate}");
/// assert!(estimate.peak() > 4 * model.parameter_count().unwrap());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    parts: Vec<MemoryPart>,
}

impl MemoryEstimate {
    /// Of a teacher's training, whose longest prompt has `prompt_tokens` tokens.
    ///
    /// # Errors
    /// An adapter that means nothing for its model; sizes beyond 64 bits.
    pub fn of_teacher(
        policy: &PlannedModel<'_>,
        student: &PlannedStudent<'_>,
        config: &ResolvedTeacherConfig,
        prompt_tokens: usize,
    ) -> Result<Self> {
        let (completion, prompt) = (config.sampling.max_tokens as u64, prompt_tokens as u64);
        let samples = (config.problems_per_step * config.group_size) as u64;
        let groups = config.problems_per_step as u64;
        let tokens = groups * prompt + samples * completion;
        let mut estimate = Self { parts: Vec::new() };
        let sizes = Sizes::new(policy)?;
        estimate.add_training(&sizes, &config.optimizer);

        let mixed = matches!(config.reference, ReferenceRule::Mixed(_));
        let own_reference = policy.adapter.is_none();
        if own_reference {
            estimate.add("reference", MemoryPhase::Throughout, sizes.weight_bytes);
        }
        let (student_bytes, student_reads) = match student {
            PlannedStudent::Separate(model) => {
                (model.bytes()?, Sizes::new(model)?.scoring_numbers())
            }
            PlannedStudent::Initial if own_reference && mixed => (sizes.weight_bytes, 0),
            PlannedStudent::Initial | PlannedStudent::Current => (0, 0),
        };
        estimate.add("student", MemoryPhase::Throughout, student_bytes);
        // Ids, log-probs of sampling, policy, reference and student, and advantages, with as much for the texts.
        estimate.add("rollouts", MemoryPhase::Throughout, 64 * tokens);

        estimate.add_generation(
            &sizes,
            &config.engine,
            [groups, samples],
            [prompt, completion],
        );
        let longest = prompt + completion;
        let read = (config.engine.max_batch_tokens.get() as u64)
            .max(longest)
            .min(tokens);
        let numbers = sizes.scoring_numbers().max(student_reads);
        estimate.add(
            "a pass that scores",
            MemoryPhase::Scoring,
            4 * read * numbers,
        );

        let update = Update {
            tokens,
            longest,
            micro_batch_tokens: config.micro_batch_tokens as u64,
            recompute_layers: config.recompute_layers,
        };
        estimate.add_update(&sizes, &update);
        if mixed && own_reference {
            // A copy of the policy's numbers, and the new reference beside the old.
            estimate.add(
                "policy read, new reference",
                MemoryPhase::Mixing,
                2 * sizes.weight_bytes,
            );
        }
        Ok(estimate)
    }

    /// Of supervised fine-tuning, whose longest example has `example_tokens` tokens.
    ///
    /// # Errors
    /// As [`of_teacher`](Self::of_teacher).
    pub fn of_fine_tune(
        model: &PlannedModel<'_>,
        config: &ResolvedFineTuneConfig,
        example_tokens: usize,
    ) -> Result<Self> {
        let sizes = Sizes::new(model)?;
        let mut estimate = Self { parts: Vec::new() };
        estimate.add_training(&sizes, &config.optimizer);
        let longest = example_tokens.min(config.max_tokens) as u64;
        let update = Update {
            tokens: longest * config.batch_size as u64,
            longest,
            micro_batch_tokens: config.micro_batch_tokens as u64,
            recompute_layers: config.recompute_layers,
        };
        estimate.add_update(&sizes, &update);
        Ok(estimate)
    }

    /// Of sampling completions without training, such as collecting and evaluating: the sampling model, and where one
    /// is given a reader that scores them. `counts` are prompts and completions, `tokens` the longest of each.
    ///
    /// # Errors
    /// As [`of_teacher`](Self::of_teacher).
    pub fn of_sampling(
        model: &PlannedModel<'_>,
        reader: Option<&PlannedModel<'_>>,
        engine: &EngineConfig,
        counts: [usize; 2],
        tokens: [usize; 2],
    ) -> Result<Self> {
        let sizes = Sizes::new(model)?;
        let mut estimate = Self { parts: Vec::new() };
        estimate.add("weights", MemoryPhase::Throughout, model.bytes()?);
        let [counts, tokens] = [counts, tokens].map(|pair| pair.map(|n| n as u64));
        estimate.add_generation(&sizes, engine, counts, tokens);
        if let Some(reader) = reader {
            estimate.add("student", MemoryPhase::Throughout, reader.bytes()?);
            let longest = tokens[0] + tokens[1];
            let read = (engine.max_batch_tokens.get() as u64)
                .max(longest)
                .min(counts[1] * longest);
            let numbers = Sizes::new(reader)?
                .scoring_numbers()
                .max(sizes.scoring_numbers());
            let pass = 4 * read * numbers;
            estimate.add("a pass that scores", MemoryPhase::Scoring, pass);
        }
        Ok(estimate)
    }

    /// The same with something else that is held throughout, such as models that other stages need.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, bytes: u64) -> Self {
        self.add(name, MemoryPhase::Throughout, bytes);
        self
    }

    /// Every part that takes memory.
    #[must_use]
    pub fn parts(&self) -> &[MemoryPart] {
        &self.parts
    }

    /// Bytes of one phase's own parts.
    #[must_use]
    pub fn bytes_of(&self, phase: MemoryPhase) -> u64 {
        let parts = self.parts.iter().filter(|part| part.phase == phase);
        parts.map(|part| part.bytes).sum()
    }

    /// The most bytes at any time: what is held throughout, and the largest of the phases.
    #[must_use]
    pub fn peak(&self) -> u64 {
        let phases = [
            MemoryPhase::Sampling,
            MemoryPhase::Scoring,
            MemoryPhase::Updating,
            MemoryPhase::Mixing,
        ];
        let largest = phases.map(|phase| self.bytes_of(phase)).into_iter().max();
        self.bytes_of(MemoryPhase::Throughout) + largest.unwrap_or(0)
    }

    fn add(&mut self, name: impl Into<String>, phase: MemoryPhase, bytes: u64) {
        if bytes > 0 {
            let name = name.into();
            self.parts.push(MemoryPart { name, phase, bytes });
        }
    }

    /// What is trained, and the optimizer's state.
    fn add_training(&mut self, sizes: &Sizes, optimizer: &OptimizerConfig) {
        self.add("weights", MemoryPhase::Throughout, sizes.weight_bytes);
        self.add("adapter", MemoryPhase::Throughout, 4 * sizes.adapter);
        let state = match optimizer {
            OptimizerConfig::Adamw(_) => 8 * sizes.trained,
            OptimizerConfig::Muon(_) => 8 * sizes.trained - 4 * sizes.trained_matrices,
        };
        let master = if sizes.half { 4 * sizes.trained } else { 0 };
        self.add("optimizer state", MemoryPhase::Throughout, state + master);
    }

    fn add_generation(
        &mut self,
        sizes: &Sizes,
        engine: &EngineConfig,
        [groups, samples]: [u64; 2],
        [prompt, completion]: [u64; 2],
    ) {
        let page = engine.page_tokens.get() as u64;
        let whole = |tokens: u64| tokens.div_ceil(page) * page;
        let side_by_side = samples.min(engine.max_batch.get() as u64);
        let prompts = groups.min(side_by_side * groups / samples.max(1) + 1);
        let slots = prompts * whole(prompt) + side_by_side * whole(completion);
        let cache = (8 * sizes.layers * sizes.keys * slots).min(engine.cache_bytes);
        self.add("keys and values", MemoryPhase::Sampling, cache);
        let logits = 16 * sizes.vocabulary * side_by_side;
        self.add("logits that are sampled", MemoryPhase::Sampling, logits);
        let read = (engine.max_batch_tokens.get() as u64)
            .min(engine.prefill_chunk.get() as u64)
            .min(prompts * prompt);
        let reading = 4 * read * sizes.scoring_numbers();
        self.add("a pass that reads prompts", MemoryPhase::Sampling, reading);
        if engine.decoding_weights == WeightPrecision::Bf16 {
            // Made at the first generation after an update, and kept to the next update.
            for phase in [MemoryPhase::Sampling, MemoryPhase::Scoring] {
                self.add("weights in bf16", phase, 2 * sizes.parameters);
            }
        }
    }

    fn add_update(&mut self, sizes: &Sizes, update: &Update) {
        let tokens = update.micro_batch();
        let gradients = 4 * sizes.trained;
        if update.tokens > tokens && !update.recompute_layers {
            self.add("gradients", MemoryPhase::Updating, gradients);
        }
        let per_layer = sizes.activation_numbers;
        let kept = if update.recompute_layers {
            sizes.layers * sizes.hidden + per_layer
        } else {
            sizes.layers * per_layer
        };
        let activations = 4 * tokens * (kept + 2 * sizes.hidden);
        let (name, largest) = if update.recompute_layers {
            // The sum of all gradients is there while the last layers are computed again.
            ("activations and gradients", activations + gradients)
        } else {
            ("activations, then gradients", activations.max(gradients))
        };
        self.add(name, MemoryPhase::Updating, largest);
        let logits = 4 * tokens.min(BACKWARD_ROWS) * sizes.vocabulary.min(BACKWARD_TILE);
        let embedding = if sizes.trains_embedding {
            4 * sizes.vocabulary * sizes.hidden
        } else {
            0
        };
        let working = 4 * tokens * (3 * sizes.intermediate + 4 * sizes.hidden);
        self.add(
            "backward pass",
            MemoryPhase::Updating,
            working + logits + embedding,
        );
    }
}

/// Rows and columns of the tile of logits that the backward pass of the output has at once.
const BACKWARD_ROWS: u64 = 2048;
const BACKWARD_TILE: u64 = 2048;

impl fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        for (phase, title) in [
            (MemoryPhase::Throughout, "always"),
            (MemoryPhase::Sampling, "sampling"),
            (MemoryPhase::Scoring, "scoring"),
            (MemoryPhase::Updating, "updating"),
            (MemoryPhase::Mixing, "mixing the reference"),
        ] {
            let parts = self.parts.iter().filter(|part| part.phase == phase);
            for (index, part) in parts.enumerate() {
                let title = if index == 0 { title } else { "" };
                let mb = megabytes(part.bytes);
                writeln!(f, "{title:21} {:28} {mb:>10.1} MB", part.name)?;
            }
        }
        let peak = megabytes(self.peak());
        write!(f, "{:21} {:28} {peak:>10.1} MB", "at most", "")
    }
}

/// One step's tokens.
struct Update {
    tokens: u64,
    longest: u64,
    micro_batch_tokens: u64,
    recompute_layers: bool,
}

impl Update {
    /// Tokens of the largest micro-batch: a longer sequence goes alone.
    fn micro_batch(&self) -> u64 {
        self.micro_batch_tokens.max(self.longest).min(self.tokens)
    }
}

/// A model in numbers.
struct Sizes {
    parameters: u64,
    weight_bytes: u64,
    half: bool,
    adapter: u64,
    trained: u64,
    trained_matrices: u64,
    trains_embedding: bool,
    /// What one token leaves in one layer for the backward pass.
    activation_numbers: u64,
    layers: u64,
    hidden: u64,
    intermediate: u64,
    queries: u64,
    keys: u64,
    vocabulary: u64,
}

impl Sizes {
    fn new(model: &PlannedModel<'_>) -> Result<Self> {
        let config = model.config;
        let parameters = config
            .parameter_count()
            .ok_or_else(|| Error::Configuration {
                key: "model".to_owned(),
                problem: "its parameters cannot be counted in 64 bits".to_owned(),
            })?;
        let hidden = config.hidden_size as u64;
        let intermediate = config.intermediate_size as u64;
        let layers = config.num_hidden_layers as u64;
        let queries = (config.num_attention_heads * config.head_dim) as u64;
        let keys = (config.num_key_value_heads * config.head_dim) as u64;
        let projections = layers * hidden * (2 * queries + 2 * keys + 3 * intermediate);
        // 1.125 and 0.625 bytes as whole numbers.
        let rest = 4 * (parameters - projections);
        let weight_bytes = match model.weights {
            WeightStorage::F32 => 4 * parameters,
            WeightStorage::Half => 2 * parameters,
            WeightStorage::EightBit => rest + projections * 18 / 16,
            WeightStorage::FourBit => rest + projections * 10 / 16,
        };
        let adapter = match model.adapter {
            Some(adapter) => adapter.parameter_count(config)?,
            None => 0,
        };
        let (trained, trained_matrices) = match model.adapter {
            Some(_) => (adapter, adapter),
            None => (parameters, projections),
        };
        let heads = if config.family.has_query_key_norm() {
            queries + keys
        } else {
            0
        };
        Ok(Self {
            parameters,
            weight_bytes,
            half: model.weights == WeightStorage::Half && model.adapter.is_none(),
            adapter,
            trained,
            trained_matrices,
            trains_embedding: model.adapter.is_none(),
            activation_numbers: 4 * hidden + 2 * queries + 2 * keys + 3 * intermediate + heads,
            layers,
            hidden,
            intermediate,
            queries,
            keys,
            vocabulary: config.vocab_size as u64,
        })
    }

    /// What one token takes in a pass without gradients.
    fn scoring_numbers(&self) -> u64 {
        4 * self.hidden + 2 * self.queries + 3 * self.intermediate
    }
}

#[cfg(test)]
mod tests;
