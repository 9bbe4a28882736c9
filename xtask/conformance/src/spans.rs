//! `cases/*.json` and `spans_smollm2_tokenizer.json`: the texts that teacher and student read, their ids, and
//! the spans of thought and solution, by [`from_text`].

use std::path::Path;

use didact::core::{Span, SpannedSequence, TokenBytes};
use didact::data::{ExplainedText, SystemPlacement, Tags, TextSample, Tokenizer, from_text};
use serde::Deserialize;

use crate::report::Report;
use crate::tokenizer::{Mismatch, folder, read};

/// What a case hands to the reward; also what the rewards through models start from.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Inputs {
    completion: String,
    prompt: String,
    student_system_prompts: String,
    start_think_teacher_tags: String,
    end_think_teacher_tags: String,
    start_think_student_tags: String,
    end_think_student_tags: String,
    start_solution_tags: String,
    end_solution_tags: String,
    think_prefixes: String,
    think_solution_delimiters: String,
    questions: String,
    solutions: String,
    masked_out_think_prefix: String,
}

impl Inputs {
    /// What stands between the tags of the solution.
    fn solution_content(&self) -> &str {
        let tags = Tags::new(&self.start_solution_tags, &self.end_solution_tags);
        tags.first_content(&self.solutions)
            .map_or("", |(_, content)| content)
    }

    /// The sequences of the case under a tokenizer.
    pub(crate) fn explain(&self, tokenizer: &Tokenizer) -> Result<ExplainedText, String> {
        let explanation = Tags::new(&self.start_think_teacher_tags, &self.end_think_teacher_tags);
        let thought = Tags::new(&self.start_think_student_tags, &self.end_think_student_tags);
        let solution = Tags::new(&self.start_solution_tags, &self.end_solution_tags);
        let sample = TextSample {
            prompt: &self.prompt,
            supplied: &self.masked_out_think_prefix,
            completion: &self.completion,
            explanation: &explanation,
            student_system_prompt: &self.student_system_prompts,
            system_placement: SystemPlacement::Message,
            question: &self.questions,
            thought_prefix: &self.think_prefixes,
            thought: &thought,
            delimiter: &self.think_solution_delimiters,
            tagged_solution: &self.solutions,
            solution: &solution,
        };
        from_text(tokenizer, &sample).map_err(|error| error.to_string())
    }
}

#[derive(Deserialize)]
struct Case {
    id: String,
    tokenizer: String,
    inputs: Inputs,
    intermediate: Texts,
    clean_offset_spans: Clean,
}

/// What the reference read.
#[derive(Deserialize)]
struct Texts {
    student_chat: String,
    teacher_text: String,
    student_chat_ids: Vec<u32>,
    teacher_text_ids: Vec<u32>,
}

/// What it should have read where that differs, and the spans by offsets.
#[derive(Deserialize)]
struct Clean {
    student_chat: Option<String>,
    teacher_text: Option<String>,
    student_chat_ids: Option<Vec<u32>>,
    teacher_text_ids: Option<Vec<u32>>,
    student_think_span: Option<(usize, usize)>,
    teacher_think_span: Option<(usize, usize)>,
    solution_span: Option<(usize, usize)>,
}

#[derive(Deserialize)]
struct SpanFile {
    tokenizer: String,
    rows: Vec<SpanRow>,
}

#[derive(Deserialize)]
struct SpanRow {
    id: String,
    inputs: Inputs,
    match_reward: f64,
    #[serde(flatten)]
    texts: Texts,
    student_think_span: Option<(usize, usize)>,
    teacher_think_span: Option<(usize, usize)>,
    solution_span: Option<(usize, usize)>,
    reference_used_fallback: bool,
    reference_think_ids_equal: bool,
}

/// Compares every case and every row.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    for path in case_files(fixtures) {
        let Some(case) = read::<Case>(&path, report) else {
            continue;
        };
        let name = format!("spans/{} ({})", case.id, case.tokenizer);
        let found = Tokenizer::from_folder(folder(fixtures, &case.tokenizer))
            .map_err(|error| error.to_string())
            .and_then(|tokenizer| case.inputs.explain(&tokenizer));
        match found {
            Ok(found) => compare_case(&name, &case, &found, report),
            Err(error) => report.fail(&name, &error),
        }
    }
    let path = fixtures.join("spans_smollm2_tokenizer.json");
    let Some(file) = read::<SpanFile>(&path, report) else {
        return;
    };
    match Tokenizer::from_folder(folder(fixtures, &file.tokenizer)) {
        Err(error) => report.fail(&path.display().to_string(), &error.to_string()),
        Ok(tokenizer) => {
            for row in &file.rows {
                let name = format!("spans/{} (full SmolLM2 tokenizer)", row.id);
                match row.inputs.explain(&tokenizer) {
                    Ok(found) => compare_row(&name, row, &tokenizer, &found, report),
                    Err(error) => report.fail(&name, &error),
                }
            }
        }
    }
}

/// The files in `cases`, in the order of their names.
pub(crate) fn case_files(fixtures: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(fixtures.join("cases")) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths
}

