//! Stages that are made once: a folder each, named by what went in.
//!
//! Owns a stage's folder, when it counts as made, and that one process makes it at a time. Knows nothing of what a
//! stage does.
//!
//! A stage's inputs are one JSON value; the hash of a stage before it is among them where it builds on one. Its folder
//! is `NAME-` and the first twelve digits of the inputs' BLAKE3 hash, so other inputs have another folder and nothing
//! is ever overwritten. `inputs.json` is written first; `stage.json`, written last, holds the inputs, the stage's value
//! and the size and hash of every file in the folder, but for those below a `checkpoints` folder and locks: these serve to go
//! on, and a stage that is made has no need of them. While it is missing the stage is made, in the same folder, so that
//! files of an earlier attempt can be gone on with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::resumable::{to_text, write_beside};
use crate::{Error, Result};

const RECORD: &str = "stage.json";
const LOCK: &str = "stage.lock";

/// A folder of stages.
#[derive(Debug, Clone)]
pub struct Stages {
    root: PathBuf,
}

/// A stage that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<T> {
    /// What it came to.
    pub value: T,
    /// Where its files are.
    pub folder: PathBuf,
    /// The hash of its inputs, for the inputs of stages that build on it.
    pub hash: String,
    /// Whether it had been made before.
    pub skipped: bool,
}

/// Where a stage is or would be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where its files are or will be.
    pub folder: PathBuf,
    /// The hash of its inputs.
    pub hash: String,
    /// Whether it is made.
    pub done: bool,
}

/// What `stage.json` holds.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    inputs: Value,
    hash: String,
    value: T,
    files: BTreeMap<String, MadeFile>,
}

/// A file that a stage left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MadeFile {
    bytes: u64,
    hash: String,
}

impl Stages {
    /// The stages in `root`, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(Error::file(&root, "creating"))?;
        Ok(Self { root })
    }

    /// The same without making the folder.
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Where the stage `name` of `inputs` is or would be made.
    ///
    /// # Errors
    /// A name that is not one folder's; inputs that are no JSON.
    pub fn place(&self, name: &str, inputs: &impl Serialize) -> Result<Place> {
        Ok(self.locate(name, inputs)?.0)
    }

    /// The stage's value and folder: those of before where it is made, else what `work` makes of the folder.
    ///
    /// A stage that another process is making is waited for. One that was begun is made in the same folder again.
    ///
    /// # Errors
    /// What `work` fails with; [`Error::Resume`] where a file of a made stage is gone or of another size;
    /// [`Error::File`]; [`Error::Json`].
    pub fn run<T: Serialize + DeserializeOwned, E: From<Error>>(
        &self,
        name: &str,
        inputs: &impl Serialize,
        work: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<Done<T>, E> {
        let (place, inputs) = self.locate(name, inputs)?;
        let Place { folder, hash, .. } = place;
        fs::create_dir_all(&folder).map_err(Error::file(&folder, "creating"))?;
        let _lock = lock(&folder.join(LOCK))?;
        let path = folder.join(RECORD);
        if path.exists() {
            return Ok(Done {
                value: read(&folder, &path)?,
                folder,
                hash,
                skipped: true,
            });
        }
        let begun = folder.join("inputs.json");
        write_beside(&begun, &to_text(&begun, &inputs)?)?;
        let value = work(&folder)?;
        let record = Record {
            files: files(&folder, &|name| {
                let names: Vec<&str> = name.split('/').collect();
                let (last, folders) = names.split_last().unwrap_or((&name, &[]));
                !folders.contains(&"checkpoints") && *last != "lock" && !last.ends_with(".partial")
            })?,
            inputs,
            hash,
            value,
        };
        write_beside(&path, &to_text(&path, &record)?)?;
        let Record { hash, value, .. } = record;
        Ok(Done {
            value,
            folder,
            hash,
            skipped: false,
        })
    }

    /// Refuses a made stage whose files are gone or of another size.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn check(&self, place: &Place) -> Result<()> {
        read::<Value>(&place.folder, &place.folder.join(RECORD)).map(|_| ())
    }

    fn locate(&self, name: &str, inputs: &impl Serialize) -> Result<(Place, Value)> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
            return Err(Error::Stage {
                stage: name.to_owned(),
                problem: "a stage's name is its folder's: letters, digits, `_`, `-` and `.`, not beginning with `.`"
                    .to_owned(),
            });
        }
        let mut inputs =
            serde_json::to_value(inputs).map_err(Error::json(&self.root.join(name)))?;
        // Equal inputs have equal text, in whatever order their keys were given.
        inputs.sort_all_objects();
        let hash = blake3::hash(inputs.to_string().as_bytes())
            .to_hex()
            .to_string();
        let folder = self.root.join(format!("{name}-{}", &hash[..12]));
        let done = folder.join(RECORD).exists();
        Ok((Place { folder, hash, done }, inputs))
    }
}

