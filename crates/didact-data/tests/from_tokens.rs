//! Sampled ids become the teacher's and the student's sequence: golden cases and laws.

use std::sync::LazyLock;

use didact_core::{Problem, TokenBytes, TokenId};
use didact_data::{PromptFormat, Tokenizer, from_tokens};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    question: String,
    solution: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    tokenizer: String,
    format: String,
    sampled: Vec<String>,
    thought: usize,
    text: String,
    closed: bool,
    straddling: usize,
    tail: Vec<String>,
    solution: Vec<String>,
}

fn tokenizer(name: &str) -> &'static Tokenizer {
    static SMALL: LazyLock<Tokenizer> = LazyLock::new(|| open("small"));
    static QWENLIKE: LazyLock<Tokenizer> = LazyLock::new(|| open("qwenlike"));
    if name == "small" { &SMALL } else { &QWENLIKE }
}

fn open(name: &str) -> Tokenizer {
    let folder = format!("{}/tests/tokenizers/{name}", env!("CARGO_MANIFEST_DIR"));
    Tokenizer::from_folder(folder).unwrap()
}

fn problem(question: &str, solution: &str) -> Problem {
    Problem {
        id: "p".to_owned(),
        question: question.to_owned(),
        solution: solution.to_owned(),
        answer: None,
        reasoning_trace: None,
        domain: None,
    }
}

fn tokens(tokenizer: &Tokenizer, ids: &[TokenId]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token(id).unwrap()).collect()
}

#[test]
fn golden_cases() {
    let golden: Golden = serde_json::from_str(include_str!("golden/from_tokens.json")).unwrap();
    for case in &golden.cases {
        let name = &case.name;
        let tokenizer = tokenizer(&case.tokenizer);
        let format = match case.format.as_str() {
            "thought" => PromptFormat::thought(),
            _ => PromptFormat::think(),
        };
        let problem = problem(&golden.question, &golden.solution);
        let prompt = format.teacher_prompt(tokenizer, &problem).unwrap();
        let sampled: Vec<TokenId> = case
            .sampled
            .iter()
            .map(|token| {
                tokenizer
                    .token_id(token)
                    .unwrap_or_else(|| panic!("{name}: {token:?}"))
            })
            .collect();
        let explained = from_tokens(&format, tokenizer, &problem, &prompt, &sampled).unwrap();

        assert_eq!(explained.text, case.text, "{name}");
        assert_eq!(explained.closed, case.closed, "{name}");
        assert_eq!(explained.straddling, case.straddling, "{name}");
        assert_eq!(explained.teacher.continuation, sampled, "{name}");
        assert_eq!(explained.teacher.prefix, prompt.ids, "{name}");
        assert_eq!(explained.student.prefix, prompt.student_prefix, "{name}");
        for sequence in [&explained.teacher, &explained.student] {
            let start = sequence.prefix.len();
            let expected = (case.thought > 0).then(|| start..start + case.thought);
            assert_eq!(
                sequence.thought.map(|span| span.range()),
                expected,
                "{name}"
            );
        }
        let (thought, tail) = explained.student.continuation.split_at(case.thought);
        assert_eq!(thought, &sampled[..case.thought], "{name}");
        assert_eq!(tokens(tokenizer, tail), case.tail, "{name}");
        let solution = explained.student.solution.unwrap();
        let solution = &explained.student.ids()[solution.range()];
        assert_eq!(tokens(tokenizer, solution), case.solution, "{name}");
    }
}

#[test]
fn prompts_end_with_the_opened_tag_and_its_padding() {
    let tokenizer = tokenizer("small");
    for (format, teacher, student) in [
        (
            PromptFormat::thought(),
            "<|begin_of_explanation|>\n\n",
            "<|begin_of_thought|>\n\n",
        ),
        (PromptFormat::think(), "<explanation>\n", "<think>\n"),
    ] {
        let prompt = format
            .teacher_prompt(tokenizer, &problem("1+1?", "2"))
            .unwrap();
        assert!(prompt.text.ends_with(teacher), "{}", prompt.text);
        assert!(
            prompt.student_text.ends_with(student),
            "{}",
            prompt.student_text
        );
        assert!(
            !prompt.student_text.contains(&format.solution.start),
            "{}",
            prompt.student_text
        );
        assert_eq!(tokenizer.decode(&prompt.ids, false).unwrap(), prompt.text);
        assert_eq!(
            tokenizer.decode(&prompt.student_prefix, false).unwrap(),
            prompt.student_text
        );
        // What the teacher continues is a prefix of what it was warmed up on.
        let example = format
            .teacher_example(tokenizer, &problem("1+1?", "2"), "two")
            .unwrap();
        assert!(example.text.starts_with(&prompt.text));
        let supervised = tokenizer
            .decode(&example.ids[example.supervised.range()], false)
            .unwrap();
        assert_eq!([prompt.text, supervised].concat(), example.text);
    }
}

