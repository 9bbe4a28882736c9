//! Tests of whole steps and runs on tiny models and a tokenizer of single bytes.

use std::path::Path;
use std::sync::Arc;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use didact_core::Problem;
use didact_data::{PromptFormat, Tags, Tokenizer};
use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family, ParameterVisitor};
use serde_json::{Map, Value, json};

use crate::metrics::Metrics;
use crate::{MetricsRecord, Observer, Result, TeacherTask};

mod credit;
#[cfg(feature = "wgpu")]
mod devices;
mod fine_tuning;
mod half_precision;
mod invariants;
mod lora;
mod optimizer;
mod parking;
mod rescoring;
mod resume;
mod self_teaching;
mod solver;
mod steps;
mod teacher;
mod written;

const VOCABULARY: usize = 258;

/// A tiny decoder that records gradients.
fn decoder(seed: u64) -> Decoder {
    decoder_of(Family::Llama, true, seed)
}

/// The same of any family; without tied embeddings with biases where it can have them.
fn decoder_of(family: Family, tied: bool, seed: u64) -> Decoder {
    Decoder::init(&config(family, tied), seed, &Device::flex().autodiff())
}

/// The first of them on another device.
#[cfg(feature = "wgpu")]
fn decoder_on(device: &Device, seed: u64) -> Decoder {
    Decoder::init(&config(Family::Llama, true), seed, device)
}

fn config(family: Family, tied: bool) -> DecoderConfig {
    let mut options = DecoderOptions::new(family, VOCABULARY, 16, 24, 2, 4);
    options.num_key_value_heads = 2;
    options.head_dim = 4;
    options.max_position_embeddings = 160;
    options.tie_word_embeddings = tied;
    options.attention_bias = !tied && family != Family::Mistral;
    DecoderConfig::new(options).unwrap()
}

/// Every byte is a token; 256 opens and 257 ends a turn.
fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    write_tokenizer(folder.path());
    Tokenizer::from_folder(folder.path()).unwrap()
}

fn write_tokenizer(folder: &Path) {
    // The printable stand-ins of GPT-2's byte alphabet.
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut vocabulary = Map::new();
    let mut stand_in = 256;
    for byte in 0..256_u32 {
        let code = if printable(byte) {
            byte
        } else {
            stand_in += 1;
            stand_in - 1
        };
        vocabulary.insert(char::from_u32(code).unwrap().to_string(), json!(byte));
    }
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [special(256, "<|im_start|>"), special(257, "<|im_end|>")],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": Value::Object(vocabulary), "merges": []},
    });
    let config = json!({
        "eos_token": "<|im_end|>",
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role[0] }}{{ m.content }}<|im_end|>{% endfor %}\
                          {% if add_generation_prompt %}<|im_start|>a{% endif %}",
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

fn format() -> PromptFormat {
    let mut format = PromptFormat::thought();
    format.teacher.system_prompt = String::new();
    format.student.system_prompt = String::new();
    format.teacher.explanation = Tags::new("<e", "e>");
    format.student.thought = Tags::new("<t", "t>");
    format.solution = Tags::new("<s", "s>");
    format.padding = "\n".to_owned();
    format
}

fn problems(count: usize, offset: usize) -> Vec<Problem> {
    (offset..offset + count)
        .map(|i| Problem {
            id: format!("problem-{i}"),
            question: format!("{i}+{i}?"),
            solution: format!("{}", 2 * i),
            answer: None,
            reasoning_trace: None,
            domain: None,
        })
        .collect()
}

fn task() -> TeacherTask {
    TeacherTask::new(
        Arc::new(tokenizer()),
        format(),
        Arc::new(didact_reward::rlt().resolve().unwrap()),
    )
}

/// A hash of all weights, in the order of the layers.
fn hash(decoder: &Decoder) -> String {
    struct Hash(blake3::Hasher);
    impl ParameterVisitor for Hash {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            self.0.update(path.as_bytes());
            self.0
                .update(parameter.val().inner().into_data().as_bytes());
        }
    }
    let mut hash = Hash(blake3::Hasher::new());
    decoder.visit_parameters(&mut hash);
    hash.0.finalize().to_hex().to_string()
}

/// All weights, by path.
fn weights(decoder: &Decoder) -> Vec<(String, Vec<f32>)> {
    struct Weights(Vec<(String, Vec<f32>)>);
    impl ParameterVisitor for Weights {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let data = parameter.val().inner().into_data();
            self.0.push((path.to_owned(), data.iter::<f32>().collect()));
        }
    }
    let mut weights = Weights(Vec::new());
    decoder.visit_parameters(&mut weights);
    weights.0
}

/// Keeps every record.
#[derive(Default)]
struct Recorder {
    records: Vec<MetricsRecord>,
}

impl Recorder {
    fn reproducible(&self) -> Vec<(u64, Metrics)> {
        self.records
            .iter()
            .map(|r| (r.step, r.metrics.reproducible()))
            .collect()
    }
}

impl Observer for Recorder {
    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        self.records.push(record.clone());
        Ok(())
    }
}
