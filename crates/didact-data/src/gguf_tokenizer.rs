//! Builds a tokenizer from the metadata of a GGUF file.
//!
//! It knows the keys `tokenizer.*` and which splits the named pre-tokenizers stand for. What is not read
//! here exactly (another model than byte-level BPE, another pre-tokenizer) is an error that names it: a
//! near guess would give ids that the model was never trained on.

use didact_gguf::Gguf;
use serde_json::{Map, Value};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use crate::tokenizer::SpecialTokens;
use crate::{Error, Result, Tokenizer};

/// The numbers of `tokenizer.ggml.token_type` that mean an added token; the others are plain vocabulary.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// How a text is cut before the merges apply, as the tokenizers of these models were trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PreTokenizer {
    /// Each digit alone, then GPT-2's split.
    SmolLm,
    /// Unicode composed (NFC), then Qwen2's split: each digit alone, lines' ends kept together.
    Qwen2,
    /// Llama 3's split: up to three digits together. A piece that is in the vocabulary is one token,
    /// whatever the merges say.
    Llama3,
}

impl PreTokenizer {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "smollm" => Some(Self::SmolLm),
            "qwen2" => Some(Self::Qwen2),
            "llama-bpe" | "llama3" | "llama-v3" => Some(Self::Llama3),
            _ => None,
        }
    }

    /// The pattern whose matches are the pieces, where it is not GPT-2's.
    fn pattern(digits: &str) -> String {
        format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    }

    fn sequence(self) -> tokenizers::Result<Sequence> {
        let split = |digits| {
            let pattern = SplitPattern::Regex(Self::pattern(digits));
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
        };
        Ok(Sequence::new(match self {
            Self::SmolLm => vec![
                Digits::new(true).into(),
                ByteLevel::new(false, true, true).into(),
            ],
            Self::Qwen2 => vec![
                split(r"\p{N}")?.into(),
                ByteLevel::new(false, false, false).into(),
            ],
            Self::Llama3 => vec![
                split(r"\p{N}{1,3}")?.into(),
                ByteLevel::new(false, false, false).into(),
            ],
        }))
    }
}

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file carries: byte-level BPE (`tokenizer.ggml.model` is `gpt2`) with
    /// the pre-tokenizers `smollm`, `qwen2` and `llama-bpe`.
    ///
    /// Nothing is added to a text, whatever `add_bos_token` says: a chat template writes its own
    /// beginning-of-sequence token.
    ///
    /// # Errors
    /// Metadata that are missing or of another type; another kind of tokenizer, by its name; a vocabulary
    /// with a token twice, merges of tokens that it lacks, special tokens outside it; a template that is not
    /// Jinja.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let name = gguf.path().display().to_string();
        let problem = |problem: String| Error::Tokenizer {
            name: name.clone(),
            problem,
        };
        let pre_tokenizer = pre_tokenizer(gguf, &problem)?;
        let inner = byte_level_bpe(gguf, pre_tokenizer, &problem)?;
        let tokens: &[String] = gguf.get("tokenizer.ggml.tokens")?;
        let special = |role: &str| special_token(gguf, tokens, role, &problem);
        let special_tokens = SpecialTokens {
            bos: special("bos")?,
            eos: special("eos")?,
            pad: special("padding")?,
            unk: special("unknown")?,
        };
        let mut config = Map::new();
        if let Some(add_bos) = gguf.find::<bool>("tokenizer.ggml.add_bos_token")? {
            config.insert("add_bos_token".to_owned(), Value::Bool(add_bos));
        }
        let template: Option<&str> = gguf.find("tokenizer.chat_template")?;
        let template = template.map(str::to_owned);
        Self::from_parts(name.clone(), inner, special_tokens, template, config)
    }
}

fn pre_tokenizer(gguf: &Gguf, problem: &dyn Fn(String) -> Error) -> Result<PreTokenizer> {
    let model: &str = gguf.get("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(problem(format!(
            "`tokenizer.ggml.model` is {model:?}; only \"gpt2\" (byte-level BPE) is supported, so take the \
             tokenizer from a tokenizer.json"
        )));
    }
    if gguf.find("tokenizer.ggml.add_space_prefix")? == Some(true) {
        return Err(problem(
            "`tokenizer.ggml.add_space_prefix` is true, which is not supported".to_owned(),
        ));
    }
    let name: &str = gguf.get("tokenizer.ggml.pre")?;
    PreTokenizer::from_name(name).ok_or_else(|| {
        problem(format!(
            "`tokenizer.ggml.pre` is {name:?}; supported are \"smollm\", \"qwen2\" and \"llama-bpe\", so \
             take the tokenizer from a tokenizer.json"
        ))
    })
}

