//! What each phase of a stage holds.
//!
//! Owns the formulas by phase; sizes of models and their parts are counted by `sizes`.

use didact_engine::EngineConfig;
use didact_models::WeightPrecision;

use super::sizes::{Sizes, Update};
use super::{MemoryEstimate, MemoryPhase, MemoryPlace, PlannedModel, PlannedStudent};
use crate::Result;
use crate::config::{ReferenceRule, ResolvedTeacherConfig};
use crate::optimizer::OptimizerConfig;
use crate::parking::check_parking;

/// What the host keeps of models whose quantised weights are on a GPU.
const QUANTISED_ON_HOST: &str = "quantised weights";

impl MemoryEstimate {
    /// The reference and the student, and mixing the one.
    pub(super) fn add_readers(
        &mut self,
        policy: &PlannedModel<'_>,
        student: &PlannedStudent<'_>,
        config: &ResolvedTeacherConfig,
    ) -> Result<()> {
        let sizes = Sizes::new(policy)?;
        let mixed = matches!(config.reference, ReferenceRule::Mixed(_));
        let own_reference = policy.adapter.is_none();
        let separate = match student {
            PlannedStudent::Separate(model) => Some((model.place, Sizes::new(model)?)),
            PlannedStudent::Initial | PlannedStudent::Current => None,
        };
        let parks = config.park_weights;
        if parks {
            let own = |(place, _): &(MemoryPlace, Sizes)| *place == MemoryPlace::Device;
            let own_student = separate.as_ref().is_some_and(own);
            let on_device = own_student || policy.place == MemoryPlace::Device;
            check_parking(on_device, policy.adapter.is_some(), own_student)?;
        }
        let mut read = 0;
        let mut add = |name, place, sizes: &Sizes| {
            let kept = sizes.kept_on_host();
            if parks && place == MemoryPlace::Device {
                read = read.max(sizes.bytes(place));
                let bytes = sizes.bytes(MemoryPlace::Host);
                self.add_on_host(name, MemoryPhase::Throughout, bytes);
            } else {
                let bytes = sizes.bytes(place);
                self.add_at(place, name, MemoryPhase::Throughout, bytes);
                self.add_on_host(QUANTISED_ON_HOST, MemoryPhase::Throughout, kept);
            }
        };
        if own_reference {
            add("reference", policy.place, &sizes);
        }
        match (&separate, student) {
            (Some((place, sizes)), _) => add("student", *place, sizes),
            (None, PlannedStudent::Initial) if own_reference && mixed => {
                add("student", policy.place, &sizes);
            }
            (None, _) => {}
        }
        // One at a time.
        self.add("parked weights, to score", MemoryPhase::Scoring, read);
        if mixed && own_reference {
            self.add_on_host("policy, read", MemoryPhase::Mixing, 4 * sizes.parameters);
            let place = if parks {
                MemoryPlace::Host
            } else {
                policy.place
            };
            let new = sizes.weight_bytes(place);
            self.add_at(place, "new reference", MemoryPhase::Mixing, new);
        }
        Ok(())
    }

    /// A model that is held throughout where it runs.
    pub(super) fn add_weights(&mut self, name: &str, sizes: &Sizes) {
        let bytes = sizes.weight_bytes(sizes.place);
        self.add_at(sizes.place, name, MemoryPhase::Throughout, bytes);
        let adapter = sizes.number() * sizes.adapter;
        self.add_at(sizes.place, "adapter", MemoryPhase::Throughout, adapter);
        let kept = sizes.kept_on_host();
        self.add_on_host(QUANTISED_ON_HOST, MemoryPhase::Throughout, kept);
    }

    /// What is trained, and the optimizer's state.
    pub(super) fn add_training(&mut self, sizes: &Sizes, optimizer: &OptimizerConfig) {
        self.add_weights("weights", sizes);
        let master = if sizes.has_master() { 4 } else { 0 };
        let (matrices, rest) = (
            sizes.trained_matrices,
            sizes.trained - sizes.trained_matrices,
        );
        let name = "optimizer state";
        match optimizer {
            OptimizerConfig::Adamw(_) => {
                let state = (8 + master) * sizes.trained;
                self.add(name, MemoryPhase::Throughout, state);
            }
            OptimizerConfig::Muon(_) => {
                self.add(name, MemoryPhase::Throughout, (8 + master) * rest);
                let momentum = (4 + master) * matrices;
                self.add_on_host("Muon's state", MemoryPhase::Throughout, momentum);
            }
        }
    }

    pub(super) fn add_generation(
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
        let cache = (sizes.slot() * slots).min(engine.cache_bytes);
        self.add("keys and values", MemoryPhase::Sampling, cache);
        // The CPU reads and sorts them.
        let logits = match self.place() {
            MemoryPlace::Host => 16,
            MemoryPlace::Device => 4,
        };
        let logits = logits * sizes.vocabulary * side_by_side;
        self.add("logits that are sampled", MemoryPhase::Sampling, logits);
        let read = (engine.max_batch_tokens.get() as u64)
            .min(engine.prefill_chunk.get() as u64)
            .min(prompts * prompt);
        let reading = sizes.pass_bytes(read);
        self.add("a pass that reads prompts", MemoryPhase::Sampling, reading);
        if engine.decoding_weights == WeightPrecision::Bf16 {
            // Made at the first generation after an update, and kept to the next update.
            for phase in [MemoryPhase::Sampling, MemoryPhase::Scoring] {
                self.add("weights in bf16", phase, sizes.half_copy());
            }
        }
    }

    /// A pass without gradients that takes `pass` bytes, and the log-probs of at most all its `read` tokens.
    pub(super) fn add_scoring_pass(&mut self, sizes: &Sizes, pass: u64, read: u64) {
        self.add("a pass that scores", MemoryPhase::Scoring, pass);
        if self.place() == MemoryPlace::Device {
            self.add("a tile of logits", MemoryPhase::Scoring, sizes.tile(read));
        }
    }

    pub(super) fn add_update(&mut self, sizes: &Sizes, update: &Update) {
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
        let activations = sizes.number() * tokens * (kept + 2 * sizes.hidden);
        let (name, largest) = if update.recompute_layers {
            // The sum of all gradients is there while the last layers are computed again.
            ("activations and gradients", activations + gradients)
        } else {
            ("activations, then gradients", activations.max(gradients))
        };
        self.add(name, MemoryPhase::Updating, largest);
        let backward = sizes.backward_bytes(tokens);
        self.add("backward pass", MemoryPhase::Updating, backward);
    }
}
