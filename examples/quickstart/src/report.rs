//! The figures at the end, as text.

use std::fmt::Write as _;

use arithmetic::grades::Grades;
use didact::distill::{CollectedExplanation, Interval, PipelineResults};
use didact::rl::Evaluation;
use serde::Serialize;

/// Explanations of a teacher on the training problems, before and after RL.
#[derive(Debug, Serialize)]
pub(crate) struct BeforeAfter<T> {
    pub(crate) before: T,
    pub(crate) after: T,
}

/// Everything worth a look.
pub(crate) fn table(
    results: &PipelineResults,
    explanations: &BeforeAfter<Vec<CollectedExplanation>>,
    grades: &BeforeAfter<Grades>,
) -> String {
    let mut text = String::new();
    teacher(&mut text, results, grades);
    students(&mut text, results);
    samples(&mut text, explanations);
    text
}

fn teacher(text: &mut String, results: &PipelineResults, grades: &BeforeAfter<Grades>) {
    let (before, after) = (&results.teacher.before, &results.teacher.after);
    let held_out = before.problems.len();
    let _ = writeln!(
        text,
        "teacher, {held_out} held-out problems        before RL      after"
    );
    for (name, word) in [
        ("eval/reward", "reward"),
        ("eval/reward/solution_log_prob", "  of the solution"),
        ("eval/reward/kl", "  of the divergence"),
        ("eval/completions/mean_length", "tokens an explanation"),
    ] {
        let figure = |at: &Evaluation| {
            at.metrics
                .get(name)
                .map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
        };
        let _ = writeln!(
            text,
            "  {word:34} {:>9} {:>10}",
            figure(before),
            figure(after)
        );
    }
    if let Some(difference) = results.teacher.reward_difference {
        let _ = writeln!(
            text,
            "  reward, after minus before           {}",
            shown(difference, 2)
        );
    }
    let _ = writeln!(text, "its explanations for the students");
    for (word, share) in [
        ("every step, all right", (|g| g.clean) as fn(&Grades) -> f64),
        ("end in the answer", |g| g.ends_right),
        ("wrong or malformed step", |g| g.wrong),
        ("several operations in one step", |g| g.skips),
        ("remarks that mean nothing", |g| g.digresses),
        ("wrong first, then put right", |g| g.corrects),
    ] {
        let percent = |grades: &Grades| format!("{:.0} %", 100.0 * share(grades));
        let (before, after) = (percent(&grades.before), percent(&grades.after));
        let _ = writeln!(text, "  {word:34} {before:>9} {after:>10}");
    }
}

fn students(text: &mut String, results: &PipelineResults) {
    let _ = writeln!(text, "\nstudents, right answers to held-out problems");
    for student in &results.students {
        let name = student.teacher.replace('_', " ");
        let accuracy = student.accuracy.map_or_else(|| "-".to_owned(), percent);
        if student.explanations == 0 {
            let _ = writeln!(text, "  {} parameters", student.parameters);
        }
        let _ = writeln!(
            text,
            "    {name:22} {accuracy}   ({} explanations)",
            student.explanations
        );
    }
}

fn samples(text: &mut String, explanations: &BeforeAfter<Vec<CollectedExplanation>>) {
    let _ = writeln!(text, "\nthe same problems explained");
    let both = explanations.before.iter().filter_map(|before| {
        let after = explanations
            .after
            .iter()
            .find(|after| after.problem.id == before.problem.id)?;
        (before.explanation != after.explanation).then_some((before, after))
    });
    for (before, after) in both.take(2) {
        let problem = &before.problem;
        let _ = writeln!(text, "  {} = {}", problem.question, problem.solution);
        for (when, explained) in [("before", before), ("after", after)] {
            let _ = writeln!(
                text,
                "    {when:6} {}   reward {:.2}",
                explained.explanation, explained.reward
            );
        }
    }
}

fn shown(interval: Interval, digits: usize) -> String {
    format!(
        "{:.digits$} [{:.digits$}, {:.digits$}]",
        interval.mean, interval.low, interval.high
    )
}

fn percent(interval: Interval) -> String {
    let [mean, low, high] = [interval.mean, interval.low, interval.high].map(|v| 100.0 * v);
    format!("{mean:5.1} %  [{low:.1}, {high:.1}]")
}
