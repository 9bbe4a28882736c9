//! What `train.json` holds, and its rows as sequences to train on.
//!
//! Owns the shape of the file and refuses rows that cannot be what they say; compares nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use didact::core::Span;
use didact::rl::TrainingSequence;
use serde::Deserialize;

use super::Outcome;

#[derive(Deserialize)]
pub(super) struct Golden {
    pub(super) sft: Option<Sft>,
    pub(super) adamw: Option<AdamWSteps>,
    pub(super) grpo_rlt: Option<Grpo>,
}

#[derive(Deserialize)]
pub(super) struct Sft {
    pub(super) labels: Vec<Vec<i64>>,
    pub(super) input_ids: Vec<Vec<u32>>,
    pub(super) mask: Vec<Vec<u8>>,
    pub(super) loss: f64,
    pub(super) grad_norms: BTreeMap<String, f64>,
    pub(super) grad_norm_total: f64,
}

#[derive(Deserialize)]
pub(super) struct AdamWSteps {
    pub(super) lr: f64,
    pub(super) betas: [f64; 2],
    pub(super) eps: f64,
    pub(super) weight_decay: f64,
    pub(super) decay_applied_to: String,
    pub(super) max_grad_norm: f64,
    pub(super) losses_before_step_1_2_and_after: Vec<f64>,
    pub(super) grad_norms_before_clip: Vec<f64>,
    pub(super) param_delta_norms: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
pub(super) struct Grpo {
    pub(super) prompt_ids: Vec<Vec<u32>>,
    pub(super) completion_ids: Vec<Vec<u32>>,
    pub(super) completion_mask: Vec<Vec<u8>>,
    pub(super) temperature: f64,
    pub(super) beta: f64,
    pub(super) advantages: Vec<f64>,
    pub(super) ref_logps: Vec<Vec<f32>>,
    pub(super) policy_logps: Vec<Vec<f64>>,
    pub(super) loss: f64,
    pub(super) mean_kl: f64,
    pub(super) grad_norms: BTreeMap<String, f64>,
    pub(super) grad_norm_total: f64,
}

impl Sft {
    /// The rows without their padding. Labels are −100 where a token is not supervised.
    pub(super) fn sequences(&self, vocabulary: usize) -> Outcome<Vec<TrainingSequence>> {
        let count = self.input_ids.len();
        if count == 0 || [self.mask.len(), self.labels.len()] != [count; 2] {
            return Err("sft: input_ids, mask and labels are not equally many rows".to_owned());
        }
        let rows = self
            .input_ids
            .iter()
            .zip(&self.mask)
            .zip(&self.labels)
            .enumerate();
        rows.map(|(row, ((ids, mask), labels))| {
            if [mask.len(), labels.len()] != [ids.len(); 2] {
                return Err(format!(
                    "sft row {row}: ids, mask and labels differ in length"
                ));
            }
            check_ids(&format!("sft row {row}"), ids, vocabulary)?;
            let length = mask.iter().filter(|&&m| m == 1).count();
            let supervised: Vec<usize> = (0..labels.len())
                .filter(|&position| labels[position] != -100)
                .collect();
            let (Some(&first), Some(&last)) = (supervised.first(), supervised.last()) else {
                return Err(format!("sft row {row} has no supervised token"));
            };
            let whole = last + 1 - first == supervised.len() && last < length;
            let padded_right = mask[..length].iter().all(|&m| m == 1);
            if first == 0 || !whole || !padded_right {
                return Err(format!(
                    "sft row {row}: its supervised tokens are not one span"
                ));
            }
            Ok(sequence(
                format!("sft row {row}"),
                &[],
                &ids[..length],
                Span::new(first, last + 1),
            ))
        })
        .collect()
    }
}

/// An id outside the vocabulary would end the run in a kernel.
fn check_ids(name: &str, ids: &[u32], vocabulary: usize) -> Outcome<()> {
    match ids.iter().find(|&&id| id as usize >= vocabulary) {
        Some(id) => Err(format!("{name} holds {id}, outside the vocabulary")),
        None => Ok(()),
    }
}

fn sequence(id: String, prefix: &[u32], continuation: &[u32], trained: Span) -> TrainingSequence {
    TrainingSequence {
        id,
        prefix: Arc::from(prefix),
        continuation: continuation.to_vec(),
        trained,
        advantage: 0.0.into(),
        old_log_probs: None,
        reference_log_probs: None,
        sampling_log_probs: None,
    }
}

impl Grpo {
    /// The rows without their padding.
    pub(super) fn sequences(&self, vocabulary: usize) -> Outcome<Vec<TrainingSequence>> {
        let count = self.completion_mask.len();
        let counts = [
            self.prompt_ids.len(),
            self.completion_ids.len(),
            self.advantages.len(),
            self.ref_logps.len(),
            self.policy_logps.len(),
        ];
        if count == 0 || counts != [count; 5] {
            return Err("grpo: its lists are empty or not equally many rows".to_owned());
        }
        let mut sequences = Vec::with_capacity(count);
        for (row, mask) in self.completion_mask.iter().enumerate() {
            let name = format!("grpo row {row}");
            let length = mask.iter().filter(|&&m| m == 1).count();
            if length == 0 || mask[..length].iter().any(|&m| m != 1) {
                return Err(format!("{name}: its completion mask is not one span"));
            }
            let (prompt, completion) = (&self.prompt_ids[row], &self.completion_ids[row]);
            if prompt.is_empty() || completion.len() != mask.len() {
                return Err(format!(
                    "{name}: no prompt, or ids and mask differ in length"
                ));
            }
            // Log-probs may be stored without the padding behind the completion.
            if self.ref_logps[row].len() < length || self.policy_logps[row].len() < length {
                return Err(format!("{name}: fewer log-probs than unmasked tokens"));
            }
            check_ids(&name, prompt, vocabulary)?;
            check_ids(&name, completion, vocabulary)?;
            let trained = Span::new(prompt.len(), prompt.len() + length);
            let mut one = sequence(name, prompt, &completion[..length], trained);
            one.advantage = self.advantages[row].into();
            one.reference_log_probs = Some(self.ref_logps[row][..length].to_vec());
            sequences.push(one);
        }
        Ok(sequences)
    }
}
