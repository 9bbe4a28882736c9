//! Input that is meant to hang or crash a verifier.

use std::time::{Duration, Instant};

use didact_reward::answer::{countdown, verify};

/// What one comparison may take; unoptimised code is given more.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 200 });

/// A power of a sum in which `function` stands around the same again.
fn nested(function: &str, times: usize) -> String {
    let mut text = String::from("x");
    for _ in 0..times {
        text = format!("(x+y+z+{})^{{5}}", function.replace('%', &text));
    }
    text
}

fn texts() -> Vec<String> {
    let repeat = |text: &str, n: usize| text.repeat(n);
    vec![
        "9^9^9^9".into(),
        "9^{9^{9^{9}}}".into(),
        "2^{1000000000}".into(),
        "(1+10^{-9})^{10^{9}}".into(),
        "1e999999999".into(),
        "1e-999999999".into(),
        "10^{10^{10}}".into(),
        "1000000!".into(),
        "100!!!".into(),
        r"\binom{1000000}{500000}".into(),
        repeat("9", 2_000),
        repeat("9", 1_000_000),
        format!("{}/{}", repeat("7", 900), repeat("3", 900)),
        repeat("(", 1_000) + "1" + &repeat(")", 1_000),
        repeat("(", 100_000),
        repeat("{", 100_000),
        repeat(r"\{", 1_000),
        repeat(r"\frac{1}{", 500) + "2" + &repeat("}", 500),
        repeat(r"\sqrt{", 300) + "2" + &repeat("}", 300),
        repeat("-", 2_000) + "1",
        repeat("1/", 1_000) + "1",
        repeat("1+", 1_000) + "1",
        repeat("2*", 1_000) + "2",
        repeat("x", 2_000),
        repeat("1,", 1_000),
        repeat(r"\pm 1, ", 200),
        format!("({}z)^{{30}}", "a+b+c+d+e+f+g+h+".to_owned()),
        "(a+b+c+d+f+g)^{9}(a-b+c-d+f-g)^{9}".into(),
        "(x+1)^{10000}".into(),
        "(x+y)^{100}-(x+y)^{100}+1".into(),
        r"\sin(\sin(\sin(\sin(\sin(\sin(x))))))".into(),
        r"e^{e^{e^{e^{e}}}}".into(),
        r"\sqrt[64]{\sqrt[64]{\sqrt[64]{2+x}}}".into(),
        r"\sqrt{99999999999999999999999999999999999999977}".into(),
        r"\ln(99999999999999999999999999999999999999999999999999999999999977)".into(),
        repeat(r"\cup (1,2) ", 400),
        repeat(r"\setminus \{1\} ", 400),
        format!(
            r"\{{{}\}}",
            (0..400)
                .map(|n| n.to_string())
                .collect::<Vec<_>>()
                .join(",")
        ),
        format!(
            r"\{{{}\}}",
            (0..200)
                .map(|n| format!(r"\sqrt{{x+{n}}}"))
                .collect::<Vec<_>>()
                .join(",")
        ),
        format!(
            r"{}",
            (0..60)
                .map(|n| format!("({n},{})", n + 1))
                .collect::<Vec<_>>()
                .join(r"\cup")
        ),
        // Functions of sums of functions of sums: few terms, each with much inside.
        nested("|%|", 4),
        nested(r"\sin(%)", 4),
        nested(r"\sqrt{%}", 4),
        nested(r"\lfloor % \rfloor", 4),
        nested(r"\arctan(%)", 4),
        nested("2^{%}", 4),
        nested("y^{%}", 4),
        nested(r"\frac{1}{%}", 4),
        nested("|%|", 6),
        format!("{0}+2{0}+3{0}+4{0}", nested("|%|", 3)),
        format!(r"\frac{{1}}{{{0}+1}}+\frac{{1}}{{{0}+1}}", nested("|%|", 3)),
        format!("2^{{6^{{{0}}}}}+30030^{{{0}}}", nested("|%|", 3)),
        repeat(r"\boxed{", 20_000),
        repeat(r"\boxed{1}", 20_000),
        repeat("$1$ ", 50_000),
        repeat("answer is ", 50_000),
        repeat("the answer ", 50_000),
        format!("The answer is {}", repeat(r"\(", 250_000)),
        format!("The answer is {}", repeat(r"\[", 250_000)),
        format!("The answer is ${}", repeat(r"\$", 250_000)),
        format!("The answer is $a${}1", repeat(r"\$", 250_000)),
        format!("The answer is {}", repeat("$$ ", 150_000)),
        format!(r"The answer is \(a{}", repeat(r"$\) \(", 80_000)),
        format!(r"\boxed{{5}} the answer is {}", repeat(r"\(", 250_000)),
        format!("The final answer is:\n{}", repeat(r"\(", 250_000)),
        repeat(r"\(", 250_000),
        repeat("answer: the answer is ", 50_000),
        repeat("=1", 10_000),
        repeat("(1", 10_000),
        format!("The answer is {}", repeat("not 1 ", 100_000)),
        format!("The answer is {}", repeat("n't=1", 100_000)),
        format!("The answer is 1 apple {}", repeat("or so ", 100_000)),
        repeat("correct option is best choice is ", 20_000),
        repeat(r"\text{", 2_000),
        repeat("1 ", 1_000),
        repeat("!", 2_000),
        "5".to_owned() + &repeat("!", 1_000),
        "x".to_owned() + &repeat("'", 1_000),
        "x".to_owned() + &repeat("_1", 500),
        repeat("|", 1_001),
        r"5 \text{m}".to_owned() + &repeat("^{99}", 20),
        format!(r"5 \text{{m{}}}", repeat(" ^99", 20)),
        repeat(r"\begin{pmatrix}", 200),
        "\u{0}\u{202e}\u{fffd}𝟙𝟚".into(),
        r"\input{/etc/passwd}".into(),
        r"__import__('os').system('true')".into(),
    ]
}

