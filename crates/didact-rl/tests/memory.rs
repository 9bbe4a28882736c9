//! What a run takes, beside what was said before it began.
//!
//! Linux counts the most memory that a process held; elsewhere there is nothing to compare with.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::sync::Arc;

use burn::tensor::Device;
use didact_core::{Problem, Span};
use didact_data::{PromptFormat, SupervisedExample, Tags, Tokenizer};
use didact_models::{Decoder, DecoderConfig, DecoderOptions, Family, LoraConfig};
use didact_rl::memory::{MemoryEstimate, MemoryPlace, PlannedModel, PlannedStudent, WeightStorage};
use didact_rl::metrics::peak_memory;
use didact_rl::{
    FineTuneConfig, ReferenceMixing, StudentModel, TeacherConfig, TeacherModels, TeacherTask,
    TeacherTrainer, fine_tune,
};
use serde_json::{Map, Value, json};

fn model(width: usize, layers: usize, vocabulary: usize) -> DecoderConfig {
    let mut options = DecoderOptions::new(
        Family::Llama,
        vocabulary,
        width,
        8 * width / 3,
        layers,
        width / 64,
    );
    options.num_key_value_heads = width / 192;
    options.max_position_embeddings = 2048;
    options.tie_word_embeddings = true;
    DecoderConfig::new(options).unwrap()
}

/// Compares with the most bytes that `run` holds above what is held now; this process has held no more yet.
fn compare(estimate: &MemoryEstimate, run: impl FnOnce()) {
    let before = peak_memory().unwrap();
    run();
    let found = peak_memory().unwrap() - before;
    let ratio = estimate.peak() as f64 / found as f64;
    let megabytes = found as f64 / 1e6;
    println!("measured {megabytes:.1} MB, estimated {ratio:.3} of it\n{estimate}");
    assert!((0.75..=1.25).contains(&ratio), "{ratio}");
}

fn fine_tuning(
    model: &DecoderConfig,
    tokens: usize,
    adapter: Option<&LoraConfig>,
    change: impl FnOnce(&mut FineTuneConfig),
) {
    let mut config = FineTuneConfig {
        batch_size: 4,
        epochs: 2,
        micro_batch_tokens: 2 * tokens,
        ..FineTuneConfig::published_warmup()
    };
    change(&mut config);
    let example = |seed: u32| SupervisedExample {
        ids: (0..tokens as u32)
            .map(|i| (i * 7919 + seed * 31) % model.vocab_size as u32)
            .collect(),
        supervised: Span::new(1, tokens),
        text: String::new(),
    };
    let examples: Vec<_> = (0..4).map(example).collect();
    let resolved = config.resolve(4, model.max_position_embeddings).unwrap();
    let planned = PlannedModel {
        config: model,
        weights: WeightStorage::F32,
        adapter,
        place: MemoryPlace::Host,
    };
    let estimate = MemoryEstimate::of_fine_tune(&planned, &resolved, tokens).unwrap();
    compare(&estimate, || {
        let mut decoder = Decoder::init(model, 1, &Device::flex().autodiff());
        if let Some(adapter) = adapter {
            decoder = decoder.with_adapter(adapter, 1).unwrap();
        }
        fine_tune(decoder, &examples, &config, &mut ()).unwrap();
    });
}

/// Every byte is a token; 256 opens and 257 ends a turn.
fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    // The printable stand-ins of GPT-2's byte alphabet.
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256..;
    let mut code = |byte: u32| {
        if printable(byte) {
            byte
        } else {
            others.next().unwrap()
        }
    };
    let vocabulary: Map<String, Value> = (0..256_u32)
        .map(|byte| (char::from_u32(code(byte)).unwrap().to_string(), json!(byte)))
        .collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [special(256, "<|im_start|>"), special(257, "<|im_end|>")],
        "pre_tokenizer": bytes,
        "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    let config = json!({
        "eos_token": "<|im_end|>",
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role[0] }}{{ m.content }}<|im_end|>{% endfor %}\
                          {% if add_generation_prompt %}<|im_start|>a{% endif %}",
    });
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        config.to_string(),
    )
    .unwrap();
    Tokenizer::from_folder(folder.path()).unwrap()
}

