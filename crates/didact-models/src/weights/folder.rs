//! A folder as `transformers` writes it: `config.json` beside `model.safetensors`, or beside
//! `model.safetensors.index.json` and its shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use super::safetensors::{SafetensorsFile, SafetensorsWriter};
use super::{Checkpoint, Described, load};
use crate::adapter::{Adapter, is_factor};
use crate::assemble::{Role, Slot, slots, transpose};
use crate::error::io;
use crate::{Bits, Decoder, DecoderConfig, Error, ParameterVisitor, Result, TensorProblem};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

impl Decoder {
    /// Loads a Hugging Face folder onto `device`, as f32.
    ///
    /// # Errors
    /// Names the file and the key or tensor; tensors that are missing, unused or of another shape
    /// are listed together.
    pub fn load_folder(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        load_folder(folder.as_ref(), None, device)
    }

    /// [`load_folder`](Self::load_folder) with every projection [quantised](Self::quantise) as it is read,
    /// so that its f32 weights are in memory one at a time only.
    ///
    /// # Errors
    /// Those of [`load_folder`](Self::load_folder) and [`quantise`](Self::quantise).
    pub fn load_folder_quantised(
        folder: impl AsRef<Path>,
        bits: Bits,
        device: &Device,
    ) -> Result<Self> {
        load_folder(folder.as_ref(), Some(bits), device)
    }

    /// Writes `config.json` and `model.safetensors` (f32) into `folder`, which is made where it does
    /// not exist. `transformers` opens it. An adapter is written as
    /// [`merge_adapter`](Self::merge_adapter) adds it to the weights, one tensor at a time;
    /// [`save_adapter`](Self::save_adapter) writes it alone.
    ///
    /// Each file is written beside its place and renamed, so that a reader never sees half of one.
    ///
    /// # Errors
    /// Names the file that cannot be written or the parameter that cannot be read back; a decoder with
    /// quantised weights, which that file has no place for.
    pub fn save_folder(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        if self.quantised().is_some() {
            return Err(Error::Quantised {
                problem: "a decoder with quantised weights cannot be saved as a folder; save its adapter with \
                          `save_adapter()`, or save what `merge_adapter()` or `dequantise()` of it gives, in f32"
                    .to_owned(),
            });
        }
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let place = folder.join(WEIGHTS);
        replace(&place, |file| {
            let slots = slots(self.config());
            let tensors = slots
                .iter()
                .map(|slot| (slot.path.as_str(), slot.shape.as_slice()));
            let writer = SafetensorsWriter::new(file, tensors).map_err(io(&place))?;
            let mut save = Save {
                slots: slots.iter(),
                adapters: self.adapters(),
                writer,
                place: &place,
                failure: None,
            };
            self.visit_parameters(&mut save);
            if let Some(failure) = save.failure {
                return Err(failure);
            }
            save.writer.finish().map_err(io(&place))
        })?;
        let place = folder.join(CONFIG);
        replace(&place, |mut file| {
            file.write_all(self.config().to_json().as_bytes())
                .map_err(io(&place))?;
            Ok(file)
        })
    }
}

fn load_folder(folder: &Path, bits: Option<Bits>, device: &Device) -> Result<Decoder> {
    let config = DecoderConfig::from_file(folder.join(CONFIG))?;
    load(&config, device, bits, &mut Folder::open(folder)?)
}

/// Writes a file beside its place, makes it durable and renames it.
pub(crate) fn replace(place: &Path, write: impl FnOnce(File) -> Result<File>) -> Result<()> {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let beside = place.with_file_name(name);
    let written = File::create(&beside)
        .map_err(io(&beside))
        .and_then(write)
        .and_then(|file| file.sync_all().map_err(io(&beside)))
        .and_then(|()| std::fs::rename(&beside, place).map_err(io(place)));
    if written.is_err() {
        // The first error says what went wrong; what is left over can only be removed.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

struct Save<'a> {
    slots: std::slice::Iter<'a, Slot>,
    /// By the path of their projection, whose weight they are added to.
    adapters: BTreeMap<String, Adapter>,
    writer: SafetensorsWriter<File>,
    place: &'a Path,
    failure: Option<Error>,
}

impl Save<'_> {
    fn write<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) -> Result<()> {
        if is_factor(path) {
            return Ok(());
        }
        let unreadable = |problem: String| Error::UnreadableParameter {
            path: path.to_owned(),
            problem,
        };
        let slot = self
            .slots
            .next()
            .filter(|slot| slot.path == path)
            .ok_or_else(|| unreadable("the module has parameters in another order".into()))?;
        let adapter = path
            .strip_suffix(".weight")
            .and_then(|projection| self.adapters.get(projection));
        let values = match adapter {
            Some(adapter) => {
                let [columns, rows] = [slot.shape[0], slot.shape[1]];
                let weight = parameter.val().reshape([rows, columns]);
                adapter.merged(weight).try_into_vec_as()
            }
            None => parameter.val().try_into_vec_as(),
        };
        let mut values: Vec<f32> = values.map_err(|source| unreadable(source.to_string()))?;
        if values.len() != slot.shape.iter().product::<usize>() {
            return Err(unreadable(format!(
                "it should have the shape {:?}",
                slot.shape
            )));
        }
        if slot.role == Role::Projection {
            values = transpose(&values, slot.shape[1], slot.shape[0]);
        }
        self.writer.write(&values).map_err(io(self.place))
    }
}

