//! Teacher and student sequences from texts: each is encoded once, and spans are found by offsets.
//!
//! For texts that were not sampled here: data files and golden values. For sampled ids use
//! [`from_tokens`](crate::from_tokens), which never encodes them again.

use std::ops::Range;
use std::sync::Arc;

use didact_core::{Span, SpannedSequence};

use crate::frame::Frame;
use crate::{Encoding, Explained, Result, SystemPlacement, Tags, Tokenizer};

/// The parts that a written explanation is scored with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextSample<'a> {
    /// The teacher's whole prompt as text.
    pub prompt: &'a str,
    /// The end of `prompt` that belongs to the answer: the opened explanation tag and padding. May be empty.
    pub supplied: &'a str,
    /// What was written after the prompt.
    pub completion: &'a str,
    /// The tags around the explanation in the teacher's text.
    pub explanation: &'a Tags,
    /// What the student is told; empty for no system message.
    pub student_system_prompt: &'a str,
    /// Where that goes.
    pub system_placement: SystemPlacement,
    /// The question that the student is asked.
    pub question: &'a str,
    /// Stands before the student's thought tag; usually empty.
    pub thought_prefix: &'a str,
    /// The tags around the thought in the student's text.
    pub thought: &'a Tags,
    /// Between the thought and the solution.
    pub delimiter: &'a str,
    /// The solution with its tags.
    pub tagged_solution: &'a str,
    /// The tags around the solution.
    pub solution: &'a Tags,
}

/// Texts with their tokens and spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedText {
    /// What the teacher reads.
    pub teacher_text: String,
    /// What the student reads.
    pub student_text: String,
    /// The same as tokens.
    pub explained: Explained,
}

/// Builds both sequences of a written explanation and finds their spans by offsets.
///
/// The explanation is what stands between the first start tag and the first end tag after it in
/// `supplied + completion`. Without an end tag one is appended, and without a start tag one is put in front,
/// as the published implementation does (arXiv 2506.08388); `closed` is then false. The spans hold the tokens
/// that lie wholly inside explanation and solution. Unlike in [`from_tokens`](crate::from_tokens) the
/// explanation includes the padding that the prompt supplied, since a text does not say who wrote it. A
/// token that merges with a tag is in no span, and counted in `straddling` where it is the teacher's.
///
/// # Errors
/// What the tokenizer and its chat template refuse.
pub fn from_text(tokenizer: &Tokenizer, sample: &TextSample<'_>) -> Result<ExplainedText> {
    let Answer {
        text: answer,
        content,
        closed,
    } = complete(sample);
    let base = sample
        .prompt
        .strip_suffix(sample.supplied)
        .unwrap_or(sample.prompt);
    let teacher_text = [base, &answer].concat();
    let teacher_content = base.len() + content.start..base.len() + content.end;
    let explanation = &answer[content];

    let frame = Frame::new(
        tokenizer,
        sample.system_placement,
        sample.student_system_prompt,
        sample.question,
    )?;
    let mut student_text = [&frame.before, sample.thought_prefix, &sample.thought.start].concat();
    let student_content = student_text.len()..student_text.len() + explanation.len();
    for part in [explanation, &sample.thought.end, sample.delimiter] {
        student_text.push_str(part);
    }
    let solution = solution_range(sample, student_text.len());
    student_text.push_str(sample.tagged_solution);
    student_text.push_str(&frame.after);

    let teacher = tokenizer.encode(&teacher_text)?;
    let student = tokenizer.encode(&student_text)?;
    let straddling = teacher
        .offsets
        .iter()
        .filter(|range| range.start < teacher_content.end && teacher_content.end < range.end)
        .count();
    let explained = Explained {
        straddling,
        closed,
        text: explanation.to_owned(),
        teacher: spanned(&teacher, &teacher_content, None),
        student: spanned(&student, &student_content, solution.as_ref()),
    };
    Ok(ExplainedText {
        teacher_text,
        student_text,
        explained,
    })
}

/// The answer with all of its tags.
struct Answer {
    text: String,
    content: Range<usize>,
    closed: bool,
}

fn complete(sample: &TextSample<'_>) -> Answer {
    let tags = sample.explanation;
    let answer = |text: String, closed| {
        let (start, len) = tags
            .first_content(&text)
            .map(|(start, content)| (start, content.len()))?;
        Some(Answer {
            content: start..start + len,
            text,
            closed,
        })
    };
    let written = [sample.supplied, sample.completion].concat();
    let ended = [&written, tags.end.as_str()].concat();
    answer(written, true)
        .or_else(|| answer(ended.clone(), false))
        .unwrap_or_else(|| {
            // Neither tag stands where it should: with both added the content ends at the first end tag.
            let text = [tags.start.as_str(), &ended].concat();
            let start = tags.start.len();
            let len = text[start..]
                .find(&tags.end)
                .unwrap_or(ended.len() - tags.end.len());
            Answer {
                content: start..start + len,
                text,
                closed: false,
            }
        })
}

fn solution_range(sample: &TextSample<'_>, at: usize) -> Option<Range<usize>> {
    let (start, content) = sample.solution.first_content(sample.tagged_solution)?;
    Some(at + start..at + start + content.len())
}

fn spanned(
    encoding: &Encoding,
    thought: &Range<usize>,
    solution: Option<&Range<usize>>,
) -> SpannedSequence {
    let thought = encoding.span_inside(thought).non_empty();
    let split = thought.map_or(0, |span: Span| span.start);
    SpannedSequence {
        prefix: Arc::from(&encoding.ids[..split]),
        continuation: encoding.ids[split..].to_vec(),
        thought,
        solution: solution.and_then(|bytes| encoding.span_inside(bytes).non_empty()),
    }
}
