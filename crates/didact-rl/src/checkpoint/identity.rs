//! Whose checkpoint it is.
//!
//! Owns the fingerprints of a run's models, tokenizer, data and configuration, and how two are compared. Knows no
//! file.

use std::collections::BTreeSet;

use burn::module::Param;
use burn::tensor::Tensor;
use didact_models::{Decoder, ParameterVisitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;
use crate::gradients::read;

/// Keys of a configuration that a resumed run may change: they change no number.
pub const FREE_KEYS: [&str; 3] = ["checkpoint", "non_finite", "park_weights"];

/// What a checkpoint and the run that takes it up must have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The trained model as it began: configuration and tensors.
    pub model: String,
    /// The model that explanations are for, where there is one of its own.
    pub student: Option<String>,
    /// The tokenizer and the prompt format, where text is made.
    pub tokenizer: Option<String>,
    /// What is trained and evaluated on.
    pub data: String,
    /// The reward's [identity](didact_core::Reward::identity), where there is a reward that says one.
    #[serde(default)]
    pub reward: Option<String>,
    /// The resolved configuration.
    pub configuration: Value,
}

impl Identity {
    /// Every difference, in words: what the checkpoint has and what is here.
    #[must_use]
    pub fn differences(&self, here: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let none = || "none".to_owned();
        let pairs = [
            ("model", self.model.clone(), here.model.clone()),
            (
                "student",
                self.student.clone().unwrap_or_else(none),
                here.student.clone().unwrap_or_else(none),
            ),
            (
                "tokenizer and prompt format",
                self.tokenizer.clone().unwrap_or_else(none),
                here.tokenizer.clone().unwrap_or_else(none),
            ),
            ("data", self.data.clone(), here.data.clone()),
        ];
        for (what, there, here) in pairs {
            if there != here {
                found.push(format!(
                    "{what} (the checkpoint's fingerprint is {there}, this run's {here})"
                ));
            }
        }
        if let (Some(there), Some(here)) = (&self.reward, &here.reward)
            && there != here
        {
            found.push(format!(
                "reward (the checkpoint's is {there}, this run's {here})"
            ));
        }
        compare(
            "configuration",
            &self.configuration,
            &here.configuration,
            &mut found,
        );
        found
    }
}

/// Lists the leaves at which two configurations differ.
fn compare(path: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let top = path == "configuration";
            for key in keys {
                if top && FREE_KEYS.contains(&key.as_str()) {
                    continue;
                }
                let (a, b) = (a.get(key), b.get(key));
                compare(
                    &format!("{path}.{key}"),
                    a.unwrap_or(&Value::Null),
                    b.unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (there, here) if there != here => {
            found.push(format!(
                "{path} (the checkpoint's is {there}, this run's {here})"
            ));
        }
        _ => {}
    }
}

/// Hashes pieces so that two lists of pieces with the same bytes in all still differ.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    pub(crate) fn add(&mut self, piece: &[u8]) -> &mut Self {
        self.0.update(&(piece.len() as u64).to_le_bytes());
        self.0.update(piece);
        self
    }

    /// 128 bits of the hash: enough to tell models apart, short enough to be read.
    pub(crate) fn finish(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
}

/// The fingerprint of a model: its configuration and every tensor, trained or not, quantised ones by their blocks.
pub(crate) fn fingerprint(decoder: &Decoder) -> Result<String> {
    struct Hash {
        found: Fingerprint,
        outcome: Result<()>,
    }
    impl ParameterVisitor for Hash {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            if self.outcome.is_err() {
                return;
            }
            let tensor = parameter.base();
            let trained = u8::from(tensor.is_require_grad());
            match read(path, tensor.inner()) {
                Ok(data) => {
                    let dtype = format!("{:?} {:?}", data.dtype(), data.shape());
                    self.found.add(path.as_bytes()).add(dtype.as_bytes());
                    self.found.add(&[trained]).add(data.as_bytes());
                }
                Err(error) => self.outcome = Err(error),
            }
        }
    }
    let mut hash = Hash {
        found: Fingerprint::default(),
        outcome: Ok(()),
    };
    hash.found.add(decoder.config().to_json().as_bytes());
    decoder.visit_parameters(&mut hash);
    hash.outcome?;
    let mut found = hash.found;
    decoder.visit_quantised(&mut |path, weight| {
        found.add(path.as_bytes());
        weight.visit_bytes(&mut |bytes| {
            found.add(bytes);
        });
    });
    Ok(found.finish())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_difference_is_named_with_both_values() {
        let identity = |seed: u64, tokenizer: &str| Identity {
            model: "aa".to_owned(),
            student: None,
            tokenizer: Some(tokenizer.to_owned()),
            data: "dd".to_owned(),
            reward: None,
            configuration: json!({
                "seed": seed,
                "schedule": {"peak": 0.5, "steps": seed},
                "checkpoint": {"every": seed},
            }),
        };
        assert!(identity(1, "t").differences(&identity(1, "t")).is_empty());
        let found = identity(1, "old").differences(&identity(2, "new"));
        assert_eq!(
            found.len(),
            3,
            "checkpoints may be written at other steps: {found:?}"
        );
        assert!(found[0].contains("old") && found[0].contains("new"));
        assert!(
            found[1].contains("configuration.schedule.steps"),
            "{found:?}"
        );
        assert!(found[2].contains("is 1") && found[2].contains("this run's 2"));
    }

    #[test]
    fn a_reward_differs_where_both_say_what_they_are() {
        let with = |reward: Option<&str>| Identity {
            model: "aa".to_owned(),
            student: None,
            tokenizer: None,
            data: "dd".to_owned(),
            reward: reward.map(str::to_owned),
            configuration: json!({}),
        };
        let found = with(Some("lambda 3")).differences(&with(Some("lambda 0")));
        assert!(found[0].contains("lambda 3") && found[0].contains("lambda 0"));
        assert!(with(None).differences(&with(Some("lambda 0"))).is_empty());
    }
}
