//! What is wrong with a user's file is said in words that name it.

use didact_data::{ChatTemplate, Error, Message, PromptFormat, Tokenizer, read_problems};

fn error<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_template_that_loops_is_stopped() {
    let rows = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}";
    let source = format!("{rows}{{% endfor %}}{{% endfor %}}{{% endfor %}}");
    let template = ChatTemplate::new("loops.json", source, None, None).unwrap();
    let rendered = template.render(&[Message::user("hello")], false);
    assert!(
        matches!(rendered, Err(Error::TemplateLoops { .. })),
        "{rendered:?}"
    );
    assert!(error(rendered).contains("loops.json"));

    let source = "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}";
    let template = ChatTemplate::new("recursion.json", source, None, None).unwrap();
    assert!(error(template.render(&[], false)).contains("recursion.json"));
}

#[test]
fn a_template_that_writes_too_much_is_stopped() {
    let source = "{% for a in range(10000) %}{{ 'x' * 10000 }}{% endfor %}";
    let template = ChatTemplate::new("long.json", source, None, None).unwrap();
    let rendered = template.render(&[Message::user("hello")], false);
    assert!(
        matches!(rendered, Err(Error::TemplateOutput { .. })),
        "{rendered:?}"
    );
}

#[test]
fn a_template_may_refuse() {
    let source =
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}";
    let template = ChatTemplate::new("strict.json", source, None, None).unwrap();
    let text = error(template.render(&[Message::system("x")], false));
    assert!(
        text.contains("strict.json") && text.contains("no system role"),
        "{text}"
    );
    assert!(
        error(ChatTemplate::new("broken.json", "{% if %}", None, None)).contains("broken.json")
    );
}

#[test]
fn templates_of_published_models_work() {
    let source = "{{ bos_token }}\n{%- for m in messages %}\n    {%- set content = m['content'].strip() %}\n    \
                  {%- if m.role == 'assistant' %}{% generation %}{{ content }}{% endgeneration %}\n    \
                  {%- else %}[{{ content | upper }}]{% endif %}\n{%- endfor %}\n\
                  {%- if strftime_now is defined %}today{% endif %}{% if tools is not none %}tools{% endif %}";
    let bos = Some("<s>".to_owned());
    let template = ChatTemplate::new("chat", source, bos, None).unwrap();
    let messages = [Message::user(" hi "), Message::assistant(" yes ")];
    assert_eq!(template.render(&messages, false).unwrap(), "<s>[HI]yes");
}

#[test]
fn files_that_are_no_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let text = error(Tokenizer::from_folder(folder.path()));
    assert!(
        text.contains("tokenizer.json") && text.contains("reading"),
        "{text}"
    );
    let path = folder.path().join("tokenizer.json");
    for broken in ["", "{", "{}", "[1, 2]", r#"{"model": {"type": "Nothing"}}"#] {
        std::fs::write(&path, broken).unwrap();
        let text = error(Tokenizer::from_file(&path));
        assert!(text.contains("tokenizer.json"), "{broken}: {text}");
    }
}

#[test]
fn configurations_that_do_not_fit_the_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = include_str!("tokenizers/small/tokenizer.json");
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    for (config, expected) in [
        (r#"{"eos_token": "<|no_such|>"}"#, "not in the vocabulary"),
        (r#"{"eos_token": 7}"#, "`eos_token` is 7"),
        (r#"{"chat_template": "{% for %}"}"#, "chat template"),
        (
            r#"{"chat_template": [{"name": "tools", "template": "x"}]}"#,
            "without a `default`",
        ),
        ("[", "expected a map"),
    ] {
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        let text = error(Tokenizer::from_folder(folder.path()));
        assert!(text.contains(expected), "{config}: {text}");
    }
    std::fs::write(folder.path().join("tokenizer_config.json"), "{}").unwrap();
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    let problem = serde_json::from_str(r#"{"id": "p", "question": "q", "solution": "s"}"#).unwrap();
    let text = error(PromptFormat::thought().teacher_prompt(&tokenizer, &problem));
    assert!(text.contains("no chat template"), "{text}");
}

#[test]
fn a_saved_folder_opens_again() {
    let small = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokenizers/small");
    let tokenizer = Tokenizer::from_folder(small).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save_folder(folder.path().join("saved")).unwrap();
    let again = Tokenizer::from_folder(folder.path().join("saved")).unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    assert_eq!(again.eos(), tokenizer.token_id("<|im_end|>"));
    let messages = [Message::user("hi")];
    assert_eq!(
        again
            .chat_template()
            .unwrap()
            .render(&messages, true)
            .unwrap(),
        tokenizer
            .chat_template()
            .unwrap()
            .render(&messages, true)
            .unwrap(),
    );
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokenizers/qwenlike");
    assert_ne!(
        Tokenizer::from_folder(other).unwrap().fingerprint(),
        tokenizer.fingerprint()
    );
}

#[test]
fn what_no_format_can_express() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("format.toml");
    std::fs::write(&path, "colour = 1").unwrap();
    let text = error(PromptFormat::from_toml_file(&path));
    assert!(
        text.contains("format.toml") && text.contains("colour"),
        "{text}"
    );

    let small = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokenizers/small");
    let tokenizer = Tokenizer::from_folder(small).unwrap();
    let format = PromptFormat::thought();
    let problem = |solution: &str| {
        let row = serde_json::json!({"id": "p7", "question": "q", "solution": solution});
        serde_json::from_value(row).unwrap()
    };
    let text = error(format.teacher_prompt(&tokenizer, &problem(" ")));
    assert!(
        text.contains("p7") && text.contains("solution is empty"),
        "{text}"
    );
    let text = error(format.teacher_example(&tokenizer, &problem("s"), " "));
    assert!(
        text.contains("p7") && text.contains("explanation is empty"),
        "{text}"
    );
    let text = error(format.student_example(&tokenizer, &problem("s"), "a<|end_of_thought|>b"));
    assert!(text.contains("its own end tag"), "{text}");

    let mut ambiguous = PromptFormat::thought();
    ambiguous.teacher.explanation.end.clear();
    let text = error(ambiguous.teacher_prompt(&tokenizer, &problem("s")));
    assert!(text.contains("teacher.explanation.end is empty"), "{text}");

    let missing = folder.path().join("none.jsonl");
    assert!(error(read_problems(&missing)).contains("none.jsonl"));
    std::fs::write(
        &missing,
        "{\"question\": \"q\", \"solution\": \"s\"}\n{\"question\":",
    )
    .unwrap();
    assert!(error(read_problems(&missing)).contains("none.jsonl:2: "));
}
