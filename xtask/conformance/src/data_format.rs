//! `data_format.json`: rows as published adapters format them, and which of their tokens are supervised.
//!
//! Rows with `conversations` are compared with the format as it is. Published adapters write plain rows
//! without padding, and their plain student text without a delimiter: those are compared with a format that
//! does the same, and the check's name says so.

use std::path::Path;

use didact::core::Problem;
use didact::data::{Message, PromptFormat, SupervisedExample, Tags, Tokenizer, read_problems_with};
use serde::Deserialize;
use serde_json::Value;

use crate::report::Report;
use crate::tokenizer::{Mismatch, folder, read};

#[derive(Deserialize)]
struct File {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    tokenizer: String,
    line: Value,
    teacher: Option<Columns>,
    teacher_error: Option<String>,
    teacher_text_only: Option<String>,
    student_sft_text: Option<String>,
    teacher_text_only_mask: Option<Mask>,
    student_sft_text_mask: Option<Mask>,
}

/// What the reference hands to its reward, beside the texts.
#[derive(Deserialize)]
struct Columns {
    text: String,
    prompt: String,
    student_system_prompts: String,
    start_think_teacher_tags: String,
    end_think_teacher_tags: String,
    start_think_student_tags: String,
    end_think_student_tags: String,
    start_solution_tags: String,
    end_solution_tags: String,
    think_solution_delimiters: String,
    questions: String,
    solutions: String,
    solutions_content: String,
    delimiters_padding: String,
    masked_out_think_prefix: String,
}

#[derive(Deserialize)]
struct Mask {
    ids: Vec<u32>,
    clean_labels: Vec<i64>,
}

/// Compares every row.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    let path = fixtures.join("data_format.json");
    let Some(File { rows }) = read(&path, report) else {
        return;
    };
    for (number, row) in rows.iter().enumerate() {
        let name = format!("data_format/row {number} ({})", row.tokenizer);
        let Some(columns) = columns_of(&rows, number) else {
            report.skip(&name, "its tags are not in the file");
            continue;
        };
        if let Err(message) = compare(fixtures, &name, row, columns, report) {
            report.fail(&name, &message);
        }
    }
}

/// The row's own columns. A row at which the reference raised has none: the nearest ones under the same
/// tokenizer whose tags stand in all the texts that the row has.
fn columns_of(rows: &[Row], number: usize) -> Option<&Columns> {
    let row = rows.get(number)?;
    row.teacher.as_ref().or_else(|| {
        rows.iter()
            .enumerate()
            .filter(|(_, other)| other.tokenizer == row.tokenizer)
            .filter_map(|(at, other)| Some((at, other.teacher.as_ref()?)))
            .filter(|(_, columns)| row.holds_tags_of(columns))
            .min_by_key(|(at, _)| at.abs_diff(number))
            .map(|(_, columns)| columns)
    })
}

impl Row {
    fn teacher_text(&self) -> Option<&str> {
        let columns = || self.teacher.as_ref().map(|columns| &*columns.text);
        self.teacher_text_only.as_deref().or_else(columns)
    }

    fn holds_tags_of(&self, columns: &Columns) -> bool {
        let holds = |text: Option<&str>, tags: [&str; 2]| {
            let solution = [&*columns.start_solution_tags, &*columns.end_solution_tags];
            text.is_none_or(|text| tags.iter().chain(&solution).all(|tag| text.contains(*tag)))
        };
        let teacher = [
            &*columns.start_think_teacher_tags,
            &*columns.end_think_teacher_tags,
        ];
        let student = [
            &*columns.start_think_student_tags,
            &*columns.end_think_student_tags,
        ];
        holds(self.teacher_text(), teacher) && holds(self.student_sft_text.as_deref(), student)
    }
}

