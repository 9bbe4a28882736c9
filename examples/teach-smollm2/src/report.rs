//! The figures at the end, as text.

use std::fmt::Write as _;

use didact::distill::{Interval, PipelineResults};

/// Before and after, with intervals.
pub(crate) fn table(results: &PipelineResults) -> String {
    let mut text = String::new();
    let teacher = &results.teacher;
    let figure = |step: &didact::rl::Evaluation, name: &str| {
        step.metrics
            .get(name)
            .map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"))
    };
    let _ = writeln!(
        text,
        "teacher on {} held-out problems   before RL   after",
        teacher.before.problems.len()
    );
    for (name, label) in [
        ("eval/reward", "reward"),
        (
            "eval/reward_without_penalty",
            "  without the missing-tag penalty",
        ),
        ("eval/reward/solution_log_prob", "  solution term"),
        ("eval/reward/kl", "  divergence term"),
        ("eval/missing_tag_ratio", "explanations not closed"),
        ("eval/refused/ratio", "explanations without a reward"),
        ("eval/completions/mean_length", "tokens an explanation"),
    ] {
        let (before, after) = (figure(&teacher.before, name), figure(&teacher.after, name));
        let _ = writeln!(text, "{label:34} {before:>9}   {after:>7}");
    }
    let _ = writeln!(
        text,
        "difference of the reward, paired: {}",
        shown(teacher.reward_difference)
    );
    let _ = writeln!(
        text,
        "  without the missing-tag penalty: {}",
        shown(teacher.reward_without_penalty_difference)
    );
    let _ = writeln!(
        text,
        "\nheld-out solution log-prob per token, after the student's own thought"
    );
    for student in &results.students {
        let _ = writeln!(
            text,
            "{:22} {}   ({} explanations, {:.0} % of thoughts closed)",
            student.name.replace('_', " "),
            shown(student.solution_log_prob),
            student.explanations,
            100.0 * student.closed
        );
    }
    let _ = writeln!(
        text,
        "trained teacher's student minus that of the teacher before RL, paired: {}",
        shown(results.student_difference)
    );
    let _ = write!(text, "\n{:.1} minutes", results.seconds / 60.0);
    text
}

fn shown(interval: Option<Interval>) -> String {
    interval.map_or_else(|| "-".to_owned(), |i| format!("{i:.3} (n = {})", i.count))
}
