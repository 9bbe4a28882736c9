//! What a student wrote by itself, and the known solution after its thought.

use didact_core::{SpannedSequence, TokenBytes, TokenId};

use crate::{Prompt, PromptFormat, Result, Tokenizer};

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
    let written = tokenizer.bytes_of(ids);
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
    })
}
