//! How much memory a run will take, before it begins.
//!
//! Owns formulas over the sizes of models and steps. Knows no tensor and measures nothing: `memory/peak` of a run's
//! metrics is what was taken.
//!
//! Bytes of tensors: on the CPU they are exact; a GPU's pools hold more than is asked for, and its driver and kernels
//! take some hundreds of megabytes. With `P` numbers in a model's parameters, `T` in those that are trained, `A` in an
//! adapter, `H` hidden width, `I` the MLP's, `Q` query width (heads times their width), `K` key width, `L` layers, `V`
//! vocabulary, `m` tokens of the largest micro-batch, and `n` bytes a number, 4 or with weights of half precision 2:
//!
//! | part | bytes |
//! |---|---|
//! | weights | `n·P`; frozen projections of 8 or 4 bits take 1.125 or 0.625 a number, on a GPU 1.25 or 0.75 |
//! | adapter | `n·A` |
//! | reference | `n·P`; under an adapter nothing, since it is the base below it |
//! | student | its own weights; in self-teaching nothing, but `n·P` for an initial student beside a mixed reference |
//! | optimizer | AdamW `8·T`; Muon `4` a number of the layers' matrices, `8` of the rest; and `4·T` of master weights in half precision |
//! | gradients | `4·T`, where a step has several micro-batches to add up |
//! | activations | `n·m·(L·a + 2·H)` with `a = 4·H + 2·Q + 2·K + 3·I`, and `Q + K` more with norms of heads: what the backward pass reads again |
//! | … computed again | `n·m·(L·H + a + 2·H)` |
//! | backward pass | `n·m·(3·I + 4·H)`, a tile of logits in f32, and `4·V·H` where the output embedding is trained |
//! | keys and values | `2·n·L·K` a token that is held at once, or the engine's `cache_bytes` if that is less |
//! | sampling | `16·V` a sequence sampled at once |
//! | scoring | `n·t·(4·H + 2·Q + 3·I)` for `t` tokens in a pass |
//!
//! As the backward pass goes down, activations are freed and gradients come, of `4·T`; the larger of the two counts.
//! What takes turns is not added: the peak is what is always there, and the largest of sampling, scoring, updating and
//! mixing the reference. Program, tokenizer and texts come on top, some tens of megabytes. The processor has no kernels
//! for half precision, and computes in temporaries of f32 that are not counted.
//!
//! Of models on a GPU, this lies elsewhere or is other:
//!
//! | part | on the GPU | on the host |
//! |---|---|---|
//! | parked weights | the larger of reference and student, while they score | both, always |
//! | mixing the reference | the new one, `n·P`; of a parked one nothing | the policy's numbers in f32, `4·P`; of a parked one the new one too |
//! | optimizer | AdamW's | Muon's, of the layers' matrices |
//! | quantised weights | codes, scales and minima | the same again, from which they are uploaded |
//! | sampling | `4·V` a sequence | nothing |
//! | log-probs | a tile of `2²⁴` products in f32, or `2¹⁰` a row, and in the backward pass their derivatives | nothing |
//! | embedding's gradient | `2·n·V·H`, before it is one of the gradients | nothing |
//! | products with quantised weights | `2²⁴` decoded numbers, and `8·m·I` in the backward pass | nothing |
//! | rollouts | nothing | all |
//!
//! On the CPU, keys and values are f32 whatever the weights are.

use burn::tensor::Device;
use didact_engine::EngineConfig;
use didact_kernels::is_cpu;
use didact_models::{Bits, DecoderConfig, LoraConfig};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::ResolvedTeacherConfig;
use crate::fine_tune::ResolvedFineTuneConfig;

mod phases;
mod sizes;
mod table;

use sizes::{Sizes, Update};

/// How a model's weights are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightStorage {
    /// Four bytes a number.
    #[default]
    F32,
    /// Two bytes a number: bf16.
    Half,
    /// Frozen projections of 8 bits, with f16 scale and minimum for each 32; the rest f32.
    EightBit,
    /// Frozen projections of 4 bits, with f16 scale and minimum for each 32; the rest f32.
    FourBit,
    /// Frozen projections of 8 bits; the rest bf16.
    EightBitHalf,
    /// Frozen projections of 4 bits; the rest bf16.
    FourBitHalf,
}

impl WeightStorage {
    /// Bits of frozen projections, `None` where they are as the rest.
    #[must_use]
    pub const fn bits(self) -> Option<Bits> {
        match self {
            Self::F32 | Self::Half => None,
            Self::EightBit | Self::EightBitHalf => Some(Bits::Eight),
            Self::FourBit | Self::FourBitHalf => Some(Bits::Four),
        }
    }

    /// Whether what is not frozen is bf16 rather than f32, and activations with it.
    #[must_use]
    pub const fn is_half(self) -> bool {
        matches!(self, Self::Half | Self::EightBitHalf | Self::FourBitHalf)
    }

    /// Bytes of a number that is not frozen.
    #[must_use]
    pub const fn number_bytes(self) -> u64 {
        if self.is_half() { 2 } else { 4 }
    }
}

/// Whose memory it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryPlace {
    /// The processor's.
    #[default]
    Host,
    /// A GPU's.
    Device,
}

impl MemoryPlace {
    /// Where tensors on `device` lie.
    #[must_use]
    pub fn of(device: &Device) -> Self {
        if is_cpu(device) {
            Self::Host
        } else {
            Self::Device
        }
    }
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
    /// Where it runs.
    pub place: MemoryPlace,
}

