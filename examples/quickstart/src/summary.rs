//! The accuracies of a run as a file, and those of several runs side by side.
//!
//! Owns `results.json` and the comparison over seeds. Knows nothing of how students came about.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use didact::distill::pipeline::STUDENTS;
use didact::distill::{Interval, PipelineResults};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What `results.json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    seed: u64,
    /// Every accuracy by teacher and student size.
    accuracies: Vec<Accuracy>,
    /// Everything else that the loop found out.
    pipeline: PipelineResults,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Accuracy {
    /// Whose explanations were learnt, as in [`STUDENTS`].
    teacher: String,
    /// The student's size.
    parameters: u64,
    explanations: usize,
    /// Right answers to held-out problems, with the interval over these problems.
    accuracy: Interval,
}

impl Results {
    pub(crate) fn new(seed: u64, results: &PipelineResults) -> Self {
        let accuracies = results.students.iter().filter_map(|student| {
            Some(Accuracy {
                teacher: student.teacher.clone(),
                parameters: student.parameters,
                explanations: student.explanations,
                accuracy: student.accuracy?,
            })
        });
        Self {
            seed,
            accuracies: accuracies.collect(),
            pipeline: results.clone(),
        }
    }

    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("results.json");
        let text = fs::read_to_string(&path).map_err(|e| {
            format!(
                "{}: {e}; is it the folder of a finished run?",
                path.display()
            )
        })?;
        Ok(serde_json::from_str(&text)
            .map_err(|e| format!("{}: {e}; is it a run of this program?", path.display()))?)
    }

    fn accuracy(&self, teacher: &str, parameters: u64) -> Option<f64> {
        let mut found = self.accuracies.iter();
        let found = found.find(|a| a.teacher == teacher && a.parameters == parameters)?;
        Some(found.accuracy.mean)
    }
}

/// Runs as a table, by student size and seed, and what the trained teacher's students gain over the seeds.
pub(crate) fn table(folders: &[PathBuf]) -> Result<String> {
    let mut runs = folders
        .iter()
        .map(|folder| Results::read(folder))
        .collect::<Result<Vec<_>>>()?;
    runs.sort_by_key(|run| run.seed);
    let mut sizes: BTreeMap<u64, ()> = BTreeMap::new();
    sizes.extend(
        runs.iter()
            .flat_map(|run| &run.accuracies)
            .map(|a| (a.parameters, ())),
    );
    let mut text = String::new();
    for size in sizes.into_keys() {
        let _ = writeln!(
            text,
            "students of {size} parameters, right answers to held-out problems\n"
        );
        let _ = writeln!(
            text,
            "| seed | {} | difference |",
            STUDENTS.map(|name| name.replace('_', " ")).join(" | ")
        );
        let _ = writeln!(text, "|---|---|---|---|---|");
        let mut gains = Vec::new();
        for run in &runs {
            let found = STUDENTS.map(|teacher| run.accuracy(teacher, size));
            let gain = found[1].zip(found[2]).map(|(before, after)| after - before);
            gains.extend(gain);
            let shown = found.map(|value| value.map_or("-".to_owned(), percent));
            let gain = gain.map_or("-".to_owned(), percent);
            let _ = writeln!(text, "| {} | {} | {gain} |", run.seed, shown.join(" | "));
        }
        let positive = gains.iter().filter(|gain| **gain > 0.0).count();
        if let Some(Interval {
            mean,
            low,
            high,
            count,
        }) = Interval::of(&gains)
        {
            let _ = writeln!(
                text,
                "\nof trained teacher minus of teacher before RL: {} [{}, {}], 95 % interval over {count} seeds; above 0 \
                 on {positive} of them\n",
                percent(mean),
                percent(low),
                percent(high)
            );
        }
    }
    Ok(text.trim_end().to_owned())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_are_compared_by_size_over_seeds() {
        let folder = tempfile::tempdir().unwrap();
        let evaluation = json!({"step": 0, "metrics": {}, "problems": []});
        let mut folders = Vec::new();
        for (seed, after) in [(2, 0.9), (1, 0.7)] {
            let accuracy = |teacher: &str, parameters: u64, mean: f64| {
                json!({"teacher": teacher, "parameters": parameters, "explanations": 1,
                    "accuracy": {"mean": mean, "low": mean, "high": mean, "count": 9}})
            };
            let results = json!({
                "seed": seed,
                "accuracies": [
                    accuracy(STUDENTS[0], 10, 0.5),
                    accuracy(STUDENTS[1], 10, 0.4),
                    accuracy(STUDENTS[2], 10, after),
                    accuracy(STUDENTS[2], 40, 0.2),
                ],
                "pipeline": {
                    "teacher": {"before": evaluation, "after": evaluation, "reward_difference": null,
                        "reward_without_penalty_difference": null},
                    "teacher_weights": "", "students": [], "student_difference": null, "seconds": 1.0,
                },
            });
            let run = folder.path().join(seed.to_string());
            fs::create_dir(&run).unwrap();
            fs::write(run.join("results.json"), results.to_string()).unwrap();
            folders.push(run);
        }
        let text = table(&folders).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[4], "| 1 | 50.0 % | 40.0 % | 70.0 % | 30.0 % |");
        assert_eq!(lines[5], "| 2 | 50.0 % | 40.0 % | 90.0 % | 50.0 % |");
        assert!(
            lines[7].contains("RL: 40.0 % [") && lines[7].contains("2 seeds; above 0 on 2"),
            "{text}"
        );
        assert!(text.contains("| 1 | - | - | 20.0 % | - |"), "{text}");
        let error = table(&[folder.path().join("none")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("results.json") && error.contains("finished run"),
            "{error}"
        );
    }
}
