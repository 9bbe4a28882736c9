//! Weights that lie in host memory while nothing reads them.
//!
//! Owns where a model that only scores has its weights, and when they are moved. Knows no training and no reward.

use burn::module::Module;
use burn::tensor::Device;
use didact_core::{Score, ScoreRequest, TokenLogProbs};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::Decoder;

use crate::Result;
use crate::config::check;
use crate::memory::MemoryPlace;
use crate::teacher_trainer::StudentModel;

/// The configuration key that asks for it.
const KEY: &str = "park_weights";

/// A model that scores and does nothing else.
///
/// Parked, its weights lie in host memory. A copy of them is on the device while it scores, and given up after: there
/// is nothing to bring back, since scoring changes no weight.
#[derive(Debug)]
pub(crate) struct ScoringEngine {
    engine: LocalEngine,
    /// Where it scores, if it is parked.
    parked_from: Option<Device>,
}

impl ScoringEngine {
    /// With `parked_from`, it scores there and has its weights in host memory otherwise.
    pub(crate) fn new(
        decoder: Decoder,
        config: EngineConfig,
        parked_from: Option<&Device>,
    ) -> Self {
        // The tape is no part of where a model is.
        let parked_from = parked_from.map(|device| device.clone().inner());
        let decoder = placed(decoder, parked_from.as_ref());
        Self {
            engine: LocalEngine::new(decoder, config),
            parked_from,
        }
    }

    /// Its weights, where they lie.
    pub(crate) const fn decoder(&self) -> &Decoder {
        self.engine.decoder()
    }

    /// Runs `decoder`'s weights from now on.
    pub(crate) fn update_weights(&mut self, decoder: Decoder, version: u64) {
        let decoder = placed(decoder, self.parked_from.as_ref());
        self.engine.update_weights(decoder, version);
    }
}

impl Score for ScoringEngine {
    fn score(&mut self, requests: &[ScoreRequest]) -> didact_core::Result<Vec<Vec<TokenLogProbs>>> {
        let Some(device) = &self.parked_from else {
            return self.engine.score(requests);
        };
        let (parked, version) = (self.engine.decoder().clone(), self.engine.version());
        self.engine
            .update_weights(parked.clone().to_device(device), version);
        let scored = self.engine.score(requests);
        parked.free_uploads();
        self.engine.update_weights(parked, version);
        // Freed memory stays in the device's pools, cut for these tensors, until it is given back.
        device.memory_cleanup();
        scored
    }
}

/// The decoder without its tape, in host memory if it is parked.
fn placed(decoder: Decoder, parked_from: Option<&Device>) -> Decoder {
    match parked_from {
        None => decoder,
        Some(_) => decoder.valid().to_device(&Device::flex()),
    }
}

/// From which devices the models of a teacher's training are parked.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// The reference: not under an adapter, where it shares the policy's weights.
    pub(crate) reference: Option<Device>,
    /// The student: a model of its own, or the policy as it began where that is the parked reference.
    pub(crate) student: Option<Device>,
}

impl Parked {
    /// # Errors
    /// As [`check_parking`].
    pub(crate) fn of(policy: &Decoder, student: &StudentModel) -> Result<Self> {
        let elsewhere = |decoder: &Decoder| {
            Some(decoder.device()).filter(|d| MemoryPlace::of(d) == MemoryPlace::Device)
        };
        let own = match student {
            StudentModel::Separate(student) => elsewhere(student),
            StudentModel::Initial | StudentModel::Current => None,
        };
        let (policy_device, adapter) = (elsewhere(policy), policy.adapter().is_some());
        check_parking(
            policy_device.is_some() || own.is_some(),
            adapter,
            own.is_some(),
        )?;
        let reference = policy_device.filter(|_| !adapter);
        Ok(Self {
            student: match student {
                StudentModel::Initial => reference.clone(),
                StudentModel::Separate(_) | StudentModel::Current => own,
            },
            reference,
        })
    }
}

/// Whether there is something to park: models on a device with memory of its own, and there either a policy without an
/// adapter, whose reference has weights of its own, or a student of its own.
///
/// # Errors
/// [`Error::Configuration`](crate::Error::Configuration) where parking would free nothing.
pub(crate) fn check_parking(on_device: bool, adapter: bool, own_student: bool) -> Result<()> {
    check(KEY, on_device, || {
        "the models are on the CPU, whose memory is where weights would be parked; leave the key out, or train on a GPU"
            .to_owned()
    })?;
    check(KEY, own_student || !adapter, || {
        "under an adapter the reference, and a student that is the policy, share the policy's weights, so that parking \
         would free nothing; leave the key out"
            .to_owned()
    })
}
