//! The bytes of every token, taken from the vocabulary and never by encoding a text again.

use std::collections::HashMap;

use didact_core::TokenId;
use serde_json::Value;

use crate::tokenizer::vocabulary;

/// Ids above this are not believed: the largest published vocabularies have some 260,000.
const MAX_VOCABULARY: usize = 1 << 24;

/// The bytes of each id, in one buffer.
#[derive(Debug, Clone)]
pub(crate) struct TokenTable {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    special: Vec<bool>,
}

impl TokenTable {
    /// Reads the vocabulary; `serialised` is the same tokenizer as JSON, whose decoder says how tokens
    /// write their bytes.
    pub(crate) fn new(inner: &tokenizers::Tokenizer, serialised: &str) -> Result<Self, String> {
        let alphabet = Alphabet::of_decoder(serialised)?;
        let added = inner.get_added_tokens_decoder();
        let tokens = vocabulary(inner);
        let size = tokens.keys().max().map_or(0, |&id| id as usize + 1);
        if size > MAX_VOCABULARY {
            return Err(format!(
                "it has the id {}; at most {MAX_VOCABULARY} ids",
                size - 1
            ));
        }
        let mut table = Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(size),
            special: Vec::with_capacity(size),
        };
        for id in 0..size as TokenId {
            if let Some(token) = added.get(&id) {
                table.bytes.extend_from_slice(token.content.as_bytes());
                table.special.push(token.special);
            } else {
                if let Some(token) = tokens.get(&id) {
                    alphabet.write(token, &mut table.bytes);
                }
                table.special.push(false);
            }
            table.ends.push(table.bytes.len());
        }
        Ok(table)
    }

    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn bytes(&self, id: TokenId) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else {
            return &[];
        };
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }

    pub(crate) fn is_special(&self, id: TokenId) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }
}

/// How the texts in a vocabulary stand for bytes.
enum Alphabet {
    /// One character a byte, as GPT-2 assigns them.
    ByteLevel(HashMap<char, u8>),
    /// Plain text with a mark for the space, and `<0x0A>` for bytes where the flag is set.
    Marked {
        space: Option<String>,
        byte_fallback: bool,
    },
}

impl Alphabet {
    fn of_decoder(serialised: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(serialised).map_err(|error| error.to_string())?;
        let decoder = &json["decoder"];
        let parts: Vec<&Value> = match decoder["decoders"].as_array() {
            Some(parts) => parts.iter().collect(),
            None if decoder.is_null() => Vec::new(),
            None => vec![decoder],
        };
        let (mut space, mut byte_fallback) = (None, false);
        for part in parts {
            match part["type"].as_str().unwrap_or_default() {
                "ByteLevel" => return Ok(Self::ByteLevel(byte_level_alphabet())),
                "Metaspace" => {
                    space = Some(part["replacement"].as_str().unwrap_or("▁").to_owned());
                }
                "Replace" if part["content"] == " " => {
                    space = part["pattern"]["String"].as_str().map(str::to_owned);
                }
                "ByteFallback" => byte_fallback = true,
                // These join tokens, or cut the space that was added before the first.
                "Fuse" | "Strip" => {}
                other => {
                    return Err(format!(
                        "its decoder {other:?} gives tokens no fixed bytes; expected ByteLevel, Metaspace, Replace, ByteFallback, Fuse or Strip"
                    ));
                }
            }
        }
        Ok(Self::Marked {
            space,
            byte_fallback,
        })
    }

    fn write(&self, token: &str, bytes: &mut Vec<u8>) {
        match self {
            Self::ByteLevel(alphabet) => {
                for character in token.chars() {
                    match alphabet.get(&character) {
                        Some(&byte) => bytes.push(byte),
                        None => {
                            let mut buffer = [0; 4];
                            bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                        }
                    }
                }
            }
            Self::Marked {
                space,
                byte_fallback,
            } => {
                if let Some(byte) = fallback_byte(token).filter(|_| *byte_fallback) {
                    bytes.push(byte);
                } else if let Some(space) = space {
                    bytes.extend_from_slice(token.replace(space.as_str(), " ").as_bytes());
                } else {
                    bytes.extend_from_slice(token.as_bytes());
                }
            }
        }
    }
}

/// The byte of `<0x0A>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// GPT-2's alphabet: printable bytes of Latin-1 stand for themselves, the others are numbered from U+0100.
fn byte_level_alphabet() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    (0..=u8::MAX)
        .map(|byte| {
            if printable(byte) {
                return (char::from(byte), byte);
            }
            let character = char::from_u32(next).unwrap_or(char::REPLACEMENT_CHARACTER);
            next += 1;
            (character, byte)
        })
        .collect()
}
