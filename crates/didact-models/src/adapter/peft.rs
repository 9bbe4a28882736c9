//! Adapters in PEFT's folder: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! Owns the meaning of that file's keys. Every key that would change what is computed and is not built is
//! refused by name, those of later versions of PEFT too.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use burn::module::Param;
use burn::tensor::Tensor;
use serde_json::{Map, Value, json};

use super::config::{Names, PROJECTIONS, Source};
use super::{LoraConfig, LoraTargets, Which};
use crate::assemble::{Role, Slot, transpose};
use crate::error::io;
use crate::weights::{
    Checkpoint, Described, SafetensorsFile, SafetensorsWriter, compare, read_finite, replace,
};
use crate::{Decoder, Error, ParameterVisitor, Result};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before a tensor's path.
const PREFIX: &str = "base_model.model.";

/// What PEFT calls our keys.
const KEYS: Names = Names {
    rank: "r",
    alpha: "lora_alpha",
    targets: "target_modules",
    layers: "layers_to_transform",
};
/// Keys that do not change what an adapter computes.
const NEUTRAL: [&str; 8] = [
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

impl Decoder {
    /// The same with the adapter that a folder of PEFT's holds; as
    /// [`with_adapter`](Self::with_adapter), only the adapter is trained then.
    ///
    /// # Errors
    /// A key of `adapter_config.json` that means nothing for this decoder or is not supported; tensors that are
    /// missing, unused or of another shape, listed together; a decoder that has an adapter.
    pub fn load_adapter(&self, folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let place = folder.join(CONFIG);
        let text = std::fs::read_to_string(&place).map_err(io(&place))?;
        let place = place.display().to_string();
        let config = read_config(&place, &text)?;
        let source = Source {
            place: &place,
            keys: KEYS,
        };
        let slots: Vec<Slot> = config
            .resolve(source, self.config())?
            .iter()
            .flat_map(|placed| [Which::A, Which::B].map(|which| (placed, which)))
            .map(|(placed, which)| Slot {
                path: placed.factor_path(which),
                shape: placed.shape(which).to_vec(),
                role: Role::Projection,
            })
            .collect();
        let mut file = AdapterFile {
            place: folder.join(WEIGHTS).display().to_string(),
            file: SafetensorsFile::open(&folder.join(WEIGHTS))?,
        };
        compare(slots, &file, |_, _| false)?;
        self.adapted(&config, source, &mut |placed, which| {
            read_finite(&mut file, &placed.factor_path(which))
        })
    }

    /// Writes the adapter alone into `folder`, as PEFT does: `adapter_config.json` and
    /// `adapter_model.safetensors` (f32). PEFT puts it onto the model that this decoder was loaded from.
    ///
    /// Each file is written beside its place and renamed, so that a reader never sees half of one.
    ///
    /// # Errors
    /// A decoder without an adapter; the file that cannot be written or the parameter that cannot be read back.
    pub fn save_adapter(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let Some(config) = self.adapter() else {
            return Err(Error::Adapter {
                problem: "the decoder has no adapter to save; `save_folder` writes a whole decoder"
                    .to_owned(),
            });
        };
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let mut read = Read::default();
        self.visit_parameters(&mut read);
        if let Some(failure) = read.failure {
            return Err(failure);
        }
        let place = folder.join(WEIGHTS);
        replace(&place, |file| {
            let tensors = read.tensors.iter();
            let names = tensors.map(|(name, (shape, _))| (name.as_str(), shape.as_slice()));
            let mut writer = SafetensorsWriter::new(file, names).map_err(io(&place))?;
            for (_, values) in read.tensors.values() {
                writer.write(values).map_err(io(&place))?;
            }
            writer.finish().map_err(io(&place))
        })?;
        let place = folder.join(CONFIG);
        replace(&place, |mut file| {
            file.write_all(write_config(config).as_bytes())
                .map_err(io(&place))?;
            Ok(file)
        })
    }
}

/// The adapter's tensors by PEFT's names, turned as PEFT has them.
#[derive(Default)]
struct Read {
    tensors: BTreeMap<String, ([usize; 2], Vec<f32>)>,
    failure: Option<Error>,
}

impl ParameterVisitor for Read {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        let [.., rows, columns] = parameter.val().dims()[..] else {
            return;
        };
        if !is_factor(path) {
            return;
        }
        match parameter.val().try_into_vec_as::<f32>() {
            Ok(values) => {
                let turned = transpose(&values, rows, columns);
                self.tensors
                    .insert(format!("{PREFIX}{path}"), ([columns, rows], turned));
            }
            Err(source) => {
                self.failure = Some(Error::UnreadableParameter {
                    path: path.to_owned(),
                    problem: source.to_string(),
                });
            }
        }
    }
}

