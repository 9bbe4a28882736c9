//! Single rules of comparison, on pairs beside the corpus.

use didact_reward::answer::verify;

fn check(right: &[(&str, &str)], wrong: &[(&str, &str)]) {
    for (expected, found) in right {
        assert!(verify(expected, found).equal, "{expected} ~ {found}");
    }
    for (expected, found) in wrong {
        assert!(!verify(expected, found).equal, "{expected} ~ {found}");
    }
}

#[test]
fn a_branch_is_no_identity() {
    check(
        &[
            ("|x-5|", r"\boxed{|5-x|}"),
            ("|x-100|", r"\boxed{\sqrt{(100-x)^2}}"),
            (r"\ln(x^2)", r"\boxed{2\ln|x|}"),
            (r"\sqrt{x^2y^4}", r"\boxed{|x|y^2}"),
            (r"\sqrt{e^{2x}}", r"\boxed{e^x}"),
        ],
        &[
            ("|x-5|", r"\boxed{5-x}"),
            ("100-x", r"\boxed{|x-100|}"),
            ("|x+100|", r"\boxed{x+100}"),
            ("10-x", r"\boxed{\sqrt{x^2-20x+100}}"),
            (r"|x-100y^2|", r"\boxed{100y^2-x}"),
            (r"\ln((x-100)^2)", r"\boxed{2\ln(100-x)}"),
            ("x", r"\boxed{x+\lfloor\frac{1}{2}+10^{-9}x^2\rfloor}"),
            (r"\sqrt{x+50}", r"\boxed{\sqrt{|x+50|}}"),
        ],
    );
}

#[test]
fn several_inequalities() {
    check(
        &[
            (r"x>1 \text{ and } x<3", r"\boxed{(1,3)}"),
            ("x>1, x<3", r"\boxed{(1,3)}"),
            (r"x<1 \text{ or } x>3", r"\boxed{(-\infty,1)\cup(3,\infty)}"),
            ("x<1, x>3", r"\boxed{(-\infty,1)\cup(3,\infty)}"),
            (r"x \ne 2, x \ne 3", r"\boxed{\mathbb{R}\setminus\{2,3\}}"),
            (
                r"x \ne \pm 2",
                r"\boxed{(-\infty,-2)\cup(-2,2)\cup(2,\infty)}",
            ),
            (r"x \ge 0, x \ne 4", r"\boxed{[0,4)\cup(4,\infty)}"),
        ],
        &[
            (r"x>1 \text{ and } x<3", r"\boxed{(-\infty,\infty)}"),
            (r"x>1 \text{ and } x<3", r"\boxed{[1,3]}"),
            ("x>1, y<3", r"\boxed{(-\infty,\infty)}"),
            ("x>1, y<3", r"\boxed{(1,3)}"),
            (r"x \ne 2, x \ne 3", r"\boxed{(-\infty,\infty)}"),
            (r"x \ne \pm 2", r"\boxed{(-\infty,\infty)}"),
            (r"x \ne \pm 2", r"\boxed{\mathbb{R}}"),
        ],
    );
}

#[test]
fn points_and_lists() {
    check(
        &[
            (r"(0,1)\cap(2,3)", r"\boxed{\emptyset}"),
            ("1,2,2", r"\boxed{(2,1,2)}"),
            (r"\pm 5", r"\boxed{-5, 5}"),
            (r"\frac{7}{2}", "The answer is 3.5 or 7/2."),
            ("2", r"\boxed{2, 2}"),
            ("0.5", "The answer is 0.5 or 50%."),
        ],
        &[
            (r"(0,1)\cap(2,3)", r"\boxed{(2,1)}"),
            (r"[0,1]\cap[2,3]", r"\boxed{(0,0)}"),
            ("(5,1)", r"\boxed{(0,1)\cap(2,3)}"),
            ("1,2,2", r"\boxed{(2,1,1)}"),
            ("1,2,2", r"\boxed{(2,1)}"),
            ("(5,-5)", r"\boxed{\pm 5}"),
            ("2", r"\boxed{2, 3}"),
            ("2", r"\boxed{2, x}"),
            ("1", r"\boxed{1 or 1==1}"),
        ],
    );
}

