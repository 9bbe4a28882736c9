//! What a student wrote by itself, and the known solution after its thought.

use didact_core::{SpannedSequence, TokenBytes, TokenId};

use serde::{Deserialize, Serialize};

use crate::{Prompt, PromptFormat, Result, Tokenizer};

/// The part of a student's text that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerPlace {
    /// What stands between the solution's tags after the thought; an answer without them is wrong. Where the answer
    /// is all that is wanted, sampling ends with the end tag.
    #[default]
    Solution,
    /// Everything after the thought's end tag; a thought that is not closed is wrong.
    AfterThought,
    /// The whole text, thought included.
    Anywhere,
}

/// A student's own thought and answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudentAnswer {
    /// Question, the student's thought as it was sampled, and the known solution.
    pub sequence: SpannedSequence,
    /// The thought's text.
    pub thought: String,
    /// Whether the student closed its thought with the end tag.
    pub closed: bool,
    /// What the student itself wrote between its solution tags after the thought, if both are there.
    pub solution: Option<String>,
    /// Everything that the student wrote, without an end of sequence that it stopped with.
    pub text: String,
}

impl StudentAnswer {
    /// The part of the text that stands at `place`, if it is there.
    #[must_use]
    pub fn at(&self, place: AnswerPlace, format: &PromptFormat) -> Option<&str> {
        match place {
            AnswerPlace::Solution => self.solution.as_deref(),
            AnswerPlace::AfterThought => self
                .text
                .split_once(&format.student.thought.end)
                .map(|(_, after)| after),
            AnswerPlace::Anywhere => Some(&self.text),
        }
    }
}

/// Reads ids that a student sampled after [`Prompt::student_prefix`].
///
/// The thought is the sampled tokens wholly before the thought's end tag, spliced as they are; the known solution
/// follows it as in training, so that its likelihood after the student's own thought can be scored.
///
/// # Errors
/// What the tokenizer refuses.
pub fn student_answer(
    format: &PromptFormat,
    tokenizer: &Tokenizer,
    prompt: &Prompt,
    ids: &[TokenId],
) -> Result<StudentAnswer> {
    let end = &format.student.thought.end;
    let thought = prompt.student_thought(tokenizer, ids, end)?;
    let ended = tokenizer.eos().is_some() && ids.last().copied() == tokenizer.eos();
    let written = tokenizer.bytes_of(&ids[..ids.len() - usize::from(ended)]);
    let written = String::from_utf8_lossy(&written);
    let after = written
        .find(end.as_str())
        .map_or("", |at| &written[at + end.len()..]);
    Ok(StudentAnswer {
        sequence: thought.sequence,
        closed: thought.closed,
        thought: thought.text,
        solution: format
            .solution
            .first_content(after)
            .map(|(_, text)| text.trim().to_owned()),
        text: written.into_owned(),
    })
}
