use crate::LinearLogProbOps;

/// A burn backend that has every fused language-model operation.
///
/// It gathers one family trait for each operation. Models and users name this trait only; a backend
/// gets it by implementing the families.
pub trait LmBackend: LinearLogProbOps {}

impl<B: LinearLogProbOps> LmBackend for B {}
