//! Saving a teacher's training and taking it up again.
//!
//! Owns what of a trainer goes into a checkpoint, and whose it is. Knows no file.

use std::path::Path;

use super::TeacherTrainer;
use crate::checkpoint::{
    Checkpoint, CheckpointStore, Fingerprint, Identity, Saving, Snapshot, fingerprint,
};
use crate::rollout::PreparedProblem;
use crate::stop::StopFlag;
use crate::{Error, Observer, Result};

impl TeacherTrainer {
    /// The same, writing checkpoints to `store` as the configuration says.
    ///
    /// # Errors
    /// [`Error::TooLate`] after a step; a tensor that cannot be read.
    pub fn with_checkpoints(mut self, store: CheckpointStore) -> Result<Self> {
        self.check_fresh()?;
        let identity = self.identity()?;
        self.saving = Some(Saving { store, identity });
        Ok(self)
    }

    /// The same, ending after the step that is being made when `stop` is set.
    #[must_use]
    pub fn with_stop(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// Goes on from the newest checkpoint of the store; its step, `None` where there is none.
    ///
    /// # Errors
    /// As [`CheckpointStore::latest`] and [`resume`](Self::resume).
    pub fn resume_latest(&mut self) -> Result<Option<u64>> {
        let Some(saving) = &self.saving else {
            return Ok(None);
        };
        let Some(checkpoint) = saving.store.latest()? else {
            return Ok(None);
        };
        let step = checkpoint.state.step;
        self.resume(checkpoint)?;
        Ok(Some(step))
    }

    /// Goes on from `checkpoint`, which a run of the same models, problems and configuration wrote. Later ones in
    /// the store are removed, for they are made again.
    ///
    /// A curriculum of the caller's own is not compared, nor a reward without an [identity](didact_core::Reward::identity): they
    /// must be the same.
    ///
    /// # Errors
    /// [`Error::OtherRun`]; [`Error::TooLate`] after a step; a tensor or a curriculum's state that does not fit.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.check_fresh()?;
        match &self.saving {
            Some(saving) => checkpoint.check_identity(&saving.identity)?,
            None => checkpoint.check_identity(&self.identity()?)?,
        }
        let step = checkpoint.state.step;
        if let Some(state) = &checkpoint.state.curriculum {
            self.curriculum.restore(state)?;
        }
        self.trainer
            .restore(checkpoint.trainable, checkpoint.optimizer)?;
        if let Some(reference) = checkpoint.reference {
            self.engines.reference.restore(reference, step)?;
        }
        self.engines.update_policy(self.trainer.policy()?, step);
        self.state = checkpoint.state;
        match &self.saving {
            Some(saving) => saving.store.remove_after(step),
            None => Ok(()),
        }
    }

    fn check_fresh(&self) -> Result<()> {
        match self.state.step {
            0 => Ok(()),
            steps => Err(Error::TooLate {
                what: "taking up a checkpoint, or saying where they are written,".to_owned(),
                steps,
            }),
        }
    }

    fn identity(&self) -> Result<Identity> {
        let json = |e| Error::json(Path::new("config.json"), e);
        let tokenizer = &self.task.tokenizer;
        let mut text = Fingerprint::default();
        text.add(tokenizer.fingerprint().as_bytes());
        text.add(&serde_json::to_vec(&self.task.format).map_err(json)?);
        text.add(&serde_json::to_vec(&self.task.role).map_err(json)?);
        let mut data = Fingerprint::default();
        for problems in [&self.problems, &self.held_out] {
            data.add(&(problems.len() as u64).to_le_bytes());
            for PreparedProblem { problem, prompt } in problems {
                data.add(&serde_json::to_vec(problem).map_err(json)?);
                let ids: Vec<u8> = prompt.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                data.add(&ids);
            }
        }
        Ok(Identity {
            model: fingerprint(self.trainer.policy()?)?,
            student: Some(match self.engines.student.model() {
                Some(student) => fingerprint(student)?,
                None => "the policy".to_owned(),
            }),
            tokenizer: Some(text.finish()),
            data: data.finish(),
            reward: Some(self.task.reward.identity()).filter(|reward| !reward.is_empty()),
            configuration: serde_json::to_value(&self.config).map_err(json)?,
        })
    }

    pub(super) fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Some(saving) = &self.saving else {
            return Ok(());
        };
        self.state.updates = self.trainer.updates();
        self.state.curriculum = Some(self.curriculum.state());
        let reference = &self.engines.reference;
        let snapshot = Snapshot {
            identity: &saving.identity,
            state: &self.state,
            policy: self.trainer.policy()?,
            optimizer: self.trainer.optimizer(),
            reference: reference.has_followed().then(|| reference.decoder()),
        };
        saving.save(
            &self.config.checkpoint,
            &self.config.stage,
            snapshot,
            observer,
        )
    }
}
