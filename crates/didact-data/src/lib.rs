//! Problem files, prompt formats, tokenizers and chat templates for reinforcement-learned teachers, exact to the token.
#![forbid(unsafe_code)]

mod chat_template;
mod error;
mod token_table;
mod tokenizer;

pub use chat_template::{ChatTemplate, Message};
pub use error::{Error, Result};
pub use tokenizer::{Encoding, Tokenizer};
