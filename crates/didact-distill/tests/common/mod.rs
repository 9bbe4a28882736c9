//! A tiny decoder, its tokenizer and problems.

#![allow(dead_code, reason = "every test takes what it needs")]

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use didact_core::{Problem, TokenBytes};
use didact_data::{PromptFormat, Tokenizer};
use didact_engine::LocalEngine;
use didact_models::{Decoder, DecoderConfig};
use didact_reward::rlt;
use didact_rl::TeacherTask;

const CONFIG: &str = r#"{
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 2048, "hidden_size": 32,
    "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2
}"#;

pub(crate) fn decoder(seed: u64, device: &Device) -> Decoder {
    let config = DecoderConfig::from_json("test", CONFIG).expect("a small configuration");
    Decoder::init(&config, seed, device)
}

pub(crate) fn task() -> TeacherTask {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../didact-data/tests/tokenizers/small");
    let tokenizer = Tokenizer::from_folder(folder).expect("the test tokenizer");
    TeacherTask::new(
        Arc::new(tokenizer),
        PromptFormat::think(),
        Arc::new(rlt().resolve().expect("the published reward")),
    )
}

pub(crate) fn engine(task: &TeacherTask, decoder: &Decoder) -> LocalEngine {
    let token_bytes: Arc<dyn TokenBytes> = task.tokenizer.clone();
    LocalEngine::new(decoder.clone(), Default::default()).with_token_bytes(token_bytes)
}

pub(crate) fn problem(id: usize) -> Problem {
    Problem {
        id: format!("p{id}"),
        question: format!("What is {id} + {id}?"),
        solution: format!("{id} + {id} = {}", 2 * id),
        answer: Some((2 * id).to_string()),
        reasoning_trace: None,
        domain: None,
    }
}

pub(crate) fn problems(count: usize) -> Vec<Problem> {
    (1..=count).map(problem).collect()
}
