//! `forward/*`: hidden states, logits and greedy continuations of tiny models of every family.
//!
//! A folder is a model, with `io.safetensors` beside it where it has batches; `forward/info.json` has the continuations. The
//! padded golden batches are packed without their padding.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use didact::kernels::{PackedLayout, Segment, attention, linear_log_prob, projected_rows};
use didact::models::Decoder;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::report::{Report, error_to_one};

/// Logits and hidden states, times max(1, |y|).
const TOLERANCE: f64 = 1e-4;
/// Log-probabilities, absolute.
const LOG_PROB_TOLERANCE: f64 = 2e-4;
/// A greedy choice that is closer than this may fall either way.
const LEAST_MARGIN: f64 = 1e-3;

type Outcome<T> = Result<T, String>;

#[derive(Deserialize)]
struct Info {
    models: BTreeMap<String, Greedy>,
}

#[derive(Deserialize)]
struct Greedy {
    param_count: Option<u64>,
    greedy_prompt: Vec<u32>,
    greedy_ids: Vec<u32>,
    greedy_min_margin: f64,
}

/// Compares every model under `forward`.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    let root = fixtures.join("forward");
    if !root.is_dir() {
        return;
    }
    let info = match read_info(&root.join("info.json")) {
        Ok(info) => info,
        Err(message) => return report.fail("forward/info.json", &message),
    };
    let folders = match folders(&root) {
        Ok(folders) => folders,
        Err(message) => return report.fail("forward", &message),
    };
    for folder in folders {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let label = format!("forward/{name}");
        let io = folder.join("io.safetensors");
        let has_batches = io.is_file();
        let greedy = info.get(&name);
        if !has_batches {
            report.skip(
                &format!("{label} batches"),
                "the folder has no io.safetensors",
            );
            if greedy.is_none() {
                continue;
            }
        }
        let decoder = match Decoder::load_folder(&folder, &Device::flex()) {
            Ok(decoder) => decoder,
            Err(error) => {
                report.fail(&label, &error.to_string());
                continue;
            }
        };
        if has_batches && let Err(message) = compare_batches(&decoder, &io, &label, report) {
            report.fail(&label, &message);
        }
        match greedy {
            Some(greedy) => compare_greedy(&decoder, greedy, &label, report),
            None => report.skip(&format!("{label} greedy"), "info.json has no continuation"),
        }
    }
}

fn read_info(path: &Path) -> Outcome<BTreeMap<String, Greedy>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text.map_err(|error| error.to_string())?,
    };
    let info: Info = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(info.models)
}