/// Held until dropped.
fn lock(path: &Path) -> Result<File> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.map_err(Error::file(path, "opening"))?;
    file.lock().map_err(Error::file(path, "locking"))?;
    Ok(file)
}

/// The value of a made stage, whose files are still there.
fn read<T: DeserializeOwned>(folder: &Path, path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(Error::file(path, "reading"))?;
    let record: Record<T> = serde_json::from_slice(&text).map_err(|error| Error::Resume {
        path: path.to_owned(),
        problem: format!(
            "it cannot be read ({error}); delete {} to make the stage anew",
            folder.display()
        ),
    })?;
    for (name, made) in &record.files {
        let path = folder.join(name);
        let found = fs::metadata(&path).ok().map(|m| m.len());
        if found != Some(made.bytes) {
            let found = found.map_or("it is gone".to_owned(), |f| format!("it has {f}"));
            return Err(Error::Resume {
                path,
                problem: format!(
                    "the stage left a file of {} bytes, but {found}; delete {} to make the stage anew",
                    made.bytes,
                    folder.display()
                ),
            });
        }
    }
    Ok(record.value)
}

/// Every file below `folder` that is `wanted`, but those of this module, by its path in it.
fn files(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<BTreeMap<String, MadeFile>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).map_err(Error::file(&inner, "listing"))? {
            let path = entry.map_err(Error::file(&inner, "listing"))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // Below the folder by construction. A name that is no Unicode is shown as well as it can be.
            let name = path.strip_prefix(folder).unwrap_or(&path);
            let name = name
                .to_string_lossy()
                .replace(std::path::MAIN_SEPARATOR, "/");
            if [LOCK, RECORD].contains(&name.as_str()) || !wanted(&name) {
                continue;
            }
            found.insert(name, made_file(&path)?);
        }
    }
    Ok(found)
}

