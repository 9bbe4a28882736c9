//! Written text becomes the same two sequences, with spans by offsets.

use didact_core::TokenBytes;
use didact_data::{ExplainedText, SystemPlacement, Tags, TextSample, Tokenizer, from_text};

const PROMPT: &str = "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n<s>2</s>\n<e>\n";

fn explain(folder: &str, supplied: &str, completion: &str) -> (Tokenizer, ExplainedText) {
    let folder = format!("{}/tests/tokenizers/{folder}", env!("CARGO_MANIFEST_DIR"));
    let tokenizer = Tokenizer::from_folder(folder).unwrap();
    let sample = TextSample {
        prompt: PROMPT,
        supplied,
        completion,
        explanation: &Tags::angle("e"),
        student_system_prompt: "Think.",
        system_placement: SystemPlacement::Message,
        question: "1+1?",
        thought_prefix: "",
        thought: &Tags::angle("t"),
        delimiter: "\n",
        tagged_solution: "<s>\n2\n</s>",
        solution: &Tags::angle("s"),
    };
    let explained = from_text(&tokenizer, &sample).unwrap();
    (tokenizer, explained)
}

#[test]
fn the_content_is_the_first_between_tags() {
    let before = PROMPT.strip_suffix("<e>\n").unwrap();
    for (supplied, completion, closed, content, teacher) in [
        ("<e>\n", "One.\n</e>", true, "\nOne.\n", "<e>\nOne.\n</e>"),
        (
            "<e>\n",
            "One.\n</e> two </e>",
            true,
            "\nOne.\n",
            "<e>\nOne.\n</e> two </e>",
        ),
        (
            "<e>\n",
            "a <e> b</e>",
            true,
            "\na <e> b",
            "<e>\na <e> b</e>",
        ),
        ("<e>\n", "One.", false, "\nOne.", "<e>\nOne.</e>"),
        ("<e>\n", "One.</", false, "\nOne.</", "<e>\nOne.</</e>"),
        ("<e>\n", "", false, "\n", "<e>\n</e>"),
    ] {
        let (tokenizer, found) = explain("small", supplied, completion);
        assert_eq!(
            found.teacher_text,
            [before, teacher].concat(),
            "{completion:?}"
        );
        assert!(
            found
                .student_text
                .contains(&format!("<t>{content}</t>\n<s>\n2\n</s><|im_end|>"))
        );
        let explained = &found.explained;
        assert_eq!(explained.closed, closed, "{completion:?}");
        assert_eq!(explained.text, content, "{completion:?}");
        for sequence in [&explained.teacher, &explained.student] {
            let span = sequence.thought.unwrap();
            let bytes = tokenizer.bytes_of(&sequence.ids()[span.range()]);
            assert_eq!(bytes, content.as_bytes(), "{completion:?}");
        }
        let solution = explained.student.solution.unwrap();
        let bytes = tokenizer.bytes_of(&explained.student.ids()[solution.range()]);
        assert_eq!(bytes, b"\n2\n", "{completion:?}");
    }
}

#[test]
fn without_any_tag_both_are_added() {
    let (_, found) = explain("small", "", "One.");
    assert_eq!(found.teacher_text, [PROMPT, "<e>One.</e>"].concat());
    assert!(!found.explained.closed);
    // With an end tag alone the content ends there, and what follows stays in the teacher's text.
    let (_, found) = explain("small", "", "One.</e> two");
    assert_eq!(found.teacher_text, [PROMPT, "<e>One.</e> two</e>"].concat());
    assert_eq!(found.explained.text, "One.");
}

#[test]
fn a_token_that_merges_with_a_tag_is_in_no_span() {
    // This vocabulary has `]</` and `>\n`: on the teacher's side both edges of the content merge.
    let (tokenizer, found) = explain("qwenlike", "<e>\n", "x[1]</e>");
    let explained = &found.explained;
    assert_eq!(explained.text, "\nx[1]");
    assert_eq!(explained.straddling, 1);
    let span = explained.teacher.thought.unwrap();
    assert_eq!(
        tokenizer.bytes_of(&explained.teacher.ids()[span.range()]),
        b"x[1"
    );
}
