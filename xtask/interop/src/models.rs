//! Models and adapters of every family, with the logits that they give.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use didact::core::StreamKey;
use didact::kernels::PackedLayout;
use didact::models::{Decoder, DecoderConfig, DecoderOptions, Family, LoraConfig, ParameterMapper};
use serde::{Deserialize, Serialize};

use crate::Result;

const VOCABULARY: usize = 96;
const TOKENS: usize = 24;
const SEED: u64 = 20_261_123;

/// What stands beside a model and its adapter: the logits `[tokens][vocabulary]` of both.
#[derive(Serialize, Deserialize)]
struct Case {
    ids: Vec<u32>,
    logits: Vec<Vec<f64>>,
    adapted_logits: Vec<Vec<f64>>,
}

/// The largest differences of logits.
#[derive(Serialize)]
struct Differences {
    model: f64,
    adapter: f64,
    adapter_moves: f64,
}

/// Opens every family's model and adapter and compares their logits; the answer is a JSON object.
pub(crate) fn read(folder: &Path) -> Result<String> {
    let mut differences = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let place = entry?.path();
        let case: Case = serde_json::from_str(&std::fs::read_to_string(place.join("case.json"))?)?;
        let decoder = Decoder::load_folder(place.join("model"), &Device::flex())?;
        let adapted = decoder.load_adapter(place.join("adapter"))?;
        let found = Differences {
            model: difference(&logits(&decoder, &case.ids)?, &case.logits),
            adapter: difference(&logits(&adapted, &case.ids)?, &case.adapted_logits),
            adapter_moves: difference(&case.adapted_logits, &case.logits),
        };
        let family = place.file_name().unwrap_or_default();
        differences.insert(family.to_string_lossy().into_owned(), found);
    }
    Ok(serde_json::to_string(&BTreeMap::from([(
        "differences",
        differences,
    )]))?)
}

/// Makes a model and an adapter of every family.
pub(crate) fn write(folder: &Path) -> Result<()> {
    for (number, family) in Family::ALL.into_iter().enumerate() {
        let place = folder.join(family.model_type());
        let seed = SEED + number as u64;
        let decoder = Decoder::init(&config(family)?, seed, &Device::flex());
        let decoder = decoder.map_parameters(&mut Noise { seed, only: "norm" });
        let adapted = decoder.with_adapter(&adapter(family), seed)?;
        let adapted = adapted.map_parameters(&mut Noise {
            seed,
            only: "lora_B",
        });
        let stream = stream(seed, u64::MAX);
        let ids: Vec<u32> = (0..TOKENS as u64)
            .map(|index| 3 + stream.below(index, VOCABULARY - 3) as u32)
            .collect();
        decoder.save_folder(place.join("model"))?;
        adapted.save_adapter(place.join("adapter"))?;
        let case = Case {
            logits: logits(&decoder, &ids)?,
            adapted_logits: logits(&adapted, &ids)?,
            ids,
        };
        std::fs::write(place.join("case.json"), serde_json::to_string(&case)?)?;
    }
    Ok(())
}

fn config(family: Family) -> Result<DecoderConfig> {
    let mut options = DecoderOptions::new(family, VOCABULARY, 64, 112, 2, 4);
    options.num_key_value_heads = 2;
    options.max_position_embeddings = 128;
    options.tie_word_embeddings = matches!(family, Family::Qwen2 | Family::Gemma);
    if family == Family::Qwen3 {
        options.head_dim = 24;
    }
    options.attention_bias = family == Family::Llama;
    Ok(DecoderConfig::new(options)?)
}

/// Other choices than those of Python's side.
fn adapter(family: Family) -> LoraConfig {
    match family {
        Family::Llama => LoraConfig {
            targets: ["q_proj", "down_proj"].into(),
            ..LoraConfig::new(3, 6.0)
        },
        Family::Mistral => LoraConfig {
            rslora: true,
            ..LoraConfig::new(4, 8.0)
        },
        _ => LoraConfig::new(4, 16.0),
    }
}

/// Adds noise to what begins at a constant, which would hide a mistake.
struct Noise {
    seed: u64,
    only: &'static str,
}

impl ParameterMapper for Noise {
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !path.contains(self.only) {
            return parameter;
        }
        self.seed += 1;
        let stream = stream(self.seed, 0);
        let (id, tensor, mapper) = parameter.consume();
        let shape = tensor.dims();
        let noise: Vec<f32> = (0..tensor.shape().num_elements() as u64)
            .map(|index| (stream.uniform(index) - 0.5) as f32)
            .collect();
        let noise = Tensor::from_data(TensorData::new(noise, shape), &tensor.device());
        Param::from_mapped_value(id, tensor + noise, mapper)
    }
}

fn stream(seed: u64, step: u64) -> didact::core::RandomStream {
    StreamKey {
        run_seed: seed,
        step,
        problem: 0,
        sample: 0,
    }
    .stream()
}

/// Logits `[tokens][vocabulary]`.
fn logits(decoder: &Decoder, ids: &[u32]) -> Result<Vec<Vec<f64>>> {
    let numbers = ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>();
    let device = decoder.device();
    let input = Tensor::<1, Int>::from_data(TensorData::new(numbers, [ids.len()]), &device);
    let hidden = decoder.forward(input, &PackedLayout::single(ids.len())?);
    let logits = hidden.matmul(decoder.output_embedding().transpose());
    let [_, vocabulary] = logits.dims();
    let values = logits.into_data().try_to_vec::<f32>()?;
    let wide = |row: &[f32]| row.iter().map(|&v| f64::from(v)).collect();
    Ok(values.chunks_exact(vocabulary).map(wide).collect())
}

fn difference(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    if found.iter().map(Vec::len).ne(expected.iter().map(Vec::len)) {
        return f64::INFINITY;
    }
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
