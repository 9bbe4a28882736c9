//! The operations of decoding against their references, and the promise that a row's bits are its own.
#![expect(
    clippy::single_range_in_vec_init,
    reason = "slots are ranges, often one"
)]
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use didact_kernels::{
    CacheLayout, CachedRun, cached_attention, reference, streamed_product, write_slots,
};
use proptest::prelude::*;

use crate::support::{assert_close, count, flat, half_precisions, host, numbers, on_every_device};

fn shaped<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    flat(&numbers(seed, count), device, DType::F32).reshape(shape)
}

fn run(rows: usize, slots: Vec<std::ops::Range<usize>>) -> CachedRun {
    CachedRun { rows, slots }
}

fn layouts() -> Vec<CacheLayout> {
    [
        vec![run(1, vec![0..1])],
        vec![
            run(1, vec![0..9, 20..23]),
            run(1, vec![0..9, 12..13, 30..40]),
            run(1, vec![5..6]),
        ],
        // Two prompts with several rows each, some of which go on where the prompt ends.
        (0..14)
            .map(|row| {
                let (prompt, end) = if row < 11 { (0, 70) } else { (100, 150) };
                match row {
                    0 => run(1, vec![prompt..end + 3]),
                    12 => run(1, vec![prompt..end, 250 + row..255 + row, 190..197]),
                    _ => run(1, vec![prompt..end, 200 + 3 * row..201 + 3 * row]),
                }
            })
            .collect(),
        // A chunk of a prompt beside single rows.
        vec![
            run(5, vec![8..16, 0..7]),
            run(1, vec![0..40]),
            run(3, vec![37..40]),
        ],
        vec![run(200, vec![100..300, 0..50])],
    ]
    .into_iter()
    .map(|runs| CacheLayout::new(runs).expect("a well-formed layout"))
    .collect()
}

#[test]
fn attention_over_a_cache_agrees_with_the_reference() {
    on_every_device(|device| {
        for layout in layouts() {
            for (query, key, size) in [(1, 1, 4), (6, 2, 5), (3, 3, 16), (9, 3, 40)] {
                let q = shaped(1, [layout.rows(), query, size], device);
                let keys = shaped(2, [300, key, size], device);
                let values = shaped(3, [300, key, size], device);
                let actual =
                    cached_attention(q.clone(), keys.clone(), values.clone(), &layout, 0.7);
                let expected = reference::cached_attention(
                    q.clone(),
                    keys.clone(),
                    values.clone(),
                    &layout,
                    0.7,
                );
                let name = format!("{} rows, {query}/{key} heads of {size}", layout.rows());
                assert_close(&name, &host(actual), &host(expected), 2e-5);
                count(DType::F32);
                for (dtype, rounding) in half_precisions(device) {
                    let halves = [&q, &keys, &values].map(|tensor| tensor.clone().cast(dtype));
                    let [q, keys, values] = halves.clone().map(|half| half.cast(DType::F32));
                    let expected = reference::cached_attention(q, keys, values, &layout, 0.7);
                    let [q, keys, values] = halves;
                    let actual = cached_attention(q, keys, values, &layout, 0.7);
                    let name = format!("{name}, {dtype:?}");
                    assert_close(&name, &host(actual), &host(expected), 2.0 * rounding);
                    count(dtype);
                }
            }
        }
    });
}

#[test]
fn a_row_attends_as_if_it_were_alone() {
    let device = Device::flex();
    let layout = &layouts()[1];
    let q = shaped(1, [3, 6, 16], &device);
    let keys = shaped(2, [40, 2, 16], &device);
    let values = shaped(3, [40, 2, 16], &device);
    let together = host(cached_attention(
        q.clone(),
        keys.clone(),
        values.clone(),
        layout,
        0.3,
    ));
    let alone = CacheLayout::new(vec![layout.runs()[1].clone()]).expect("one of the runs");
    let alone = host(cached_attention(
        q.narrow(0, 1, 1),
        keys,
        values,
        &alone,
        0.3,
    ));
    assert_eq!(together[6 * 16..2 * 6 * 16], alone[..]);
}

#[test]
fn rows_go_to_their_slots_and_nothing_else_changes() {
    on_every_device(|device| {
        let pool = shaped(1, [6, 2, 3], device);
        let rows = shaped(2, [3, 2, 3], device);
        let slots: Arc<[usize]> = Arc::from([4, 0, 5]);
        let expected = host(reference::write_slots(pool.clone(), rows.clone(), &slots));
        // Another holder of the pool must not see the change.
        let before = host(pool.clone());
        let held = pool.clone();
        let written = host(write_slots(pool, rows.clone(), &slots));
        assert_eq!(written, expected);
        assert_eq!(host(held), before);
        assert_eq!(written[4 * 6..5 * 6], host(rows)[..6]);
    });
}

#[test]
fn a_pool_that_nothing_shares_is_changed_in_place() {
    let address = |data: &TensorData| data.as_slice::<f32>().expect("f32").as_ptr() as usize;
    let data = TensorData::zeros::<f32, _>([64, 2, 8]);
    let before = address(&data);
    let device = Device::flex();
    let pool = Tensor::<3>::from_data(data, &device);
    let slots: Arc<[usize]> = Arc::from([7, 63]);
    let pool = write_slots(pool, shaped(1, [2, 2, 8], &device), &slots);
    assert_eq!(address(&pool.into_data()), before);
}

fn streamed(rows: usize, [depth, columns]: [usize; 2], dtype: DType, turned: bool) {
    on_every_device(|device| {
        let x = shaped(1, [rows, depth], device);
        let values = flat(&numbers(2, depth * columns), device, dtype);
        let weight = if turned {
            values.reshape([columns, depth]).transpose()
        } else {
            values.reshape([depth, columns])
        };
        // GPUs multiply rows of the weight's type.
        let rounds = half_precisions(device).any(|(half, _)| half == dtype);
        let rounded = if rounds {
            x.clone().cast(dtype).cast(DType::F32)
        } else {
            x.clone()
        };
        assert_close(
            &format!("{rows}x{depth}x{columns} of {dtype:?}, turned: {turned}"),
            &host(streamed_product(x, weight.clone())),
            &host(reference::streamed_product(rounded, weight)),
            1e-5,
        );
    });
}

#[test]
fn few_rows_are_multiplied_as_many() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for turned in [false, true] {
            for rows in [1, 3, 11, 12, 13, 17] {
                for sizes in [[1, 1], [5, 7], [16, 32], [65, 33], [130, 700], [96, 257]] {
                    streamed(rows, sizes, dtype, turned);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever else is in the product: other rows, and other threads.
    #[test]
    fn a_rows_product_is_its_own(
        rows in 2usize..20,
        depth in 1usize..150,
        columns in 1usize..300,
        half in any::<bool>(),
        turned in any::<bool>(),
    ) {
        let device = Device::flex();
        let dtype = if half { DType::BF16 } else { DType::F32 };
        let x = shaped(1, [rows, depth], &device);
        let values = flat(&numbers(2, depth * columns), &device, dtype);
        let weight = if turned {
            values.reshape([columns, depth]).transpose()
        } else {
            values.reshape([depth, columns])
        };
        let together = host(streamed_product(x.clone(), weight.clone()));
        for row in [0, rows / 2, rows - 1] {
            let alone = host(streamed_product(x.clone().narrow(0, row, 1), weight.clone()));
            prop_assert_eq!(&together[row * columns..(row + 1) * columns], &alone[..]);
        }
    }
}
