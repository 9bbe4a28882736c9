//! AdamW's update of one parameter, where its numbers lie.
//!
//! This module owns the operation's contract. It knows no schedule and no model: which parameters are updated, and with
//! which constants, is the optimizer's matter.
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};

use crate::{device, reference};

/// The numbers of one step of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019), the same for
/// every entry.
///
/// ```text
/// m ← beta1·m + rest1·g          v ← beta2·v + rest2·g²
/// θ ← keep·θ − step_size · m / (√v · root_correction + epsilon)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// 1 − β₁, taken before it is rounded.
    pub rest1: f32,
    /// 1 − β₂, taken before it is rounded.
    pub rest2: f32,
    /// What weight decay leaves: 1 − learning rate · decay.
    pub keep: f32,
    /// Learning rate over the first moment's bias correction, 1 − β₁ᵗ.
    pub step_size: f32,
    /// One over the root of the second moment's bias correction, 1 − β₂ᵗ.
    pub root_correction: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

/// Parameter, first and second moment after a step, each `[N]`; they take the memory of those before where nothing else
/// holds it.
///
/// All are f32. A parameter of half precision is kept as a master copy in f32, which this updates and the caller
/// rounds.
///
/// # Panics
/// When the four differ in length.
#[must_use]
pub fn adamw(
    step: AdamWStep,
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
) -> [Tensor<1>; 3] {
    let all = [&parameter, &gradient, &first, &second];
    let lengths = all.map(|tensor| tensor.dims()[0]);
    assert!(
        lengths.iter().all(|length| *length == lengths[0]),
        "adamw: parameter, gradient and moments have lengths {lengths:?}"
    );
    let floats = all.map(|tensor| tensor.dtype());
    let device = parameter.device();
    if device::is_autodiff(&device)
        || floats != [DType::F32; 4]
        || !device::has_kernels_for(&device, &floats)
        || lengths[0] == 0
    {
        return reference::adamw(step, parameter, gradient, first, second);
    }
    let (parameter, first, second) = <Dispatch as AdamWOps>::adamw(
        parameter.into_dispatch(),
        gradient.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        step,
    );
    [parameter, first, second].map(Tensor::from_dispatch)
}

/// The same over host memory: parameter, first and second moment are changed in place.
pub fn adamw_in_place(
    step: AdamWStep,
    parameter: &mut [f32],
    gradient: &[f32],
    [first, second]: [&mut [f32]; 2],
) {
    crate::flex::adamw(step, parameter, gradient, first, second);
}

/// The backend family behind [`adamw()`]: f32 tensors of one length, at least 1; no gradients.
#[backend_extension(
    Fusion: cfg(feature = "fusion"),
    Flex,
    Cube: cfg(feature = "cube"),
)]
pub trait AdamWOps: Backend {
    /// Parameter, first and second moment after the step.
    #[fusion(meta = |parameter, _, first, second, _| (parameter.clone(), first.clone(), second.clone()))]
    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}
