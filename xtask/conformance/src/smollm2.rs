//! `smollm2_135m.json`: real weights from a GGUF file against transformers.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Int, Tensor, TensorData};
use didact::Device;
use didact::core::{
    Completion, Generate, GenerateRequest, RandomStream, Sampling, Score, ScoreContext,
    ScoreRequest, Span, TokenLogProbs,
};
use didact::engine::{EngineConfig, LocalEngine};
use didact::gguf::Gguf;
use didact::kernels::PackedLayout;
use didact::models::{Decoder, ParameterVisitor};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::golden::number;
use crate::greedy::LEAST_MARGIN;
use crate::model_rewards::{LOG_PROB_TOLERANCE, Reader, Spans, compare_log_probs, compare_reward};
use crate::report::{Report, scaled_error, worst_difference};
use crate::tokenizer::read;

/// What `T07` in the files' names says.
const TEMPERATURE: f64 = 0.7;
/// Sums of tensors, relative to the sum of absolute values: the files' are float64 sums.
const SUM_TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct File {
    prompts: Vec<Prompt>,
    tensors: Vec<Checksum>,
    rewards: Vec<Rewards>,
    config: Map<String, Value>,
}

#[derive(Deserialize)]
struct Prompt {
    prompt: String,
    ids: Vec<u32>,
    top5_ids: Vec<u32>,
    top5_logits: Vec<f64>,
    top5_logprobs: Vec<f64>,
    last_logits_mean: f64,
    last_logits_std: f64,
    prompt_token_logprobs: Vec<f64>,
    greedy_ids: Vec<u32>,
    greedy_logprobs: Vec<f64>,
    greedy_margins: Vec<f64>,
}

impl Prompt {
    fn label(&self) -> String {
        let start: String = self.prompt.chars().take(24).collect();
        format!("smollm2/{start:?}")
    }

