//! `tokenizer_cases.json`: ids, offsets, tokens and texts, and rendered chats, for every tokenizer it names.

use std::path::{Path, PathBuf};

use didact::data::{Message, Tokenizer};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::report::Report;

#[derive(Deserialize)]
struct Cases {
    encode: Vec<EncodeCase>,
    chat: Vec<ChatCase>,
}

#[derive(Deserialize)]
struct EncodeCase {
    text: String,
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    tokens: Vec<String>,
    decode: String,
    decode_skip_special: String,
    roundtrip: bool,
}

#[derive(Deserialize)]
struct ChatCase {
    messages: Vec<Message>,
    add_generation_prompt: bool,
    text: String,
    ids: Vec<u32>,
}

/// Compares every tokenizer that the file names.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    let path = fixtures.join("tokenizer_cases.json");
    let Some(tokenizers) = read::<std::collections::BTreeMap<String, Cases>>(&path, report) else {
        return;
    };
    for (name, cases) in tokenizers {
        match Tokenizer::from_folder(folder(fixtures, &name)) {
            Ok(tokenizer) => compare(&name, &tokenizer, &cases, report),
            Err(error) => report.fail(&format!("tokenizer/{name}"), &error.to_string()),
        }
    }
}

fn compare(name: &str, tokenizer: &Tokenizer, cases: &Cases, report: &mut Report) {
    let mut ids = Mismatch::default();
    let mut offsets = Mismatch::default();
    let mut tokens = Mismatch::default();
    let mut decoded = Mismatch::default();
    for case in &cases.encode {
        let text = &case.text;
        match tokenizer.encode(text) {
            Err(error) => ids.note(text, &error.to_string(), &""),
            Ok(encoding) => {
                let found: Vec<(usize, usize)> = encoding
                    .offsets
                    .iter()
                    .map(|range| in_characters(text, range))
                    .collect();
                offsets.compare(text, &found, &case.offsets);
                let found: Vec<String> = encoding
                    .ids
                    .iter()
                    .filter_map(|&id| tokenizer.token(id))
                    .collect();
                tokens.compare(text, &found, &case.tokens);
                ids.compare(text, &encoding.ids, &case.ids);
            }
        }
        for (skip_special, expected) in [(false, &case.decode), (true, &case.decode_skip_special)] {
            match tokenizer.decode(&case.ids, skip_special) {
                Ok(found) => {
                    if !skip_special {
                        decoded.compare(text, &(found == *text), &case.roundtrip);
                    }
                    decoded.compare(text, &found, expected);
                }
                Err(error) => decoded.note(text, &error.to_string(), expected),
            }
        }
    }
    let count = cases.encode.len();
    ids.close(&format!("tokenizer/{name}/ids of {count} texts"), report);
    offsets.close(
        &format!("tokenizer/{name}/character offsets of {count} texts"),
        report,
    );
    tokens.close(&format!("tokenizer/{name}/tokens of {count} texts"), report);
    decoded.close(
        &format!("tokenizer/{name}/decoding {count} texts and round trip"),
        report,
    );

    let mut chats = Mismatch::default();
    for case in &cases.chat {
        let rendered = tokenizer
            .chat_template()
            .ok_or_else(|| "no chat template".to_owned())
            .and_then(|template| {
                let rendered = template.render(&case.messages, case.add_generation_prompt);
                rendered.map_err(|error| error.to_string())
            });
        let encoded = tokenizer.encode(&case.text).map(|encoding| encoding.ids);
        chats.compare(&case.text, &rendered, &Ok(case.text.clone()));
        chats.compare(
            &case.text,
            &encoded.ok().as_deref(),
            &Some(case.ids.as_slice()),
        );
    }
    let name = format!(
        "tokenizer/{name}/{} rendered chats with their ids",
        cases.chat.len()
    );
    chats.close(&name, report);
}

/// A byte range as the character offsets that Python gives.
fn in_characters(text: &str, range: &std::ops::Range<usize>) -> (usize, usize) {
    let before = |end: usize| text.char_indices().take_while(|&(at, _)| at < end).count();
    (before(range.start), before(range.end))
}

/// The folder of a tokenizer. The files call the full SmolLM2 tokenizer `tokenizer`; its folder is
/// `tokenizer_smollm2`.
pub(crate) fn folder(fixtures: &Path, name: &str) -> PathBuf {
    let folder = fixtures.join("tokenizers").join(name);
    if folder.is_dir() {
        folder
    } else {
        folder.with_file_name(format!("{name}_smollm2"))
    }
}

/// A file's content; `None` where it is absent (silently), or cannot be read or is broken (a failure).
pub(crate) fn read<T: DeserializeOwned>(path: &Path, report: &mut Report) -> Option<T> {
    let content = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
        Ok(text) => serde_json::from_str(&text).map_err(|error| error.to_string()),
    };
    match content {
        Ok(value) => Some(value),
        Err(error) => {
            report.fail(&path.display().to_string(), &error);
            None
        }
    }
}

/// The first of many comparisons that came out wrong.
#[derive(Default)]
pub(crate) struct Mismatch(Option<String>);

impl Mismatch {
    /// Notes where `found` is not `expected`.
    pub(crate) fn compare<T: PartialEq + std::fmt::Debug + ?Sized>(
        &mut self,
        what: &str,
        found: &T,
        expected: &T,
    ) {
        if found != expected {
            self.note(what, &found, &expected);
        }
    }

    /// Notes a difference.
    pub(crate) fn note(
        &mut self,
        what: &str,
        found: &dyn std::fmt::Debug,
        expected: &dyn std::fmt::Debug,
    ) {
        self.0
            .get_or_insert_with(|| format!("{what:?}: found {found:?}, expected {expected:?}"));
    }

    /// Reports one check.
    pub(crate) fn close(self, name: &str, report: &mut Report) {
        report.equal(name, self.0.is_none(), || {
            self.0.clone().unwrap_or_default()
        });
    }
}