#[test]
fn hostile_answers_end_soon() {
    let others = [
        "17",
        r"x^2 + \sqrt{2}",
        r"\{1, 2\}",
        r"(-\infty, 1) \cup (2, 3)",
    ];
    let mut slowest = (Duration::ZERO, String::new());
    for text in texts() {
        let variant = text.replacen('1', "01", 1);
        for other in others.into_iter().chain([variant.as_str()]) {
            for (expected, found) in [(text.as_str(), other), (other, text.as_str())] {
                let once = || {
                    let start = Instant::now();
                    let _ = verify(expected, found);
                    start.elapsed()
                };
                let mut time = once();
                // Another process may have had the processor meanwhile.
                for _ in 0..3 {
                    if time >= LIMIT {
                        time = time.min(once());
                    }
                }
                if time > slowest.0 {
                    slowest = (time, format!("{expected:.60} ~ {found:.60}"));
                }
            }
        }
    }
    println!("slowest: {:?} for {}", slowest.0, slowest.1);
    assert!(slowest.0 < LIMIT, "{:?} for {}", slowest.0, slowest.1);
}

#[test]
fn no_hostile_answer_is_taken_for_another() {
    for text in texts() {
        for other in ["17", "1/3", "x+1"] {
            assert!(!verify(other, &text).equal, "{other} ~ {text:.60}");
        }
    }
    assert!(!verify("9^{9^9}", "9^{9^9}+1").equal);
    assert!(!verify("10^{20}", "10^{20}+1").equal);
    assert!(!verify(r"e^{\pi\sqrt{163}}", "262537412640768744").equal);
    assert!(!verify(r"\frac{1}{0}", r"\frac{2}{0}").equal);
    assert!(!verify(r"10^{-80}\pi", "0").equal);
    assert!(!verify(r"10^{-80}\pi", r"10^{-80}e").equal);
    assert!(!verify(r"\infty - \infty", "0").equal);
    assert!(!verify("0^0", "1").equal);
}

#[test]
fn countdown_is_bounded() {
    let start = Instant::now();
    assert!(countdown::check(&"(".repeat(100_000), &[1], 1).is_err());
    assert!(countdown::check(&"9".repeat(100_000), &[9], 1).is_err());
    assert!(countdown::check(&"-".repeat(400), &[9], 1).is_err());
    assert!(start.elapsed() < LIMIT);
}
