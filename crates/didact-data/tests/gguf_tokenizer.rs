//! The tokenizer out of SmolLM2's GGUF file against the one out of its `tokenizer.json`.
//!
//! Skipped, by name, where the file is not there: `cargo xtask fetch smollm2` puts it into `models/`.

use std::path::{Path, PathBuf};

use didact_data::{Message, Tokenizer};
use didact_gguf::Gguf;
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

#[test]
fn smollm2_gives_the_same_ids_as_its_tokenizer_json() {
    let Some(path) = smollm2() else {
        eprintln!("skipped: SmolLM2 is not there (`cargo xtask fetch smollm2`)");
        return;
    };
    let fixtures = root().join("xtask/conformance/fixtures");
    let expected = Tokenizer::from_folder(fixtures.join("tokenizers/tokenizer_smollm2")).unwrap();
    let found = Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap();

    let cases = std::fs::read_to_string(fixtures.join("tokenizer_cases.json")).unwrap();
    let cases: Value = serde_json::from_str(&cases).unwrap();
    let mut texts = Vec::new();
    for tokenizer in cases.as_object().unwrap().values() {
        let encoded = tokenizer["encode"].as_array().into_iter().flatten();
        texts.extend(encoded.map(|case| case["text"].as_str().unwrap().to_owned()));
    }
    assert!(!texts.is_empty());
    for text in texts {
        let ids = expected.encode(&text).unwrap();
        assert_eq!(found.encode(&text).unwrap(), ids, "{text:?}");
        for skip in [false, true] {
            let decoded = found.decode(&ids.ids, skip).unwrap();
            assert_eq!(decoded, expected.decode(&ids.ids, skip).unwrap());
        }
    }
    assert_eq!(found.eos(), expected.eos());
    assert_eq!(found.vocabulary_size(), expected.vocabulary_size());
    assert_eq!(found.fingerprint(), expected.fingerprint());

    let messages = [Message::user("Why is the sky blue?")];
    let render = |tokenizer: &Tokenizer| {
        tokenizer
            .chat_template()
            .unwrap()
            .render(&messages, true)
            .unwrap()
    };
    assert_eq!(render(&found), render(&expected));
}
