//! Rollout files, read line by line.
//!
//! Owns which files a run has, and checks that what they say of a sample agrees with itself. Knows no reward.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use didact_core::Span;

use super::refuse;
use crate::rollout::RolloutRecord;
use crate::{Error, Result};

/// A longer line is no sample of any model's: reading it would only fill the memory.
const LONGEST_LINE: u64 = 256 << 20;

/// The rollout files of a run directory: stage by stage, evaluations before steps, each in their order.
///
/// # Errors
/// A directory that cannot be read, or has no rollout file.
pub fn rollout_files(directory: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let rollouts = directory.as_ref().join("rollouts");
    let mut files = Vec::new();
    for stage in entries(&rollouts)? {
        if stage.is_dir() {
            let found = entries(&stage)?;
            files.extend(
                found
                    .into_iter()
                    .filter(|f| f.extension().is_some_and(|e| e == "jsonl")),
            );
        }
    }
    if files.is_empty() {
        return Err(Error::TrainingData {
            what: rollouts.display().to_string(),
            problem: "there is no rollout file; was the run cut off before its first step?"
                .to_owned(),
        });
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = Vec::new();
    for entry in read {
        paths.push(entry.map_err(|e| Error::io(folder, e))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The samples of one rollout file, each with its line.
///
/// Empty lines are skipped. After an error there is nothing more.
#[derive(Debug)]
pub struct RolloutFile {
    path: PathBuf,
    reader: BufReader<File>,
    line: usize,
    seen: HashSet<(usize, usize)>,
    groups: HashSet<usize>,
    group: Option<(usize, String)>,
    failed: bool,
}

impl RolloutFile {
    /// Opens a file.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self {
            path,
            reader: BufReader::new(file),
            line: 0,
            seen: HashSet::new(),
            groups: HashSet::new(),
            group: None,
            failed: false,
        })
    }

    fn read(&mut self) -> Result<Option<RolloutRecord>> {
        loop {
            self.line += 1;
            let mut bytes = Vec::new();
            let read = (&mut self.reader)
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut bytes)
                .map_err(|e| Error::io(&self.path, e))?;
            if read == 0 {
                return Ok(None);
            }
            if read as u64 == LONGEST_LINE && bytes.last() != Some(&b'\n') {
                return self.refuse(format!("the line is longer than {LONGEST_LINE} bytes"));
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let record: RolloutRecord = match serde_json::from_slice(&bytes) {
                Ok(record) => record,
                Err(error) => return self.refuse(format!("no sample: {error}")),
            };
            if let Err(problem) = contradiction(&record) {
                return self.refuse(problem);
            }
            self.take(&record)?;
            return Ok(Some(record));
        }
    }

    /// Samples of a group stand together, and none twice.
    fn take(&mut self, record: &RolloutRecord) -> Result<()> {
        let key = (record.group, record.problem.clone());
        match &self.group {
            Some(group) if *group == key => {}
            Some((group, problem)) if *group == record.group => {
                return self.refuse(format!(
                    "group {group} holds samples of problem {problem} and of problem {}",
                    record.problem
                ));
            }
            _ => {
                if !self.groups.insert(record.group) {
                    return self.refuse(format!(
                        "samples of group {} stand apart; are these several files in one?",
                        record.group
                    ));
                }
                self.group = Some(key);
            }
        }
        if !self.seen.insert((record.group, record.sample)) {
            return self.refuse(format!(
                "sample {} of group {} stands here for the second time",
                record.id(),
                record.group
            ));
        }
        Ok(())
    }

    fn refuse<T>(&self, problem: impl Into<String>) -> Result<T> {
        refuse(&self.path, self.line, problem)
    }
}

impl Iterator for RolloutFile {
    type Item = Result<(usize, RolloutRecord)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read().transpose()?;
        self.failed = read.is_err();
        Some(read.map(|record| (self.line, record)))
    }
}

/// What in a record cannot be true. Its numbers are finite: JSON knows no others, and one beyond f32 is refused.
fn contradiction(record: &RolloutRecord) -> Result<(), String> {
    let sampled = record.ids.len();
    let of_tokens = [
        ("token texts", Some(record.tokens.len())),
        ("sampling log-probs", Some(record.sampling_log_probs.len())),
        ("old log-probs", record.old_log_probs.as_ref().map(Vec::len)),
        (
            "reference log-probs",
            record.reference_log_probs.as_ref().map(Vec::len),
        ),
        (
            "token advantages",
            record.token_advantages.as_ref().map(Vec::len),
        ),
    ];
    for (what, found) in of_tokens {
        if let Some(found) = found.filter(|&found| found != sampled) {
            return Err(format!(
                "sample {} has {found} {what} of {sampled} sampled ids",
                record.id()
            ));
        }
    }
    let teacher = record.prompt_ids.len() + sampled;
    let student = record.student_ids.len();
    for (what, span, length) in [
        ("teacher_thought", record.teacher_thought, teacher),
        ("student_thought", record.student_thought, student),
        ("student_solution", record.student_solution, student),
    ] {
        if let Some(Span { start, end }) = span
            && (start >= end || end > length)
        {
            return Err(format!(
                "{what} of sample {} is {start}..{end} of {length} tokens",
                record.id()
            ));
        }
    }
    for score in &record.scores {
        let Some(log_probs) = &score.log_probs else {
            continue;
        };
        let (expected, found) = (record.span(&score.spec), log_probs.span());
        if expected != Some(found) {
            return Err(format!(
                "sample {} has log-probs of tokens {}..{} for the {:?} in the {:?} context, which is {}",
                record.id(),
                found.start,
                found.end,
                score.spec.span,
                score.spec.context,
                expected.map_or_else(
                    || "empty".to_owned(),
                    |span| format!("{}..{}", span.start, span.end)
                ),
            ));
        }
    }
    Ok(())
}