#[test]
fn choices_with_their_text() {
    check(
        &[
            ("(C) 12", r"\boxed{C}"),
            ("(C) 12", r"\boxed{\textbf{(C)}\ 12}"),
            ("(C) 0.5", r"\boxed{(C) \frac{1}{2}}"),
            ("(C) Paris", r"\boxed{(C) Paris, France}"),
        ],
        &[("(C) 12", r"\boxed{(C) 13}"), ("(C) 12", r"\boxed{(D) 12}")],
    );
}

#[test]
fn two_options_are_none() {
    for found in [
        r"\boxed{(A) \text{ or } (B)}",
        r"\boxed{(A) \text{ and } (B)}",
        r"\boxed{(A) (B)}",
        r"\boxed{(A)\ (B)}",
        r"\boxed{A) B)}",
        r"\boxed{A. B.}",
        r"\boxed{A. B}",
        r"\boxed{(A) \& (B)}",
        r"\boxed{(A) \vee (B)}",
        r"\boxed{(A) \text{ is false}}",
        r"\boxed{\text{(A) and (B)}}",
        "Answer: (A) is wrong, (B) is right.",
        "The answer cannot be A.",
        "The answer is not A.",
        "The answer isn't (A).",
    ] {
        assert!(!verify("A", found).equal, "{found}");
    }
}

#[test]
fn options_with_their_reasons() {
    check(
        &[
            ("B", "The answer is B because C fails."),
            ("B", "The answer is B, since C fails."),
            ("B", "The answer is B - Paris."),
            ("B", "The correct option is (B)."),
            ("B", "The correct choice is B."),
            ("B", "The best choice is (B), not (C)."),
        ],
        &[
            ("C", "The answer is B because C fails."),
            ("B", "The correct option is not (B)."),
            ("A", r"\boxed{A - B}"),
        ],
    );
}

#[test]
fn words_keep_what_their_braces_group() {
    check(
        &[
            (r"\max\{\frac{1}{12},3\}", r"\boxed{\max\{\frac1{12}, 3\}}"),
            (r"\text{no solution}", r"\boxed{\text{No }\text{solution}}"),
        ],
        &[
            (r"\max\{\frac{1}{12},3\}", r"\boxed{\max\{\frac{11}{2},3\}}"),
            (r"\max\{\frac1{12},3\}", r"\boxed{\max\{\frac{11}2,3\}}"),
        ],
    );
}

#[test]
fn words_that_change_a_number() {
    for found in [
        "cannot be 5",
        "can't be 5",
        "would not be 5",
        "should not be 5",
        "could never be 5",
        "isn't 5",
        "is not $5$",
        "is certainly not 5",
        "is less than $5$",
        "is minus 5",
        "is negative 5",
        "is minus $5$",
        "is −5 dollars",
        "is the square root of 5",
        "is the square root of $5$",
        "is the reciprocal of 5",
        "is twice 5",
        "is half of 5",
        "is 5 squared",
        "is $5$ squared",
        "is 5 plus 3",
        "is 5 times 3",
        "is $5$ times $3$",
        "is 5 divided by 2",
        "is 5 over 8",
        "is 5 out of 8",
        "is 5 to the power of 3",
        "is 5 less than 20",
        "is 5 hours 20 minutes",
        "is $5$ feet and $3$ inches",
        "is 5, 6 and something else",
        "is 5 and a half",
        "is any number but 5",
        "is 5 percent of 40",
        "is 5 or perhaps six",
        "is 5x because x is free",
        "was 5 at first, but it turned out to be 6",
        "is 5, which is wrong",
        "is 5 minus 2, which is 3",
        "is 5, so that in total we have 8",
        "is 5? No",
    ] {
        let found = format!("The answer {found}.");
        assert!(!verify("5", &found).equal, "{found}");
    }
    check(
        &[
            ("-5", "The answer is negative 5."),
            ("-5", "The answer is minus 5 degrees"),
            ("5", "The answer is 5, not 6."),
            ("5", "The answer is not 6 but 5."),
            ("5", "The answer is 5, since 2 + 3 = 5."),
            ("5", "The answer is 5 because 8 - 3 is 5."),
            ("5", "The answer is 5 dollars for 3 days."),
            ("5", "The answer is $5$, so she has $5$ apples."),
            ("5", "The answer is **5** apples."),
            (
                "5",
                "The answer is approximately 5 to the nearest whole number.",
            ),
            ("5", "The answer is that Tom has 5 apples (2 + 3)."),
            ("5", "The answer is 5 more apples."),
            ("5", "The answer is given by $5$."),
            ("5", "The answer is 5</answer>"),
        ],
        &[
            ("20", "The answer is 20 minus 5, which is 15."),
            ("12", "The answer is not $12$."),
            ("5", "It is not $5$."),
            ("5", "The answer is 5. No, the answer is not 5."),
            ("113", "Final answer: $m-n=113$, so $m+n=131$"),
            ("600", "Final answer: $m-n=600$, so $m+n=60$"),
            ("5", r"The answer is $5\text{ (mod }7)$."),
        ],
    );
}

