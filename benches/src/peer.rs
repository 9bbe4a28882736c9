//! Didact's side of the comparison with the Python peers.
//!
//! Owns the requests and answers, one JSON object a line, and which model does which work. What is measured and
//! how often is decided by whoever asks; `benches/peers/peer.py` answers the same requests for the other side.

mod flops;
mod generation;
mod inputs;
mod machine;
mod scoring;
mod training;
mod whole_step;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use didact_models::Decoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Result;
use inputs::Inputs;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Work {
    /// Keeps the inputs that come with it for all that follows.
    Inputs,
    /// Log-probs of everything after the prompts of `sequences`, at temperature `temperature`.
    LogProbs,
    ScoreOneAtATime,
    ScorePadded,
    GenerateB16,
    GenerateB1,
    UpdateGroup,
    UpdateUnrelated,
    Step,
    /// The machine's matrix peak and memory bandwidth.
    Machine,
    /// The most memory that was resident so far.
    Memory,
}

#[derive(Debug, Deserialize)]
struct Request {
    work: Work,
    #[serde(default)]
    inputs: Option<Inputs>,
    #[serde(default)]
    sequences: Vec<Vec<u32>>,
    #[serde(default)]
    prompt: usize,
    #[serde(default)]
    temperature: f64,
    /// The peer's own settings, of which this side heeds one.
    #[serde(default)]
    setting: Setting,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Setting {
    /// The whole step with an adapter.
    lora: bool,
}

/// What a request gave.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    /// Wall-clock time of the work itself.
    pub(crate) seconds: f64,
    /// Numbers that both sides must agree on.
    pub(crate) check: BTreeMap<&'static str, Vec<f64>>,
    /// Needed floating-point operations, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flops: Option<f64>,
    /// Whatever else is worth knowing.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) details: Value,
}

/// Answers requests until standard input ends.
pub(crate) fn run(model: &Path) -> Result<()> {
    let mut peer = Peer {
        folder: model.to_owned(),
        inputs: None,
        scorers: None,
        training: BTreeMap::new(),
        step: None,
        runs: 0,
    };
    say(&json!({
        "ready": true,
        "versions": { "didact": env!("CARGO_PKG_VERSION") },
        "peak_bytes": machine::peak_resident()?,
    }))?;
    for line in std::io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?)
            .map_err(Into::into)
            .and_then(|request| peer.answer(request));
        match answer {
            Ok(answer) => say(&answer)?,
            Err(error) => say(&json!({ "error": error.to_string() }))?,
        }
    }
    Ok(())
}

fn say(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

struct Peer {
    folder: PathBuf,
    inputs: Option<Inputs>,
    scorers: Option<scoring::Scorers>,
    training: BTreeMap<&'static str, training::Training>,
    step: Option<whole_step::WholeStep>,
    /// Sampling takes other draws every time.
    runs: u64,
}

impl Peer {
    fn answer(&mut self, request: Request) -> Result<Answer> {
        self.runs += 1;
        match request.work {
            Work::Inputs => {
                self.inputs = request.inputs;
                Ok(Answer::default())
            }
            Work::LogProbs => {
                self.scorers()?
                    .log_probs(&request.sequences, request.prompt, request.temperature)
            }
            Work::ScoreOneAtATime | Work::ScorePadded => {
                let inputs = self.inputs()?;
                self.scorers()?.score(&inputs.score, inputs.temperature)
            }
            Work::GenerateB16 | Work::GenerateB1 => {
                let inputs = self.inputs()?;
                let batch = request.work == Work::GenerateB16;
                let seed = self.runs;
                let engine = &mut self.scorers()?.teacher;
                generation::generate(engine, &inputs.generate, inputs.temperature, batch, seed)
            }
            Work::UpdateGroup => self.update("update_group"),
            Work::UpdateUnrelated => self.update("update_unrelated"),
            Work::Step => {
                let inputs = self.inputs()?;
                if self.step.is_none() {
                    self.step = Some(whole_step::WholeStep::new(
                        &self.folder,
                        &inputs,
                        request.setting.lora,
                    )?);
                }
                let seed = self.runs;
                let step = self.step.as_mut().ok_or("no step")?;
                step.run(&inputs, seed)
            }
            Work::Machine => Ok(Answer {
                details: machine::measure(),
                ..Answer::default()
            }),
            Work::Memory => Ok(Answer {
                details: json!({ "peak_bytes": machine::peak_resident()? }),
                ..Answer::default()
            }),
        }
    }

    fn inputs(&self) -> Result<Inputs> {
        Ok(self
            .inputs
            .clone()
            .ok_or("send the inputs before the work")?)
    }

    fn scorers(&mut self) -> Result<&mut scoring::Scorers> {
        if self.scorers.is_none() {
            self.scorers = Some(scoring::Scorers::load(&self.folder)?);
        }
        Ok(self.scorers.as_mut().ok_or("no model")?)
    }

    fn update(&mut self, name: &'static str) -> Result<Answer> {
        let inputs = self.inputs()?;
        // Of the trainings only one is held: each has gradients and moments of its own.
        self.training.retain(|&held, _| held == name);
        if !self.training.contains_key(name) {
            let update = inputs.updates.get(name).ok_or("no inputs of this update")?;
            let training = training::Training::new(&self.folder, &inputs, update)?;
            self.training.insert(name, training);
        }
        let training = self.training.get_mut(name).ok_or("no training")?;
        training.update(&inputs)
    }
}

/// The model for inference.
fn load(folder: &Path) -> Result<Decoder> {
    Ok(Decoder::load_folder(folder, &Device::flex())?)
}
