use burn::tensor::{Bool, Device, Tensor, TensorData, activation::softmax};

use super::widen;
use crate::CacheLayout;

/// Causal attention of new rows over a key/value cache, run by run; see [`crate::cached_attention`].
pub fn cached_attention(
    q: Tensor<3>,
    keys: Tensor<3>,
    values: Tensor<3>,
    layout: &CacheLayout,
    scale: f64,
) -> Tensor<3> {
    let dtype = q.dtype();
    let (q, keys, values) = (widen(q), widen(keys), widen(values));
    let [_, query_heads, size] = q.dims();
    let [_, key_heads, _] = keys.dims();
    let group = query_heads / key_heads;
    let device = q.device();
    let mut first = 0;
    let outputs = layout.runs().iter().map(|run| {
        let seen: usize = run.slots.iter().map(ExactSizeIterator::len).sum();
        // [rows, Hq, D] -> [Hkv, group·rows, D]
        let q = q
            .clone()
            .narrow(0, first, run.rows)
            .reshape([run.rows, key_heads, group, size])
            .permute([1, 2, 0, 3])
            .reshape([key_heads, group * run.rows, size]);
        first += run.rows;
        let along = |pool: &Tensor<3>| {
            let parts = run
                .slots
                .iter()
                .map(|range| pool.clone().narrow(0, range.start, range.len()))
                .collect();
            Tensor::cat(parts, 0).permute([1, 0, 2])
        };
        let scores = q.matmul(along(&keys).swap_dims(1, 2)).mul_scalar(scale);
        let mask = hidden(run.rows, seen, &device)
            .unsqueeze::<4>()
            .expand([key_heads, group, run.rows, seen])
            .reshape([key_heads, group * run.rows, seen]);
        softmax(scores.mask_fill(mask, f32::NEG_INFINITY), 2)
            .matmul(along(&values))
            .reshape([key_heads, group, run.rows, size])
            .permute([2, 0, 1, 3])
            .reshape([run.rows, query_heads, size])
    });
    Tensor::cat(outputs.collect(), 0).cast(dtype)
}

/// True where a slot holds a token after the row, [rows, seen].
fn hidden(rows: usize, seen: usize, device: &Device) -> Tensor<2, Bool> {
    let hidden: Vec<bool> = (0..rows)
        .flat_map(|row| (0..seen).map(move |slot| slot + rows > seen + row))
        .collect();
    Tensor::from_data(TensorData::new(hidden, [rows, seen]), device)
}

/// The pool with each row in its slot, one assignment a row; see [`crate::write_slots`].
pub fn write_slots(pool: Tensor<3>, rows: Tensor<3>, slots: &[usize]) -> Tensor<3> {
    let [_, heads, size] = pool.dims();
    let rows = rows.cast(pool.dtype());
    slots.iter().enumerate().fold(pool, |pool, (row, &slot)| {
        pool.slice_assign(
            [slot..slot + 1, 0..heads, 0..size],
            rows.clone().narrow(0, row, 1),
        )
    })
}
