//! Rotary position embedding on the CPU, token by token.
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::vectorised::vectorised;
use super::{contiguous, filled, floats, tensor};
use crate::RotaryOps;

/// Tokens of one task.
const TOKENS: usize = 32;

impl RotaryOps for Flex {
    fn rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        turned(x, cos, sin, 1.0)
    }

    fn rotary_backward(
        gradient: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        // A rotation's transpose is the rotation by the opposite angle.
        turned(gradient, cos, sin, -1.0)
    }
}

fn turned(
    x: FloatTensor<Flex>,
    cos: FloatTensor<Flex>,
    sin: FloatTensor<Flex>,
    direction: f32,
) -> FloatTensor<Flex> {
    let (x, cos, sin) = (contiguous(x), contiguous(cos), contiguous(sin));
    let [tokens, heads, size] = x.layout().shape().dims();
    let (values, cos, sin) = (floats(&x), floats(&cos), floats(&sin));
    let (token, angles) = (heads * size, size / 2);
    let chunk = TOKENS * token;
    let [output] = filled(tokens * token, chunk, |index, [output]| {
        let values = &values[index * chunk..][..output.len()];
        let [cos, sin] = [cos, sin].map(|table| &table[index * TOKENS * angles..]);
        turn(output, values, cos, sin, heads, size, direction);
    });
    tensor(output, [tokens, heads, size])
}

vectorised! {
    fn turn(
        output: &mut [f32],
        values: &[f32],
        cos: &[f32],
        sin: &[f32],
        heads: usize,
        size: usize,
        direction: f32,
    ) {
        let half = size / 2;
        let heads_of = output.chunks_exact_mut(size).zip(values.chunks_exact(size));
        for (head, (output, x)) in heads_of.enumerate() {
            let token = head / heads;
            let cos = &cos[token * half..][..half];
            let sin = &sin[token * half..][..half];
            let (first, second) = x.split_at(half);
            let (to_first, to_second) = output.split_at_mut(half);
            for i in 0..half {
                let sin = direction * sin[i];
                to_first[i] = first[i] * cos[i] - second[i] * sin;
                to_second[i] = second[i] * cos[i] + first[i] * sin;
            }
        }
    }
}
