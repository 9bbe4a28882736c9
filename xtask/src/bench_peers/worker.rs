//! The two worker processes: one JSON object a line each way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use crate::command;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Didact.
    Ours,
    /// The Python peers.
    Theirs,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "didact",
            Self::Theirs => "peers",
        }
    }
}

/// How to start either side.
#[derive(Debug)]
pub(crate) struct Sides {
    binary: PathBuf,
    python: PathBuf,
    model: PathBuf,
    threads: usize,
    logs: PathBuf,
}

/// What a worker answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    pub(crate) check: BTreeMap<String, Vec<f64>>,
    pub(crate) flops: Option<f64>,
    pub(crate) details: Value,
    pub(crate) setting: Value,
    pub(crate) tried: Value,
    /// Of the first line, which no request precedes.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) error: Option<String>,
}

impl Sides {
    pub(crate) fn new(
        binary: PathBuf,
        python: PathBuf,
        model: PathBuf,
        threads: usize,
    ) -> Result<Self, String> {
        let logs = command::target().join("bench-peers");
        fs::create_dir_all(&logs)
            .map_err(|error| format!("cannot make {}: {error}", logs.display()))?;
        Ok(Self {
            binary,
            python,
            model,
            threads,
            logs,
        })
    }

    pub(crate) const fn threads(&self) -> usize {
        self.threads
    }

    /// Starts a process of `side` and waits until it is ready; its first line.
    pub(crate) fn start(&self, side: Side) -> Result<(Worker, Answer), String> {
        let mut command = match side {
            Side::Ours => {
                let mut command = Command::new(&self.binary);
                // As cargo sets it for the examples.
                command.arg("peer").env("MIMALLOC_PURGE_DELAY", "-1");
                command
            }
            Side::Theirs => {
                let mut command = Command::new(&self.python);
                command.arg(command::root().join("benches/peers/peer.py"));
                command
            }
        };
        let threads = self.threads.to_string();
        for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(name, &threads);
        }
        let log = self.logs.join(format!("{}.log", side.name()));
        let errors = File::create(&log)
            .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let mut child = command
            .arg("--model")
            .arg(&self.model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| {
                format!(
                    "cannot start {}: {error}",
                    command.get_program().to_string_lossy()
                )
            })?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the worker has no pipes".to_owned());
        };
        let mut worker = Worker {
            side,
            child,
            requests,
            answers: BufReader::new(answers),
            log,
        };
        let ready = worker.read()?;
        Ok((worker, ready))
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Worker {
    side: Side,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Worker {
    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Answer, String> {
        // Where the process has ended, reading says so, and why.
        let _ = writeln!(self.requests, "{request}").and_then(|()| self.requests.flush());
        self.read()
            .map_err(|error| format!("{} of {}: {error}", request["work"], self.side.name()))
    }

    fn read(&mut self) -> Result<Answer, String> {
        let mut line = String::new();
        let read = self
            .answers
            .read_line(&mut line)
            .map_err(|error| format!("cannot read the worker's answer: {error}"))?;
        if read == 0 {
            let status = self.child.wait().map_err(|error| error.to_string())?;
            return Err(format!(
                "the process ended ({status}); the end of {}:\n{}",
                self.log.display(),
                tail(&self.log)
            ));
        }
        let answer: Answer = serde_json::from_str(&line)
            .map_err(|error| format!("an answer that is not understood ({error}): {line}"))?;
        match answer.error {
            Some(error) => Err(format!(
                "{error}; the end of {}:\n{}",
                self.log.display(),
                tail(&self.log)
            )),
            None => Ok(answer),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has nothing to save, and may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