fn byte_level_bpe(
    gguf: &Gguf,
    pre_tokenizer: PreTokenizer,
    problem: &dyn Fn(String) -> Error,
) -> Result<tokenizers::Tokenizer> {
    let broken = |error: tokenizers::Error| problem(error.to_string());
    let tokens: &[String] = gguf.get("tokenizer.ggml.tokens")?;
    let mut vocabulary = Vocab::default();
    for (id, token) in (0u32..).zip(tokens) {
        if let Some(other) = vocabulary.insert(token.clone(), id) {
            return Err(problem(format!(
                "token {token:?} stands in the vocabulary twice, as {other} and {id}"
            )));
        }
    }
    let mut merges = Vec::new();
    for (rank, merge) in gguf
        .get::<&[String]>("tokenizer.ggml.merges")?
        .iter()
        .enumerate()
    {
        let Some((left, right)) = merge.split_once(' ') else {
            return Err(problem(format!(
                "merge {rank} is {merge:?}; expected two tokens with a space between"
            )));
        };
        for part in [left, right, &format!("{left}{right}")] {
            if !vocabulary.contains_key(part) {
                return Err(problem(format!(
                    "merge {rank} is {merge:?}, but {part:?} is not in the vocabulary"
                )));
            }
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    let model = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(pre_tokenizer == PreTokenizer::Llama3)
        .build()
        .map_err(broken)?;
    let mut inner = tokenizers::Tokenizer::new(model);
    if pre_tokenizer == PreTokenizer::Qwen2 {
        inner.with_normalizer(Some(NFC)).map_err(broken)?;
    }
    inner.with_pre_tokenizer(Some(pre_tokenizer.sequence().map_err(broken)?));
    inner.with_decoder(Some(ByteLevel::default()));
    add_tokens(gguf, tokens, &mut inner, problem)?;
    Ok(inner)
}

/// Makes the control and user-defined tokens recognisable in a text; they keep their ids.
fn add_tokens(
    gguf: &Gguf,
    tokens: &[String],
    inner: &mut tokenizers::Tokenizer,
    problem: &dyn Fn(String) -> Error,
) -> Result<()> {
    let Some(kinds) = gguf.find::<Vec<i32>>("tokenizer.ggml.token_type")? else {
        return Ok(());
    };
    if kinds.len() != tokens.len() {
        return Err(problem(format!(
            "`tokenizer.ggml.token_type` has {} entries for {} tokens",
            kinds.len(),
            tokens.len()
        )));
    }
    let added = tokens
        .iter()
        .zip(kinds)
        .filter(|&(_, kind)| matches!(kind, CONTROL | USER_DEFINED))
        .map(|(token, kind)| AddedToken::from(token.clone(), kind == CONTROL).normalized(false));
    inner
        .add_tokens(added)
        .map_err(|error| problem(error.to_string()))?;
    Ok(())
}

/// The text of the token with a role, such as `eos`, where the file names one.
fn special_token(
    gguf: &Gguf,
    tokens: &[String],
    role: &str,
    problem: &dyn Fn(String) -> Error,
) -> Result<Option<String>> {
    let key = format!("tokenizer.ggml.{role}_token_id");
    let Some(id) = gguf.find::<usize>(&key)? else {
        return Ok(None);
    };
    match tokens.get(id) {
        Some(token) => Ok(Some(token.clone())),
        None => Err(problem(format!(
            "`{key}` is {id}, but the vocabulary has {} tokens",
            tokens.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the metadata of a GGUF file without tensors.
    #[derive(Clone, Default)]
    struct Metadata(Vec<(String, Vec<u8>)>);

    impl Metadata {
        fn text(text: &str) -> Vec<u8> {
            [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
        }

        fn with(mut self, key: &str, kind: u32, body: &[u8]) -> Self {
            self.0.retain(|(other, _)| other != key);
            self.0
                .push((key.to_owned(), [&kind.to_le_bytes(), body].concat()));
            self
        }

        fn string(self, key: &str, text: &str) -> Self {
            self.with(key, 8, &Self::text(text))
        }

        fn strings(self, key: &str, texts: &[&str]) -> Self {
            let body: Vec<u8> = texts.iter().flat_map(|text| Self::text(text)).collect();
            let count = (texts.len() as u64).to_le_bytes();
            self.with(
                key,
                9,
                &[&8u32.to_le_bytes()[..], &count[..], &body[..]].concat(),
            )
        }

        fn kinds(self, kinds: &[i32]) -> Self {
            let body: Vec<u8> = kinds.iter().flat_map(|kind| kind.to_le_bytes()).collect();
            let count = (kinds.len() as u64).to_le_bytes();
            self.with(
                "tokenizer.ggml.token_type",
                9,
                &[&5u32.to_le_bytes()[..], &count[..], &body[..]].concat(),
            )
        }

        fn tokenizer(&self) -> Result<Tokenizer> {
            let mut bytes = b"GGUF\x03\0\0\0".to_vec();
            bytes.extend(0u64.to_le_bytes());
            bytes.extend((self.0.len() as u64).to_le_bytes());
            for (key, value) in &self.0 {
                bytes.extend(Self::text(key));
                bytes.extend(value);
            }
            let limits = didact_gguf::Limits::default();
            Tokenizer::from_gguf(&Gguf::from_bytes("tiny.gguf", bytes, &limits)?)
        }

        fn problem(&self) -> String {
            self.tokenizer().unwrap_err().to_string()
        }
    }

    const TOKENS: [&str; 15] = [
        "<|end|>", "<tool>", "a", "b", "Ġ", "1", "2", "ab", "Ġa", "12", ".", ".a", "Ã", "©", "bab",
    ];

    fn tiny(pre: &str) -> Metadata {
        Metadata::default()
            .string("tokenizer.ggml.model", "gpt2")
            .string("tokenizer.ggml.pre", pre)
            .strings("tokenizer.ggml.tokens", &TOKENS)
            .strings("tokenizer.ggml.merges", &["a b", "Ġ a", "1 2", ". a"])
            .kinds(&[3, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
            .with("tokenizer.ggml.eos_token_id", 4, &0u32.to_le_bytes())
    }

    fn tokens(pre: &str, text: &str) -> Vec<String> {
        let tokenizer = tiny(pre).tokenizer().unwrap();
        let ids = tokenizer.encode(text).unwrap().ids;
        ids.iter().map(|&id| tokenizer.token(id).unwrap()).collect()
    }

    #[test]
    fn pre_tokenizers_split_as_their_models_expect() {
        // Digits: each alone, or up to three together.
        assert_eq!(tokens("smollm", "12"), ["1", "2"]);
        assert_eq!(tokens("qwen2", "12"), ["1", "2"]);
        assert_eq!(tokens("llama-bpe", "12"), ["12"]);
        // A piece that is in the vocabulary needs no merge, with Llama 3 only.
        assert_eq!(tokens("llama-bpe", "bab"), ["bab"]);
        assert_eq!(tokens("qwen2", "bab"), ["b", "ab"]);
        // A word takes any one sign before it in Qwen's and Llama's split, only a space in GPT-2's.
        assert_eq!(tokens("qwen2", " a.a"), ["Ġa", ".a"]);
        assert_eq!(tokens("llama-bpe", " a.a"), ["Ġa", ".a"]);
        assert_eq!(tokens("smollm", " a.a"), ["Ġa", ".", "a"]);
        // Qwen's texts are composed first.
        assert_eq!(tokens("qwen2", "e\u{301}"), ["Ã", "©"]);
        assert_ne!(tokens("llama-bpe", "e\u{301}"), ["Ã", "©"]);
    }

    #[test]
    fn special_tokens_are_found_in_a_text_and_keep_their_ids() {
        let tokenizer = tiny("qwen2").tokenizer().unwrap();
        assert_eq!(
            tokenizer.encode("a<|end|>b<tool>").unwrap().ids,
            [2, 0, 3, 1]
        );
        assert_eq!(tokenizer.eos(), Some(0));
        assert_eq!(tokenizer.decode(&[2, 0, 1], true).unwrap(), "a<tool>");
        assert_eq!(tokenizer.vocabulary_size(), TOKENS.len());
        assert!(tokenizer.chat_template().is_none());
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let llama = tiny("qwen2").string("tokenizer.ggml.model", "llama");
        assert!(
            llama
                .problem()
                .starts_with("tokenizer tiny.gguf: `tokenizer.ggml.model` is \"llama\"")
        );
        assert!(
            tiny("gpt-4o")
                .problem()
                .contains("`tokenizer.ggml.pre` is \"gpt-4o\"")
        );
        let prefix = tiny("qwen2").with("tokenizer.ggml.add_space_prefix", 7, &[1]);
        assert!(
            prefix
                .problem()
                .contains("add_space_prefix` is true, which is not supported")
        );
        assert!(
            Metadata::default()
                .problem()
                .contains("`tokenizer.ggml.model` is missing")
        );
    }

    #[test]
    fn broken_vocabularies_are_refused() {
        let twice = tiny("qwen2").strings("tokenizer.ggml.tokens", &["a", "b", "a"]);
        assert!(
            twice
                .problem()
                .contains("token \"a\" stands in the vocabulary twice, as 0 and 2")
        );
        let merge = |text| {
            tiny("qwen2")
                .strings("tokenizer.ggml.merges", &[text])
                .problem()
        };
        assert!(merge("ab").contains("merge 0 is \"ab\"; expected two tokens"));
        assert!(merge("a x").contains("\"x\" is not in the vocabulary"));
        assert!(merge("b b").contains("\"bb\" is not in the vocabulary"));
        assert!(
            tiny("qwen2")
                .kinds(&[1])
                .problem()
                .contains("has 1 entries for 15 tokens")
        );
        let eos = tiny("qwen2").with("tokenizer.ggml.eos_token_id", 4, &15u32.to_le_bytes());
        assert!(
            eos.problem()
                .contains("eos_token_id` is 15, but the vocabulary has 15 tokens")
        );
        let text = tiny("qwen2").string("tokenizer.ggml.eos_token_id", "0");
        assert!(
            text.problem()
                .contains("but an integer, not negative is needed")
        );
    }
}
