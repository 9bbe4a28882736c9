//! Where the answer of a text is found.

use didact_reward::answer::{How, extract_answer, verify};

#[test]
fn the_answer_of_a_text() {
    let cases: &[(&str, &str, How)] = &[
        (r"\boxed{1} then \boxed{2}", "2", How::Boxed),
        (r"\boxed{1}, \boxed{2}", "1, 2", How::Boxed),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2", How::Boxed),
        (
            r"\boxed{\frac{1}{\sqrt{2}}}",
            r"\frac{1}{\sqrt{2}}",
            How::Boxed,
        ),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}", How::Boxed),
        (r"\boxed{\text{a {b} c}}", r"\text{a {b} c}", How::Boxed),
        (r"\fbox{7}", "7", How::Boxed),
        (r"\boxed {7}", "7", How::Boxed),
        (r"\boxed 7 is it", "7", How::Boxed),
        (r"\boxed{7} and \boxed{8", "7", How::Boxed),
        (r"\boxed{6}. The answer is 7.", "6", How::Boxed),
        (r"\boxed{6}. The final answer is 7.", "7", How::FinalAnswer),
        (
            "The answer is 6. Wrong: the answer is 7.",
            "7",
            How::AnswerIs,
        ),
        ("The answer is: 7", "7", How::AnswerIs),
        ("ANSWER: 7", "7", How::AnswerIs),
        ("**Answer:** 7", "7", How::AnswerIs),
        ("### Answer:\n7", "7", How::AnswerIs),
        ("The answers are 7 and 8.", "7 and 8", How::AnswerIs),
        (r"The answer is $7$, as $3 + 4 = 7$.", "7", How::AnswerIs),
        (r"The answer is \(7\).", "7", How::AnswerIs),
        ("The answer is 3.5. Good.", "3.5", How::AnswerIs),
        (
            "Final Answer: The volume of $ABCD$ is 120.",
            "120",
            How::FinalAnswer,
        ),
        ("The answer to the question is 7.", "7", How::AnswerIs),
        ("48 / 2 = 24\n#### 24", "24", How::Hashes),
        ("#### 1,200\n", "1,200", How::Hashes),
    ];
    for (text, expected, how) in cases {
        let found = extract_answer(text).unwrap_or_else(|| panic!("nothing in {text}"));
        assert_eq!(
            (found.text.as_str(), found.how),
            (*expected, *how),
            "{text}"
        );
        assert!(text.get(found.span.clone()).is_some(), "{text}");
    }
}

#[test]
fn no_mark_no_answer() {
    for text in [
        "",
        "7",
        "It is $7$.",
        "No answer.",
        "Is the answer known?",
        r"\boxed{",
        r"\boxed",
    ] {
        assert_eq!(extract_answer(text), None, "{text}");
    }
}

#[test]
fn without_a_mark_the_end_of_the_text_counts() {
    assert!(verify("7", "So we get $x = 7$.").equal);
    assert!(verify("20\\%", "Of $100$ that is 20%.").equal);
    assert!(verify("18", "She earns $18 every day.").equal);
    assert!(verify("2.74", "2,74").equal);
    assert!(!verify("2.74", r"\boxed{2,74}").equal);
    assert!(!verify("7", "I think it is not 7.").equal);
    assert!(!verify("7", "x7y").equal);
    assert!(!verify("7", "").equal);
    assert!(!verify("", "").equal);
}