/// The folders with a model or golden batches, by name.
fn folders(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if ["config.json", "io.safetensors"]
            .iter()
            .any(|file| path.join(file).is_file())
        {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// One sequence of a golden batch without its padding.
struct Sequence {
    ids: Vec<u32>,
    /// Row-major `[tokens, vocabulary]`.
    logits: Vec<f64>,
}

fn compare_batches(decoder: &Decoder, io: &Path, label: &str, report: &mut Report) -> Outcome<()> {
    let bytes = std::fs::read(io).map_err(|error| format!("{}: {error}", io.display()))?;
    let golden =
        SafeTensors::deserialize(&bytes).map_err(|error| format!("{}: {error}", io.display()))?;
    let mut first = None;
    for side in golden
        .names()
        .into_iter()
        .filter_map(|name| name.strip_suffix("_input_ids"))
    {
        let sequences = read_batch(&golden, side, decoder.config().vocab_size)?;
        let packed = forward(
            decoder,
            &sequences.iter().map(|s| &s.ids[..]).collect::<Vec<_>>(),
        )?;
        let mut worst_logit = 0.0_f64;
        let mut worst_log_prob = 0.0_f64;
        for (sequence, hidden) in sequences.iter().zip(&packed) {
            let logits = hidden
                .clone()
                .matmul(decoder.output_embedding().transpose());
            worst_logit = worst_logit.max(worst_relative(&numbers(logits)?, &sequence.logits));
            let found = next_log_probs(decoder, hidden.clone(), &sequence.ids)?;
            let expected = golden_log_probs(sequence, decoder.config().vocab_size);
            worst_log_prob = worst_log_prob.max(crate::report::worst_difference(&found, &expected));
        }
        report.check(
            &format!("{label} logits, {side} padded"),
            worst_logit,
            TOLERANCE,
        );
        let name = format!("{label} log-probs, {side} padded");
        report.check(&name, worst_log_prob, LOG_PROB_TOLERANCE);
        if let Some(sequence) = sequences.into_iter().next() {
            let hidden = packed.into_iter().next().ok_or("no packed row")?;
            let split = worst_split(decoder, &sequence.ids, &numbers(hidden)?)?;
            report.check(
                &format!("{label} parent and child, {side}"),
                split,
                TOLERANCE,
            );
            first.get_or_insert(sequence.ids);
        }
    }
    match first {
        Some(ids) => compare_hidden(decoder, &golden, &ids, label, report),
        None => Err("io.safetensors holds no batch (*_input_ids)".into()),
    }
}

fn read_batch(golden: &SafeTensors<'_>, side: &str, vocabulary: usize) -> Outcome<Vec<Sequence>> {
    let ids = integers(golden, &format!("{side}_input_ids"))?;
    let mask = integers(golden, &format!("{side}_mask"))?;
    let positions = integers(golden, &format!("{side}_position_ids"))?;
    let logits = floats(golden, &format!("{side}_logits"))?;
    let shape = golden
        .tensor(&format!("{side}_input_ids"))
        .map_err(|error| error.to_string())?
        .shape()
        .to_vec();
    let &[batch, length] = shape.as_slice() else {
        return Err(format!(
            "{side}_input_ids is {shape:?}, not [batch, length]"
        ));
    };
    let cells = batch * length;
    if [mask.len(), positions.len(), logits.len()] != [cells, cells, cells * vocabulary] {
        return Err(format!("the {side} padded tensors differ in shape"));
    }
    if let Some(id) = ids.iter().find(|&&id| id < 0 || id >= vocabulary as i64) {
        return Err(format!(
            "{side}_input_ids holds {id}, outside the vocabulary"
        ));
    }
    let mut sequences = Vec::with_capacity(batch);
    for row in 0..batch {
        let kept: Vec<usize> = (row * length..(row + 1) * length)
            .filter(|&cell| mask[cell] == 1)
            .collect();
        if kept.is_empty() {
            return Err(format!("{side} padded sequence {row} is all padding"));
        }
        if kept
            .iter()
            .enumerate()
            .any(|(at, &cell)| positions[cell] != at as i64)
        {
            return Err(format!(
                "{side} padded sequence {row}: positions do not count from 0"
            ));
        }
        let sequence = Sequence {
            ids: kept.iter().map(|&cell| ids[cell] as u32).collect(),
            logits: kept
                .iter()
                .flat_map(|&cell| &logits[cell * vocabulary..(cell + 1) * vocabulary])
                .copied()
                .collect(),
        };
        sequences.push(sequence);
    }
    Ok(sequences)
}

/// Hidden states of each sequence, all packed as roots.
fn forward(decoder: &Decoder, sequences: &[&[u32]]) -> Outcome<Vec<Tensor<2>>> {
    let segments: Vec<Segment> = sequences
        .iter()
        .map(|ids| Segment::root(ids.len()))
        .collect();
    let layout = PackedLayout::new(&segments).map_err(|error| error.to_string())?;
    let hidden = decoder.forward(upload(&sequences.concat(), decoder), &layout);
    let range = |at: usize| layout.start(at)..layout.start(at) + sequences[at].len();
    Ok((0..sequences.len())
        .map(|at| hidden.clone().slice([range(at)]))
        .collect())
}

/// The worst difference of a sequence's rows where it is split into a prefix and the rest.
fn worst_split(decoder: &Decoder, ids: &[u32], whole: &[f64]) -> Outcome<f64> {
    let mut worst = 0.0_f64;
    for prefix in 1..ids.len() {
        let segments = [Segment::root(prefix), Segment::child(ids.len() - prefix, 0)];
        let layout = PackedLayout::new(&segments).map_err(|error| error.to_string())?;
        let rows = numbers(decoder.forward(upload(ids, decoder), &layout))?;
        worst = worst.max(worst_relative(&rows, whole));
    }
    Ok(worst)
}

fn compare_hidden(
    decoder: &Decoder,
    golden: &SafeTensors<'_>,
    ids: &[u32],
    label: &str,
    report: &mut Report,
) -> Outcome<()> {
    let layout = PackedLayout::single(ids.len()).map_err(|error| error.to_string())?;
    let tables = decoder.rotary_tables(layout.positions());
    let scale = decoder.config().attention_scale();
    let layers = decoder.config().num_hidden_layers;
    let mut hidden = decoder.embed(upload(ids, decoder));
    let mut states = vec![hidden.clone()];
    for layer in 0..layers {
        hidden = decoder.forward_layer(layer, hidden, &tables, |q, k, v| {
            attention(q, k, v, &layout, scale)
        });
        states.push(hidden.clone());
    }
    // The last golden state stands behind the final norm.
    states[layers] = decoder.normalise(hidden);
    let mut worst = 0.0_f64;
    let mut compared = 0;
    for (at, state) in states.into_iter().enumerate() {
        let name = format!("seq0_hidden_{at}");
        if golden.tensor(&name).is_ok() {
            worst = worst.max(worst_relative(&numbers(state)?, &floats(golden, &name)?));
            compared += 1;
        }
    }
    let name = format!("{label} hidden states");
    if compared == 0 {
        report.skip(&name, "io.safetensors has none");
    } else {
        report.check(&name, worst, TOLERANCE);
    }
    Ok(())
}

fn compare_greedy(decoder: &Decoder, greedy: &Greedy, label: &str, report: &mut Report) {
    if let Some(count) = greedy.param_count {
        let found = decoder.config().parameter_count();
        report.equal(&format!("{label} parameters"), found == Some(count), || {
            format!("{found:?} instead of {count}")
        });
    }
    let name = format!("{label} greedy");
    if greedy.greedy_min_margin < LEAST_MARGIN {
        return report.skip(&name, "its margin is too small to compare");
    }
    match continue_greedily(decoder, &greedy.greedy_prompt, greedy.greedy_ids.len()) {
        Ok(found) => report.equal(&name, found == greedy.greedy_ids, || {
            format!("{found:?} instead of {:?}", greedy.greedy_ids)
        }),
        Err(message) => report.fail(&name, &message),
    }
}

/// The likeliest continuation, every step computed afresh.
fn continue_greedily(decoder: &Decoder, prompt: &[u32], steps: usize) -> Outcome<Vec<u32>> {
    let vocabulary = decoder.config().vocab_size;
    if prompt.is_empty() || prompt.iter().any(|&id| id as usize >= vocabulary) {
        return Err("the prompt is empty or holds an id outside the vocabulary".into());
    }
    let mut ids = prompt.to_vec();
    for _ in 0..steps {
        let hidden = forward(decoder, &[&ids])?
            .into_iter()
            .next()
            .ok_or("no packed row")?;
        let last = hidden.narrow(0, ids.len() - 1, 1);
        let logits = numbers(last.matmul(decoder.output_embedding().transpose()))?;
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        ids.push(best.ok_or("an empty vocabulary")? as u32);
    }
    Ok(ids.split_off(prompt.len()))
}

/// The log-probability of each token but the first, through the kernel that training uses.
fn next_log_probs(decoder: &Decoder, hidden: Tensor<2>, ids: &[u32]) -> Outcome<Vec<f64>> {
    if ids.len() < 2 {
        return Ok(Vec::new());
    }
    let rows: Vec<usize> = (0..ids.len() - 1).collect();
    let vocabulary = decoder.config().vocab_size;
    let (rows, targets) =
        projected_rows(&rows, &ids[1..], ids.len(), vocabulary, &decoder.device())
            .map_err(|error| error.to_string())?;
    let scores = linear_log_prob(hidden, rows, decoder.output_embedding(), targets, 1.0);
    numbers(scores.narrow(1, 0, 1))
}

fn golden_log_probs(sequence: &Sequence, vocabulary: usize) -> Vec<f64> {
    let rows = sequence.logits.chunks(vocabulary).zip(&sequence.ids[1..]);
    rows.map(|(row, &target)| {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|logit| (logit - max).exp()).sum();
        row[target as usize] - max - sum.ln()
    })
    .collect()
}

fn upload(ids: &[u32], decoder: &Decoder) -> Tensor<1, Int> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let length = ids.len();
    Tensor::from_data(TensorData::new(ids, [length]), &decoder.device())
}

