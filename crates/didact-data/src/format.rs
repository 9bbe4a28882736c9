//! How teacher and student are addressed: tags, delimiters, system prompts, as data.
//!
//! It knows texts only; [`Prompt`](crate::Prompt) and [`SupervisedExample`](crate::SupervisedExample) turn them
//! into tokens.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The texts that open and close a part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// Opens the part.
    pub start: String,
    /// Closes it.
    pub end: String,
}

impl Tags {
    /// A pair of tags.
    pub fn new(start: impl Into<String>, end: impl Into<String>) -> Self {
        Self {
            start: start.into(),
            end: end.into(),
        }
    }

    /// `<|begin_of_NAME|>` and `<|end_of_NAME|>`.
    #[must_use]
    pub fn begin_of(name: &str) -> Self {
        Self::new(format!("<|begin_of_{name}|>"), format!("<|end_of_{name}|>"))
    }

    /// `<NAME>` and `</NAME>`.
    #[must_use]
    pub fn angle(name: &str) -> Self {
        Self::new(format!("<{name}>"), format!("</{name}>"))
    }

    /// What stands between the first start tag and the first end tag after it, with the byte it begins at.
    #[must_use]
    pub fn first_content<'a>(&self, text: &'a str) -> Option<(usize, &'a str)> {
        let start = text.find(&self.start)? + self.start.len();
        let len = text[start..].find(&self.end)?;
        Some((start, &text[start..start + len]))
    }
}

/// How the teacher is addressed. It reads the solution before it explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherFormat {
    /// What the teacher is told; empty for no system message.
    pub system_prompt: String,
    /// Around the explanation.
    pub explanation: Tags,
    /// Between the solution and the explanation.
    pub delimiter: String,
}

/// How the student is addressed. It thinks before it solves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentFormat {
    /// What the student is told; empty for no system message.
    pub system_prompt: String,
    /// Around the thought.
    pub thought: Tags,
    /// Between the thought and the solution.
    pub delimiter: String,
}

/// Where a system prompt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemPlacement {
    /// Into a message of its own, with the role `system`.
    #[default]
    Message,
    /// Before the question, for chat templates that refuse the role `system` (Gemma's).
    Question,
}

/// The whole prompt format.
///
/// `CHAT(system, question, answer)` is the chat template's text. The teacher's text is
///
/// ```text
/// CHAT(teacher.system_prompt, question,
///      solution.start S solution.end teacher.delimiter explanation.start E explanation.end)
/// ```
///
/// and its prompt ends after `explanation.start` and one `padding`. The student's text is
///
/// ```text
/// CHAT(student.system_prompt, question,
///      thought.start E thought.end student.delimiter solution.start S solution.end)
/// ```
///
/// **Padding.** In published data the contents S and E begin and end with blank lines of their own, and are
/// kept as they are. Contents that lack them, as in plain question-and-solution files, get `padding` on each
/// side that does not have it yet (`pad_contents`). So the prompt that the teacher continues in RL is always a
/// prefix of the text that it was warmed up on, whatever file the problem came from.
///
/// The layout follows the published teachers (arXiv 2506.08388); the wording of the presets is our own, and
/// short, since every sequence pays for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFormat {
    /// The teacher's side.
    pub teacher: TeacherFormat,
    /// The student's side.
    pub student: StudentFormat,
    /// Around the solution, on both sides.
    pub solution: Tags,
    /// White space between a tag and the content it encloses; may be empty.
    pub padding: String,
    /// Whether contents without padding get it. False keeps every content as it is, as the published
    /// formatting of plain rows does.
    #[serde(default = "yes")]
    pub pad_contents: bool,
    /// Where system prompts go.
    #[serde(default)]
    pub system_placement: SystemPlacement,
}

const fn yes() -> bool {
    true
}

impl PromptFormat {
    /// The tags of the published teachers: `<|begin_of_thought|>` and its kin, padded by a blank line.
    #[must_use]
    pub fn thought() -> Self {
        Self {
            teacher: TeacherFormat {
                system_prompt:
                    "You see a question and its solution. Explain inside the explanation tags, \
                                step by step, how to get there."
                        .to_owned(),
                explanation: Tags::begin_of("explanation"),
                delimiter: "\n\n".to_owned(),
            },
            student: StudentFormat {
                system_prompt:
                    "Think step by step inside the thought tags, then give the solution inside \
                                the solution tags."
                        .to_owned(),
                thought: Tags::begin_of("thought"),
                delimiter: "\n\n".to_owned(),
            },
            solution: Tags::begin_of("solution"),
            padding: "\n\n".to_owned(),
            pad_contents: true,
            system_placement: SystemPlacement::Message,
        }
    }

    /// R1's `<think>`, with `<solution>` and `<explanation>` beside it, padded by a line break.
    #[must_use]
    pub fn think() -> Self {
        let thought = Self::thought();
        Self {
            teacher: TeacherFormat {
                explanation: Tags::angle("explanation"),
                ..thought.teacher
            },
            student: StudentFormat {
                system_prompt:
                    "Think step by step inside the think tags, then give the solution inside \
                                the solution tags."
                        .to_owned(),
                thought: Tags::angle("think"),
                ..thought.student
            },
            solution: Tags::angle("solution"),
            padding: "\n".to_owned(),
            ..thought
        }
    }

