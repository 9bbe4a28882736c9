//! The model that the policy is kept close to.
//!
//! Owns a frozen copy of the initial policy, when it follows the policy, and how far. Knows no loss.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use didact_core::{Score, ScoreRequest, TokenLogProbs};
use didact_engine::EngineConfig;
use didact_models::{Decoder, ParameterMapper, ParameterVisitor};
use rayon::prelude::*;

use crate::checkpoint::set_parameters;
use crate::config::ReferenceRule;
use crate::gradients::{CHUNK, mutable, read_f32, values};
use crate::parking::ScoringEngine;
use crate::{Error, Result};

/// A frozen copy of the policy that may follow it: `reference ← α · policy + (1 − α) · reference`.
///
/// It shares the initial policy's memory until the first update, and scores through the same engine, so
/// before the first update its log-probs are those of the policy bit for bit. Under an adapter it shares the frozen
/// weights for good, and a fresh adapter, which adds zeros, is left off.
#[derive(Debug)]
pub struct ReferencePolicy {
    engine: ScoringEngine,
    rule: ReferenceRule,
    mixed: bool,
}

impl ReferencePolicy {
    /// The reference that `policy` is now.
    ///
    /// # Errors
    /// [`Error::Configuration`] where a policy with an adapter should be mixed in: the two matrices mixed one by one
    /// are not the mixture of what they add.
    pub fn new(policy: &Decoder, rule: ReferenceRule, engine: EngineConfig) -> Result<Self> {
        Self::parked(policy, rule, engine, None)
    }

    /// The same; with `parked_from`, it scores there and has its weights in host memory otherwise, where it is mixed
    /// with the policy too.
    pub(crate) fn parked(
        policy: &Decoder,
        rule: ReferenceRule,
        engine: EngineConfig,
        parked_from: Option<&Device>,
    ) -> Result<Self> {
        if policy.adapter().is_some() && matches!(rule, ReferenceRule::Mixed(_)) {
            return Err(Error::Configuration {
                key: "reference_mixing".to_owned(),
                problem: "the policy has a LoRA adapter, whose reference stays as it is; switch mixing off (`false` in a file, \
                          `None` in a program)"
                    .to_owned(),
            });
        }
        let reference = if adds_nothing(policy)? {
            policy.without_adapter()
        } else {
            policy.clone()
        };
        Ok(Self {
            engine: ScoringEngine::new(reference, engine, parked_from),
            rule,
            mixed: false,
        })
    }

    /// Whether it has followed the policy since it was made.
    #[must_use]
    pub const fn has_followed(&self) -> bool {
        self.mixed
    }

    /// Takes up the tensors that it had when a checkpoint was written, by path.
    ///
    /// # Errors
    /// The first tensor that is missing, unknown, or of another shape or element type. Nothing is changed then.
    pub fn restore(&mut self, tensors: BTreeMap<String, TensorData>, updates: u64) -> Result<()> {
        let decoder = set_parameters(self.engine.decoder().clone(), tensors, false)?;
        self.engine.update_weights(decoder, updates);
        self.mixed = true;
        Ok(())
    }

    /// Its weights.
    #[must_use]
    pub const fn decoder(&self) -> &Decoder {
        self.engine.decoder()
    }

    /// Follows `policy` where the rule says so after `updates` updates; whether it did.
    ///
    /// # Errors
    /// Models of different tensors; a tensor that cannot be read.
    pub fn follow(&mut self, policy: &Decoder, updates: u64) -> Result<bool> {
        let ReferenceRule::Mixed(mixing) = self.rule else {
            return Ok(false);
        };
        if updates == 0 || !updates.is_multiple_of(mixing.every) {
            return Ok(false);
        }
        let mixed = mix(policy, self.engine.decoder().clone(), mixing.alpha)?;
        self.engine.update_weights(mixed, updates);
        self.mixed = true;
        Ok(true)
    }
}

impl Score for ReferencePolicy {
    fn score(&mut self, requests: &[ScoreRequest]) -> didact_core::Result<Vec<Vec<TokenLogProbs>>> {
        self.engine.score(requests)
    }
}

/// Whether the policy has an adapter all of whose `B` are zero.
fn adds_nothing(policy: &Decoder) -> Result<bool> {
    struct Zeros(Result<bool>);
    impl ParameterVisitor for Zeros {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            if path.ends_with(".lora_B.weight") && matches!(self.0, Ok(true)) {
                self.0 = read_f32(path, parameter.base().inner())
                    .and_then(|data| Ok(values(path, &data)?.iter().all(|value| *value == 0.0)));
            }
        }
    }
    if policy.adapter().is_none() {
        return Ok(false);
    }
    let mut zeros = Zeros(Ok(true));
    policy.visit_parameters(&mut zeros);
    zeros.0
}

/// `weight · source + (1 − weight) · target`, tensor by tensor in f32.
///
/// # Errors
/// Models of different tensors; a tensor that cannot be read.
pub fn mix(source: &Decoder, target: Decoder, weight: f64) -> Result<Decoder> {
    let mut reader = Reader {
        tensors: Ok(BTreeMap::new()),
    };
    source.visit_parameters(&mut reader);
    let mut mixer = Mixer {
        weight,
        source: reader.tensors?,
        outcome: Ok(()),
    };
    let mixed = target.map_parameters(&mut mixer);
    mixer.outcome?;
    match mixer.source.keys().next() {
        Some(path) => Err(Error::UnknownTensor { path: path.clone() }),
        None => Ok(mixed),
    }
}

struct Reader {
    tensors: Result<BTreeMap<String, TensorData>>,
}

impl ParameterVisitor for Reader {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        let Ok(tensors) = &mut self.tensors else {
            return;
        };
        match read_f32(path, parameter.base().inner()) {
            Ok(data) => {
                tensors.insert(path.to_owned(), data);
            }
            Err(error) => self.tensors = Err(error),
        }
    }
}

struct Mixer {
    weight: f64,
    source: BTreeMap<String, TensorData>,
    outcome: Result<()>,
}

impl Mixer {
    fn mix(&mut self, path: &str, mut target: TensorData) -> Result<TensorData> {
        let Some(source) = self.source.remove(path) else {
            return Err(Error::UnknownTensor {
                path: path.to_owned(),
            });
        };
        if source.shape() != target.shape() {
            return Err(Error::MismatchedTensor {
                path: path.to_owned(),
                expected: format!("{:?}", target.shape()),
                found: format!("{:?}", source.shape()),
            });
        }
        let (new, old) = (self.weight as f32, (1.0 - self.weight) as f32);
        mutable(path, &mut target)?
            .par_chunks_mut(CHUNK)
            .zip(values(path, &source)?.par_chunks(CHUNK))
            .for_each(|(target, source)| {
                target
                    .iter_mut()
                    .zip(source)
                    .for_each(|(t, s)| *t = new * s + old * *t);
            });
        Ok(target)
    }
}

impl ParameterMapper for Mixer {
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.outcome.is_err() {
            return parameter;
        }
        let (id, tensor, mapper) = parameter.consume();
        let (device, dtype) = (tensor.device(), tensor.dtype());
        let mixed = read_f32(path, tensor.clone().inner()).and_then(|data| self.mix(path, data));
        let tensor = match mixed {
            Ok(data) => Tensor::from_data(data.convert_dtype(dtype), (&device, dtype)),
            Err(error) => {
                self.outcome = Err(error);
                tensor
            }
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}