fn numbers(tensor: Tensor<2>) -> Outcome<Vec<f64>> {
    tensor
        .try_into_vec_as::<f64>()
        .map_err(|error| error.to_string())
}

/// The largest |x − y| / max(1, |y|), 0 for equal infinities; infinite where the lengths differ or a value is not a number.
fn worst_relative(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    found
        .iter()
        .zip(expected)
        .map(|(&x, &y)| error_to_one(x, y))
        .fold(0.0, f64::max)
}

fn integers(golden: &SafeTensors<'_>, name: &str) -> Outcome<Vec<i64>> {
    let tensor = golden
        .tensor(name)
        .map_err(|error| format!("{name}: {error}"))?;
    match tensor.dtype() {
        Dtype::I64 => Ok(tensor
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|&b| i64::from_le_bytes(b))
            .collect()),
        other => Err(format!("{name} holds {other:?}, not I64")),
    }
}

fn floats(golden: &SafeTensors<'_>, name: &str) -> Outcome<Vec<f64>> {
    let tensor = golden
        .tensor(name)
        .map_err(|error| format!("{name}: {error}"))?;
    match tensor.dtype() {
        Dtype::F32 => {
            let words = tensor.data().as_chunks().0.iter();
            Ok(words.map(|&b| f64::from(f32::from_le_bytes(b))).collect())
        }
        other => Err(format!("{name} holds {other:?}, not F32")),
    }
}
