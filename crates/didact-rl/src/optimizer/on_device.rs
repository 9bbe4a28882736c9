//! AdamW's state of parameters that lie on a GPU, and their update there.
//!
//! Owns where that state lies. The formula is `didact-kernels`'; which parameters and which constants is the
//! optimizer's matter.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use didact_kernels::{AdamWStep, adamw};

use super::state::{FIRST_MOMENT, MASTER, SECOND_MOMENT, Slots, Trainable};
use crate::gradients::{Numbers, flat};

/// The state of one parameter, flat and in f32.
#[derive(Debug, Clone)]
pub(super) struct DeviceSlots {
    first: Tensor<1>,
    second: Tensor<1>,
    /// Of weights of half precision.
    master: Option<Tensor<1>>,
    shape: Vec<usize>,
}

impl DeviceSlots {
    /// What a parameter of these weights goes on from: what `held` has of it, else zeros and the weights themselves.
    pub(super) fn new<const D: usize>(held: &mut Slots<'_>, weights: &Tensor<D>) -> Self {
        let device = weights.device();
        let count = weights.shape().num_elements();
        let mut take = |slot: &str| {
            let data = held.take(slot)?;
            Some(flat(TensorData::clone(&data), &device))
        };
        let zeros = || Tensor::zeros([count], (&device, DType::F32));
        Self {
            first: take(FIRST_MOMENT).unwrap_or_else(zeros),
            second: take(SECOND_MOMENT).unwrap_or_else(zeros),
            master: Trainable::is_half(weights.dtype()).then(|| {
                let rounded = || weights.clone().reshape([-1]).cast(FloatDType::F32);
                take(MASTER).unwrap_or_else(rounded)
            }),
            shape: weights.dims().to_vec(),
        }
    }

    /// The weights after a step, of the precision that they had, and the state; memory is taken over where nothing else
    /// holds it.
    pub(super) fn update<const D: usize>(
        self,
        step: AdamWStep,
        weights: Tensor<D>,
        gradient: Option<Numbers>,
    ) -> (Tensor<D>, Self) {
        let Some(gradient) = gradient else {
            return (weights, self);
        };
        let device: Device = weights.device();
        let (dims, dtype) = (weights.dims(), weights.dtype());
        let half = self.master.is_some();
        let parameter = self.master.unwrap_or_else(|| weights.reshape([-1]));
        let gradient = gradient.into_tensor(&device);
        let [parameter, first, second] = adamw(step, parameter, gradient, self.first, self.second);
        let (weights, master) = if half {
            (parameter.clone().cast(dtype), Some(parameter))
        } else {
            (parameter, None)
        };
        let slots = Self {
            first,
            second,
            master,
            shape: self.shape,
        };
        (weights.reshape(dims), slots)
    }

    /// Every part of the state by its name.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, &Tensor<1>)> {
        let parts = [
            (FIRST_MOMENT, Some(&self.first)),
            (SECOND_MOMENT, Some(&self.second)),
            (MASTER, self.master.as_ref()),
        ];
        let there = |(slot, tensor): (_, Option<_>)| Some((slot, tensor?));
        parts.into_iter().filter_map(there)
    }

    /// The shape that every part has in memory.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let parts = 2 + usize::from(self.master.is_some());
        parts * self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}
