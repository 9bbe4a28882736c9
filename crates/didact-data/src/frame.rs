//! The text of a chat around the assistant's answer.

use crate::{Error, Message, PromptFormat, Result, SystemPlacement, Tokenizer};

/// What a chat template writes before and after the assistant's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) before: String,
    pub(crate) after: String,
}

impl Frame {
    /// Renders a chat whose answer is a mark, and splits it there. So a template that trims or rewrites
    /// contents cannot shift a span: our own texts never pass through it.
    ///
    /// Some templates write more before a finished answer than before one that is still to come (an empty
    /// thought), or less (an opened thought tag); the shorter of the two counts, since the format opens its own
    /// tags.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        placement: SystemPlacement,
        system_prompt: &str,
        question: &str,
    ) -> Result<Self> {
        let template = tokenizer.chat_template().ok_or_else(|| Error::Tokenizer {
            name: tokenizer.name().to_owned(),
            problem: "it has no chat template; expected `chat_template` in tokenizer_config.json, or the file chat_template.jinja".to_owned(),
        })?;
        let mut messages = opening(placement, system_prompt, question);
        let opened = template.render(&messages, true)?;
        // A template that does not know the flag says nothing about where an answer begins.
        let knows_flag = opened != template.render(&messages, false)?;
        let mark = mark_outside(&[system_prompt, question, template.source()]);
        messages.push(Message::assistant(&mark));
        let rendered = template.render(&messages, false)?;
        let mut parts = rendered.split(&mark);
        let (Some(before), Some(after), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::Template {
                name: tokenizer.name().to_owned(),
                problem: format!(
                    "it writes the assistant's content {} times; expected once, so that spans can be found",
                    rendered.matches(&mark).count()
                ),
            });
        };
        let before = if knows_flag && before.starts_with(&opened) {
            opened
        } else {
            before.to_owned()
        };
        Ok(Self {
            before,
            after: after.to_owned(),
        })
    }
}

/// The turns before the assistant's.
pub(crate) fn opening(
    placement: SystemPlacement,
    system_prompt: &str,
    question: &str,
) -> Vec<Message> {
    match placement {
        _ if system_prompt.is_empty() => vec![Message::user(question)],
        SystemPlacement::Message => vec![Message::system(system_prompt), Message::user(question)],
        SystemPlacement::Question => {
            vec![Message::user(format!("{system_prompt}\n\n{question}"))]
        }
    }
}

impl PromptFormat {
    pub(crate) fn teacher_frame(&self, tokenizer: &Tokenizer, question: &str) -> Result<Frame> {
        Frame::new(
            tokenizer,
            self.system_placement,
            &self.teacher.system_prompt,
            question,
        )
    }

    pub(crate) fn student_frame(&self, tokenizer: &Tokenizer, question: &str) -> Result<Frame> {
        Frame::new(
            tokenizer,
            self.system_placement,
            &self.student.system_prompt,
            question,
        )
    }
}

/// A word that none of the texts contains.
fn mark_outside(texts: &[&str]) -> String {
    let mut mark = "didact-content-0".to_owned();
    let mut number = 0_u64;
    while texts.iter().any(|text| text.contains(&mark)) {
        number += 1;
        mark = format!("didact-content-{number}");
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::SpecialTokens;

    const HEADERS: &str =
        "{% for m in messages %}<{{ m.role }}>{{ m.content.strip() }}{% endfor %}";

    fn frame(template: &str, placement: SystemPlacement, system: &str) -> Result<Frame> {
        let file = include_str!("../tests/tokenizers/small/tokenizer.json");
        let inner = tokenizers::Tokenizer::from_bytes(file).unwrap();
        let special_tokens = SpecialTokens::default();
        let template = Some(template.to_owned());
        let config = serde_json::Map::new();
        let tokenizer =
            Tokenizer::from_parts("small", inner, special_tokens, template, config).unwrap();
        Frame::new(&tokenizer, placement, system, "q")
    }

    #[test]
    fn system_prompts_go_where_the_format_says() {
        let message = frame(HEADERS, SystemPlacement::Message, "s").unwrap();
        assert_eq!(message.before, "<system>s<user>q<assistant>");
        let question = frame(HEADERS, SystemPlacement::Question, "s").unwrap();
        assert_eq!(question.before, "<user>s\n\nq<assistant>");
        let none = frame(HEADERS, SystemPlacement::Message, "").unwrap();
        assert_eq!(none.before, "<user>q<assistant>");
    }

    #[test]
    fn what_a_template_writes_around_thoughts_is_left_to_the_format() {
        // Before a finished answer an empty thought; before a coming one nothing.
        let finished = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}\
                        <think></think>{% endif %}{{ m.content }}.{% endfor %}\
                        {% if add_generation_prompt %}<assistant>{% endif %}";
        let found = frame(finished, SystemPlacement::Message, "").unwrap();
        assert_eq!(
            (&*found.before, &*found.after),
            ("<user>q.<assistant>", ".")
        );
        // Before a coming answer an opened thought; before a finished one nothing.
        let coming = "{% for m in messages %}<{{ m.role }}>{{ m.content }}.{% endfor %}\
                      {% if add_generation_prompt %}<assistant><think>{% endif %}";
        let found = frame(coming, SystemPlacement::Message, "").unwrap();
        assert_eq!(
            (&*found.before, &*found.after),
            ("<user>q.<assistant>", ".")
        );
    }

    #[test]
    fn a_template_that_drops_or_repeats_the_answer_is_refused() {
        for template in [
            "{{ messages[0].content }}",
            "{{ messages[-1].content * 2 }}",
        ] {
            let error = frame(template, SystemPlacement::Message, "")
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("small") && error.contains("times"),
                "{error}"
            );
        }
    }
}
