//! Drawing tokens on CubeCL devices.
use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape};
use burn_cubecl::{CubeBackend, kernel::into_contiguous};

use super::kernels::sample as kernel;
use super::launch::{Tile, cubes, empty, float_numbers};
use crate::{Draw, SampleOps};

/// The largest uniform number: so far below 1 that a sum of all weights in another order still exceeds its share.
const BELOW_ONE: f32 = 1.0 - 8.0 * f32::EPSILON;

impl SampleOps for CubeBackend {
    fn sample(logits: FloatTensor<Self>, draws: Arc<[Draw]>) -> FloatTensor<Self> {
        let logits = into_contiguous(logits);
        let (rows, vocabulary) = (logits.meta.shape()[0], logits.meta.shape()[1]);
        let numbers: Vec<f32> = draws
            .iter()
            .flat_map(|draw| {
                // Kept within what f32 holds, at whose ends the likeliest token alone is left.
                let inverse_temperature = if draw.temperature > 0.0 {
                    ((1.0 / draw.temperature) as f32).min(f32::MAX)
                } else {
                    0.0
                };
                let top_k = if draw.counts(vocabulary) {
                    draw.top_k
                } else {
                    vocabulary
                };
                [
                    inverse_temperature,
                    top_k as f32,
                    (draw.top_p as f32).max(f32::MIN_POSITIVE),
                    draw.min_p as f32,
                    (draw.uniform as f32).min(BELOW_ONE),
                    f32::from(u8::from(draw.keeps_all(vocabulary))),
                ]
            })
            .collect();
        let sampled = |draw: &&Draw| draw.temperature > 0.0;
        let cuts = draws
            .iter()
            .filter(sampled)
            .any(|draw| !draw.keeps_all(vocabulary));
        let counts = draws
            .iter()
            .filter(sampled)
            .any(|draw| draw.counts(vocabulary));
        let tile = Tile::of(&logits);
        let drawn = empty(&logits, Shape::from([rows, 2]), DType::F32);
        kernel::draw::launch(
            &drawn.client,
            cubes(rows),
            tile.dim(),
            logits.clone().into_tensor_arg(),
            float_numbers(&logits, &numbers).into_tensor_arg(),
            drawn.clone().into_tensor_arg(),
            cuts,
            counts,
            tile.units,
            tile.planes,
        );
        drawn
    }
}
