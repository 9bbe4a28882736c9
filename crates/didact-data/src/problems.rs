//! Reads problem files: one JSON object a line.
//!
//! It owns the file format and its errors, and knows nothing of tokens.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use didact_core::Problem;
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, PromptFormat, Result};

/// The longest line that is read, in bytes. The longest published reasoning traces have some 200 kB; a file
/// without line breaks, such as a JSON array, is refused here instead of filling the memory.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// One line of a problem file. Columns that are not named here are ignored.
#[derive(Debug, Deserialize)]
struct Row {
    id: Option<Value>,
    question: Option<Value>,
    prompt: Option<Value>,
    solution: Option<Value>,
    answer: Option<Value>,
    reasoning_trace: Option<Value>,
    domain: Option<Value>,
    conversations: Option<Vec<Turn>>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    from: String,
    value: String,
}

/// Reads a problem file whose `conversations` rows, if any, carry the tags of [`PromptFormat::thought`].
///
/// A row is either plain: `question` or `prompt`, `solution`, and optionally `answer` (a string or a
/// number), `reasoning_trace`, `domain`, `id`; or it has `conversations`: a turn from `user` and one from
/// `assistant`, whose text holds a tagged thought and a tagged solution (the first of each counts, and they
/// keep their own line breaks). A row with both is read as plain. Other columns are ignored, empty lines
/// skipped; a row without `id` is called after the file and its line, as in `train:12`.
///
/// # Errors
/// [`Error::Row`] names the file, the line and what was expected: a line that is not a JSON object or longer than
/// [`MAX_LINE_BYTES`], a missing or empty question or solution, `question` and `prompt` that differ, an `id`
/// that an earlier row has.
pub fn read_problems(path: impl AsRef<Path>) -> Result<Vec<Problem>> {
    read_problems_with(path, &PromptFormat::thought())
}

/// As [`read_problems`], with the thought and solution tags of `format` in `conversations` rows.
///
/// # Errors
/// As [`read_problems`].
pub fn read_problems_with(path: impl AsRef<Path>, format: &PromptFormat) -> Result<Vec<Problem>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::file(path, "opening"))?;
    read_problems_from(path, BufReader::new(file), format)
}

