//! The rows of the table.
//!
//! Owns their names and the worlds that each is found in. Each row's file owns what it compares.

mod ablations;
mod buckets;
pub(crate) mod complements;
mod itself;
mod manner;
mod shown;
mod teachers;
mod transfer;

use clap::ValueEnum;

use crate::Result;
use crate::lab::Lab;
use crate::plan::WorldName;
use experiments::Record;

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Row {
    /// Teachers and controls by the accuracy of their students.
    #[value(name = "1")]
    Teachers,
    /// Trained teachers that are shown another problem's solution; size and density of the reward apart.
    #[value(name = "1b")]
    Shown,
    /// What training each teacher costs.
    #[value(name = "2")]
    Cost,
    /// What explanations do before and after RL.
    #[value(name = "3")]
    Manner,
    /// RL of students after distillation.
    #[value(name = "4")]
    Complements,
    /// An operation that the teacher was not trained on.
    #[value(name = "5")]
    Transfer,
    /// One model as teacher and student.
    #[value(name = "6")]
    Itself,
    /// Buckets of explanations by reward.
    #[value(name = "7")]
    Buckets,
    /// The reward without one of its parts.
    #[value(name = "ablations")]
    Ablations,
}

impl Row {
    pub(crate) const ALL: [Self; 9] = [
        Self::Teachers,
        Self::Shown,
        Self::Cost,
        Self::Manner,
        Self::Complements,
        Self::Transfer,
        Self::Itself,
        Self::Buckets,
        Self::Ablations,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Teachers => "1",
            Self::Shown => "1b",
            Self::Cost => "2",
            Self::Manner => "3",
            Self::Complements => "4",
            Self::Transfer => "5",
            Self::Itself => "6",
            Self::Buckets => "7",
            Self::Ablations => "ablations",
        }
    }

    /// What is claimed.
    pub(crate) const fn claim(self) -> &'static str {
        match self {
            Self::Teachers => {
                "a small teacher trained to explain beats a five times larger one trained to solve"
            }
            Self::Shown => "the teacher uses the solution that it is shown",
            Self::Cost => "training it is cheap",
            Self::Manner => "its explanations are to the point",
            Self::Complements => "it complements reinforcement learning of the student",
            Self::Transfer => "it carries over to an operation that it was not trained on",
            Self::Itself => "one model can teach itself",
            Self::Buckets => "the reward predicts the student",
            Self::Ablations => "what each part of the reward does",
        }
    }

    pub(crate) const fn worlds(self) -> &'static [WorldName] {
        use WorldName::{Dense, Handbook, Leaky, Sparse};
        match self {
            Self::Teachers => &[Sparse, Dense, Handbook],
            Self::Cost => &[Sparse, Dense],
            Self::Shown => &[Handbook, Dense, Sparse, Leaky],
            Self::Manner => &[Dense, Sparse, Leaky],
            Self::Ablations => &[Leaky, Dense],
            Self::Complements | Self::Transfer | Self::Itself | Self::Buckets => &[Dense],
        }
    }

    /// Finds the figures of one world and seed.
    pub(crate) fn run(self, lab: &Lab) -> Result<Record> {
        let mut record = Record::new(self.name(), lab.setting.name.name(), lab.seed);
        let find = match self {
            Self::Teachers => teachers::run,
            Self::Shown => shown::run,
            Self::Cost => teachers::cost,
            Self::Manner => manner::run,
            Self::Complements => complements::run,
            Self::Transfer => transfer::run,
            Self::Itself => itself::run,
            Self::Buckets => buckets::run,
            Self::Ablations => ablations::run,
        };
        find(lab, &mut record)?;
        Ok(record)
    }
}