    /// Reads a format from a TOML file with the fields of this structure.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown or missing key, and whatever [`validate`](Self::validate)
    /// refuses.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(Error::file(path, "reading"))?;
        Self::from_toml(&path.display().to_string(), &text)
    }

    /// Reads a format from TOML; `name` stands in errors.
    ///
    /// # Errors
    /// As [`from_toml_file`](Self::from_toml_file).
    pub fn from_toml(name: &str, text: &str) -> Result<Self> {
        let format: Self = toml::from_str(text).map_err(|error| Error::Format {
            name: name.to_owned(),
            problem: error.to_string(),
        })?;
        format.check(name)?;
        Ok(format)
    }

    /// As [`validate`](Self::validate), with a name in the error.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        self.validate().map_err(|problem| Error::Format {
            name: name.to_owned(),
            problem,
        })
    }

    /// Says what makes the format ambiguous, if anything does: a tag that is empty or begins or ends in white
    /// space, one tag inside another that can stand beside it, padding that is not white space.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn validate(&self) -> Result<(), String> {
        let Self {
            teacher,
            student,
            solution,
            ..
        } = self;
        let solution = [
            ("solution.start", &solution.start),
            ("solution.end", &solution.end),
        ];
        let explanation = [
            ("teacher.explanation.start", &teacher.explanation.start),
            ("teacher.explanation.end", &teacher.explanation.end),
        ];
        let thought = [
            ("student.thought.start", &student.thought.start),
            ("student.thought.end", &student.thought.end),
        ];
        for (key, tag) in solution.iter().chain(&explanation).chain(&thought) {
            if tag.trim().is_empty() {
                return Err(format!(
                    "{key} is empty; a tag must be a text that can be found"
                ));
            }
            if tag.trim() != tag.as_str() {
                return Err(format!(
                    "{key} {tag:?} begins or ends with white space; put that into padding or delimiter"
                ));
            }
        }
        for side in [&explanation, &thought] {
            let tags: Vec<_> = solution.iter().chain(side).collect();
            for (i, (key, tag)) in tags.iter().enumerate() {
                for (other_key, other) in &tags[i + 1..] {
                    if tag.contains(other.as_str()) || other.contains(tag.as_str()) {
                        return Err(format!(
                            "{key} {tag:?} and {other_key} {other:?}: neither may contain the other"
                        ));
                    }
                }
            }
        }
        if !self.padding.trim().is_empty() {
            return Err(format!(
                "padding {:?} must be white space or empty",
                self.padding
            ));
        }
        Ok(())
    }

    /// The solution as both sides show it between their tags.
    ///
    /// # Errors
    /// A solution that begins with its start tag but does not end with its end tag.
    pub fn solution_content(&self, solution: &str) -> Result<String, String> {
        self.content(&self.solution, solution, "solution")
    }

    /// What stands between `tags`: `raw`, bare of the tags where it brought them along, and padded.
    pub(crate) fn content(&self, tags: &Tags, raw: &str, what: &str) -> Result<String, String> {
        let bare = match raw.strip_prefix(&tags.start) {
            None => raw,
            Some(rest) => rest.strip_suffix(&tags.end).ok_or_else(|| {
                format!(
                    "the {what} begins with {:?} but does not end with {:?}",
                    tags.start, tags.end
                )
            })?,
        };
        Ok(if self.pad_contents {
            self.pad(bare)
        } else {
            bare.to_owned()
        })
    }

    fn pad(&self, content: &str) -> String {
        let padding = self.padding.as_str();
        let breaks = ['\n', '\r'];
        let mut padded = String::with_capacity(content.len() + 2 * padding.len());
        let mut rest = content;
        if !rest.starts_with(padding) {
            padded.push_str(padding);
            rest = rest.trim_start_matches(breaks);
        }
        if rest.ends_with(padding) {
            padded.push_str(rest);
        } else {
            padded.push_str(rest.trim_end_matches(breaks));
            padded.push_str(padding);
        }
        padded
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn presets_are_valid_and_survive_toml() {
        for format in [PromptFormat::thought(), PromptFormat::think()] {
            format.validate().unwrap();
            let text = toml::to_string(&format).unwrap();
            assert_eq!(PromptFormat::from_toml("preset", &text).unwrap(), format);
        }
    }

    #[test]
    fn unknown_keys_and_ambiguous_tags_are_refused() {
        let text = toml::to_string(&PromptFormat::think()).unwrap();
        let unknown = format!("surprise = 1\n{text}");
        let error = PromptFormat::from_toml("a.toml", &unknown)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a.toml") && error.contains("surprise"),
            "{error}"
        );
        for (from, to, expected) in [
            ("\"<think>\"", "\"\"", "student.thought.start is empty"),
            (
                "\"<think>\"",
                "\"</think>\"",
                "neither may contain the other",
            ),
            ("\"</solution>\"", "\"</solution> \"", "white space"),
            (
                "padding = \"\"\"\n\n\"\"\"",
                "padding = \"--\"",
                "must be white space",
            ),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            let error = PromptFormat::from_toml("a.toml", &changed)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn contents_are_padded_once() {
        let format = PromptFormat::thought();
        let pad = |text: &str| format.solution_content(text).unwrap();
        assert_eq!(pad("30"), "\n\n30\n\n");
        assert_eq!(pad("\n\n30\n\n"), "\n\n30\n\n");
        assert_eq!(pad("\n30\n"), "\n\n30\n\n");
        assert_eq!(
            pad("<|begin_of_solution|>30<|end_of_solution|>"),
            "\n\n30\n\n"
        );
        assert!(format.solution_content("<|begin_of_solution|>30").is_err());
        let verbatim = PromptFormat {
            pad_contents: false,
            ..PromptFormat::thought()
        };
        assert_eq!(verbatim.solution_content("30\n").unwrap(), "30\n");
    }

    proptest! {
        #[test]
        fn padding_twice_is_padding_once(text in "[a\n ]{0,8}", padding in "\n{0,3}") {
            let format = PromptFormat { padding, ..PromptFormat::thought() };
            let once = format.pad(&text);
            prop_assert_eq!(format.pad(&once), once);
        }
    }
}