/// Whether a parameter is one of an adapter's two matrices.
pub(crate) fn is_factor(path: &str) -> bool {
    path.ends_with(".lora_A.weight") || path.ends_with(".lora_B.weight")
}

/// An open weight file.
struct AdapterFile {
    place: String,
    file: SafetensorsFile,
}

impl Checkpoint for AdapterFile {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn name_of(&self, path: &str) -> String {
        format!("{PREFIX}{path}")
    }

    fn may_ignore(&self, _: &str) -> bool {
        false
    }

    fn tensors(&self) -> BTreeMap<String, Described> {
        let described = |(name, entry): (&String, &crate::weights::Entry)| {
            let described = Described {
                shape: entry.shape.clone(),
                file: WEIGHTS.to_owned(),
                unreadable: (!entry.is_float()).then(|| entry.element.clone()),
            };
            (name.clone(), described)
        };
        self.file.entries().iter().map(described).collect()
    }

    fn read(&mut self, path: &str) -> Result<Vec<f32>> {
        self.file.read(&format!("{PREFIX}{path}"))
    }
}

/// What PEFT needs to open the adapter, and what other readers of its files ask for.
fn write_config(config: &LoraConfig) -> String {
    let targets = match &config.targets {
        LoraTargets::All => json!(PROJECTIONS),
        LoraTargets::Names(names) => json!(names),
        LoraTargets::Pattern(pattern) => json!(pattern),
    };
    let layers = (!config.layers.is_empty()).then_some(&config.layers);
    let written = json!({
        "base_model_name_or_path": null,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_to_transform": layers,
        "lora_alpha": number(config.alpha),
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "rank_pattern": config.rank_pattern,
        "alpha_pattern": config.alpha_pattern.iter().map(|(k, v)| (k, number(*v))).collect::<BTreeMap<_, _>>(),
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": config.rslora,
    });
    format!("{written:#}\n")
}

/// A whole number is written as one, which is what PEFT declares.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

