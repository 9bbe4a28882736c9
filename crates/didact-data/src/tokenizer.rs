//! Turns text into token ids and back, and knows the bytes of every id.
//!
//! It owns the vocabulary, the special tokens and the chat template that came with them. It knows nothing
//! of prompts, tags or spans.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use didact_core::{TokenBytes, TokenId};
use serde_json::{Map, Value};

use crate::token_table::TokenTable;
use crate::{ChatTemplate, Error, Result};

/// Token ids of a text with the bytes that each stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoding {
    /// The ids.
    pub ids: Vec<TokenId>,
    /// For each id the range of **bytes** of the text that it came from. Tokens that share a character (a
    /// byte-level vocabulary may split one) all have the whole character's range.
    pub offsets: Vec<Range<usize>>,
}

/// A tokenizer with its special tokens and its chat template.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    name: String,
    inner: tokenizers::Tokenizer,
    table: TokenTable,
    special_tokens: SpecialTokens,
    eos: Option<TokenId>,
    chat_template: Option<ChatTemplate>,
    config: Map<String, Value>,
    fingerprint: String,
}

/// The texts of the tokens that have a role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SpecialTokens {
    /// Stands before a text.
    pub(crate) bos: Option<String>,
    /// Ends a turn or a text.
    pub(crate) eos: Option<String>,
    /// Fills up short rows.
    pub(crate) pad: Option<String>,
    /// Stands for what the vocabulary lacks.
    pub(crate) unk: Option<String>,
}

impl Tokenizer {
    /// Puts a tokenizer together; `name` stands in errors. The bare texts of special tokens must be in the
    /// vocabulary. `config` is what `tokenizer_config.json` said, empty where there was none.
    pub(crate) fn from_parts(
        name: impl Into<String>,
        mut inner: tokenizers::Tokenizer,
        special_tokens: SpecialTokens,
        chat_template: Option<String>,
        config: Map<String, Value>,
    ) -> Result<Self> {
        let name = name.into();
        let problem = |problem: String| Error::Tokenizer {
            name: name.clone(),
            problem,
        };
        // A file may ask for its texts to be cut or filled up, silently; what a model reads is ours to say.
        inner
            .with_truncation(None)
            .map_err(|error| problem(error.to_string()))?;
        inner.with_padding(None);
        let serialised = inner
            .to_string(false)
            .map_err(|error| problem(error.to_string()))?;
        let table = TokenTable::new(&inner, &serialised).map_err(problem)?;
        let eos = match &special_tokens.eos {
            None => None,
            Some(text) => Some(inner.token_to_id(text).ok_or_else(|| {
                problem(format!("its eos token {text:?} is not in the vocabulary"))
            })?),
        };
        let chat_template = chat_template
            .map(|source| {
                let SpecialTokens { bos, eos, .. } = special_tokens.clone();
                ChatTemplate::new(name.clone(), source, bos, eos)
            })
            .transpose()?;
        let fingerprint = format!("fnv1a64:{:016x}", fnv1a64(serialised.as_bytes()));
        Ok(Self {
            name,
            inner,
            table,
            special_tokens,
            eos,
            chat_template,
            config,
            fingerprint,
        })
    }