    /// That the lists are as long as each other asks, and every id is in the vocabulary.
    fn validate(&self, vocabulary: usize) -> Result<(), String> {
        if self.ids.is_empty() {
            return Err("the prompt has no ids".to_owned());
        }
        for (what, ids) in [
            ("ids", &self.ids),
            ("top5_ids", &self.top5_ids),
            ("greedy_ids", &self.greedy_ids),
        ] {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                return Err(format!("{what} holds {id}, outside the vocabulary"));
            }
        }
        let (top, greedy) = (self.top5_ids.len(), self.greedy_ids.len());
        if top == 0 || greedy == 0 {
            return Err("top5_ids or greedy_ids is empty".to_owned());
        }
        for (what, found, expected) in [
            ("top5_logits", self.top5_logits.len(), top),
            ("top5_logprobs", self.top5_logprobs.len(), top),
            (
                "prompt_token_logprobs",
                self.prompt_token_logprobs.len(),
                self.ids.len() - 1,
            ),
            ("greedy_logprobs", self.greedy_logprobs.len(), greedy),
            ("greedy_margins", self.greedy_margins.len(), greedy),
        ] {
            if found != expected {
                return Err(format!("{what} has {found} entries, not {expected}"));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Checksum {
    name: String,
    shape: Vec<usize>,
    sum: f64,
    abs_sum: f64,
    sq_sum: f64,
    /// None for a vector.
    row: Option<usize>,
    row_first8: Vec<f64>,
}

#[derive(Deserialize)]
struct Rewards {
    id: String,
    variants: Map<String, Value>,
    #[serde(rename = "student_log_probs_T07")]
    student_log_probs: Vec<f64>,
    #[serde(rename = "teacher_log_probs_T07")]
    teacher_log_probs: Vec<f64>,
}

#[derive(Deserialize)]
struct SpanFile {
    rows: Vec<SpanRow>,
}

#[derive(Deserialize)]
struct SpanRow {
    id: String,
    match_reward: f64,
    student_chat_ids: Vec<u32>,
    teacher_text_ids: Vec<u32>,
    #[serde(flatten)]
    spans: Spans,
}

/// Compares the model in the GGUF file `model`.
pub(crate) fn run(fixtures: &Path, model: Option<&Path>, report: &mut Report) {
    let path = fixtures.join("smollm2_135m.json");
    if model.is_some() && !path.exists() {
        // Whoever names a model expects it to be compared.
        return report.skip("smollm2", "the fixtures have no smollm2_135m.json");
    }
    let Some(file) = read::<File>(&path, report) else {
        return;
    };
    let Some(model) = model else {
        for what in ["config", "tensors", "prompts", "rewards"] {
            report.skip(&format!("smollm2/{what}"), "no --smollm2 FILE given");
        }
        return;
    };
    let decoder = Gguf::open(model)
        .map_err(|error| error.to_string())
        .and_then(|gguf| {
            Decoder::load_gguf(&gguf, &Device::flex()).map_err(|error| error.to_string())
        });
    let decoder = match decoder {
        Ok(decoder) => decoder,
        Err(error) => return report.fail("smollm2", &error),
    };
    compare_config(&decoder, &file.config, report);
    compare_tensors(&decoder, &file.tensors, report);
    let vocabulary = decoder.config().vocab_size;
    let mut engine = LocalEngine::new(decoder, EngineConfig::default());
    let mut prompts = Vec::new();
    for prompt in &file.prompts {
        match prompt.validate(vocabulary) {
            Ok(()) => prompts.push(prompt),
            Err(error) => report.fail(&prompt.label(), &error),
        }
    }
    for prompt in &prompts {
        compare_prompt(&mut engine, prompt, report);
    }
    compare_greedy(&mut engine, &prompts, report);
    compare_rewards(&mut engine, &file.rewards, fixtures, report);
}

fn compare_config(decoder: &Decoder, expected: &Map<String, Value>, report: &mut Report) {
    let config = decoder.config();
    let found: BTreeMap<&str, Value> = [
        ("hidden_size", config.hidden_size.into()),
        ("intermediate_size", config.intermediate_size.into()),
        ("num_hidden_layers", config.num_hidden_layers.into()),
        ("num_attention_heads", config.num_attention_heads.into()),
        ("num_key_value_heads", config.num_key_value_heads.into()),
        ("head_dim", config.head_dim.into()),
        (
            "max_position_embeddings",
            config.max_position_embeddings.into(),
        ),
        ("rms_norm_eps", config.rms_norm_eps.into()),
        ("rope_theta", config.rope_theta.into()),
        ("vocab_size", config.vocab_size.into()),
        ("tie_word_embeddings", config.tie_word_embeddings.into()),
    ]
    .into();
    for (key, expected) in expected {
        let name = format!("smollm2/config/{key}");
        let Some(found) = found.get(key.as_str()) else {
            report.skip(&name, "not a key that this check knows");
            continue;
        };
        // Numbers of the GGUF file are f32.
        let equal = match (found.as_f64(), expected.as_f64()) {
            (Some(found), Some(expected)) => (found - expected).abs() <= 1e-7 * expected.abs(),
            _ => found == expected,
        };
        report.equal(&name, equal, || {
            format!("found {found}, expected {expected}")
        });
    }
}

/// Finds the parameters of some names, in Hugging Face's layout.
struct Find<'a> {
    wanted: &'a [Checksum],
    found: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl ParameterVisitor for Find<'_> {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        if self.wanted.iter().any(|wanted| wanted.name == path) {
            let mut tensor = parameter.val();
            if path.ends_with("_proj.weight") {
                // Kept as [in, out].
                tensor = tensor.swap_dims(0, 1);
            }
            let shape = tensor.dims().to_vec();
            if let Ok(values) = tensor.try_into_vec_as::<f32>() {
                self.found.insert(path.to_owned(), (shape, values));
            }
        }
    }
}

