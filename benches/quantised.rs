//! Products with a weight of 8 or 4 bits beside the product with the f32 weight and the plain reference.
//!
//! The sizes are those of SmolLM2-135M's MLP: 1024 rows as in training, one and sixteen as in decoding.
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use didact_kernels::{
    Bits, QuantisedMatrix, linear, quantised_linear, reference, streamed_product,
    streamed_quantised_product,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 2] = [576, 1536];

fn random(shape: [usize; 2]) -> Tensor<2> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn matrices(weight: &Tensor<2>) -> [(&'static str, QuantisedMatrix); 2] {
    [("8 bits", Bits::Eight), ("4 bits", Bits::Four)].map(|(name, bits)| {
        let matrix = QuantisedMatrix::quantise(weight.clone(), bits);
        (name, matrix.expect("numbers of a few units"))
    })
}

fn many_rows(criterion: &mut Criterion) {
    let weight = random(SIZES);
    let x = random([1024, SIZES[0]]);
    for backward in [false, true] {
        let pass = if backward { "with backward" } else { "forward" };
        let mut group = criterion.benchmark_group(format!("1024 rows, {pass}"));
        group.sample_size(20);
        let mut bench = |name: BenchmarkId, operation: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let x = if backward {
                Tensor::from_inner(x.clone()).require_grad()
            } else {
                x.clone()
            };
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let output = operation(x.clone());
                    if backward {
                        std::hint::black_box(&output.sum().backward());
                    } else {
                        std::hint::black_box(output.into_data());
                    }
                });
            });
        };
        let on_tape = |weight: &Tensor<2>| {
            if backward {
                Tensor::from_inner(weight.clone())
            } else {
                weight.clone()
            }
        };
        let frozen = on_tape(&weight);
        bench(BenchmarkId::new("linear", "f32"), &|x| {
            linear(x, frozen.clone())
        });
        for (name, matrix) in &matrices(&weight) {
            bench(BenchmarkId::new("fast", name), &|x| {
                quantised_linear(x, matrix)
            });
            bench(BenchmarkId::new("reference", name), &|x| {
                reference::quantised_linear(x, matrix)
            });
        }
        group.finish();
    }
}

fn few_rows(criterion: &mut Criterion) {
    // More than the caches hold, as the weights of a whole model are.
    let sets: Vec<_> = (0..64)
        .map(|_| {
            let weight = random(SIZES);
            let matrices = matrices(&weight).map(|(_, matrix)| matrix);
            (weight, matrices)
        })
        .collect();
    for rows in [1, 16] {
        let x = random([rows, SIZES[0]]);
        let mut group = criterion.benchmark_group(format!("{rows} rows times 64 weights"));
        group.sample_size(10);
        let mut bench = |name: BenchmarkId, operation: &dyn Fn(usize) -> Tensor<2>| {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    for index in 0..sets.len() {
                        std::hint::black_box(operation(index));
                    }
                });
            });
        };
        bench(BenchmarkId::new("streamed", "f32"), &|index| {
            streamed_product(x.clone(), sets[index].0.clone())
        });
        for (index, name) in ["8 bits", "4 bits"].into_iter().enumerate() {
            bench(BenchmarkId::new("fast", name), &|set| {
                streamed_quantised_product(x.clone(), &sets[set].1[index])
            });
            bench(BenchmarkId::new("reference", name), &|set| {
                reference::quantised_linear(x.clone(), &sets[set].1[index])
            });
        }
        group.finish();
    }
}

criterion_group!(benches, many_rows, few_rows);
criterion_main!(benches);