/// The BLAKE3 hash of a file, or of a folder's files with their paths in it.
pub(crate) fn hash_of(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return Ok(made_file(path)?.hash);
    }
    let mut hasher = blake3::Hasher::new();
    for (name, MadeFile { hash, .. }) in files(path, &|_| true)? {
        hasher.update(name.as_bytes());
        hasher.update(hash.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn made_file(path: &Path) -> Result<MadeFile> {
    let mut file = File::open(path).map_err(Error::file(path, "opening"))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(Error::file(path, "reading"))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        hasher.update(&buffer[..read]);
    }
    Ok(MadeFile {
        bytes,
        hash: hasher.finalize().to_hex().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stages() -> (tempfile::TempDir, Stages) {
        let folder = tempfile::tempdir().unwrap();
        let stages = Stages::open(folder.path().join("stages")).unwrap();
        (folder, stages)
    }

    fn never(_: &Path) -> Result<u32> {
        panic!("a made stage is made again")
    }

    #[test]
    fn a_stage_is_made_once_for_its_inputs() {
        let (_folder, stages) = stages();
        let make = |value: u32| {
            move |folder: &Path| -> Result<u32> {
                fs::create_dir(folder.join("inner")).unwrap();
                fs::write(folder.join("inner/made"), value.to_string()).unwrap();
                Ok(value)
            }
        };
        let inputs = json!({"seed": 1, "rate": 0.1});
        assert!(!stages.place("teach", &inputs).unwrap().done);
        let first = stages.run("teach", &inputs, make(7)).unwrap();
        assert_eq!((first.value, first.skipped), (7, false));
        // The order in which keys were given means nothing.
        let again = stages
            .run("teach", &json!({"rate": 0.1, "seed": 1}), never)
            .unwrap();
        assert!(again.skipped && again.value == 7 && again.folder == first.folder);
        assert!(stages.place("teach", &inputs).unwrap().done);
        let other = stages
            .run("teach", &json!({"seed": 2, "rate": 0.1}), make(8))
            .unwrap();
        assert_eq!((other.value, other.skipped), (8, false));
        assert_ne!(other.folder, first.folder);
        let record = fs::read_to_string(first.folder.join("stage.json")).unwrap();
        assert!(
            record.contains("inner/made") && record.contains(&first.hash),
            "{record}"
        );
    }

    #[test]
    fn one_that_failed_goes_on_in_its_folder() {
        let (_folder, stages) = stages();
        let failed = stages.run("collect", &1, |folder| -> Result<u32> {
            fs::write(folder.join("half"), "a").unwrap();
            Err(Error::Stage {
                stage: "collect".into(),
                problem: "killed".into(),
            })
        });
        assert!(failed.is_err());
        let done = stages.run("collect", &1, |folder| -> Result<String> {
            Ok(fs::read_to_string(folder.join("half")).unwrap())
        });
        let done = done.unwrap();
        assert_eq!((done.value.as_str(), done.skipped), ("a", false));
    }

    #[test]
    fn a_file_that_is_gone_or_another_is_named() {
        let (_folder, stages) = stages();
        let made = stages.run("warm_up", &1, |folder| -> Result<u32> {
            fs::write(folder.join("weights"), "abc").unwrap();
            Ok(1)
        });
        let path = made.unwrap().folder.join("weights");
        let refused = || stages.run("warm_up", &1, never).unwrap_err().to_string();
        fs::write(&path, "ab").unwrap();
        let error = refused();
        assert!(
            error.contains("weights") && error.contains("3 bytes") && error.contains("has 2"),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        let error = refused();
        assert!(
            error.contains("gone") && error.contains("delete"),
            "{error}"
        );
    }

    #[test]
    fn a_made_stage_has_no_need_of_its_checkpoints() {
        let (_folder, stages) = stages();
        let made = stages.run("teach", &1, |folder| -> Result<u32> {
            let checkpoints = folder.join("run/checkpoints/teach");
            fs::create_dir_all(&checkpoints).unwrap();
            fs::write(checkpoints.join("weights"), "abc").unwrap();
            fs::write(folder.join("run/lock"), "").unwrap();
            fs::write(folder.join("run/metrics"), "1").unwrap();
            Ok(1)
        });
        let folder = made.unwrap().folder;
        fs::remove_dir_all(folder.join("run/checkpoints")).unwrap();
        fs::remove_file(folder.join("run/lock")).unwrap();
        assert!(stages.run("teach", &1, never).unwrap().skipped);
        let place = stages.place("teach", &1).unwrap();
        assert!(stages.check(&place).is_ok());
        fs::remove_file(folder.join("run/metrics")).unwrap();
        assert!(stages.check(&place).is_err());
        assert!(stages.run("teach", &1, never).is_err());
    }

    #[test]
    fn a_name_is_one_folder() {
        let (_folder, stages) = stages();
        for name in ["", "../up", "a/b", ".hidden"] {
            assert!(stages.place(name, &1).is_err(), "{name}");
        }
    }

    #[test]
    fn two_that_want_the_same_make_it_once() {
        let (_folder, stages) = stages();
        let made = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let work = |_: &Path| -> Result<u32> {
                        made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok(3)
                    };
                    assert_eq!(stages.run("teach", &1, work).unwrap().value, 3);
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