fn compare_tensors(decoder: &Decoder, expected: &[Checksum], report: &mut Report) {
    let mut find = Find {
        wanted: expected,
        found: BTreeMap::new(),
    };
    decoder.visit_parameters(&mut find);
    for expected in expected {
        let name = format!("smollm2/{}", expected.name);
        let Some((shape, values)) = find.found.get(&expected.name) else {
            report.fail(&name, "the model has no such parameter");
            continue;
        };
        if *shape != expected.shape {
            report.fail(
                &name,
                &format!("has shape {shape:?}, expected {:?}", expected.shape),
            );
            continue;
        }
        let sum = |of: fn(f64) -> f64| values.iter().map(|&value| of(f64::from(value))).sum();
        let sums: [f64; 3] = [sum(|x| x), sum(f64::abs), sum(|x| x * x)];
        let worst = [
            scaled_error(sums[0], expected.sum, expected.abs_sum),
            scaled_error(sums[1], expected.abs_sum, expected.abs_sum),
            scaled_error(sums[2], expected.sq_sum, expected.sq_sum),
        ];
        let worst = worst_difference(&worst, &[0.0; 3]);
        report.check(&format!("{name} sums"), worst, SUM_TOLERANCE);

        let name = format!("{name} first values");
        let per_row: usize = shape.iter().skip(1).product();
        let row = expected.row.unwrap_or(0).checked_mul(per_row);
        let Some(row) = row.and_then(|first| values.get(first..)) else {
            report.fail(&name, "the parameter has no such row");
            continue;
        };
        if expected.row_first8.is_empty() {
            report.fail(&name, "the file holds none");
            continue;
        }
        let first: Vec<f64> = row
            .iter()
            .take(expected.row_first8.len())
            .map(|&value| f64::from(value))
            .collect();
        let worst = worst_difference(&first, &expected.row_first8);
        report.check(&name, worst, 1e-6);
    }
}

/// The logits after the last of `ids`.
fn last_logits(decoder: &Decoder, ids: &[u32]) -> Result<Vec<f64>, String> {
    let device = decoder.device();
    let layout = PackedLayout::single(ids.len()).map_err(|error| error.to_string())?;
    let Some(end) = ids.len().checked_sub(1) else {
        return Err("no ids".to_owned());
    };
    let indices: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [ids.len()]), &device);
    let hidden = decoder.forward(indices, &layout);
    let last = hidden.slice_dim(0, end..ids.len());
    last.matmul(decoder.output_embedding().transpose())
        .try_into_vec_as::<f64>()
        .map_err(|error| error.to_string())
}

fn compare_prompt(engine: &mut LocalEngine, prompt: &Prompt, report: &mut Report) {
    let name = prompt.label();
    match last_logits(engine.decoder(), &prompt.ids) {
        Err(error) => report.fail(&name, &error),
        Ok(logits)
            if prompt
                .top5_ids
                .iter()
                .any(|&id| id as usize >= logits.len()) =>
        {
            report.fail(&name, "the model gives too few logits");
        }
        Ok(logits) => {
            let mut ranked: Vec<usize> = (0..logits.len()).collect();
            ranked.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            ranked.truncate(prompt.top5_ids.len());
            let ids: Vec<u32> = ranked.iter().map(|&id| id as u32).collect();
            report.equal(&format!("{name} likeliest"), ids == prompt.top5_ids, || {
                format!("found {ids:?}, expected {:?}", prompt.top5_ids)
            });
            let of = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
                prompt
                    .top5_ids
                    .iter()
                    .map(|&id| f(logits[id as usize]))
                    .collect()
            };
            // Logits are an order of magnitude above the log-probs.
            let worst = worst_difference(&of(&|x| x), &prompt.top5_logits);
            report.check(&format!("{name} logits"), worst, 10.0 * LOG_PROB_TOLERANCE);
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|x| (x - max).exp()).sum();
            let worst = worst_difference(&of(&|x| x - max - sum.ln()), &prompt.top5_logprobs);
            report.check(&format!("{name} log-probs"), worst, LOG_PROB_TOLERANCE);
            let count = logits.len() as f64;
            let mean = logits.iter().sum::<f64>() / count;
            let squares: f64 = logits.iter().map(|x| (x - mean).powi(2)).sum();
            let worst = worst_difference(
                &[mean, (squares / (count - 1.0)).sqrt()],
                &[prompt.last_logits_mean, prompt.last_logits_std],
            );
            report.check(
                &format!("{name} mean, deviation"),
                worst,
                LOG_PROB_TOLERANCE,
            );
        }
    }
    // The first token has no log-prob.
    if prompt.ids.len() == 1 {
        return;
    }
    let request = ScoreRequest {
        prefix: [].into(),
        continuation: prompt.ids.clone(),
        spans: vec![Span::new(1, prompt.ids.len())],
        temperature: 1.0,
    };
    let scored = engine.score(&[request]).map_err(|error| error.to_string());
    let scored: Result<&TokenLogProbs, String> = match &scored {
        Ok(scored) => scored
            .iter()
            .flatten()
            .next()
            .ok_or_else(|| "no answer".to_owned()),
        Err(error) => Err(error.clone()),
    };
    compare_log_probs(
        &format!("{name} prompt log-probs"),
        scored,
        &prompt.prompt_token_logprobs,
        report,
    );
}