fn compare(
    fixtures: &Path,
    name: &str,
    row: &Row,
    columns: &Columns,
    report: &mut Report,
) -> Result<(), String> {
    let tokenizer = Tokenizer::from_folder(folder(fixtures, &row.tokenizer)).map_err(text)?;
    let plain = row.line.get("conversations").is_none();
    let mut format = format_of(columns);
    let (teacher_text, student_text) = (row.teacher_text(), row.student_sft_text.as_deref());
    // One text may be missing for other reasons; the reference took the row if it made either.
    if teacher_text.is_none() && student_text.is_none() {
        let refused = read_row(&row.line, &format).is_err();
        let name = format!("{name} is refused, as by the reference");
        report.equal(&name, refused, || "the row was read".to_owned());
        return Ok(());
    }
    if row.line["solution"]
        .as_str()
        .is_some_and(|solution| solution.trim().is_empty())
    {
        let refused = read_row(&row.line, &format).is_err();
        let name = format!("{name} has an empty solution and is refused (the reference takes it)");
        report.equal(&name, refused, || "the row was read".to_owned());
        return Ok(());
    }
    let problem = read_row(&row.line, &format)?;
    if let Some(chat) = teacher_text {
        format.teacher.system_prompt = system_of(&tokenizer, chat, &problem)?;
    }
    if let Some(chat) = student_text {
        format.student.system_prompt = system_of(&tokenizer, chat, &problem)?;
    }
    format.pad_contents = !plain;
    let mut ours = Ours {
        tokenizer,
        format,
        problem,
        plain,
    };
    match teacher_text {
        Some(chat) => compare_teacher(name, row, chat, &ours, report)?,
        None => report.skip(&format!("{name} teacher"), "the file has no text of it"),
    }
    if plain {
        ours.format.student.delimiter.clear();
    }
    match student_text {
        Some(chat) => compare_student(name, row, chat, &ours, report)?,
        None => report.skip(&format!("{name} student"), "the file has no text of it"),
    }
    Ok(())
}

/// A row as we read it.
struct Ours {
    tokenizer: Tokenizer,
    format: PromptFormat,
    problem: Problem,
    plain: bool,
}

impl Ours {
    fn trace(&self) -> &String {
        let Problem {
            reasoning_trace,
            solution,
            ..
        } = &self.problem;
        reasoning_trace.as_ref().unwrap_or(solution)
    }
}

fn compare_teacher(
    name: &str,
    row: &Row,
    teacher_text: &str,
    ours: &Ours,
    report: &mut Report,
) -> Result<(), String> {
    let Ours {
        tokenizer,
        format,
        problem,
        plain,
    } = ours;
    let note = if *plain {
        " (contents unpadded, as published for plain rows)"
    } else {
        ""
    };

    let example = format
        .teacher_example(tokenizer, problem, ours.trace())
        .map_err(text)?;
    compare_example(
        &format!("{name} teacher SFT text, ids and clean labels{note}"),
        &example,
        teacher_text,
        row.teacher_text_only_mask.as_ref(),
        report,
    );
    let prompt = format.teacher_prompt(tokenizer, problem).map_err(text)?;
    match (&row.teacher, &row.teacher_error) {
        (Some(expected), _) => {
            let mut mismatch = Mismatch::default();
            mismatch.compare("text", &example.text, &expected.text);
            mismatch.compare("prompt", &prompt.text, &expected.prompt);
            mismatch.close(&format!("{name} RL prompt{note}"), report);

            let content = format.solution_content(&problem.solution)?;
            let Tags { start, end } = &format.solution;
            let mut mismatch = Mismatch::default();
            mismatch.compare("questions", &problem.question, &expected.questions);
            mismatch.compare("solutions_content", &content, &expected.solutions_content);
            mismatch.compare(
                "solutions",
                &[start, &*content, end].concat(),
                &expected.solutions,
            );
            let supplied = [&*format.teacher.explanation.start, &format.padding].concat();
            mismatch.compare("prefix", &supplied, &expected.masked_out_think_prefix);
            // Our student's system prompt is the one in its text.
            if row.student_sft_text.is_some() {
                let system = &format.student.system_prompt;
                mismatch.compare("student system", system, &expected.student_system_prompts);
            }
            mismatch.close(&format!("{name} reward columns{note}"), report);
        }
        (None, Some(_)) => {
            // The reference splits the SFT text where the trace must begin with padding; we build the prompt.
            let tag = &format.teacher.explanation.start;
            let head = teacher_text
                .rfind(tag.as_str())
                .map_or("", |at| &teacher_text[..at + tag.len()]);
            let mut mismatch = Mismatch::default();
            mismatch.compare("prompt", &prompt.text, &[head, &*format.padding].concat());
            let name = format!("{name} RL prompt (the reference raises; clean value){note}");
            mismatch.close(&name, report);
        }
        (None, None) => return Err("neither `teacher` nor `teacher_error`".to_owned()),
    }
    Ok(())
}

