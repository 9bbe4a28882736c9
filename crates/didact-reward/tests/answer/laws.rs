//! Laws that hold for every answer.

use didact_reward::answer::{Answer, Limits, Why, extract_answer, read_answer, verify};
use proptest::prelude::*;

/// An expression as a model may write it.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0_i64..2_000).prop_map(|n| n.to_string()),
        (1_i64..50, 1_i64..50).prop_map(|(a, b)| format!(r"\frac{{{a}}}{{{b}}}")),
        (0_u32..9_999).prop_map(|n| format!("{}.{:02}", n / 100, n % 100)),
        prop::sample::select(vec![
            "x",
            "y",
            "n",
            r"\pi",
            "e",
            r"\alpha",
            r"\sqrt{2}",
            "x_1"
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} + {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) - ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r"({a}) \cdot ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r"\frac{{{a}}}{{{b}}}")),
            (inner.clone(), 1_u32..4).prop_map(|(a, n)| format!("({a})^{{{n}}}")),
            inner.clone().prop_map(|a| format!(r"\sqrt{{{a}}}")),
            inner.prop_map(|a| format!(r"\sin({a})")),
        ]
    })
}

fn answer() -> impl Strategy<Value = String> {
    let many = || prop::collection::vec(expression(), 2..4);
    prop_oneof![
        4 => expression(),
        1 => many().prop_map(|items| format!(r"\{{{}\}}", items.join(", "))),
        1 => many().prop_map(|items| format!("({})", items.join(", "))),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("[{a}, {b})")),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("{a} = {b}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_equals_itself(text in answer()) {
        prop_assert!(verify(&text, &text).equal);
    }

    /// Not by its letters: space keeps the texts apart.
    #[test]
    fn an_answer_equals_its_reading(text in expression()) {
        let spaced = format!(r"\left( {} \right)", text.replace(' ', "  "));
        let verdict = verify(&text, &spaced);
        let undecided = matches!(verdict.why, Why::Undecided(_));
        prop_assert!(verdict.equal || undecided, "{} {:?}", text, verdict);
    }

    #[test]
    fn values_compare_alike_both_ways(left in expression(), right in expression()) {
        prop_assert_eq!(verify(&left, &right).equal, verify(&right, &left).equal);
    }

    #[test]
    fn marks_and_wrappers_change_nothing(left in answer(), right in answer()) {
        let bare = verify(&left, &right).equal;
        for found in [
            format!(r"\boxed{{{right}}}"),
            format!("$ {right} $"),
            format!(r"So \[ \boxed{{ {right} }} \] is the answer."),
            format!("The final answer is ${right}$."),
        ] {
            let marked = verify(&left, &found).equal;
            prop_assert!(marked == bare, "{} ~ {}", left, found);
        }
    }

    /// A value and the same value plus one are never equal.
    #[test]
    fn one_more_is_not_the_same(text in expression()) {
        for more in ["1", "1/1000"] {
            let other = format!("({text}) + {more}");
            prop_assert!(!verify(&text, &other).equal, "{} ~ {}", text, other);
        }
    }

    #[test]
    fn numbers_in_all_their_forms(numerator in -5_000_i64..5_000, places in 0_u32..4) {
        let scale = 10_i64.pow(places);
        let decimal = format!("{:.*}", places as usize, numerator as f64 / scale as f64);
        let fraction = format!(r"\frac{{{numerator}}}{{{scale}}}");
        prop_assert!(verify(&decimal, &fraction).equal);
        prop_assert!(verify(&fraction, &decimal).equal);
        let more = format!(r"\frac{{{}}}{{{scale}}}", numerator + 1);
        prop_assert!(!verify(&decimal, &more).equal);
    }

    #[test]
    fn nothing_panics(left in ".{0,60}", right in r"[\\{}()\[\]|^_$%,;.0-9a-zA-Z+*/=<> -]{0,80}") {
        let _ = verify(&left, &right);
        let _ = verify(&right, &left);
        let _ = extract_answer(&right);
        let _ = read_answer(&right, &Limits::default());
    }

    #[test]
    fn commands_do_not_panic(parts in prop::collection::vec(prop::sample::select(vec![
        r"\frac", r"\sqrt", "{", "}", r"\{", r"\}", "(", ")", "[", "]", r"\left", r"\right", "1", "2,3", "x", "^",
        "_", r"\cup", r"\setminus", r"\infty", "-", "+", ",", r"\pm", r"\text{", "cm", "%", "|", r"\log", r"\sin", "!", "=",
        r"\le", r"\boxed{", "$", ".", r"\overline{", "e", "1e9", r"\mathbb{R}", r"\begin{pmatrix}", "&", r"\\",
        r"\end{pmatrix}", "²", "½", "√", "'", " ",
    ]), 0..24)) {
        let text = parts.concat();
        prop_assert!(text.trim().is_empty() || verify(&text, "17").why != Why::SameText);
        let _ = verify("17", &text);
        let _ = verify(r"x^2 + 1", &format!(r"\boxed{{{text}}}"));
    }
}

#[test]
fn the_kinds_of_answers_are_told_apart() {
    let read = |text| read_answer(text, &Limits::default()).unwrap();
    assert!(matches!(
        read("(1, 2)"),
        Answer::Tuple {
            open: true,
            close: true,
            ..
        }
    ));
    assert!(matches!(read(r"\{1, 2\}"), Answer::Set(_)));
    assert!(matches!(read("1, 2"), Answer::List(_)));
    assert!(matches!(read("1,200"), Answer::Value(_)));
    assert!(matches!(
        read(r"(-\infty, 1) \cup (2, 3]"),
        Answer::Union(_)
    ));
    assert!(matches!(read("x = 5"), Answer::Relation { .. }));
    assert!(matches!(
        read(r"\text{(B)}"),
        Answer::Choice { letter: 'B', .. }
    ));
    assert!(matches!(read(r"\text{Tuesday}"), Answer::Text(_)));
    let Answer::Value(value) = read(r"1\frac{1}{2}\%") else {
        panic!("a percentage is a value");
    };
    assert_eq!(value.as_rational().unwrap().to_string(), "3/200");
}

#[test]
fn a_bound_of_ones_own_is_kept() {
    use didact_reward::answer::{Undecided, verify_within};
    let short = Limits {
        length: 4,
        ..Limits::default()
    };
    let verdict = verify_within("1 + 1 + 1", "3", &short);
    assert_eq!(verdict.why, Why::Undecided(Undecided::TooLong));
    assert!(!verdict.equal);
    assert!(verify_within("3", "3.0", &short).equal);
}
