//! Prompts as ids, and what the sampled ids become on the student's side.
//!
//! Token in, token out: sampled ids are spliced as they are, and the end tag is looked for in their bytes.
//! Nothing that was sampled is encoded again but the few bytes of a token that reaches into the tag.

use std::ops::Range;
use std::sync::Arc;

use didact_core::{Problem, Span, SpannedSequence, TokenBytes, TokenId};

use crate::{PromptFormat, Result, Tokenizer};

/// What the teacher continues, and what the student reads around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The teacher's ids: question, solution, opened explanation tag, padding.
    pub ids: Arc<[TokenId]>,
    /// The same as text.
    pub text: String,
    /// The student's ids before the thought: question, opened thought tag, padding.
    pub student_prefix: Arc<[TokenId]>,
    /// The same as text.
    pub student_text: String,
    tail: Tail,
}

/// What stands after the thought on the student's side.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tail {
    text: String,
    /// Bytes of `text` that hold the solution between its tags.
    solution: Range<usize>,
    ids: Vec<TokenId>,
    /// Tokens of `ids` wholly inside the solution.
    solution_tokens: Span,
}

/// An explanation as the teacher wrote it and as the student reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The teacher's sequence: its prompt and the completion as it was sampled.
    pub teacher: SpannedSequence,
    /// The student's sequence: question, the explanation as its thought, solution.
    pub student: SpannedSequence,
    /// Whether the teacher closed the explanation with its end tag.
    pub closed: bool,
    /// Tokens that hold both explanation and end tag. They belong to no span; the student reads their
    /// part of the explanation as text.
    pub straddling: usize,
    /// The explanation's text, without tags and without the padding that the prompt supplied.
    pub text: String,
}

impl PromptFormat {
    /// The prompt of a problem: ends with the opened explanation tag and its padding.
    ///
    /// Build it once a problem: its ids are shared by all sequences made from it.
    ///
    /// # Errors
    /// An empty solution or one with half of its tags; what the tokenizer and its chat template refuse.
    pub fn teacher_prompt(&self, tokenizer: &Tokenizer, problem: &Problem) -> Result<Prompt> {
        let text = self.teacher_text(tokenizer, problem)? + &self.padding;
        let frame = self.student_frame(tokenizer, &problem.question)?;
        let student_text = [&frame.before, &self.student.thought.start, &self.padding]
            .map(String::as_str)
            .concat();
        let content = self.problem_content(problem)?;
        let mut tail = [
            &self.student.thought.end,
            &self.student.delimiter,
            &self.solution.start,
        ]
        .map(String::as_str)
        .concat();
        let solution = tail.len()..tail.len() + content.len();
        for part in [&content, &self.solution.end, &frame.after] {
            tail.push_str(part);
        }
        let encoding = tokenizer.encode(&tail)?;
        let solution_tokens = encoding.span_inside(&solution);
        Ok(Prompt {
            ids: tokenizer.encode(&text)?.ids.into(),
            text,
            student_prefix: tokenizer.encode(&student_text)?.ids.into(),
            student_text,
            tail: Tail {
                text: tail,
                solution,
                ids: encoding.ids,
                solution_tokens,
            },
        })
    }
}

/// Splices sampled ids into the teacher's and the student's sequence.
///
/// The thought is exactly the sampled tokens that lie wholly before the first end tag, on both sides the
/// same ids. Where there is no end tag, it is all tokens before an end of sequence and other special tokens
/// that the completion ends with, and the student's side gets the tag (`closed` is false). The teacher's
/// sequence keeps every sampled id.
///
/// A token that holds both explanation and tag belongs to neither and is counted in `straddling`; where it
/// begins in the middle of a character, so do the tokens that the character begins in. Their explanation
/// bytes open the student's tail, as text, before the end tag.
///
/// # Errors
/// What the tokenizer refuses.
pub fn from_tokens(
    format: &PromptFormat,
    tokenizer: &Tokenizer,
    problem: &Problem,
    prompt: &Prompt,
    ids: &[TokenId],
) -> Result<Explained> {
    let _ = problem;
    spliced(tokenizer, prompt, ids, &format.teacher.explanation.end)
}

/// The same for ids that a student sampled after a prompt that is [its own](Prompt::into_student): its thought is
/// what it explained to itself, and both sequences begin with the question alone.
///
/// # Errors
/// What the tokenizer refuses.
pub fn thought_from_tokens(
    format: &PromptFormat,
    tokenizer: &Tokenizer,
    prompt: &Prompt,
    ids: &[TokenId],
) -> Result<Explained> {
    spliced(tokenizer, prompt, ids, &format.student.thought.end)
}

fn spliced(
    tokenizer: &Tokenizer,
    prompt: &Prompt,
    ids: &[TokenId],
    end_tag: &str,
) -> Result<Explained> {
    let thought = prompt.student_thought(tokenizer, ids, end_tag)?;
    Ok(Explained {
        teacher: SpannedSequence {
            prefix: Arc::clone(&prompt.ids),
            continuation: ids.to_vec(),
            thought: Span::new(prompt.ids.len(), prompt.ids.len() + thought.tokens).non_empty(),
            solution: None,
        },
        student: thought.sequence,
        closed: thought.closed,
        straddling: thought.straddling,
        text: thought.text,
    })
}

/// Sampled ids as a student's thought, with the known solution behind it.
pub(crate) struct Thought {
    /// Question, thought, solution.
    pub(crate) sequence: SpannedSequence,
    /// Sampled tokens that are the thought.
    pub(crate) tokens: usize,
    pub(crate) closed: bool,
    pub(crate) straddling: usize,
    pub(crate) text: String,
}