fn compare_student(
    name: &str,
    row: &Row,
    student_text: &str,
    ours: &Ours,
    report: &mut Report,
) -> Result<(), String> {
    let note = if ours.plain {
        " (unpadded, no delimiter, as published for plain rows)"
    } else {
        ""
    };
    let example = ours
        .format
        .student_example(&ours.tokenizer, &ours.problem, ours.trace())
        .map_err(text)?;
    compare_example(
        &format!("{name} student SFT text, ids and clean labels{note}"),
        &example,
        student_text,
        row.student_sft_text_mask.as_ref(),
        report,
    );
    Ok(())
}

fn compare_example(
    name: &str,
    example: &SupervisedExample,
    expected: &str,
    mask: Option<&Mask>,
    report: &mut Report,
) {
    let mut mismatch = Mismatch::default();
    mismatch.compare("text", &*example.text, expected);
    if let Some(mask) = mask {
        let labels: Vec<i64> = (0..)
            .zip(&example.ids)
            .map(|(i, &id)| {
                if example.supervised.range().contains(&i) {
                    i64::from(id)
                } else {
                    -100
                }
            })
            .collect();
        mismatch.compare("ids", &example.ids, &mask.ids);
        mismatch.compare("labels", &labels, &mask.clean_labels);
    }
    mismatch.close(name, report);
}

fn format_of(columns: &Columns) -> PromptFormat {
    let mut format = PromptFormat::thought();
    format.teacher.explanation = Tags::new(
        &columns.start_think_teacher_tags,
        &columns.end_think_teacher_tags,
    );
    format.student.thought = Tags::new(
        &columns.start_think_student_tags,
        &columns.end_think_student_tags,
    );
    format.solution = Tags::new(&columns.start_solution_tags, &columns.end_solution_tags);
    format
        .teacher
        .delimiter
        .clone_from(&columns.think_solution_delimiters);
    format
        .student
        .delimiter
        .clone_from(&columns.think_solution_delimiters);
    format.padding.clone_from(&columns.delimiters_padding);
    format
}

/// The row as our reader takes it from a file.
fn read_row(line: &Value, format: &PromptFormat) -> Result<Problem, String> {
    let path =
        std::env::temp_dir().join(format!("didact-conformance-{}.jsonl", std::process::id()));
    std::fs::write(&path, line.to_string()).map_err(text)?;
    let problems = read_problems_with(&path, format).map_err(text);
    std::fs::remove_file(&path).map_err(text)?;
    problems?
        .pop()
        .ok_or_else(|| "no problem in the row".to_owned())
}

/// The system prompt of a rendered chat: the file gives it nowhere else.
fn system_of(tokenizer: &Tokenizer, chat: &str, problem: &Problem) -> Result<String, String> {
    let template = tokenizer.chat_template().ok_or("no chat template")?;
    let marks = ["mark-of-system", "mark-of-question", "mark-of-answer"];
    let messages = [
        Message::system(marks[0]),
        Message::user(marks[1]),
        Message::assistant(marks[2]),
    ];
    let rendered = template.render(&messages, false).map_err(text)?;
    let pieces = rendered.split_once(marks[0]).and_then(|(head, rest)| {
        let (middle, rest) = rest.split_once(marks[1])?;
        Some((head, middle, rest.split_once(marks[2])?.0))
    });
    let (head, middle, after) = pieces.ok_or("the template drops a message")?;
    let rest = chat.strip_prefix(head).ok_or("the chat begins otherwise")?;
    let question = [middle, &*problem.question, after].concat();
    rest.split_once(&*question)
        .map(|(system, _)| system.to_owned())
        .ok_or_else(|| format!("the question {:?} is not in the chat", problem.question))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