#[test]
fn values_of_functions() {
    check(
        &[
            (r"f^{-1}(x) = \frac{x-1}{2}", r"\boxed{\frac{x}{2}-\frac12}"),
            ("f(2) = 7", r"\boxed{7}"),
        ],
        &[
            (r"f^{-1}(x) = \frac{x-1}{2}", r"\boxed{\frac{x+1}{2}}"),
            ("f(2) = 7", r"\boxed{f(3) = 7}"),
            ("2x = 14", r"\boxed{14}"),
            ("x(x+1) = 6", r"\boxed{6}"),
        ],
    );
}

#[test]
fn spellings_of_units() {
    check(
        &[
            (r"\$20", r"\boxed{20 USD}"),
            (r"\$20", r"\boxed{USD 20}"),
            (r"50 \text{ cents}", r"\boxed{50\text{¢}}"),
            (r"50 \text{ cents}", "The answer is 50¢."),
            (r"3 \text{ m/s}", r"\boxed{3\,\mathrm{m\,s^{-1}}}"),
            (r"9.8 \text{ m/s}^2", r"\boxed{9.8 \text{ m s}^{-2}}"),
            (r"9.8 \text{ m/s}^2", r"\boxed{9.8 \text{ m/s^2}}"),
        ],
        &[
            (r"\$20", r"\boxed{20 EUR}"),
            (r"\$50", r"\boxed{50\text{¢}}"),
            (r"3 \text{ m/s}", r"\boxed{3\,\mathrm{m\,s^{-2}}}"),
        ],
    );
}

#[test]
fn several_boxes() {
    check(
        &[
            ("-1, 4", r"So $x=\boxed{-1}$ or $x=\boxed{4}$."),
            ("(3,4)", r"$x = \boxed{3}$, $y = \boxed{4}$"),
            ("(3,4)", r"$y = \boxed{4}$ and $x = \boxed{3}$"),
            ("(5,5)", r"$x_1 = \boxed{5}$, $x_2 = \boxed{5}$"),
            ("7", r"$x = \boxed{7}$, $\boxed{7}$"),
            ("4", r"$\boxed{3}$, so that $x = \boxed{4}$"),
        ],
        &[
            ("(4,3)", r"$y = \boxed{4}$ and $x = \boxed{3}$"),
            ("4", r"$x = \boxed{3}$, $y = \boxed{4}$"),
            ("3, 4", r"$\boxed{3}$, $2x = \boxed{4}$"),
        ],
    );
}

#[test]
fn numbers_among_words() {
    check(
        &[
            ("5", "So x is 5"),
            ("5", "I get 5."),
            ("5", "Ans: 5"),
            ("5", "Let n be 5"),
            ("3.5", "so 3.5 hours"),
            ("7", "The answer is about 7."),
            ("7", "The answer is 7 apples or so."),
        ],
        &[
            ("7", "The answer is either 7 or 8."),
            ("8", "The answer is either 7 or 8."),
            ("7", "The answer is between 7 and 8."),
            ("7", "The answer is 7, or maybe 8."),
            ("7", "The answer is about 7 to 8 metres."),
            ("7", "The answer is more than 7."),
            ("7", "The answer is at least 7."),
            ("5", r"\boxed{x is 5}"),
        ],
    );
    // A product stays one where the letters are no word of a sentence.
    assert!(verify("sit", r"\boxed{s \cdot i \cdot t}").equal);
    assert!(verify("5so", r"\boxed{5os}").equal);
}