impl Prompt {
    /// The same with the student's prompt in place of the teacher's: question, opened thought tag, padding.
    #[must_use]
    pub fn into_student(self) -> Self {
        Self {
            ids: Arc::clone(&self.student_prefix),
            text: self.student_text.clone(),
            ..self
        }
    }

    /// The student's sequence whose thought is what `ids` hold before `end_tag`.
    pub(crate) fn student_thought(
        &self,
        tokenizer: &Tokenizer,
        ids: &[TokenId],
        end_tag: &str,
    ) -> Result<Thought> {
        let cut = cut_at_end_tag(tokenizer, ids, tokenizer.eos(), end_tag);
        let thought = &ids[..cut.thought];
        let mut continuation = thought.to_vec();
        let tail = &self.tail;
        let start = continuation.len();
        let solution = if cut.straddled.is_empty() {
            continuation.extend_from_slice(&tail.ids);
            shifted(tail.solution_tokens, start)
        } else {
            let head = String::from_utf8_lossy(&cut.straddled);
            let encoding = tokenizer.encode(&[&*head, &tail.text].concat())?;
            let bytes = tail.solution.start + head.len()..tail.solution.end + head.len();
            continuation.extend_from_slice(&encoding.ids);
            shifted(encoding.span_inside(&bytes), start)
        };
        let prefix_len = self.student_prefix.len();
        let bytes = [tokenizer.bytes_of(thought), cut.straddled].concat();
        Ok(Thought {
            sequence: SpannedSequence {
                prefix: Arc::clone(&self.student_prefix),
                continuation,
                thought: Span::new(prefix_len, prefix_len + thought.len()).non_empty(),
                solution: shifted(solution, prefix_len).non_empty(),
            },
            tokens: thought.len(),
            closed: cut.closed,
            straddling: cut.straddling,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

const fn shifted(span: Span, by: usize) -> Span {
    Span::new(span.start + by, span.end + by)
}

/// Where the explanation ends in sampled ids.
struct Cut {
    /// Tokens wholly inside the explanation.
    thought: usize,
    /// Tokens after them that the end of the explanation lies in.
    straddling: usize,
    /// Bytes of the explanation in those tokens.
    straddled: Vec<u8>,
    closed: bool,
}

fn cut_at_end_tag(
    tokens: &impl TokenBytes,
    ids: &[TokenId],
    eos: Option<TokenId>,
    end_tag: &str,
) -> Cut {
    let ids = match eos.and_then(|eos| ids.iter().position(|&id| id == eos)) {
        Some(position) => &ids[..position],
        None => ids,
    };
    let bytes = tokens.bytes_of(ids);
    let tag = end_tag.as_bytes();
    // An empty tag is no tag; a format that has one is refused before a prompt is made.
    let found = bytes
        .windows(tag.len().max(1))
        .position(|window| window == tag);
    let Some(tag_start) = found else {
        let special = ids
            .iter()
            .rev()
            .take_while(|&&id| tokens.is_special(id))
            .count();
        let thought = ids.len() - special;
        return Cut {
            thought,
            straddling: 0,
            straddled: Vec::new(),
            closed: false,
        };
    };
    let mut end = 0;
    let mut starts = Vec::new();
    for &id in ids {
        let next = end + tokens.token_bytes(id).len();
        if next > tag_start {
            break;
        }
        starts.push(end);
        end = next;
    }
    let mut thought = starts.len();
    if end == tag_start {
        return Cut {
            thought,
            straddling: 0,
            straddled: Vec::new(),
            closed: true,
        };
    }
    // A character has at most four bytes, so at most three tokens can hold its beginning.
    let mut straddling = 1;
    let mut begin = end;
    if std::str::from_utf8(&bytes[end..tag_start]).is_err() {
        for back in 1..=thought.min(3) {
            let start = starts[thought - back];
            if std::str::from_utf8(&bytes[start..tag_start]).is_ok() {
                thought -= back;
                straddling += back;
                begin = start;
                break;
            }
        }
    }
    Cut {
        thought,
        straddling,
        straddled: bytes[begin..tag_start].to_vec(),
        closed: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each token is its own list of bytes.
    struct Listed(Vec<&'static [u8]>);

    impl TokenBytes for Listed {
        fn token_bytes(&self, id: TokenId) -> &[u8] {
            self.0.get(id as usize).copied().unwrap_or_default()
        }

        fn is_special(&self, _id: TokenId) -> bool {
            false
        }
    }

    fn cut(tokens: Vec<&'static [u8]>) -> (usize, usize, Vec<u8>) {
        let ids: Vec<TokenId> = (0..tokens.len() as TokenId).collect();
        let cut = cut_at_end_tag(&Listed(tokens), &ids, None, "</e>");
        assert!(cut.closed);
        (cut.thought, cut.straddling, cut.straddled)
    }

    #[test]
    fn a_straddling_token_leaves_the_thought() {
        assert_eq!(cut(vec![b"a", b"b</", b"e>"]), (1, 1, b"b".to_vec()));
        assert_eq!(cut(vec![b"a", b"", b"</e>"]), (2, 0, Vec::new()));
        assert_eq!(cut(vec![b"a</e>"]), (0, 1, b"a".to_vec()));
    }

    #[test]
    fn a_character_begun_before_a_straddling_token_leaves_with_it() {
        let euro = "€".as_bytes();
        assert_eq!(euro, b"\xe2\x82\xac");
        let tokens: Vec<&[u8]> = vec![b"a", b"\xe2", b"\x82", b"\xac</e", b">"];
        assert_eq!(cut(tokens), (1, 3, euro.to_vec()));
        // No character can be made of these: only the straddling token leaves.
        let tokens: Vec<&[u8]> = vec![b"a", b"\xff", b"\xac</e>"];
        assert_eq!(cut(tokens), (2, 1, b"\xac".to_vec()));
    }
}
