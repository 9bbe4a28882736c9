//! Texts to imitate, with the tokens that count in the loss.

use didact_core::{Problem, Span, TokenId};

use crate::{Error, PromptFormat, Result, Tags, Tokenizer};

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
        self.check("given")?;
        let tags = &self.student.thought;
        let others = &self.teacher.explanation;
        let thought = self.example_content(problem, [tags, others], thought, "thought")?;
        let solution = self.problem_content(problem)?;
        let frame = self.student_frame(tokenizer, &problem.question)?;
        let text = [
            &frame.before,
            &tags.start,
            &thought,
            &tags.end,
            &self.student.delimiter,
            &self.solution.start,
            &solution,
            &self.solution.end,
            &frame.after,
        ]
        .map(String::as_str)
        .concat();
        SupervisedExample::new(tokenizer, text, frame.before.len())
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
