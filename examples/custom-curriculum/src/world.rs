//! A world without data, and of the three kinds of problems that every data set has: some are solved already, some can
//! be learnt, and some have a wrong answer key.
//!
//! Owns problems, reward, tokenizer and the tiny decoder. Knows no curriculum.

use std::path::Path;
use std::sync::Arc;

use didact::Device;
use didact::core::{GroupScores, NamedValue, Outcome, Problem, Reward, ScoreSpec};
use didact::data::{PromptFormat, Tags, Tokenizer};
use didact::models::{Decoder, DecoderConfig, DecoderOptions, Family};
use didact::rl::TeacherTask;
use serde_json::{Map, json};

use crate::Result;

const LETTERS: std::ops::RangeInclusive<char> = 'a'..='h';

/// The kinds of problems, which are their domains, in the order of [`problems`].
pub(crate) const KINDS: [&str; 3] = ["solved", "open", "wrong key"];

const END: &str = "<|end|>";
const USER: &str = "<|user|>";
const ASSISTANT: &str = "<|assistant|>";

/// Eight problems of each kind. A solution lists the letters that an explanation may begin with: all of them, the one
/// in the question, or none, since the key is a digit.
pub(crate) fn problems() -> Vec<Problem> {
    let mut problems = Vec::new();
    for (kind, domain) in (1..).zip(KINDS) {
        for letter in LETTERS {
            problems.push(Problem {
                id: format!("{domain} {letter}"),
                question: format!("{kind}{letter}"),
                solution: match kind {
                    1 => LETTERS.collect(),
                    2 => letter.to_string(),
                    _ => kind.to_string(),
                },
                answer: None,
                reasoning_trace: None,
                domain: Some(domain.to_owned()),
            });
        }
    }
    problems
}

/// 1 for an explanation whose first letter the solution lists, else 0.
struct FirstLetter;

impl Reward for FirstLetter {
    fn requests(&self) -> Vec<ScoreSpec> {
        Vec::new()
    }

    fn evaluate(&self, group: &GroupScores<'_>) -> didact::core::Result<Vec<Outcome>> {
        let outcome = |explanation: &str| {
            let first = explanation.chars().next().filter(|c| LETTERS.contains(c));
            let right = first.is_some_and(|letter| group.problem.solution.contains(letter));
            let reward = f64::from(u8::from(right));
            let terms = vec![NamedValue::new("reward/right", reward)];
            Outcome::Scored { reward, terms }
        };
        let samples = group.samples.iter();
        Ok(samples.map(|sample| outcome(&sample.explanation)).collect())
    }
}

/// Tokenizer, format and reward; the tokenizer's files are written to `folder`.
pub(crate) fn task(folder: &Path) -> Result<TeacherTask> {
    let mut format = PromptFormat::thought();
    format.padding = String::new();
    format.teacher.system_prompt = String::new();
    format.student.system_prompt = String::new();
    format.teacher.delimiter = String::new();
    format.student.delimiter = String::new();
    format.solution = Tags::new("<s>", "</s>");
    format.teacher.explanation = Tags::new("<e>", "</e>");
    format.student.thought = Tags::new("<t>", "</t>");
    Ok(TeacherTask::new(
        Arc::new(tokenizer(folder, &format)?),
        format,
        Arc::new(FirstLetter),
    ))
}

/// One token a letter, a digit and a tag, as Hugging Face's `tokenizers` writes it.
fn tokenizer(folder: &Path, format: &PromptFormat) -> Result<Tokenizer> {
    let control = [END, USER, ASSISTANT].map(|token| (token, true));
    let tags = [
        &format.solution,
        &format.teacher.explanation,
        &format.student.thought,
    ];
    let tags = tags
        .into_iter()
        .flat_map(|t| [(t.start.as_str(), false), (t.end.as_str(), false)]);
    let mut vocabulary = Map::new();
    let mut added = Vec::new();
    for (content, special) in control.into_iter().chain(tags) {
        let id = vocabulary.len();
        vocabulary.insert(content.to_owned(), json!(id));
        added.push(json!({
            "id": id, "content": content, "special": special, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        }));
    }
    for character in LETTERS.chain('1'..='3') {
        vocabulary.insert(character.to_string(), json!(vocabulary.len()));
    }
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    });
    let files = [
        (
            "tokenizer.json",
            json!({
                "version": "1.0",
                "added_tokens": added,
                "pre_tokenizer": bytes,
                "decoder": bytes,
                "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
            }),
        ),
        (
            "tokenizer_config.json",
            json!({
                "eos_token": END,
                "chat_template": format!(
                    "{{% for message in messages %}}<|{{{{ message.role }}}}|>{{{{ message.content }}}}{END}{{% endfor %}}\
                     {{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
                ),
            }),
        ),
    ];
    fs_err::create_dir_all(folder)?;
    for (name, content) in files {
        fs_err::write(folder.join(name), content.to_string())?;
    }
    Ok(Tokenizer::from_folder(folder)?)
}

/// Random weights, of which there are few.
pub(crate) fn decoder(tokenizer: &Tokenizer, seed: u64, device: &Device) -> Result<Decoder> {
    let config = DecoderConfig::new(DecoderOptions {
        max_position_embeddings: 64,
        eos_token_ids: tokenizer.eos().into_iter().collect(),
        ..DecoderOptions::new(Family::Llama, tokenizer.vocabulary_size(), 48, 96, 2, 4)
    })?;
    Ok(Decoder::init(&config, seed, &device.clone().autodiff()))
}
