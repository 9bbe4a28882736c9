//! Who reads the explanations.
//!
//! Owns which weights the student has and when they change. Knows no reward.

use burn::tensor::Device;
use didact_engine::EngineConfig;
use didact_models::Decoder;

use crate::parking::ScoringEngine;

/// The model that explanations are written for.
///
/// In self-teaching, which is every variant but the first, one model plays both parts: teacher and student differ in
/// what they read, since only the teacher has seen the solution. None of them costs memory for weights that some
/// other model has already.
#[derive(Debug)]
pub enum StudentModel {
    /// A model of its own, which stays as it is.
    Separate(Box<Decoder>),
    /// The policy as it began, which stays as it is. Its memory is the reference's for as long as that is not mixed;
    /// of a policy with a fresh adapter it is the base, with the adapter off.
    Initial,
    /// The policy as it is now: the student learns what the teacher learns. Its memory is the policy's.
    Current,
}

impl From<Decoder> for StudentModel {
    fn from(decoder: Decoder) -> Self {
        Self::Separate(Box::new(decoder))
    }
}

/// The student's engine.
pub(super) struct Student {
    pub(super) engine: ScoringEngine,
    /// The longest sequence that it reads, in tokens.
    pub(super) context: usize,
    follows: bool,
    separate: bool,
}

impl Student {
    /// `reference` is the policy as it began. With `parked_from`, the student scores there and has its weights in
    /// host memory otherwise.
    pub(super) fn new(
        model: StudentModel,
        policy: &Decoder,
        reference: &Decoder,
        config: &EngineConfig,
        parked_from: Option<&Device>,
    ) -> Self {
        let follows = matches!(model, StudentModel::Current);
        let separate = matches!(model, StudentModel::Separate(_));
        let decoder = match model {
            StudentModel::Separate(decoder) => *decoder,
            // Handles to the same tensors: an update that finds them held elsewhere leaves them as they are.
            StudentModel::Initial => reference.clone(),
            StudentModel::Current => policy.clone(),
        };
        Self {
            context: decoder.config().max_position_embeddings,
            engine: ScoringEngine::new(decoder, config.clone(), parked_from),
            follows,
            separate,
        }
    }

    /// The student, where it is a model of its own.
    pub(super) fn model(&self) -> Option<&Decoder> {
        self.separate.then(|| self.engine.decoder())
    }

    /// Takes up the policy's weights where it is the policy.
    pub(super) fn follow(&mut self, policy: &Decoder, version: u64) {
        if self.follows {
            self.engine.update_weights(policy.clone(), version);
        }
    }
}
