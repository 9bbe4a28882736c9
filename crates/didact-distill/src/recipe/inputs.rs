//! What decides the outcome of a stage.
//!
//! Owns what goes into its hash: settings, what it reads, and nothing that only changes an estimate or where weights lie.

use std::collections::BTreeMap;
use std::path::Path;

use didact_data::PromptFormat;
use didact_rl::checkpoint::FREE_KEYS;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Recipe, Stage};
use crate::{Error, Result};

/// The hashes of what the stages so far and the sources came to.
pub(super) struct Inputs<'a> {
    recipe: &'a Recipe,
    format: Value,
    hashes: BTreeMap<String, String>,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(recipe: &'a Recipe, format: &PromptFormat) -> Result<Self> {
        Ok(Self {
            recipe,
            format: value(format)?,
            hashes: BTreeMap::new(),
        })
    }

    pub(super) fn made(&mut self, name: &str, hash: String) {
        self.hashes.insert(name.to_owned(), hash);
    }

    /// Everything that decides what the stage comes to; none where something is not there yet.
    pub(super) fn of(&mut self, stage: &Stage) -> Result<Option<Value>> {
        let mut read = BTreeMap::new();
        let names = [Some(stage.model()), stage.student(), stage.explanations()];
        for name in names.into_iter().flatten() {
            let hash = match (self.hashes.get(name), self.recipe.models.get(name)) {
                (Some(hash), _) => hash.clone(),
                (None, Some(source)) if self.recipe.at(&source.path).exists() => {
                    let hash = self.recipe.hash_of_source(&source.path)?;
                    self.made(name, hash.clone());
                    hash
                }
                (None, _) => return Ok(None),
            };
            let weights = self.recipe.models.get(name).map(|source| source.weights);
            read.insert(name, json!({ "hash": hash, "weights": weights }));
        }
        let mut problems = BTreeMap::new();
        for (key, name) in stage.problems() {
            let source = &self.recipe.problems[name];
            if !self.recipe.at(&source.path).exists() {
                return Ok(None);
            }
            let hash = self.recipe.hash_of_source(&source.path)?;
            problems.insert(
                key,
                json!({ "hash": hash, "first": source.first, "prefix": source.question_prefix }),
            );
        }
        let mut settings = value(stage)?;
        if let Some(settings) = settings.as_object_mut() {
            // They change an estimate, what is kept on the way or where weights lie, not the outcome.
            settings.remove("expected_completion_tokens");
            let training = settings.get_mut("training").and_then(Value::as_object_mut);
            if let Some(training) = training {
                training.retain(|key, _| !FREE_KEYS.contains(&key.as_str()));
            }
        }
        let rewarded = matches!(stage, Stage::Teach(_) | Stage::Collect(_));
        let reward = rewarded.then(|| value(&self.recipe.reward)).transpose()?;
        Ok(Some(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "stage": settings,
            "format": self.format,
            "reward": reward,
            "read": read,
            "problems": problems,
        })))
    }
}

pub(super) fn value(settings: &impl Serialize) -> Result<Value> {
    serde_json::to_value(settings).map_err(Error::json(Path::new("recipe")))
}
