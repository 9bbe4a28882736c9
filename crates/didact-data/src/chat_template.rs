//! Renders messages as the text that a chat model was trained on.
//!
//! A template is a Jinja program that came with a model: this module bounds its steps and its output, and
//! knows nothing of tokens or prompt formats.

use std::collections::BTreeMap;
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Steps that a template may take besides [`BYTES_PER_STEP`]. Published templates take a few hundred for
/// three messages; a million still ends within a fraction of a second.
const BASE_STEPS: u64 = 1_000_000;

/// One more step for so many bytes of messages: the engine charges a step for every 64 bytes copied, so a
/// template may copy its messages some sixteen times.
const BYTES_PER_STEP: u64 = 4;

/// Bytes that a template may write besides [`OUTPUT_FACTOR`] times its messages: default system prompts
/// and tool instructions are a few thousand.
const BASE_OUTPUT: usize = 1 << 20;

/// A template writes each message once, or a few times where it escapes.
const OUTPUT_FACTOR: usize = 4;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }

    /// Instructions that stand before the conversation.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// What the user said.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// What the model said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

/// A chat template, rendered as transformers renders it.
///
/// Blocks are trimmed (`trim_blocks`, `lstrip_blocks`), Python's methods of strings and dictionaries work,
/// `raise_exception` refuses. `strftime_now` is left undefined, so that a prompt does not depend on the day;
/// templates that ask whether it is defined take their own fixed date. `tools` and `documents` are none.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    name: String,
    source: String,
    bos: Option<String>,
    eos: Option<String>,
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Compiles a template; `name` stands in errors, `bos` and `eos` are what it sees as `bos_token` and
    /// `eos_token`.
    ///
    /// # Errors
    /// [`Error::Template`] with the line where it is not Jinja.
    pub fn new(
        name: impl Into<String>,
        source: impl Into<String>,
        bos: Option<String>,
        eos: Option<String>,
    ) -> Result<Self> {
        let (name, source) = (name.into(), source.into());
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| template_error(&name, &error))?;
        environment.set_syntax(syntax);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned("chat", without_generation_marks(&source))
            .map_err(|error| template_error(&name, &error))?;
        Ok(Self {
            name,
            source,
            bos,
            eos,
            environment,
        })
    }

    /// The template's own text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the model's next turn begins.
    ///
    /// # Errors
    /// [`Error::Template`] where the template refuses the messages, [`Error::TemplateLoops`] where it does not
    /// end, [`Error::TemplateOutput`] where it writes far more than it was given.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let given: usize = messages
            .iter()
            .map(|m| m.role.len() + m.content.len())
            .sum();
        let fuel = BASE_STEPS + given as u64 / BYTES_PER_STEP;
        let limit = BASE_OUTPUT + OUTPUT_FACTOR * given;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment
            .get_template("chat")
            .map_err(|error| template_error(&self.name, &error))?;
        let turns = messages.iter().map(|message| {
            Value::from_pairs([("role", &*message.role), ("content", &*message.content)])
        });
        let mut values = BTreeMap::from([
            ("messages", Value::from_iter(turns)),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ]);
        for (key, token) in [("bos_token", &self.bos), ("eos_token", &self.eos)] {
            if let Some(token) = token {
                values.insert(key, Value::from(token.as_str()));
            }
        }
        let mut output = Bounded {
            bytes: Vec::new(),
            limit,
            exceeded: false,
        };
        let rendered = template
            .render_captured_to(Value::from_pairs(values), &mut output)
            .map(|_| ());
        if output.exceeded {
            return Err(Error::TemplateOutput {
                name: self.name.clone(),
                limit,
                given,
            });
        }
        match rendered {
            Ok(()) => String::from_utf8(output.bytes).map_err(|error| Error::Template {
                name: self.name.clone(),
                problem: error.to_string(),
            }),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => Err(Error::TemplateLoops {
                name: self.name.clone(),
                fuel,
            }),
            Err(error) => Err(template_error(&self.name, &error)),
        }
    }
}

fn template_error(name: &str, error: &minijinja::Error) -> Error {
    Error::Template {
        name: name.to_owned(),
        problem: error.to_string(),
    }
}

/// transformers knows a block `{% generation %}` that marks the assistant's tokens and prints its body.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, block) = rest.split_at(at);
        out.push_str(before);
        let inner = block[2..].trim_start_matches(['-', '+']);
        let word_at = block.len() - inner.trim_start().len();
        let word = &block[word_at..];
        out.push_str(&block[..word_at]);
        rest = [("generation", "if true"), ("endgeneration", "endif")]
            .into_iter()
            .find_map(|(from, to)| {
                let after = word.strip_prefix(from)?;
                let ends = after
                    .trim_start()
                    .trim_start_matches(['-', '+'])
                    .starts_with("%}");
                ends.then(|| {
                    out.push_str(to);
                    after
                })
            })
            .unwrap_or(word);
    }
    out.push_str(rest);
    out
}

struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    exceeded: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.exceeded = true;
            return Err(io::Error::other("the template writes too much"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