fn read_config(place: &str, text: &str) -> Result<LoraConfig> {
    let keys: Map<String, Value> = serde_json::from_str(text).map_err(|source| Error::Json {
        file: place.to_owned(),
        source,
    })?;
    let mut keys = Keys { place, keys };
    let kind = keys.take("peft_type");
    if kind != "LORA" {
        return keys.unsupported("peft_type", &kind, "expected \"LORA\"");
    }
    let task = keys.take("task_type");
    if !(task.is_null() || task == "CAUSAL_LM") {
        return keys.unsupported("task_type", &task, "expected \"CAUSAL_LM\"");
    }
    let dropout = keys.take("lora_dropout");
    if !(dropout.is_null() || dropout.as_f64() == Some(0.0)) {
        let advice = "nothing is dropped out here; it changes how an adapter is trained, not what it computes, so \
                      that 0 can stand there instead";
        return keys.unsupported("lora_dropout", &dropout, advice);
    }
    let bias = keys.take("bias");
    if !(bias.is_null() || bias == "none") {
        return keys.unsupported("bias", &bias, "biases stay frozen, \"none\"");
    }
    let init = keys.take("init_lora_weights");
    let unchanged_base = ["gaussian", "orthogonal", "eva"];
    if !(init.is_null()
        || init.is_boolean()
        || init
            .as_str()
            .is_some_and(|word| unchanged_base.contains(&word)))
    {
        let advice = "it changes the weights below the adapter; convert the adapter to a plain one with PEFT";
        return keys.unsupported("init_lora_weights", &init, advice);
    }
    let pattern = keys.take("layers_pattern");
    if !(is_off(&pattern) || pattern == "layers" || pattern == json!(["layers"])) {
        return keys.unsupported(
            "layers_pattern",
            &pattern,
            "the layers are called \"layers\"",
        );
    }
    let config = LoraConfig {
        rank: keys.parse("r", 8, "a whole number above 0")?,
        alpha: keys.parse("lora_alpha", 8.0, "a number above 0")?,
        targets: keys.targets()?,
        rslora: keys.parse("use_rslora", false, "true or false")?,
        layers: keys.layers()?,
        rank_pattern: keys.parse("rank_pattern", BTreeMap::new(), "patterns and ranks")?,
        alpha_pattern: keys.parse("alpha_pattern", BTreeMap::new(), "patterns and alphas")?,
    };
    // What is left does nothing while it is off, whatever it may be.
    let mut left = keys.keys.iter();
    let on = left.find(|(key, value)| !NEUTRAL.contains(&key.as_str()) && !is_off(value));
    match on {
        Some((key, value)) => keys.unsupported(key, value, "leave it out or off"),
        None => Ok(config),
    }
}

/// Null, false, or an empty list, table or text.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
    }
}

/// The keys that are not read yet.
struct Keys<'a> {
    place: &'a str,
    keys: Map<String, Value>,
}

impl Keys<'_> {
    fn take(&mut self, key: &str) -> Value {
        self.keys.remove(key).unwrap_or_default()
    }

    fn unsupported<T>(&self, key: &str, found: &Value, supported: &str) -> Result<T> {
        Err(Error::UnsupportedOption {
            file: self.place.to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            supported: supported.to_owned(),
        })
    }

    /// A key's value, PEFT's default where it is missing or null.
    fn parse<T: serde::de::DeserializeOwned>(
        &mut self,
        key: &str,
        default: T,
        expected: &str,
    ) -> Result<T> {
        let value = self.take(key);
        if value.is_null() {
            return Ok(default);
        }
        let found = value.to_string();
        serde_json::from_value(value).map_err(|_| Error::InvalidKey {
            file: self.place.to_owned(),
            key: key.to_owned(),
            found,
            expected: expected.to_owned(),
        })
    }

    fn targets(&mut self) -> Result<LoraTargets> {
        let expected = "names of projections, a regular expression or \"all-linear\"";
        if self.keys.get("target_modules").is_none_or(Value::is_null) {
            return Err(Error::MissingKey {
                file: self.place.to_owned(),
                key: "target_modules".to_owned(),
                expected,
            });
        }
        let targets = self.parse("target_modules", LoraTargets::All, expected)?;
        Ok(match targets {
            LoraTargets::Names(names) if is_all(&names) => LoraTargets::All,
            LoraTargets::Names(mut names) => {
                // PEFT keeps a set, and writes it in any order.
                names.sort();
                LoraTargets::Names(names)
            }
            other => other,
        })
    }

    fn layers(&mut self) -> Result<Vec<usize>> {
        let expected = "one layer or a list of layers";
        if self
            .keys
            .get("layers_to_transform")
            .is_some_and(Value::is_number)
        {
            return Ok(vec![self.parse("layers_to_transform", 0, expected)?]);
        }
        self.parse("layers_to_transform", Vec::new(), expected)
    }
}

fn is_all(names: &[String]) -> bool {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    names == PROJECTIONS.into_iter().collect()
}
