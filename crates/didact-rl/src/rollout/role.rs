//! On which side of a problem the policy stands.

use didact_core::{Completion, Problem};
use didact_data::{
    AnswerPlace, Explained, Prompt, PromptFormat, Tokenizer, from_tokens, student_answer,
    thought_from_tokens,
};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What the policy is trained to write.
///
/// | | reads | writes | the student's context holds |
/// |---|---|---|---|
/// | teacher | question and solution | an explanation | question, explanation, known solution |
/// | solver | the question | a thought and an answer | question, its thought, known solution |
///
/// A solver is a student in reinforcement learning of its own, or a teacher that was trained to solve.
/// Every reward can be given to either: one that reads scores reads the solver's thought as the explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Role {
    /// Explains a solution that it is shown.
    #[default]
    Teacher,
    /// Solves the question.
    Solver {
        /// Where in its text the answer is looked for.
        #[serde(default)]
        answer: AnswerPlace,
    },
}

impl Role {
    /// The tag that closes what the policy writes.
    #[must_use]
    pub fn end_tag(self, format: &PromptFormat) -> &str {
        match self {
            Self::Teacher => &format.teacher.explanation.end,
            Self::Solver { .. } => &format.solution.end,
        }
    }

    pub(super) fn prompt(
        self,
        format: &PromptFormat,
        tokenizer: &Tokenizer,
        problem: &Problem,
    ) -> Result<Prompt> {
        let prompt = format.teacher_prompt(tokenizer, problem)?;
        Ok(match self {
            Self::Teacher => prompt,
            Self::Solver { .. } => prompt.into_student(),
        })
    }

    /// The completion in the formats of both sides, and what it answers the question with.
    pub(super) fn read(
        self,
        format: &PromptFormat,
        tokenizer: &Tokenizer,
        problem: &Problem,
        prompt: &Prompt,
        completion: &Completion,
    ) -> Result<(Explained, Option<String>)> {
        let ids = &completion.ids;
        match self {
            Self::Teacher => {
                let explained = from_tokens(format, tokenizer, problem, prompt, ids)?;
                let answered = Some(explained.text.clone());
                Ok((explained, answered))
            }
            Self::Solver { answer } => {
                let read = student_answer(format, tokenizer, prompt, ids)?;
                Ok((
                    thought_from_tokens(format, tokenizer, prompt, ids)?,
                    read.at(answer, format).map(str::to_owned),
                ))
            }
        }
    }
}
