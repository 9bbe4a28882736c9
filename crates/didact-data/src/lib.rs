#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod chat_template;
mod error;
mod example;
mod format;
mod frame;
mod gguf_tokenizer;
mod problems;
mod prompt;
mod spans;
mod text;
mod token_table;
mod tokenizer;

pub use answer::{AnswerPlace, StudentAnswer, student_answer};
pub use chat_template::{ChatTemplate, Message};
pub use error::{Error, Result};
pub use example::{SupervisedExample, SupervisedText};
pub use format::{PromptFormat, StudentFormat, SystemPlacement, Tags, TeacherFormat};
pub use problems::{MAX_LINE_BYTES, read_problems, read_problems_from, read_problems_with};
pub use prompt::{Explained, Prompt, from_tokens, thought_from_tokens};
pub use text::{ExplainedText, TextSample, from_text};
pub use tokenizer::{Encoding, Tokenizer};