fn compare_case(name: &str, case: &Case, found: &ExplainedText, report: &mut Report) {
    let clean = &case.clean_offset_spans;
    let reference = &case.intermediate;
    let mut texts = Mismatch::default();
    let student = clean
        .student_chat
        .as_ref()
        .unwrap_or(&reference.student_chat);
    let teacher = clean
        .teacher_text
        .as_ref()
        .unwrap_or(&reference.teacher_text);
    texts.compare("student", &found.student_text, student);
    texts.compare("teacher", &found.teacher_text, teacher);
    texts.close(&format!("{name} texts"), report);

    let explained = &found.explained;
    let mut ids = Mismatch::default();
    let student = clean
        .student_chat_ids
        .as_ref()
        .unwrap_or(&reference.student_chat_ids);
    let teacher = clean
        .teacher_text_ids
        .as_ref()
        .unwrap_or(&reference.teacher_text_ids);
    ids.compare("student", &explained.student.ids(), student);
    ids.compare("teacher", &explained.teacher.ids(), teacher);
    ids.close(&format!("{name} ids"), report);

    let mut spans = Mismatch::default();
    spans.compare(
        "student",
        &pair(explained.student.thought),
        &clean.student_think_span,
    );
    spans.compare(
        "teacher",
        &pair(explained.teacher.thought),
        &clean.teacher_think_span,
    );
    spans.compare(
        "solution",
        &pair(explained.student.solution),
        &clean.solution_span,
    );
    spans.close(&format!("{name} clean spans"), report);
}

/// The reference looks for the ids of the content encoded alone, and drops the first or the last of them where
/// it does not find them: its spans may lack what one such token holds at either end.
fn compare_row(
    name: &str,
    row: &SpanRow,
    tokenizer: &Tokenizer,
    found: &ExplainedText,
    report: &mut Report,
) {
    let (student, teacher) = (&found.explained.student, &found.explained.teacher);
    let mut mismatch = Mismatch::default();
    mismatch.compare("thought ids", &ids_of(student), &ids_of(teacher));
    mismatch.compare(
        "closed",
        &found.explained.closed,
        &(row.match_reward >= 0.0),
    );
    if row.reference_used_fallback {
        // The reference's own texts hold escaped tags here: nothing of them is comparable.
        mismatch.close(
            &format!("{name} equal thoughts (the reference fell back)"),
            report,
        );
        return;
    }
    mismatch.compare("student text", &found.student_text, &row.texts.student_chat);
    mismatch.compare("teacher text", &found.teacher_text, &row.texts.teacher_text);
    mismatch.compare("student ids", &student.ids(), &row.texts.student_chat_ids);
    mismatch.compare("teacher ids", &teacher.ids(), &row.texts.teacher_text_ids);
    let thought = &*found.explained.text;
    let solution = row.inputs.solution_content();
    let spans = [
        (
            "student thought",
            student,
            student.thought,
            thought,
            row.student_think_span,
        ),
        (
            "teacher thought",
            teacher,
            teacher.thought,
            thought,
            row.teacher_think_span,
        ),
        (
            "solution",
            student,
            student.solution,
            solution,
            row.solution_span,
        ),
    ];
    let mut note = "";
    for (what, sequence, ours, content, reference) in spans {
        if !row.reference_think_ids_equal && what != "solution" {
            note = " (the reference's thoughts are misaligned: not compared)";
            continue;
        }
        match agreement(tokenizer, &sequence.ids(), content, ours, reference) {
            Agreement::Same => {}
            Agreement::Elsewhere => note = " (the reference found the thought at an earlier place)",
            Agreement::Different => mismatch.note(what, &ours, &reference),
        }
    }
    let name = format!("{name} texts, ids, spans but for a boundary token{note}");
    mismatch.close(&name, report);
}

enum Agreement {
    /// The spans are equal but for what one token of the content alone holds at either end.
    Same,
    /// The reference's first-occurrence search took the same ids at an earlier place.
    Elsewhere,
    Different,
}

fn agreement(
    tokenizer: &Tokenizer,
    ids: &[u32],
    content: &str,
    ours: Option<Span>,
    reference: Option<(usize, usize)>,
) -> Agreement {
    let (Some(ours), Some((start, end))) = (ours, reference) else {
        let neither = ours.is_none() && reference.is_none();
        // Line breaks alone can be trimmed away altogether.
        let trimmed = reference.is_none() && content.trim().is_empty();
        return if neither || trimmed {
            Agreement::Same
        } else {
            Agreement::Different
        };
    };
    let Some(theirs) = ids.get(start..end) else {
        return Agreement::Different;
    };
    if start < ours.start && ids[ours.range()].windows(theirs.len()).any(|w| w == theirs) {
        return Agreement::Elsewhere;
    }
    if start < ours.start || ours.end < end {
        return Agreement::Different;
    }
    let alone = tokenizer
        .encode(content)
        .map(|encoding| encoding.ids)
        .unwrap_or_default();
    let bytes = |ids: &[u32]| tokenizer.bytes_of(ids).len();
    let one = |id: Option<&u32>| id.map_or(0, |&id| bytes(&[id]));
    let lacks_at_most_a_token = bytes(&ids[ours.start..start]) <= one(alone.first())
        && bytes(&ids[end..ours.end]) <= one(alone.last());
    if lacks_at_most_a_token {
        Agreement::Same
    } else {
        Agreement::Different
    }
}

fn ids_of(sequence: &SpannedSequence) -> Vec<u32> {
    sequence
        .thought
        .map_or_else(Vec::new, |span| sequence.ids()[span.range()].to_vec())
}

fn pair(span: Option<Span>) -> Option<(usize, usize)> {
    span.map(|span| (span.start, span.end))
}