/// As [`read_problems_with`], from any reader; errors and generated ids call it `name`.
///
/// # Errors
/// As [`read_problems`].
pub fn read_problems_from(
    name: impl AsRef<Path>,
    mut reader: impl BufRead,
    format: &PromptFormat,
) -> Result<Vec<Problem>> {
    let path = name.as_ref();
    let stem = path
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let mut problems = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut line = Vec::new();
    for number in 1.. {
        let row_error = |problem: String| Error::Row {
            path: path.to_path_buf(),
            line: number,
            problem,
        };
        line.clear();
        let read = (&mut reader)
            .take(MAX_LINE_BYTES as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(Error::file(path, "reading"))?;
        if read == 0 {
            break;
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(row_error(format!(
                "the line is longer than {MAX_LINE_BYTES} bytes; expected one JSON object a line"
            )));
        }
        let text =
            std::str::from_utf8(&line).map_err(|error| row_error(format!("not UTF-8: {error}")))?;
        let text = if number == 1 {
            text.trim_start_matches('\u{feff}')
        } else {
            text
        };
        if text.trim().is_empty() {
            continue;
        }
        let problem = parse_row(text, format, || format!("{stem}:{number}")).map_err(row_error)?;
        if let Some(earlier) = seen.insert(problem.id.clone(), number) {
            return Err(row_error(format!(
                "the id {:?} is already that of line {earlier}; expected ids that name one row",
                problem.id
            )));
        }
        problems.push(problem);
    }
    if problems.is_empty() {
        return Err(Error::NoProblems {
            path: path.to_path_buf(),
        });
    }
    Ok(problems)
}

fn parse_row(
    text: &str,
    format: &PromptFormat,
    default_id: impl FnOnce() -> String,
) -> Result<Problem, String> {
    let row: Row = serde_json::from_str(text).map_err(|error| {
        format!("{error}; expected a JSON object with `question` (or `prompt`) and `solution`, or `conversations`")
    })?;
    let id = match row.id {
        None | Some(Value::Null) => default_id(),
        Some(Value::String(id)) if !id.trim().is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        Some(other) => {
            return Err(format!(
                "`id` is {}; expected a string or a number",
                show(&other)
            ));
        }
    };
    let answer = match row.answer {
        None | Some(Value::Null) => None,
        Some(Value::String(answer)) => Some(answer),
        Some(Value::Number(answer)) => Some(answer.to_string()),
        Some(other) => {
            return Err(format!(
                "`answer` is {}; expected a string or a number",
                show(&other)
            ));
        }
    };
    let question = string("question", row.question)?;
    let prompt = string("prompt", row.prompt)?;
    let solution = string("solution", row.solution)?;
    let mut reasoning_trace = string("reasoning_trace", row.reasoning_trace)?;
    let domain = string("domain", row.domain)?;
    let question = match (question, prompt) {
        (Some(question), Some(prompt)) if question != prompt => {
            return Err(
                "`question` and `prompt` differ; expected one of them, or equal texts".to_owned(),
            );
        }
        (question, prompt) => question.or(prompt),
    };
    let (question, solution) = match (question, solution, row.conversations) {
        (Some(question), Some(solution), _) => (question, solution),
        (_, _, Some(turns)) => {
            let conversation = parse_conversation(turns, format)?;
            reasoning_trace = Some(conversation.thought);
            (conversation.question, conversation.solution)
        }
        (None, _, None) => {
            return Err(
                "no question; expected `question` or `prompt`, or `conversations`".to_owned(),
            );
        }
        (Some(_), None, None) => {
            return Err("no `solution`; expected the worked solution as a string".to_owned());
        }
    };
    if question.trim().is_empty() {
        return Err("the question is empty".to_owned());
    }
    let bare = solution.trim();
    let bare = bare.strip_prefix(&format.solution.start).unwrap_or(bare);
    let bare = bare.strip_suffix(&format.solution.end).unwrap_or(bare);
    if bare.trim().is_empty() {
        return Err("the solution is empty; a teacher is rewarded by its likelihood".to_owned());
    }
    // A blank trace is no trace: to warm up on it would teach an empty explanation.
    reasoning_trace = reasoning_trace.filter(|trace| !trace.trim().is_empty());
    Ok(Problem {
        id,
        question,
        solution,
        answer,
        reasoning_trace,
        domain,
    })
}

struct Conversation {
    question: String,
    thought: String,
    solution: String,
}

fn parse_conversation(turns: Vec<Turn>, format: &PromptFormat) -> Result<Conversation, String> {
    let count = turns.len();
    let Ok([user, assistant]) = <[Turn; 2]>::try_from(turns) else {
        return Err(format!(
            "`conversations` has {count} turns; expected one from \"user\" and one from \"assistant\""
        ));
    };
    for (turn, expected) in [(&user, "user"), (&assistant, "assistant")] {
        if turn.from != expected {
            return Err(format!(
                "a turn in `conversations` is from {:?}; expected {expected:?}",
                turn.from
            ));
        }
    }
    let content = |what: &str, tags: &crate::Tags| match tags.first_content(&assistant.value) {
        Some((_, content)) => Ok(content.to_owned()),
        None => Err(format!(
            "the assistant's turn has no {what} between {:?} and {:?}",
            tags.start, tags.end
        )),
    };
    Ok(Conversation {
        thought: content("thought", &format.student.thought)?,
        solution: content("solution", &format.solution)?,
        question: user.value,
    })
}

fn string(column: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{column}` is {}; expected a string", show(&other))),
    }
}

/// A value for an error message: whole where it is short, else its kind.
fn show(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        short => short.to_string().chars().take(40).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, text).unwrap();
        read_problems(&path)
    }

    #[test]
    fn plain_rows() {
        let problems = read(
            "\u{feff}{\"question\": \"1+1?\", \"solution\": \"2\", \"answer\": 2, \"level\": [3]}\n\n\
             {\"prompt\": \"1+2?\", \"solution\": \"3\", \"id\": 7, \"reasoning_trace\": \" \", \"answer\": \"3\"}\r\n",
        )
        .unwrap();
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[0].id, "rows:1");
        assert_eq!(problems[0].answer.as_deref(), Some("2"));
        assert_eq!(problems[1].id, "7");
        assert_eq!(problems[1].question, "1+2?");
        assert_eq!(problems[1].reasoning_trace, None);
    }

    #[test]
    fn conversations_keep_the_line_breaks_of_their_contents() {
        let problems = read(
            r#"{"system": "x", "conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "<|begin_of_thought|>\n\nt\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\ns\n\n<|end_of_solution|> <|begin_of_solution|>no<|end_of_solution|>"}]}"#,
        )
        .unwrap();
        assert_eq!(problems[0].question, "q");
        assert_eq!(problems[0].reasoning_trace.as_deref(), Some("\n\nt\n\n"));
        assert_eq!(problems[0].solution, "\n\ns\n\n");
    }

    #[test]
    fn a_bad_row_is_named() {
        let good = r#"{"question": "q", "solution": "s", "id": "a"}"#;
        for (row, expected) in [
            (r#"{"question": "q", "solution": "#, "EOF"),
            ("[1, 2]", "invalid"),
            (r#"{"question": "q"}"#, "no `solution`"),
            (r#"{"solution": "s"}"#, "no question"),
            (
                r#"{"question": "q", "prompt": "p", "solution": "s"}"#,
                "differ",
            ),
            (
                r#"{"question": "q", "solution": " \n"}"#,
                "solution is empty",
            ),
            (
                r#"{"question": "q", "solution": "<|begin_of_solution|> <|end_of_solution|>"}"#,
                "solution is empty",
            ),
            (r#"{"question": " ", "solution": "s"}"#, "question is empty"),
            (
                r#"{"question": ["q"], "solution": "s"}"#,
                "`question` is a list",
            ),
            (
                r#"{"question": "q", "solution": "s", "answer": {}}"#,
                "`answer` is an object",
            ),
            (
                r#"{"question": "q", "solution": "s", "id": "a"}"#,
                "already that of line 1",
            ),
            (r#"{"conversations": []}"#, "0 turns"),
            (
                r#"{"conversations": [{"from": "user", "value": "q"}, {"from": "gpt", "value": "a"}]}"#,
                "from \"gpt\"",
            ),
            (
                r#"{"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]}"#,
                "no thought between",
            ),
        ] {
            let error = read(&format!("{good}\n\n{row}\n")).unwrap_err().to_string();
            assert!(error.contains("rows.jsonl:3: "), "{error}");
            assert!(error.contains(expected), "{row}: {error}");
        }
        assert!(matches!(read("\n \n"), Err(Error::NoProblems { .. })));
    }

    #[test]
    fn a_file_without_line_breaks_is_refused_early() {
        let error = read(&"x".repeat(MAX_LINE_BYTES + 1))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("rows.jsonl:1: the line is longer than"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("rows.jsonl");
            std::fs::write(&path, bytes).unwrap();
            let _ = read_problems(&path);
        }
    }
}