fn teaching(model: &DecoderConfig, change: impl FnOnce(&mut TeacherConfig)) {
    let mut format = PromptFormat::thought();
    format.teacher.system_prompt = String::new();
    format.student.system_prompt = String::new();
    format.teacher.explanation = Tags::new("<e", "e>");
    let task = TeacherTask::new(
        Arc::new(tokenizer()),
        format,
        Arc::new(didact_reward::rlt().resolve().unwrap()),
    );
    let problems: Vec<Problem> = (0..4)
        .map(|i| Problem {
            id: format!("{i}"),
            question: "why? ".repeat(20),
            solution: "because ".repeat(20),
            answer: None,
            reasoning_trace: None,
            domain: None,
        })
        .collect();
    let mut config = TeacherConfig {
        steps: 2,
        problems_per_step: 2,
        group_size: 4,
        max_completion_tokens: 200,
        micro_batch_tokens: 1200,
        reference_mixing: None,
        ..TeacherConfig::published()
    };
    change(&mut config);
    let resolved = config
        .resolve(model.max_position_embeddings, &[257], "e>")
        .unwrap();
    let prompts = task.prepare(&problems, resolved.max_prompt_tokens).unwrap();
    let longest = prompts.iter().map(|p| p.prompt.ids.len()).max().unwrap();
    let estimate =
        MemoryEstimate::of_teacher(&model.into(), &PlannedStudent::Initial, &resolved, longest)
            .unwrap();
    compare(&estimate, || {
        let models = TeacherModels {
            policy: Decoder::init(model, 1, &Device::flex().autodiff()),
            student: StudentModel::Initial,
        };
        let mut trainer = TeacherTrainer::new(models, task, &problems, &[], &config).unwrap();
        for _ in 0..2 {
            trainer.step(&mut ()).unwrap();
        }
    });
}

/// One measurement, by name.
fn measure(case: &str) {
    let small = model(192, 6, 8192);
    let bytes = model(384, 4, 258);
    let smollm2 = model(576, 30, 49_152);
    let adapter = LoraConfig::new(8, 16.0);
    match case {
        "fine-tuning" => fine_tuning(&small, 512, None, |_| {}),
        "layers computed again" => {
            fine_tuning(&small, 512, None, |c| c.recompute_layers = true);
        }
        "an adapter" => fine_tuning(&small, 512, Some(&adapter), |_| {}),
        "teaching" => teaching(&bytes, |_| {}),
        "teaching, mixed" => teaching(&bytes, |c| {
            let (every, alpha) = (1, 0.9);
            c.reference_mixing = Some(ReferenceMixing { every, alpha });
        }),
        "SmolLM2's sizes" => fine_tuning(&smollm2, 256, None, |_| {}),
        "SmolLM2's sizes, an adapter" => fine_tuning(&smollm2, 256, Some(&adapter), |_| {}),
        unknown => panic!("no case {unknown}"),
    }
}

const CASE: &str = "DIDACT_MEMORY_CASE";

/// Runs each case in a process of its own: memory that one gave back would stand ready for the next, uncounted.
fn in_processes(cases: &[&str]) {
    for case in cases {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "one_case", "--nocapture"])
            .env(CASE, case)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{case}: {said}");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{case}: {said}\n{problem}");
    }
}

#[test]
#[ignore = "is run by the others"]
fn one_case() {
    if let Ok(case) = std::env::var(CASE) {
        measure(&case);
    }
}

#[test]
fn estimates_are_within_a_quarter_of_what_is_measured() {
    in_processes(&[
        "fine-tuning",
        "layers computed again",
        "an adapter",
        "teaching",
        "teaching, mixed",
    ]);
}

/// By hand: `cargo test --release -p didact-rl --test memory -- --ignored --nocapture`.
#[test]
#[ignore = "takes half a minute and three gigabytes"]
fn estimates_of_135_million_parameters_are_within_a_quarter() {
    in_processes(&["SmolLM2's sizes", "SmolLM2's sizes, an adapter"]);
}
