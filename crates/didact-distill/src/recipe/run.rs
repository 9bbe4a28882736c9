//! Makes the stages of a recipe in their order, each once.
//!
//! Owns the order and what is told of each. When a stage counts as made is [`Stages`]' matter.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::Device;
use didact_data::PromptFormat;
use didact_rl::memory::MemoryPlace;
use didact_rl::{Observer, StopFlag};
use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::making::Making;
use super::{Recipe, Stage};
use crate::{Error, Result, Stages};

/// What a stage came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageOutcome {
    /// Its name.
    pub name: String,
    /// Its kind, as in the recipe.
    pub kind: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// Whether it had been made before.
    pub skipped: bool,
    /// Its figures by name; intervals as `NAME/mean`, `NAME/low` and `NAME/high`.
    pub figures: BTreeMap<String, f64>,
}

/// A recipe that is being made in a folder.
#[derive(Debug)]
pub struct Run<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) format: PromptFormat,
    stages: Stages,
    pub(super) device: Device,
    pub(super) stop: StopFlag,
}

impl<'a> Run<'a> {
    /// `recipe`, made in `folder` on a device that records gradients.
    ///
    /// # Errors
    /// A format or a folder that cannot be read or made.
    pub fn new(recipe: &'a Recipe, folder: impl Into<PathBuf>, device: Device) -> Result<Self> {
        Ok(Self {
            recipe,
            format: recipe.prompt_format()?,
            stages: Stages::open(folder)?,
            device,
            stop: StopFlag::new(),
        })
    }

    /// Ends after the training step in which `stop` is set, once that step has its checkpoint.
    #[must_use]
    pub fn with_stop(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// Makes every stage that is not made yet, in order, and hands each outcome to `made` as it comes. What a later stage
    /// would refuse is refused before the first is made, as far as that can be told.
    ///
    /// # Errors
    /// A model or problems that are not there; what a stage refuses or fails with. Stages before it stay made, and it goes on
    /// from its last checkpoint or line when the recipe is run again.
    pub fn run(
        &self,
        observer: &mut dyn Observer,
        made: &mut dyn FnMut(&StageOutcome),
    ) -> Result<Vec<StageOutcome>> {
        self.check()?;
        let mut inputs = Inputs::new(self.recipe, &self.format)?;
        let mut folders: BTreeMap<&str, PathBuf> = BTreeMap::new();
        let mut outcomes = Vec::new();
        for stage in &self.recipe.stages {
            let Some(read) = inputs.of(stage)? else {
                return Err(Error::Stage {
                    stage: stage.name().to_owned(),
                    problem: "what it builds on is gone".to_owned(),
                });
            };
            let done = self.stages.run(stage.name(), &read, |folder| {
                let making = Making {
                    run: self,
                    name: stage.name(),
                    folder,
                    folders: &folders,
                };
                making
                    .make(stage, observer)
                    .map_err(|error| error.of_stage(stage.name()))
            })?;
            let outcome = StageOutcome {
                name: stage.name().to_owned(),
                kind: stage.kind().to_owned(),
                folder: done.folder.clone(),
                skipped: done.skipped,
                figures: done.value,
            };
            made(&outcome);
            outcomes.push(outcome);
            inputs.made(stage.name(), done.hash);
            folders.insert(stage.name(), done.folder);
        }
        Ok(outcomes)
    }

    /// Refuses what a stage would refuse, before hours are spent on those before it.
    fn check(&self) -> Result<()> {
        let place = MemoryPlace::of(&self.device);
        for stage in &self.recipe.stages {
            if let Some(lacking) = self.lacking(stage) {
                return Err(lacking);
            }
            let estimate = self.recipe.estimate(stage, &self.format, place);
            estimate.map_err(|error| error.of_stage(stage.name()))?;
        }
        Ok(())
    }

    /// The model or the problems that a stage needs and that are not there.
    fn lacking(&self, stage: &Stage) -> Option<Error> {
        let recipe = self.recipe;
        let absent = |path: &PathBuf| !recipe.at(path).exists();
        for name in [Some(stage.model()), stage.student()].into_iter().flatten() {
            if let Some(source) = recipe.models.get(name).filter(|s| absent(&s.path)) {
                return Some(recipe.missing("models", name, &source.path, "sizes"));
            }
        }
        for (_, name) in stage.problems() {
            let source = &recipe.problems[name];
            if absent(&source.path) {
                return Some(recipe.missing("problems", name, &source.path, "expected"));
            }
        }
        None
    }
}
