//! Countdown puzzles.

use didact_reward::answer::countdown::{Wrong, check};

#[test]
fn right_expressions() {
    for (expression, numbers, target) in [
        ("25*4", &[25_u64, 4, 3][..], 100),
        ("(6 / (1 - 3/4))", &[1, 3, 4, 6], 24),
        ("8 − 2 × 3", &[2, 3, 8], 2),
        (r"\left(3+5\right) \times 2", &[2, 3, 5], 16),
        ("3 - 5", &[3, 5], -2),
        ("(3 + 5) * 2 = 16", &[2, 3, 5], 16),
        ("-(3 - 5)", &[3, 5], 2),
        ("3 + 3", &[3, 3], 6),
        ("7", &[7], 7),
        (r"\frac{27}{9} + 3", &[3, 9, 27], 6),
        (r"2 \times \dfrac{3 + 5}{4}", &[2, 3, 4, 5], 4),
    ] {
        assert_eq!(check(expression, numbers, target), Ok(()), "{expression}");
    }
}

#[test]
fn wrong_expressions() {
    let not_given = |number: &str| Wrong::NotGiven {
        number: number.to_owned(),
    };
    for (expression, wrong) in [
        ("3 + 3", not_given("3")),
        ("3 + 4", not_given("4")),
        ("35", not_given("35")),
        ("3 / (5 - 5)", not_given("5")),
        ("3 / (2 - 2 * 1)", not_given("2")),
        ("2 / (5 - 3 - 2)", not_given("2")),
        ("3 * 5 +", Wrong::Syntax { at: 7 }),
        ("3(5)", Wrong::Syntax { at: 1 }),
        ("3 ** 5", Wrong::Syntax { at: 3 }),
        ("3 ^ 5", Wrong::Syntax { at: 2 }),
        ("(3 + 5", Wrong::Syntax { at: 6 }),
        ("x", Wrong::Syntax { at: 0 }),
        ("", Wrong::Syntax { at: 0 }),
        ("print(8)", Wrong::Syntax { at: 0 }),
        (r"\frac{3}{5", Wrong::Syntax { at: 10 }),
        (r"\frac35", Wrong::Syntax { at: 5 }),
        (r"\frac{3}{5-5}", not_given("5")),
    ] {
        assert_eq!(check(expression, &[2, 3, 5], 8), Err(wrong), "{expression}");
    }
    assert_eq!(
        check("1 / (2 - 2)", &[1, 2, 2], 1),
        Err(Wrong::DivisionByZero)
    );
    let Err(Wrong::OtherResult { result }) = check("1 / 3", &[1, 3], 0) else {
        panic!("a third is not 0");
    };
    assert_eq!(result.to_string(), "1/3");
    assert!(matches!(
        check("2 + 3 = 6", &[2, 3], 5),
        Err(Wrong::OtherResult { .. })
    ));
    assert!(matches!(
        check("2 + 3 = 5", &[2, 3], 6),
        Err(Wrong::OtherResult { .. })
    ));
}
