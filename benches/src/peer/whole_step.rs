//! One whole step of a teacher's training: sample, score, reward, update.
//!
//! The same engines, passes, loss and order as `didact_rl::TeacherTrainer`, on token ids instead of texts, since
//! random tokens hold no tag.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use didact_core::{
    Completion, Generate as _, Score as _, ScoreRequest, Span, TokenId, TokenLogProbs,
};
use didact_engine::{EngineConfig, LocalEngine};
use didact_models::{Decoder, LoraConfig};
use didact_rl::advantage::{AdvantageConfig, advantages};
use didact_rl::config::ReferenceRule;
use didact_rl::loss::{PolicyGradientConfig, PolicyGradientLoss};
use didact_rl::{ReferencePolicy, Trainer, TrainingSequence};
use serde_json::json;

use super::generation::{requests, tokens};
use super::inputs::Inputs;
use super::{Answer, load, training};
use crate::Result;

/// Packed tokens of one micro-batch: one group at a time, so that activations of the other need no memory.
const GROUP_TOKENS: usize = 1024;

/// Policy, reference and student.
pub(crate) struct WholeStep {
    trainer: Trainer,
    policy: LocalEngine,
    reference: ReferencePolicy,
    student: LocalEngine,
    loss: PolicyGradientLoss,
}

impl WholeStep {
    pub(crate) fn new(folder: &Path, inputs: &Inputs, lora: bool) -> Result<Self> {
        let mut policy = Decoder::load_folder(folder, &Device::flex().autodiff())?;
        if lora {
            // As the peer's.
            policy = policy.with_adapter(&LoraConfig::new(16, 32.0), 1)?;
        }
        let trainer = training::trainer(policy, inputs, GROUP_TOKENS)?;
        let engine = EngineConfig::default();
        let policy = LocalEngine::new(trainer.policy()?.clone(), engine.clone());
        let reference =
            ReferencePolicy::new(trainer.policy()?, ReferenceRule::Fixed, engine.clone())?;
        let loss = PolicyGradientConfig {
            beta: inputs.beta,
            ..PolicyGradientConfig::default()
        };
        Ok(Self {
            trainer,
            policy,
            reference,
            student: LocalEngine::new(load(folder)?, engine),
            loss: loss.resolve()?,
        })
    }

    /// One step. The check is the number of sampled tokens; the rest depends on the draws.
    pub(crate) fn run(&mut self, inputs: &Inputs, seed: u64) -> Result<Answer> {
        let begin = Instant::now();
        let sampled = requests(&inputs.generate, inputs.temperature, seed);
        let completions = self.policy.generate(&sampled)?;
        let generated = begin.elapsed().as_secs_f64();

        let students = student_requests(inputs, &completions);
        let teachers: Vec<ScoreRequest> = sampled
            .iter()
            .zip(&completions)
            .map(|(request, completion)| completion_request(inputs, &request.prompt, completion))
            .collect();
        let by_teacher = self.policy.score(&teachers)?;
        let by_student = self.student.score(&students)?;
        let by_reference = self.reference.score(&teachers)?;
        let rewards: Vec<Option<f64>> = by_teacher
            .iter()
            .zip(&by_student)
            .map(|(teacher, student)| Some(reward(&teacher[0], &student[0], &student[1])))
            .collect();
        let groups: Vec<Vec<Option<f64>>> = rewards
            .chunks(inputs.generate.samples)
            .map(<[_]>::to_vec)
            .collect();
        let advantages = advantages(&groups, &AdvantageConfig::default())?.concat();
        let scored = begin.elapsed().as_secs_f64();

        let sequences: Vec<TrainingSequence> = teachers
            .into_iter()
            .zip(by_reference)
            .zip(advantages)
            .enumerate()
            .map(
                |(index, ((request, mut reference), advantage))| TrainingSequence {
                    id: format!("sample {index}"),
                    trained: request.spans[0],
                    prefix: request.prefix,
                    continuation: request.continuation,
                    advantage: advantage.into(),
                    old_log_probs: None,
                    reference_log_probs: Some(reference.remove(0).into_values()),
                    sampling_log_probs: None,
                },
            )
            .collect();
        let chosen: Vec<&TrainingSequence> = sequences.iter().collect();
        // The engine lets go of the policy's memory, which the update then changes in place.
        let held = self.reference.decoder().clone();
        self.policy.update_weights(held, 0);
        let report = self
            .trainer
            .step(&chosen, &self.loss, inputs.learning_rate)?;
        let version = self.trainer.updates();
        self.policy
            .update_weights(self.trainer.policy()?.clone(), version);
        let seconds = begin.elapsed().as_secs_f64();

        let mean = rewards.iter().flatten().sum::<f64>() / rewards.len() as f64;
        Ok(Answer {
            seconds,
            check: [("tokens", vec![tokens(&completions)])].into(),
            flops: None,
            details: json!({
                "seconds_generate": generated,
                "seconds_score": scored - generated,
                "seconds_update": seconds - scored,
                "reward": mean,
                "loss": report.loss,
                "grad_norm": report.grad_norm,
            }),
        })
    }
}

/// The completion as teacher and reference read it.
fn completion_request(
    inputs: &Inputs,
    prompt: &Arc<[TokenId]>,
    completion: &Completion,
) -> ScoreRequest {
    ScoreRequest {
        spans: vec![Span::new(prompt.len(), prompt.len() + completion.ids.len())],
        prefix: prompt.clone(),
        continuation: completion.ids.clone(),
        temperature: inputs.temperature,
    }
}

/// The completions as the student reads them: its own prompt, the explanation, the solution.
fn student_requests(inputs: &Inputs, completions: &[Completion]) -> Vec<ScoreRequest> {
    let mut requests = Vec::new();
    let problems = inputs
        .step
        .student_prompts
        .iter()
        .zip(&inputs.step.solutions);
    for ((prompt, solution), group) in problems.zip(completions.chunks(inputs.generate.samples)) {
        let prefix: Arc<[TokenId]> = Arc::from(&prompt[..]);
        for completion in group {
            let thought = Span::new(prompt.len(), prompt.len() + completion.ids.len());
            requests.push(ScoreRequest {
                prefix: prefix.clone(),
                continuation: [&completion.ids[..], solution].concat(),
                spans: vec![
                    thought,
                    Span::new(thought.end, thought.end + solution.len()),
                ],
                temperature: inputs.temperature,
            });
        }
    }
    requests
}

/// The published reward: `mean a + 0.01·min a − 3·mean(p − q) − 0.03·max(p − q)` with `a` the student's log-probs
/// of the solution, `p` and `q` the teacher's and the student's of the explanation.
fn reward(teacher: &TokenLogProbs, thought: &TokenLogProbs, solution: &TokenLogProbs) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let solution: Vec<f64> = solution.values().iter().map(|&v| f64::from(v)).collect();
    let divergence: Vec<f64> = teacher
        .values()
        .iter()
        .zip(thought.values())
        .map(|(&p, &q)| f64::from(p) - f64::from(q))
        .collect();
    let least = solution.iter().copied().fold(f64::INFINITY, f64::min);
    let most = divergence.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    mean(&solution) + 0.01 * least - 3.0 * mean(&divergence) - 0.03 * most
}