/// All prompts in one batch, each of its own length.
fn compare_greedy(engine: &mut LocalEngine, prompts: &[&Prompt], report: &mut Report) {
    let requests: Vec<GenerateRequest> = prompts
        .iter()
        .map(|prompt| GenerateRequest {
            prompt: prompt.ids.clone().into(),
            sampling: Sampling::greedy(prompt.greedy_ids.len()),
            stream: RandomStream::new(0),
        })
        .collect();
    let completions = match engine.generate(&requests) {
        Ok(completions) => completions,
        Err(error) => return report.fail("smollm2/greedy", &error.to_string()),
    };
    if completions.len() != prompts.len() {
        let (found, expected) = (completions.len(), prompts.len());
        let message = format!("{found} completions of {expected} prompts");
        return report.fail("smollm2/greedy", &message);
    }
    for (prompt, completion) in prompts.iter().zip(&completions) {
        let name = format!("{} greedy", prompt.label());
        compare_continuation(&name, prompt, completion, report);
    }
}

fn compare_continuation(name: &str, prompt: &Prompt, completion: &Completion, report: &mut Report) {
    // After a token that f32 may choose either way, nothing is comparable.
    let sure = prompt
        .greedy_margins
        .iter()
        .position(|&margin| margin <= LEAST_MARGIN);
    let sure = sure.unwrap_or(prompt.greedy_ids.len());
    if sure == 0 {
        return report.skip(name, "its first margin is too small to compare");
    }
    let found = completion.ids.get(..sure);
    let equal = found == prompt.greedy_ids.get(..sure);
    report.equal(&format!("{name} tokens ({sure})"), equal, || {
        format!("found {found:?}, expected {:?}", prompt.greedy_ids)
    });
    if equal {
        // A list that is too short is infinitely far from the other.
        let found: Vec<f64> = completion
            .sampling_log_probs
            .iter()
            .take(sure)
            .map(|&value| f64::from(value))
            .collect();
        let expected: Vec<f64> = prompt.greedy_logprobs.iter().take(sure).copied().collect();
        let worst = if expected.len() == sure {
            worst_difference(&found, &expected)
        } else {
            f64::INFINITY
        };
        report.check(&format!("{name} log-probs"), worst, LOG_PROB_TOLERANCE);
    }
}

fn compare_rewards(
    engine: &mut LocalEngine,
    rewards: &[Rewards],
    fixtures: &Path,
    report: &mut Report,
) {
    let rows = read::<SpanFile>(&fixtures.join("spans_smollm2_tokenizer.json"), report)
        .map_or_else(Vec::new, |file| file.rows);
    let configs: Map<String, Value> =
        read(&fixtures.join("reward_configs.json"), report).unwrap_or_default();
    for expected in rewards {
        let name = format!("smollm2/{}", expected.id);
        let Some(row) = rows.iter().find(|row| row.id == expected.id) else {
            report.fail(&name, "spans_smollm2_tokenizer.json has no such case");
            continue;
        };
        let mut reader = Reader {
            student: &mut *engine,
            teacher: None,
            student_ids: row.student_chat_ids.clone(),
            teacher_ids: row.teacher_text_ids.clone(),
            spans: row.spans,
            closed: row.match_reward >= 0.0,
            scored: BTreeMap::new(),
        };
        for (who, context, expected) in [
            (
                "student",
                ScoreContext::Student,
                &expected.student_log_probs,
            ),
            (
                "teacher",
                ScoreContext::Teacher,
                &expected.teacher_log_probs,
            ),
        ] {
            let found = reader.log_probs(context, TEMPERATURE);
            compare_log_probs(&format!("{name}/{who} log-probs"), found, expected, report);
        }
        for (variant, values) in &expected.variants {
            let name = format!("{name}/{variant}");
            match configs.get(variant) {
                None => report.fail(&name, "reward_configs.json does not name this variant"),
                Some(config) => {
                    let expected = number(&values["reward"]).ok();
                    compare_reward(&name, &mut reader, config, TEMPERATURE, expected, report);
                }
            }
        }
    }
}
