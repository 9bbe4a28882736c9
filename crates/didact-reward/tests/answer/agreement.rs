//! The kept corpus: agreement with math-verify 0.9.0, and who is right where we disagree.
//!
//! `corpus.py` beside this file writes the corpus; the report stands in `docs/src/answers.md`, between two marks, and
//! `UPDATE_ANSWERS=1 cargo test -p didact-reward --test answer` writes it there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use didact_reward::answer::{countdown, extract_answer, verify};
use serde::Deserialize;

const CORPUS: &str = include_str!("corpus.jsonl");
const BEGIN: &str =
    "<!-- begin: written by UPDATE_ANSWERS=1 cargo test -p didact-reward --test answer -->";
const END: &str = "<!-- end -->";

#[derive(Deserialize)]
struct Pair {
    kind: String,
    expected: String,
    found: String,
    /// Whether the answer is right, by construction.
    truth: bool,
    /// What math-verify says.
    peer: bool,
    /// The numbers of a countdown puzzle.
    numbers: Option<Vec<u64>>,
}

impl Pair {
    fn ours(&self) -> bool {
        match &self.numbers {
            None => verify(&self.expected, &self.found).equal,
            Some(numbers) => {
                let target = self.expected.parse().unwrap();
                let answer = extract_answer(&self.found)
                    .map_or_else(|| self.found.clone(), |extracted| extracted.text);
                countdown::check(&answer, numbers, target).is_ok()
            }
        }
    }
}

#[derive(Default)]
struct Count {
    pairs: usize,
    wrong_answers: usize,
    agreed: usize,
    ours_right: usize,
    peer_right: usize,
}

impl Count {
    fn row(&self, name: &str) -> String {
        let share = |part: usize| 100.0 * part as f64 / self.pairs as f64;
        format!(
            "| {name} | {} | {} | {} ({:.1} %) | {:.1} % | {:.1} % |\n",
            self.pairs,
            self.wrong_answers,
            self.agreed,
            share(self.agreed),
            share(self.ours_right),
            share(self.peer_right),
        )
    }
}

#[test]
fn agrees_with_math_verify() {
    let mut kinds: BTreeMap<String, Count> = BTreeMap::new();
    let mut all = Count::default();
    let mut disagreements = String::new();
    let mut false_correct = Vec::new();
    for line in CORPUS.lines() {
        let pair: Pair = serde_json::from_str(line).unwrap();
        let ours = pair.ours();
        for count in [kinds.entry(pair.kind.clone()).or_default(), &mut all] {
            count.pairs += 1;
            count.wrong_answers += usize::from(!pair.truth);
            count.agreed += usize::from(ours == pair.peer);
            count.ours_right += usize::from(ours == pair.truth);
            count.peer_right += usize::from(pair.peer == pair.truth);
        }
        if ours != pair.peer {
            let say = |equal| if equal { "equal" } else { "not equal" };
            let right = if ours == pair.truth {
                "Didact"
            } else {
                "math-verify"
            };
            let code = |text: &str| format!("`{}`", text.replace('\n', "␤").replace('|', "\\|"));
            let numbers = pair
                .numbers
                .as_ref()
                .map_or(String::new(), |n| format!(" from {n:?}"));
            writeln!(
                disagreements,
                "| {} | {} | {}{numbers} | {} | {} | {right} |",
                pair.kind,
                code(&pair.expected),
                code(&pair.found),
                say(ours),
                say(pair.peer),
            )
            .unwrap();
        }
        if ours && !pair.truth {
            false_correct.push(format!("{} ~ {}", pair.expected, pair.found));
        }
    }
    let mut report = String::from(
        "| kind | pairs | of them wrong | both agree | Didact is right | math-verify is right |\n|---|---|---|---|---|---|\n",
    );
    for (kind, count) in &kinds {
        report.push_str(&count.row(kind));
    }
    report.push_str(&all.row("**all**"));
    report.push_str("\n### Disagreements\n\n| kind | expected | found | Didact | math-verify | right |\n|---|---|---|---|---|---|\n");
    report.push_str(&disagreements);
    println!("{report}");

    assert!(all.pairs >= 600, "{} pairs", all.pairs);
    for (kind, count) in &kinds {
        assert!(count.pairs >= 40, "{} pairs of {kind}", count.pairs);
        assert!(
            3 * count.wrong_answers >= count.pairs,
            "{} of {} pairs of {kind} are wrong",
            count.wrong_answers,
            count.pairs
        );
    }
    assert!(
        false_correct.is_empty(),
        "false correct: {false_correct:#?}"
    );
    assert!(
        100 * all.agreed >= 97 * all.pairs,
        "{} of {} agree",
        all.agreed,
        all.pairs
    );
    check_report(&report);
}

/// The report in the guide is this one. Outside the repository there is no guide.
fn check_report(report: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/answers.md");
    let Ok(page) = std::fs::read_to_string(&path) else {
        return;
    };
    let (head, rest) = page.split_once(BEGIN).expect("the page has the first mark");
    let (_, tail) = rest.split_once(END).expect("the page has the second mark");
    let written = format!("{head}{BEGIN}\n\n{report}\n{END}{tail}");
    if std::env::var_os("UPDATE_ANSWERS").is_some() {
        std::fs::write(&path, written).unwrap();
        return;
    }
    assert!(
        page == written,
        "docs/src/answers.md is out of date: UPDATE_ANSWERS=1 cargo test -p didact-reward --test answer"
    );
}