impl PlannedModel<'_> {
    /// Bytes of its weights and of its adapter, where it runs.
    ///
    /// # Errors
    /// An adapter that means nothing for the model; sizes beyond 64 bits.
    pub fn bytes(&self) -> Result<u64> {
        Ok(Sizes::new(self)?.bytes(self.place))
    }
}

impl<'a> From<&'a DecoderConfig> for PlannedModel<'a> {
    fn from(config: &'a DecoderConfig) -> Self {
        Self {
            config,
            weights: WeightStorage::F32,
            adapter: None,
            place: MemoryPlace::Host,
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
    /// Where.
    pub place: MemoryPlace,
    /// How many bytes.
    pub bytes: u64,
}

/// The memory that a stage will take, part by part: that of the device its models run on, and of a GPU's host.
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
    /// Where the models run.
    place: MemoryPlace,
    parts: Vec<MemoryPart>,
}

impl MemoryEstimate {
    /// Of a teacher's training, whose longest prompt has `prompt_tokens` tokens.
    ///
    /// # Errors
    /// An adapter that means nothing for its model; weights that are to be parked where that frees nothing; sizes
    /// beyond 64 bits.
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
        let mut estimate = Self::new(policy.place);
        let sizes = Sizes::new(policy)?;
        estimate.add_training(&sizes, &config.optimizer);
        estimate.add_readers(policy, student, config)?;
        // Ids, log-probs of sampling, policy, reference and student, and advantages, with as much for the texts.
        estimate.add_on_host("rollouts", MemoryPhase::Throughout, 64 * tokens);

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
        let mut pass = sizes.pass_bytes(read);
        if let PlannedStudent::Separate(student) = student {
            pass = pass.max(Sizes::new(student)?.pass_bytes(read));
        }
        estimate.add_scoring_pass(&sizes, pass, read);

        let update = Update {
            tokens,
            longest,
            micro_batch_tokens: config.micro_batch_tokens as u64,
            recompute_layers: config.recompute_layers,
        };
        estimate.add_update(&sizes, &update);
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
        let mut estimate = Self::new(model.place);
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
        let mut estimate = Self::new(model.place);
        estimate.add_weights("weights", &sizes);
        let [counts, tokens] = [counts, tokens].map(|pair| pair.map(|n| n as u64));
        estimate.add_generation(&sizes, engine, counts, tokens);
        if let Some(reader) = reader {
            let reader = Sizes::new(reader)?;
            estimate.add_weights("student", &reader);
            let longest = tokens[0] + tokens[1];
            let read = (engine.max_batch_tokens.get() as u64)
                .max(longest)
                .min(counts[1] * longest);
            let pass = sizes.pass_bytes(read).max(reader.pass_bytes(read));
            estimate.add_scoring_pass(&sizes, pass, read);
        }
        Ok(estimate)
    }

    const fn new(place: MemoryPlace) -> Self {
        let parts = Vec::new();
        Self { place, parts }
    }

    /// The same with something else that is held throughout where the models run, such as models that other stages need.
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

    /// Where the models run.
    #[must_use]
    pub const fn place(&self) -> MemoryPlace {
        self.place
    }

    /// Bytes of one phase's own parts where the models run.
    #[must_use]
    pub fn bytes_of(&self, phase: MemoryPhase) -> u64 {
        self.bytes_at(self.place, phase)
    }

    /// The most bytes at any time where the models run: what is held throughout, and the largest of the phases.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak_of(self.place)
    }

    /// The most bytes at any time on the host of a GPU that the models run on; 0 of models that run on the CPU.
    #[must_use]
    pub fn host(&self) -> u64 {
        match self.place {
            MemoryPlace::Host => 0,
            MemoryPlace::Device => self.peak_of(MemoryPlace::Host),
        }
    }

    fn bytes_at(&self, place: MemoryPlace, phase: MemoryPhase) -> u64 {
        let parts = self.parts.iter();
        let parts = parts.filter(|part| (part.place, part.phase) == (place, phase));
        parts.map(|part| part.bytes).sum()
    }

    fn peak_of(&self, place: MemoryPlace) -> u64 {
        let phases = [
            MemoryPhase::Sampling,
            MemoryPhase::Scoring,
            MemoryPhase::Updating,
            MemoryPhase::Mixing,
        ];
        let largest = phases
            .map(|phase| self.bytes_at(place, phase))
            .into_iter()
            .max();
        self.bytes_at(place, MemoryPhase::Throughout) + largest.unwrap_or(0)
    }

    fn add_at(
        &mut self,
        place: MemoryPlace,
        name: impl Into<String>,
        phase: MemoryPhase,
        bytes: u64,
    ) {
        if bytes > 0 {
            self.parts.push(MemoryPart {
                name: name.into(),
                phase,
                place,
                bytes,
            });
        }
    }

    /// Where the models run.
    fn add(&mut self, name: impl Into<String>, phase: MemoryPhase, bytes: u64) {
        self.add_at(self.place, name, phase, bytes);
    }

    fn add_on_host(&mut self, name: impl Into<String>, phase: MemoryPhase, bytes: u64) {
        self.add_at(MemoryPlace::Host, name, phase, bytes);
    }
}

#[cfg(test)]
mod tests;
