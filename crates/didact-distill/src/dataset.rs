//! Explanations as data sets that other trainers read.
//!
//! Owns two layouts of JSON lines. Knows no model; both are texts, which the other trainer encodes itself.
//!
//! # Chat messages
//!
//! One line an example:
//!
//! ```json
//! {"messages": [{"role": "system", "content": "…"}, {"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
//! ```
//!
//! | field | content |
//! |---|---|
//! | `role` | `system` (where the format has a system prompt of its own), `user`, `assistant`, in this order |
//! | `content` of `user` | the question, after the system prompt where the format places it there |
//! | `content` of `assistant` | the explanation between the thought's tags and the solution between its own, bare of any template |
//!
//! - TRL's `SFTTrainer` takes it as a conversational language-modelling data set and applies the model's chat
//!   template. It learns every token, the question's too, unless `assistant_only_loss=True`, for which the template
//!   must mark the assistant's turn by `{% generation %}`.
//! - Axolotl takes it with `type: chat_template` and `field_messages: messages` and learns the assistant's turns.
//! - Some templates rewrite the assistant's turn: those of several reasoning models cut off everything up to
//!   `</think>`, which is the explanation. Look at one encoded example first, or use the other layout.
//!
//! # Prompt and completion
//!
//! ```json
//! {"prompt": "…", "completion": "…"}
//! ```
//!
//! | field | content |
//! |---|---|
//! | `prompt` | the text before the assistant's content, as the chat template writes it |
//! | `completion` | the assistant's content and the end of the turn, up to and including the end-of-sequence token's text; white space that a template writes after it is left out |
//!
//! `prompt` and `completion` one after the other are the text that Didact itself trains on, but for that white
//! space, and `completion` is what it learns.
//!
//! - TRL's `SFTTrainer` takes it as a standard prompt-completion data set and learns the completion alone. It adds
//!   the end-of-sequence token only to completions that do not end with it.
//!   With TRL 1.16.0 and transformers 5.23.0 both layouts gave the ids of Didact's own examples, and the same first
//!   learnt token in this one.
//! - Axolotl takes it with a `type` of its own that has `field_instruction: prompt`, `field_output: completion` and
//!   `format` and `no_input_format` of `"{instruction}"`; `train_on_inputs: false` leaves the prompt out of the loss.
//!   See one example's ids first (`axolotl preprocess --debug`): its tokenizer, not the file, decides about
//!   beginning- and end-of-sequence tokens.
//! - A tokenizer that writes a beginning-of-sequence token by itself writes a second one where the template has
//!   written it already: give `add_bos_token=False` to it, or use chat messages.

use std::path::Path;

use didact_data::{Message, PromptFormat, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::selection::CollectedExplanation;
use crate::{Result, json_lines};

/// An example as turns of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatExample {
    /// The turns; the last is the assistant's.
    pub messages: Vec<Message>,
}

/// An example as text given and text to be learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionExample {
    /// The text before the assistant's content.
    pub prompt: String,
    /// The assistant's content and the end of its turn.
    pub completion: String,
}

/// The examples that students learn from, as chat messages.
///
/// # Errors
/// What the format refuses, by problem.
pub fn chat_examples(
    format: &PromptFormat,
    explanations: &[CollectedExplanation],
) -> Result<Vec<ChatExample>> {
    let example = |e: &CollectedExplanation| {
        Ok(ChatExample {
            messages: format.student_messages(&e.problem, &e.explanation)?,
        })
    };
    explanations.iter().map(example).collect()
}

/// The examples that students learn from, as prompt and completion in the chat template of `tokenizer`.
///
/// # Errors
/// What the format or the chat template refuses, by problem.
pub fn completion_examples(
    tokenizer: &Tokenizer,
    format: &PromptFormat,
    explanations: &[CollectedExplanation],
) -> Result<Vec<CompletionExample>> {
    let eos = tokenizer.eos().and_then(|id| tokenizer.token(id));
    let example = |e: &CollectedExplanation| {
        let text = format.student_text(tokenizer, &e.problem, &e.explanation)?;
        let mut completion = text.completion;
        if let Some(eos) = &eos
            && completion.trim_end().ends_with(eos.as_str())
        {
            completion.truncate(completion.trim_end().len());
        }
        Ok(CompletionExample {
            prompt: text.prompt,
            completion,
        })
    };
    explanations.iter().map(example).collect()
}

/// Writes explanations as chat messages to `path`, beside it first and then renamed.
///
/// # Errors
/// As [`chat_examples`]; a file that cannot be written.
pub fn write_chat(
    path: impl AsRef<Path>,
    format: &PromptFormat,
    explanations: &[CollectedExplanation],
) -> Result<()> {
    json_lines::write(path, &chat_examples(format, explanations)?)
}

/// Writes explanations as prompts and completions to `path`, beside it first and then renamed.
///
/// # Errors
/// As [`completion_examples`]; a file that cannot be written.
pub fn write_completions(
    path: impl AsRef<Path>,
    tokenizer: &Tokenizer,
    format: &PromptFormat,
    explanations: &[CollectedExplanation],
) -> Result<()> {
    json_lines::write(path, &completion_examples(tokenizer, format, explanations)?)
}
