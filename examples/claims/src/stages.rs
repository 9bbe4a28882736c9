//! Stages that are made once: a folder each, named by what went in.
//!
//! Owns the folder's name and when its value counts as made. Knows nothing of what a stage does.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;

/// Where stages are kept.
#[derive(Debug, Clone)]
pub(crate) struct Stages {
    root: PathBuf,
}

/// A stage that is made.
#[derive(Debug, Clone)]
pub(crate) struct Done<T> {
    pub(crate) value: T,
    pub(crate) folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    inputs: Value,
    value: T,
}

impl Stages {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The stage's value: that of its folder, or what `work` makes in it.
    pub(crate) fn run<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        inputs: &Value,
        work: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<Done<T>> {
        let hash = blake3::hash(inputs.to_string().as_bytes()).to_hex();
        let folder = self.root.join(format!("{name}-{}", &hash[..12]));
        let path = folder.join("stage.json");
        if let Ok(text) = fs::read_to_string(&path) {
            let Kept { value, .. } = serde_json::from_str(&text)?;
            return Ok(Done { value, folder });
        }
        fs::create_dir_all(&folder)?;
        let value = work(&folder)?;
        let kept = Kept {
            inputs: inputs.clone(),
            value,
        };
        let beside = folder.join("stage.json.partial");
        fs::write(&beside, serde_json::to_string_pretty(&kept)?)?;
        fs::rename(&beside, &path)?;
        let Kept { value, .. } = kept;
        Ok(Done { value, folder })
    }
}