    /// Reads a bare `tokenizer.json`: no end-of-sequence token, no chat template.
    ///
    /// # Errors
    /// A file that cannot be read or is not a tokenizer; a kind whose tokens have no fixed bytes.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let inner = read_tokenizer(path)?;
        let special_tokens = SpecialTokens::default();
        Self::from_parts(
            path.display().to_string(),
            inner,
            special_tokens,
            None,
            Map::new(),
        )
    }

    /// Reads a model's folder: `tokenizer.json`, `tokenizer_config.json`, and `chat_template.jinja` where
    /// there is one (it comes before the configuration's own template).
    ///
    /// # Errors
    /// A file that is missing (but for the template) or broken; an end-of-sequence token that is not in the
    /// vocabulary; a template that is not Jinja.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let inner = read_tokenizer(&folder.join("tokenizer.json"))?;
        let path = folder.join("tokenizer_config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::file(&path, "reading"))?;
        let problem = |problem: String| Error::Tokenizer {
            name: path.display().to_string(),
            problem,
        };
        let config: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
        let token = |key: &str| special_token(&config, key).map_err(problem);
        let special_tokens = SpecialTokens {
            bos: token("bos_token")?,
            eos: token("eos_token")?,
            pad: token("pad_token")?,
            unk: token("unk_token")?,
        };
        let path = folder.join("chat_template.jinja");
        let chat_template = if path.exists() {
            Some(std::fs::read_to_string(&path).map_err(Error::file(&path, "reading"))?)
        } else {
            config_template(&config).map_err(problem)?
        };
        Self::from_parts(
            folder.display().to_string(),
            inner,
            special_tokens,
            chat_template,
            config,
        )
    }

    /// The ids of a text, with the bytes that each stands for.
    ///
    /// Special tokens written out in the text become their ids. Nothing is added: a chat template writes its
    /// own beginning-of-sequence token.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|error| Error::Tokenizer {
                name: self.name.clone(),
                problem: format!("cannot encode a text of {} bytes: {error}", text.len()),
            })?;
        Ok(Encoding {
            ids: encoding.get_ids().to_vec(),
            offsets: encoding
                .get_offsets()
                .iter()
                .map(|&(start, end)| start..end)
                .collect(),
        })
    }

    /// The text of ids, without special tokens if so wished. Bytes that are no text become `�`; an id
    /// outside the vocabulary gives nothing.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn decode(&self, ids: &[TokenId], skip_special: bool) -> Result<String> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|error| Error::Tokenizer {
                name: self.name.clone(),
                problem: format!("cannot decode {} ids: {error}", ids.len()),
            })
    }

    /// One more than the largest id.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.table.len()
    }

    /// The id of a token, by its text in the vocabulary (`Ġthe`) or as a special token (`<|im_end|>`).
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<TokenId> {
        self.inner.token_to_id(token)
    }

    /// The text of an id as the vocabulary has it.
    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The token that ends a turn.
    #[must_use]
    pub const fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    /// The chat template that came with the tokenizer.
    #[must_use]
    pub const fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// Where the tokenizer came from, for errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A hash (FNV-1a, 64 bits) of the tokenizer as it serialises: equal for tokenizers that give equal ids. It
    /// tells a mistake, not an attack. The chat template is not part of it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, so that transformers can open the folder.
    ///
    /// # Errors
    /// A folder that cannot be made, a file that cannot be written.
    pub fn save_folder(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(Error::file(folder, "making the folder"))?;
        let problem = |problem: String| Error::Tokenizer {
            name: self.name.clone(),
            problem,
        };
        let tokenizer = self
            .inner
            .to_string(true)
            .map_err(|error| problem(error.to_string()))?;
        write_beside(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
        let config = serde_json::to_string_pretty(&self.saved_config())
            .map_err(|error| problem(error.to_string()))?;
        write_beside(&folder.join("tokenizer_config.json"), config.as_bytes())
    }

    fn saved_config(&self) -> Map<String, Value> {
        let mut config = self.config.clone();
        config
            .entry("tokenizer_class")
            .or_insert_with(|| Value::from("PreTrainedTokenizerFast"));
        config
            .entry("clean_up_tokenization_spaces")
            .or_insert(Value::Bool(false));
        let SpecialTokens { bos, eos, pad, unk } = &self.special_tokens;
        for (key, token) in [
            ("bos_token", bos),
            ("eos_token", eos),
            ("pad_token", pad),
            ("unk_token", unk),
        ] {
            if !config.contains_key(key) {
                config.insert(
                    key.to_owned(),
                    token.as_deref().map_or(Value::Null, Value::from),
                );
            }
        }
        if let Some(template) = &self.chat_template {
            config.insert("chat_template".to_owned(), Value::from(template.source()));
        }
        config
    }
}

impl TokenBytes for Tokenizer {
    fn token_bytes(&self, id: TokenId) -> &[u8] {
        self.table.bytes(id)
    }

    fn is_special(&self, id: TokenId) -> bool {
        self.table.is_special(id)
    }
}

fn read_tokenizer(path: &Path) -> Result<tokenizers::Tokenizer> {
    let bytes = std::fs::read(path).map_err(Error::file(path, "reading"))?;
    tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| Error::Tokenizer {
        name: path.display().to_string(),
        problem: format!("not a tokenizer that this version can read: {error}"),
    })
}

/// A special token stands as a string, or as an object with its `content`.
fn special_token(config: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Object(token)) => match token.get("content") {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            _ => Err(format!("`{key}` is an object without the string `content`")),
        },
        Some(other) => Err(format!(
            "`{key}` is {other}; expected a string or an object"
        )),
    }
}

/// One template stands as a string, several as a list with names; the one called `default` counts.
fn config_template(config: &Map<String, Value>) -> Result<Option<String>, String> {
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source.clone())),
        Some(Value::Array(named)) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(|source| Some(source.to_owned()))
            .ok_or_else(|| "`chat_template` is a list without a `default`".to_owned()),
        Some(_) => Err("`chat_template` is neither a string nor a list".to_owned()),
    }
}

/// Writes a file whole or not at all.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension(format!("{}.partial", std::process::id()));
    std::fs::write(&beside, bytes).map_err(Error::file(&beside, "writing"))?;
    std::fs::rename(&beside, path).map_err(Error::file(path, "renaming the finished file to it"))
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The vocabulary with added tokens, by id.
pub(crate) fn vocabulary(inner: &tokenizers::Tokenizer) -> HashMap<TokenId, String> {
    inner
        .get_vocab(true)
        .into_iter()
        .map(|(text, id)| (id, text))
        .collect()
}