impl ParameterVisitor for Save<'_> {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        if self.failure.is_none() {
            self.failure = self.write(path, parameter).err();
        }
    }
}

/// What an index of shards says.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The open weight files of a folder.
struct Folder {
    path: PathBuf,
    /// Name in the folder and file.
    files: Vec<(String, SafetensorsFile)>,
    problems: Vec<TensorProblem>,
}

impl Folder {
    fn open(path: &Path) -> Result<Self> {
        let mut folder = Self {
            path: path.to_owned(),
            files: Vec::new(),
            problems: Vec::new(),
        };
        let index = path.join(INDEX);
        if path.join(WEIGHTS).exists() || !index.exists() {
            folder.add(WEIGHTS)?;
            return Ok(folder);
        }
        let place = index.display().to_string();
        let text = std::fs::read_to_string(&index).map_err(io(&index))?;
        let map = serde_json::from_str::<Index>(&text)
            .map_err(|source| Error::Json {
                file: place.clone(),
                source,
            })?
            .weight_map;
        if map.is_empty() {
            return Err(Error::MissingKey {
                file: place,
                key: "weight_map".into(),
                expected: "tensors and the shards that hold them",
            });
        }
        for shard in map.values().collect::<BTreeSet<_>>() {
            // A shard elsewhere would let an index read any file of the machine.
            let mut parts = Path::new(shard).components();
            if !matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            ) {
                return Err(Error::InvalidKey {
                    file: place,
                    key: "weight_map".into(),
                    found: format!("{shard:?}"),
                    expected: "the name of a file in the same folder".into(),
                });
            }
            folder.add(shard)?;
        }
        folder.cross_check(&map);
        Ok(folder)
    }

    fn add(&mut self, name: &str) -> Result<()> {
        self.files.push((
            name.to_owned(),
            SafetensorsFile::open(&self.path.join(name))?,
        ));
        Ok(())
    }

    fn cross_check(&mut self, map: &BTreeMap<String, String>) {
        let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
        for (file, shard) in &self.files {
            for name in shard.entries().keys() {
                if let Some(first) = holders.insert(name, file) {
                    self.problems.push(TensorProblem::Repeated {
                        name: name.clone(),
                        first: first.to_owned(),
                        second: file.clone(),
                    });
                }
            }
        }
        for (name, file) in map {
            let there = self
                .files
                .iter()
                .any(|(of, shard)| of == file && shard.entries().contains_key(name));
            if !there {
                let (name, file) = (name.clone(), file.clone());
                self.problems.push(TensorProblem::NotInShard { name, file });
            }
        }
    }
}

impl Checkpoint for Folder {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn name_of(&self, path: &str) -> String {
        path.to_owned()
    }

    fn may_ignore(&self, name: &str) -> bool {
        // A buffer that old writers stored; it follows from the configuration.
        name.ends_with("rotary_emb.inv_freq")
    }

    fn tensors(&self) -> BTreeMap<String, Described> {
        let described = |file: &str, entry: &super::safetensors::Entry| Described {
            shape: entry.shape.clone(),
            file: file.to_owned(),
            unreadable: (!entry.is_float()).then(|| entry.element.clone()),
        };
        self.files
            .iter()
            .flat_map(|(file, shard)| {
                let entries = shard.entries().iter();
                entries.map(move |(name, entry)| (name.clone(), described(file, entry)))
            })
            .collect()
    }

    fn problems(&self) -> Vec<TensorProblem> {
        self.problems.clone()
    }

    fn read(&mut self, path: &str) -> Result<Vec<f32>> {
        let holder = self
            .files
            .iter_mut()
            .find(|(_, file)| file.entries().contains_key(path));
        let (_, file) = holder.ok_or_else(|| Error::MalformedWeights {
            file: self.path.clone(),
            tensor: Some(path.to_owned()),
            problem: "is in no file".into(),
        })?;
        file.read(path)
    }
}