/// Texts that every test tokenizer has bytes for, in composed form, with special tokens among them.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => "[ -~\\n\\t]{0,6}",
        2 => "[éα≤中文🙂 ]{1,4}",
        1 => Just("<|im_end|>".to_owned()),
        1 => Just("\n\n".to_owned()),
        1 => Just("</explanation>".to_owned()),
    ];
    proptest::collection::vec(word, 0..8).prop_map(|words| words.concat())
}

/// Ids of a completion: random ones, some outside the vocabulary, with tags among them.
fn sampled(
    tokenizer: &Tokenizer,
    format: &PromptFormat,
) -> impl Strategy<Value = Vec<TokenId>> + use<> {
    let tag = tokenizer
        .encode(&format.teacher.explanation.end)
        .unwrap()
        .ids;
    let vocabulary = tokenizer.vocabulary_size() as TokenId;
    let part = prop_oneof![
        12 => (0..vocabulary + 3).prop_map(|id| vec![id]),
        1 => Just(tag),
        1 => Just(vec![tokenizer.token_id("]</").unwrap_or(0)]),
    ];
    proptest::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn token_bytes_are_the_bytes_of_the_text(text in text()) {
        for name in ["small", "qwenlike"] {
            let tokenizer = tokenizer(name);
            let encoding = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(tokenizer.bytes_of(&encoding.ids), text.as_bytes());
            prop_assert_eq!(encoding.ids.len(), encoding.offsets.len());
            for pair in encoding.offsets.windows(2) {
                prop_assert!(pair[0].start <= pair[1].start && pair[0].end <= pair[1].end);
            }
        }
    }

    #[test]
    fn both_sides_hold_the_same_thought(
        (name, format, ids) in prop_oneof![
            Just(("small", PromptFormat::thought())),
            Just(("small", PromptFormat::think())),
            Just(("qwenlike", PromptFormat::thought())),
            Just(("qwenlike", PromptFormat::think())),
        ]
        .prop_flat_map(|(name, format)| {
            let ids = sampled(tokenizer(name), &format);
            (Just(name), Just(format), ids)
        }),
        solution in text(),
    ) {
        prop_assume!(!solution.trim().is_empty());
        let tokenizer = tokenizer(name);
        let problem = problem("1+1?", &solution);
        let prompt = format.teacher_prompt(tokenizer, &problem).unwrap();
        let explained = from_tokens(&format, tokenizer, &problem, &prompt, &ids).unwrap();

        let [teacher, student] = [&explained.teacher, &explained.student].map(|sequence| {
            sequence.thought.map_or_else(Vec::new, |span| sequence.ids()[span.range()].to_vec())
        });
        prop_assert_eq!(&teacher, &student);
        prop_assert!(ids.starts_with(&teacher));
        let completion = tokenizer.bytes_of(&ids);
        let thought = tokenizer.bytes_of(&teacher);
        prop_assert!(completion.starts_with(&thought));
        let tag = format.teacher.explanation.end.as_bytes();
        prop_assert!(!thought.windows(tag.len()).any(|window| window == tag));
        if explained.closed {
            prop_assert!(completion.windows(tag.len()).any(|window| window == tag));
        }
        if explained.straddling == 0 {
            prop_assert_eq!(&*explained.text, &*String::from_utf8_lossy(&thought));
        }

        let content = format.solution_content(&solution).unwrap();
        if let Some(span) = explained.student.solution {
            let found = tokenizer.bytes_of(&explained.student.ids()[span.range()]);
            prop_assert!(content.as_bytes().windows(found.len()).any(|window| window == found));
        }
        let whole = tokenizer.bytes_of(&explained.student.ids());
        let end = [&*content, &*format.solution.end].concat();
        prop_assert!(
            whole.windows(end.len()).any(|window| window == end.as_bytes()),
            "the student does not read the solution"
        );
    }
}
