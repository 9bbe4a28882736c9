use burn::tensor::{Bool, Device, Tensor, TensorData, activation::softmax};

use super::widen;
use crate::{PackedLayout, attention::check_shapes};

/// Causal attention over a packed sequence, segment by segment; see [`crate::attention()`].
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    layout: &PackedLayout,
    scale: f64,
) -> Tensor<3> {
    check_shapes(&q.shape(), &k.shape(), &v.shape(), layout);
    let dtype = q.dtype();
    let (q, k, v) = (widen(q), widen(k), widen(v));
    let [_, query_heads, size] = q.dims();
    let [_, key_heads, _] = k.dims();
    let group = query_heads / key_heads;
    let device = q.device();
    let outputs = layout
        .segments()
        .iter()
        .enumerate()
        .map(|(index, segment)| {
            let ranges = layout.key_ranges(index);
            let length = segment.length;
            let keys: usize = ranges.iter().map(ExactSizeIterator::len).sum();
            // [length, Hq, D] -> [Hkv, group·length, D]: the query heads that share a key head stand
            // together, so keys need not be repeated.
            let q = q
                .clone()
                .narrow(0, layout.start(index), length)
                .reshape([length, key_heads, group, size])
                .permute([1, 2, 0, 3])
                .reshape([key_heads, group * length, size]);
            let along = |tensor: &Tensor<3>| {
                let parts = ranges
                    .iter()
                    .map(|range| tensor.clone().narrow(0, range.start, range.len()))
                    .collect();
                Tensor::cat(parts, 0).permute([1, 0, 2])
            };
            let scores = q.matmul(along(&k).swap_dims(1, 2)).mul_scalar(scale);
            let mask = hidden_keys(length, keys, &device)
                .unsqueeze::<4>()
                .expand([key_heads, group, length, keys])
                .reshape([key_heads, group * length, keys]);
            softmax(scores.mask_fill(mask, f32::NEG_INFINITY), 2)
                .matmul(along(&v))
                .reshape([key_heads, group, length, size])
                .permute([2, 0, 1, 3])
                .reshape([length, query_heads, size])
        });
    Tensor::cat(outputs.collect(), 0).cast(dtype)
}

/// True where an own key stands after the query, [length, keys].
fn hidden_keys(length: usize, keys: usize, device: &Device) -> Tensor<2, Bool> {
    let before = keys - length;
    let hidden: Vec<bool> = (0..length)
        .flat_map(|row| (0..keys).map(move |key| key > before + row))
        .collect();
    Tensor::from_data(TensorData::new(hidden, [length, keys]), device)
}
