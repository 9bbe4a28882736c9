//! The operations of one decoding step beside their plain references: attention over the cache, and products
//! with a matrix that is read once.
//!
//! The sizes are those of SmolLM2-135M after prompts of 300 tokens.
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use std::sync::Arc;

use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use didact_kernels::{
    CacheLayout, CachedRun, cached_attention, reference, streamed_product, write_slots,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tokens of the shared prompt, and of each sequence's own.
const PROMPT: usize = 304;
const OWN: usize = 32;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn attend(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention over the cache");
    group.sample_size(20);
    for rows in [1, 16] {
        let runs = (0..rows).map(|row| CachedRun {
            rows: 1,
            slots: vec![0..PROMPT, PROMPT + row * OWN..PROMPT + (row + 1) * OWN],
        });
        let layout = CacheLayout::new(runs.collect()).expect("a well-formed layout");
        let q = random([rows, 9, 64]);
        let [keys, values] = [(); 2].map(|()| random([PROMPT + rows * OWN, 3, 64]));
        group.throughput(Throughput::Elements(rows as u64));
        for (name, operation) in [
            ("fast", cached_attention as fn(_, _, _, &_, _) -> _),
            ("reference", reference::cached_attention),
        ] {
            group.bench_function(BenchmarkId::new(name, rows), |bencher| {
                bencher.iter(|| {
                    operation(q.clone(), keys.clone(), values.clone(), &layout, 0.125).into_data()
                });
            });
        }
    }
    group.finish();
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("writing to the cache");
    let rows = random([16, 3, 64]);
    let slots: Arc<[usize]> = (0..16).map(|row| row * 61).collect();
    for (name, operation) in [
        ("fast", write_slots as fn(_, _, &Arc<[usize]>) -> _),
        ("reference", |pool, rows, slots| {
            reference::write_slots(pool, rows, slots)
        }),
    ] {
        let mut pool = random([1024, 3, 64]);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let taken =
                    std::mem::replace(&mut pool, Tensor::empty([0, 3, 64], &Device::flex()));
                pool = operation(taken, rows.clone(), &slots);
            });
        });
    }
    group.finish();
}

fn multiply(criterion: &mut Criterion) {
    for (what, [depth, columns], turned) in [
        ("few rows times a projection", [576, 1536], false),
        ("few rows times the output embedding", [576, 49_152], true),
    ] {
        let mut group = criterion.benchmark_group(what);
        group.sample_size(10);
        let weight = if turned {
            random([columns, depth]).transpose()
        } else {
            random([depth, columns])
        };
        let half = weight.clone().cast(FloatDType::BF16);
        assert_eq!(half.dtype(), DType::BF16);
        group.throughput(Throughput::Bytes(4 * (depth * columns) as u64));
        for rows in [1, 16] {
            let x = random([rows, depth]);
            let mut bench = |name: &str, weight: &Tensor<2>, operation: fn(_, _) -> Tensor<2>| {
                group.bench_function(BenchmarkId::new(name, rows), |bencher| {
                    bencher.iter(|| operation(x.clone(), weight.clone()).into_data());
                });
            };
            bench("fast", &weight, streamed_product);
            bench("fast, bf16", &half, streamed_product);
            bench("reference", &weight, reference::streamed_product);
        }
        group.finish();
    }
}

criterion_group!(benches, attend, write, multiply);
criterion_main!(benches);
