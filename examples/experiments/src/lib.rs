//! What experiments with teachers and students are made of.
//!
//! Owns the stages that experiments share, the choice of what students learn from, and the figures over seeds with their
//! tables. Which experiments there are, and with which models and budgets, is the programs' business.
#![forbid(unsafe_code)]

pub mod dataset;
pub mod lab;
pub mod model;
pub mod numbers;
pub mod seeds;
pub mod statistics;
pub mod table;

pub use dataset::{Dataset, Explained};
pub use lab::{Lab, Objective, Training};
pub use model::{Adapters, Folders, Look, Model, Storage, Taught};
pub use numbers::{Number, Record, Summary};
pub use seeds::Seeds;

/// Any failure; experiments only show it.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
