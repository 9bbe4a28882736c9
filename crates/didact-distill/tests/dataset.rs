//! Data sets for other trainers hold the texts that Didact trains on.

mod common;

use didact_data::PromptFormat;
use didact_distill::dataset::{ChatExample, CompletionExample, write_chat, write_completions};
use didact_distill::{CollectedExplanation, json_lines};

fn explanations() -> Vec<CollectedExplanation> {
    let texts = [
        "Twice one.",
        "A \"quoted\" line\nand another, with ä, 漢字, a tab\t and \\frac{1}{2}\u{2028}after a line separator.",
        "</s> <|im_end|> {\"messages\": []}",
    ];
    let explanation = |(index, text): (usize, &str)| CollectedExplanation {
        problem: common::problem(index + 1),
        explanation: text.to_owned(),
        tokens: 3,
        reward: -1.0,
        terms: Vec::new(),
    };
    texts.into_iter().enumerate().map(explanation).collect()
}

#[test]
fn chat_messages_read_back_are_what_the_template_is_given() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("sets/chat.jsonl");
    let task = common::task();
    write_chat(&path, &task.format, &explanations()).expect("a data set");
    let read: Vec<ChatExample> = json_lines::read(&path).expect("the data set");
    assert_eq!(read.len(), 3);
    let template = task.tokenizer.chat_template().expect("a chat template");
    for (example, explanation) in read.iter().zip(explanations()) {
        let roles: Vec<&str> = example.messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant"]);
        assert_eq!(example.messages[1].content, explanation.problem.question);
        let content = &example.messages[2].content;
        assert_eq!(
            *content,
            format!(
                "<think>\n{}\n</think>\n\n<solution>\n{}\n</solution>",
                explanation.explanation, explanation.problem.solution
            )
        );
        // Another trainer renders the text that Didact trains on.
        let rendered = template.render(&example.messages, false).expect("a chat");
        let own = task
            .format
            .student_example(
                &task.tokenizer,
                &explanation.problem,
                &explanation.explanation,
            )
            .expect("a student's example");
        assert_eq!(rendered, own.text);
    }
    let lines = std::fs::read_to_string(&path).expect("the data set");
    assert_eq!(lines.lines().count(), 3);
}

#[test]
fn a_format_without_system_prompt_has_two_turns() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("chat.jsonl");
    let mut format = PromptFormat::thought();
    format.student.system_prompt.clear();
    write_chat(&path, &format, &explanations()[..1]).expect("a data set");
    let read: Vec<ChatExample> = json_lines::read(&path).expect("the data set");
    let roles: Vec<&str> = read[0].messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant"]);
}

#[test]
fn prompt_and_completion_read_back_are_the_examples() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("completions.jsonl");
    let task = common::task();
    write_completions(&path, &task.tokenizer, &task.format, &explanations()).expect("a data set");
    let read: Vec<CompletionExample> = json_lines::read(&path).expect("the data set");
    assert_eq!(read.len(), 3);
    let eos = task.tokenizer.eos().expect("an end of sequence");
    let eos = task.tokenizer.token(eos).expect("its text");
    for (example, explanation) in read.iter().zip(explanations()) {
        let own = task
            .format
            .student_example(
                &task.tokenizer,
                &explanation.problem,
                &explanation.explanation,
            )
            .expect("a student's example");
        let text = format!("{}{}", example.prompt, example.completion);
        assert!(own.text.starts_with(&text), "{text:?} of {:?}", own.text);
        assert!(own.text[text.len()..].trim().is_empty());
        assert!(
            example.completion.ends_with(&eos),
            "{:?}",
            example.completion
        );
        assert!(example.completion.starts_with("<think>"));
        // The completion is what is supervised.
        let ids = task.tokenizer.encode(&example.prompt).expect("ids").ids;
        assert_eq!(own.ids[..own.supervised.start], ids);
    }
}
