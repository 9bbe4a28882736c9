//! AdamW's update on the CPU: one pass over parameter, gradient and both moments, without a temporary.
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use super::{contiguous, floats};
use crate::{AdamWOps, AdamWStep};

/// Entries of one task.
const CHUNK: usize = 16 * 1024;

impl AdamWOps for Flex {
    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [mut parameter, gradient, mut first, mut second] =
            [parameter, gradient, first, second].map(contiguous);
        let count = floats(&gradient).len();
        // A view begins somewhere in its storage, which is all that is given here.
        let [parameter_at, first_at, second_at] =
            [&parameter, &first, &second].map(|tensor| tensor.layout().start_offset());
        adamw(
            step,
            &mut parameter.storage_mut::<f32>()[parameter_at..][..count],
            floats(&gradient),
            &mut first.storage_mut::<f32>()[first_at..][..count],
            &mut second.storage_mut::<f32>()[second_at..][..count],
        );
        (parameter, first, second)
    }
}

/// One pass over four arrays of equal length.
pub(crate) fn adamw(
    step: AdamWStep,
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let AdamWStep {
        beta1,
        beta2,
        rest1,
        rest2,
        keep,
        step_size,
        root_correction,
        epsilon,
    } = step;
    parameter
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK))
        .for_each(|(((parameter, gradient), first), second)| {
            let entries = parameter.iter_mut().zip(gradient).zip(first).zip(second);
            for (((p, &g), m), v) in entries {
                *m = beta1 * *m + rest1 * g;
                *v = beta2 * *v + rest2 * g * g;
                *p = *p * keep - step_size * *m / (v.sqrt() * root_correction + epsilon);
            }
        });
}
