//! Texts to imitate, with the tokens that count in the loss.

use didact_core::{Problem, Span, TokenId};

use crate::frame::opening;
use crate::{Error, Message, PromptFormat, Result, Tags, Tokenizer};

/// A token sequence of which a part is to be learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisedExample {
    /// The ids of the whole text.
    pub ids: Vec<TokenId>,
    /// The tokens whose log-probs make the loss: those wholly after the prompt.
    pub supervised: Span,
    /// The text.
    pub text: String,
}

/// The text of an example before it is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisedText {
    /// What is given: everything up to and including the assistant's header.
    pub prompt: String,
    /// What is to be learnt, up to and including the end of the turn.
    pub completion: String,
}

impl SupervisedExample {
    /// Encodes `text` once; the tokens wholly at or after byte `start` are supervised.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn new(tokenizer: &Tokenizer, text: String, start: usize) -> Result<Self> {
        let encoding = tokenizer.encode(&text)?;
        let supervised = encoding.span_inside(&(start..text.len()));
        Ok(Self {
            ids: encoding.ids,
            supervised,
            text,
        })
    }
}

impl PromptFormat {
    /// What a teacher is warmed up on: its prompt and an explanation.
    ///
    /// Supervised is what the teacher is to write itself: the explanation after the opened tag and its
    /// padding, the closing tag, and the end of the turn.
    ///
    /// # Errors
    /// An explanation that is empty or contains its own end tag; a solution with half of its tags; what the
    /// tokenizer and its chat template refuse.
    pub fn teacher_example(
        &self,
        tokenizer: &Tokenizer,
        problem: &Problem,
        explanation: &str,
    ) -> Result<SupervisedExample> {
        let tags = &self.teacher.explanation;
        let others = &self.student.thought;
        let content = self.example_content(problem, [tags, others], explanation, "explanation")?;
        let mut text = self.teacher_text(tokenizer, problem)?;
        let frame = self.teacher_frame(tokenizer, &problem.question)?;
        let supplied = if content.starts_with(&self.padding) {
            self.padding.len()
        } else {
            0
        };
        let start = text.len() + supplied;
        for part in [&content, &tags.end, &frame.after] {
            text.push_str(part);
        }
        SupervisedExample::new(tokenizer, text, start)
    }

    /// What a student is distilled from: the question, a thought and the solution.
    ///
    /// Supervised is everything after the assistant's header.
    ///
    /// # Errors
    /// As [`teacher_example`](Self::teacher_example).
    pub fn student_example(
        &self,
        tokenizer: &Tokenizer,
        problem: &Problem,
        thought: &str,
    ) -> Result<SupervisedExample> {
        let text = self.student_text(tokenizer, problem, thought)?;
        let start = text.prompt.len();
        SupervisedExample::new(tokenizer, text.prompt + &text.completion, start)
    }

    /// The text of a [`student_example`](Self::student_example), for trainers that encode it themselves.
    ///
    /// # Errors
    /// As [`student_example`](Self::student_example), but for what only encoding refuses.
    pub fn student_text(
        &self,
        tokenizer: &Tokenizer,
        problem: &Problem,
        thought: &str,
    ) -> Result<SupervisedText> {
        let answer = self.student_content(problem, thought)?;
        let frame = self.student_frame(tokenizer, &problem.question)?;
        Ok(SupervisedText {
            prompt: frame.before,
            completion: answer + &frame.after,
        })
    }

    /// What a student is distilled from as turns of a conversation, the last of them the assistant's, for trainers
    /// that apply a chat template themselves.
    ///
    /// # Errors
    /// As [`student_example`](Self::student_example), but for what the tokenizer refuses.
    pub fn student_messages(&self, problem: &Problem, thought: &str) -> Result<Vec<Message>> {
        let (placement, system) = (self.system_placement, &self.student.system_prompt);
        let mut messages = opening(placement, system, &problem.question);
        messages.push(Message::assistant(self.student_content(problem, thought)?));
        Ok(messages)
    }

    /// The student's turn: a thought and the solution, each between its tags.
    fn student_content(&self, problem: &Problem, thought: &str) -> Result<String> {
        self.check("given")?;
        let tags = &self.student.thought;
        let others = &self.teacher.explanation;
        let thought = self.example_content(problem, [tags, others], thought, "thought")?;
        let solution = self.problem_content(problem)?;
        Ok([
            &tags.start,
            &thought,
            &tags.end,
            &self.student.delimiter,
            &self.solution.start,
            &solution,
            &self.solution.end,
        ]
        .map(String::as_str)
        .concat())
    }

    /// The teacher's text up to and including the opened explanation tag.
    pub(crate) fn teacher_text(&self, tokenizer: &Tokenizer, problem: &Problem) -> Result<String> {
        self.check("given")?;
        let frame = self.teacher_frame(tokenizer, &problem.question)?;
        let solution = self.problem_content(problem)?;
        Ok([
            &frame.before,
            &self.solution.start,
            &solution,
            &self.solution.end,
            &self.teacher.delimiter,
            &self.teacher.explanation.start,
        ]
        .map(String::as_str)
        .concat())
    }

    /// The problem's solution as it stands between its tags.
    pub(crate) fn problem_content(&self, problem: &Problem) -> Result<String> {
        let error = |text: String| Error::Problem {
            id: problem.id.clone(),
            problem: text,
        };
        let content = self.solution_content(&problem.solution).map_err(error)?;
        if content.trim().is_empty() {
            return Err(error("its solution is empty".to_owned()));
        }
        Ok(content)
    }

    /// The content for the first of two kinds of tags; the text may have brought either kind along.
    fn example_content(
        &self,
        problem: &Problem,
        [tags, others]: [&Tags; 2],
        raw: &str,
        what: &str,
    ) -> Result<String> {
        let error = |text: String| Error::Problem {
            id: problem.id.clone(),
            problem: text,
        };
        let brought = if raw.starts_with(&others.start) {
            others
        } else {
            tags
        };
        let content = self.content(brought, raw, what).map_err(error)?;
        if content.trim().is_empty() {
            return Err(error(format!(
                "the {what} is empty; there is nothing to learn from it"
            )));
        }
        if content.contains(&tags.end) {
            return Err(error(format!(
                "the {what} contains its own end tag {:?}",
                tags.end
            )));
        }
        Ok(content)
    }
}
