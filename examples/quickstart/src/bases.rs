//! The decoders that the loop begins with: shipped with the program, or schooled anew.
//!
//! Owns their sizes, their schooling and how the shipped ones are made and told to be whole. What they read is
//! `arithmetic`'s business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arithmetic::language;
use arithmetic::schooling::{Lesson, School, Size};
use arithmetic::widening::widened;
use arithmetic::world::World;
use didact::Device;
use didact::data::{PromptFormat, Tokenizer};
use didact::models::Decoder;
use didact::rl::Observer;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::Result;

/// The teacher's size and that of the student that judges it: 0.1 million parameters.
pub(crate) const SMALL: Size = Size::TINY;

/// The size of the larger student: 0.6 million parameters.
pub(crate) const LARGE: Size = Size {
    hidden: 128,
    mlp: 336,
    layers: 3,
    heads: 8,
    context: SMALL.context,
};

/// What the larger student is called in a run's records.
pub(crate) const LARGE_NAME: &str = "large";

/// The seed that the shipped ones were made with.
const SEED: u64 = 7;

/// What the shipped ones were made with, and the hash of each file.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    command: String,
    seed: u64,
    files: BTreeMap<String, String>,
}

/// A decoder of either size.
#[derive(Debug)]
pub(crate) struct Bases {
    pub(crate) small: Decoder,
    pub(crate) large: Decoder,
}

/// The shipped files, by their path in `bases/`.
const SHIPPED: [(&str, &[u8]); 4] = [
    (
        "small/config.json",
        include_bytes!("../bases/small/config.json"),
    ),
    (
        "small/model.safetensors",
        include_bytes!("../bases/small/model.safetensors"),
    ),
    (
        "large/config.json",
        include_bytes!("../bases/large/config.json"),
    ),
    (
        "large/model.safetensors",
        include_bytes!("../bases/large/model.safetensors"),
    ),
];

const MADE: &str = include_str!("../bases/made.json");

/// The shipped decoders, whose files are written to `folder` on the way.
///
/// # Errors
/// A file that is not the one that was made.
pub(crate) fn shipped(folder: &Path, device: &Device) -> Result<Bases> {
    let made: Made = serde_json::from_str(MADE)?;
    for (name, bytes) in SHIPPED {
        check(name, bytes, made.files.get(name).map(String::as_str))?;
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bytes)?;
    }
    let load = |name: &str| Decoder::load_folder(folder.join(name), device);
    Ok(Bases {
        small: load("small")?,
        large: load("large")?,
    })
}

fn check(name: &str, bytes: &[u8], expected: Option<&str>) -> Result<()> {
    let found = hash(bytes);
    if expected == Some(found.as_str()) {
        return Ok(());
    }
    Err(format!(
        "examples/quickstart/bases/{name}: its hash is {found}, but bases/made.json says {}; check both out again, or \
         make them anew with --make-bases",
        expected.unwrap_or("nothing of it")
    )
    .into())
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The schooling of both sizes.
#[derive(Debug)]
pub(crate) struct Schooling<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) format: &'a PromptFormat,
    /// From random weights to the small one.
    pub(crate) small: &'a [Lesson],
    /// From the small one, widened, to the large one.
    pub(crate) large: &'a [Lesson],
    pub(crate) seed: u64,
}

impl Schooling<'_> {
    /// Both, and the lessons that ended before their loss was low enough.
    pub(crate) fn attend(
        &self,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<(Bases, Vec<&'static str>)> {
        let Self {
            tokenizer,
            format,
            seed,
            ..
        } = *self;
        let school = School {
            world: World::SMALL,
            tokenizer,
            format,
            seed,
        };
        let fresh = SMALL.fresh(tokenizer, seed, device)?;
        let (small, mut missed) = school.attend(fresh, self.small, observer)?;
        let wide = widened(&small, &LARGE.config(tokenizer)?, seed)?;
        let (large, more) = school.attend(wide, self.large, observer)?;
        missed.extend(more);
        Ok((Bases { small, large }, missed))
    }
}

/// Makes the decoders that are shipped, in `folder`.
pub(crate) fn make(
    folder: &Path,
    lessons: [&[Lesson]; 2],
    observer: &mut dyn Observer,
) -> Result<PathBuf> {
    let scratch = tempfile::tempdir()?;
    let tokenizer = language::tokenizer(&World::SMALL, scratch.path())?;
    let schooling = Schooling {
        tokenizer: &tokenizer,
        format: &language::format()?,
        small: lessons[0],
        large: lessons[1],
        seed: SEED,
    };
    let (bases, missed) = schooling.attend(&Device::flex().autodiff(), observer)?;
    if !missed.is_empty() {
        return Err(format!(
            "{} ended before the loss was low enough",
            missed.join(" and ")
        )
        .into());
    }
    let mut files = BTreeMap::new();
    for (name, decoder) in [("small", &bases.small), ("large", &bases.large)] {
        decoder.save_folder(folder.join(name))?;
        tokenizer.save_folder(folder.join(name))?;
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            let name = format!("{name}/{file}");
            let bytes = fs::read(folder.join(&name))?;
            files.insert(name, hash(&bytes));
        }
    }
    let made = Made {
        command: "cargo run --release -p quickstart -- --make-bases".to_owned(),
        seed: SEED,
        files,
    };
    let path = folder.join("made.json");
    let beside = folder.join("made.json.partial");
    fs::write(&beside, serde_json::to_string_pretty(&made)? + "\n")?;
    fs::rename(&beside, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_what_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let bases = shipped(folder.path(), &Device::flex()).unwrap();
        let [small, large] =
            [bases.small, bases.large].map(|decoder| decoder.config().parameter_count().unwrap());
        assert!(large >= 4 * small, "{large} and {small} parameters");
    }

    #[test]
    fn a_file_that_is_another_is_named() {
        let error = check("small/model.safetensors", b"version", Some("abc")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("small/model.safetensors") && error.contains("abc"),
            "{error}"
        );
        assert!(error.contains("--make-bases"), "{error}");
    }
}
