use crate::{
    AttentionOps, GatedOps, LinearKlOps, LinearLogProbOps, LinearOps, NormOps, QuantisedOps,
    RotaryOps,
};

/// A burn backend that has every fused language-model operation.
///
/// It gathers one family trait for each operation; a backend gets it by implementing them all. Flex
/// and the CubeCL devices do. [`CacheOps`](crate::CacheOps), [`StreamedOps`](crate::StreamedOps) and
/// [`StreamedQuantisedOps`](crate::StreamedQuantisedOps), which only inference needs, stand apart: they
/// have no gradients.
pub trait LmBackend:
    LinearOps
    + LinearLogProbOps
    + LinearKlOps
    + AttentionOps
    + NormOps
    + RotaryOps
    + GatedOps
    + QuantisedOps
{
}

impl<B> LmBackend for B where
    B: LinearOps
        + LinearLogProbOps
        + LinearKlOps
        + AttentionOps
        + NormOps
        + RotaryOps
        + GatedOps
        + QuantisedOps
{
}
