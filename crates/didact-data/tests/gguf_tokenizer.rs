//! Tokenizers out of GGUF metadata against the ones out of `tokenizer.json`: the same vocabularies
//! written as GGUF here, and SmolLM2's own file.
//!
//! The latter is skipped, by name, where the file is not there: `cargo xtask fetch smollm2` puts it into
//! `models/`.

use std::path::{Path, PathBuf};

use didact_data::{Message, Tokenizer};
use didact_gguf::{Gguf, Limits};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The file as `DIDACT_SMOLLM2` says, else where the fetch command puts it.
fn smollm2() -> Option<PathBuf> {
    let default = || root().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("DIDACT_SMOLLM2").map_or_else(default, PathBuf::from);
    path.exists().then_some(path)
}

/// Every text of the golden cases, whichever tokenizer it was meant for.
fn texts() -> Vec<String> {
    let cases = root().join("xtask/conformance/fixtures/tokenizer_cases.json");
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(cases).unwrap()).unwrap();
    let encoded = |tokenizer: &Value| tokenizer["encode"].as_array().cloned().unwrap_or_default();
    let cases = cases.as_object().unwrap().values().flat_map(encoded);
    let texts: Vec<String> = cases
        .map(|case| case["text"].as_str().unwrap().to_owned())
        .collect();
    assert!(!texts.is_empty());
    texts
}

fn assert_same(found: &Tokenizer, expected: &Tokenizer) {
    for text in texts() {
        let ids = expected.encode(&text).unwrap();
        assert_eq!(found.encode(&text).unwrap(), ids, "{text:?}");
        for skip in [false, true] {
            let decoded = found.decode(&ids.ids, skip).unwrap();
            assert_eq!(decoded, expected.decode(&ids.ids, skip).unwrap());
        }
    }
    assert_eq!(found.eos(), expected.eos());
    assert_eq!(found.vocabulary_size(), expected.vocabulary_size());
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A metadata entry: an array whose elements have the type number `kind`.
fn array(key: &str, kind: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    let count = (elements.len() as u64).to_le_bytes();
    let head = [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &count].concat();
    [string(key), head, elements.concat()].concat()
}

fn text(key: &str, value: &str) -> Vec<u8> {
    [string(key), 8u32.to_le_bytes().to_vec(), string(value)].concat()
}

/// The GGUF metadata of a `tokenizer.json`, as a converter writes them.
fn converted(tokenizer: &Value, pre: &str, eos: u32) -> Gguf {
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<(u64, String, i32)> = vocabulary
        .iter()
        .map(|(token, id)| (id.as_u64().unwrap(), token.clone(), 1))
        .collect();
    for token in added {
        let id = token["id"].as_u64().unwrap();
        tokens.retain(|(other, ..)| *other != id);
        let kind = if token["special"] == true { 3 } else { 4 };
        tokens.push((id, token["content"].as_str().unwrap().to_owned(), kind));
    }
    tokens.sort();
    assert!((0..).zip(&tokens).all(|(at, (id, ..))| at == *id));
    let words: Vec<Vec<u8>> = tokens.iter().map(|(_, token, _)| string(token)).collect();
    let kinds: Vec<Vec<u8>> = tokens
        .iter()
        .map(|(.., kind)| kind.to_le_bytes().to_vec())
        .collect();
    let merge = |merge: &Value| {
        let part = |at: usize| merge[at].as_str().unwrap();
        string(&format!("{} {}", part(0), part(1)))
    };
    let merges = tokenizer["model"]["merges"].as_array().unwrap();
    let merges: Vec<Vec<u8>> = merges.iter().map(merge).collect();
    let eos_key = string("tokenizer.ggml.eos_token_id");
    let entries = [
        text("tokenizer.ggml.model", "gpt2"),
        text("tokenizer.ggml.pre", pre),
        array("tokenizer.ggml.tokens", 8, &words),
        array("tokenizer.ggml.merges", 8, &merges),
        array("tokenizer.ggml.token_type", 5, &kinds),
        [
            eos_key,
            4u32.to_le_bytes().to_vec(),
            eos.to_le_bytes().to_vec(),
        ]
        .concat(),
    ];
    let head = [0u64.to_le_bytes(), (entries.len() as u64).to_le_bytes()].concat();
    let bytes = [b"GGUF\x03\0\0\0".to_vec(), head, entries.concat()].concat();
    Gguf::from_bytes("converted.gguf", bytes, &Limits::default()).unwrap()
}

#[test]
fn converted_vocabularies_give_the_same_ids() {
    let folder = root().join("xtask/conformance/fixtures/tokenizers");
    for (name, pre) in [
        ("tokenizer_small", "smollm"),
        ("tokenizer_qwenlike", "qwen2"),
    ] {
        let folder = folder.join(name);
        let expected = Tokenizer::from_folder(&folder).unwrap();
        let json = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        let gguf = converted(&json, pre, expected.eos().unwrap());
        assert_same(&Tokenizer::from_gguf(&gguf).unwrap(), &expected);
    }
}

#[test]
fn smollm2_gives_the_same_ids_as_its_tokenizer_json() {
    let Some(path) = smollm2() else {
        eprintln!("skipped: SmolLM2 is not there (`cargo xtask fetch smollm2`)");
        return;
    };
    let folder = root().join("xtask/conformance/fixtures/tokenizers/tokenizer_smollm2");
    let expected = Tokenizer::from_folder(folder).unwrap();
    let found = Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap();
    assert_same(&found, &expected);
    assert_eq!(found.fingerprint(), expected.fingerprint());

    let messages = [Message::user("Why is the sky blue?")];
    let render = |tokenizer: &Tokenizer| {
        let template = tokenizer.chat_template().unwrap();
        template.render(&messages, true).unwrap()
    };
    assert_eq!(render(&found), render(&expected));
}
