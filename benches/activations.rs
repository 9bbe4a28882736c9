//! The fused operations of a decoder layer beside their plain references: attention, projection, norm, rotary
//! embedding and gated activation, forward and with the backward pass.
//!
//! The sizes are those of SmolLM2-135M on one group: a prompt of 300 tokens and four completions of 140.
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use didact_kernels::{
    Activation, PackedLayout, Segment, attention, gated, linear, reference, rms_norm, rotary,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HEADS: usize = 9;
const KEY_HEADS: usize = 3;
const SIZE: usize = 64;
const INTERMEDIATE: usize = 1536;

/// Two ways to compute the same from the same inputs.
struct Pair<I> {
    name: &'static str,
    inputs: fn(&Device, usize) -> I,
    fast: fn(&I, &PackedLayout) -> Tensor<1>,
    plain: fn(&I, &PackedLayout) -> Tensor<1>,
}

impl<I> Pair<I> {
    fn run(&self, criterion: &mut Criterion) {
        let segments = [vec![Segment::root(300)], vec![Segment::child(140, 0); 4]].concat();
        let layout = PackedLayout::new(&segments).expect("a well-formed layout");
        let mut group = criterion.benchmark_group(self.name);
        group.sample_size(10);
        for backward in [false, true] {
            let flex = Device::flex();
            let device = if backward { flex.autodiff() } else { flex };
            let inputs = (self.inputs)(&device, layout.tokens());
            let pass = if backward { "with backward" } else { "forward" };
            for (name, operation) in [("fast", self.fast), ("reference", self.plain)] {
                group.bench_function(BenchmarkId::new(name, pass), |bencher| {
                    bencher.iter(|| {
                        let output = operation(&inputs, &layout);
                        if backward {
                            std::hint::black_box(&output.sum().backward());
                        } else {
                            std::hint::black_box(output.into_data());
                        }
                    });
                });
            }
        }
        group.finish();
    }
}

fn random<const D: usize>(device: &Device, shape: [usize; D]) -> Tensor<D> {
    let tensor = Tensor::random(shape, Distribution::Normal(0.0, 1.0), device);
    if device.is_autodiff() {
        tensor.require_grad()
    } else {
        tensor
    }
}

fn all(criterion: &mut Criterion) {
    Pair::<[Tensor<3>; 3]> {
        name: "attention",
        inputs: |device, tokens| {
            [HEADS, KEY_HEADS, KEY_HEADS].map(|heads| random(device, [tokens, heads, SIZE]))
        },
        fast: |[q, k, v], layout| {
            attention(q.clone(), k.clone(), v.clone(), layout, 0.125).flatten(0, 2)
        },
        plain: |[q, k, v], layout| {
            reference::attention(q.clone(), k.clone(), v.clone(), layout, 0.125).flatten(0, 2)
        },
    }
    .run(criterion);
    Pair::<[Tensor<2>; 2]> {
        name: "linear",
        inputs: |device, tokens| {
            let weight = random(device, [HEADS * SIZE, INTERMEDIATE]);
            [random(device, [tokens, HEADS * SIZE]), weight]
        },
        fast: |[x, weight], _| linear(x.clone(), weight.clone()).flatten(0, 1),
        plain: |[x, weight], _| reference::linear(x.clone(), weight.clone()).flatten(0, 1),
    }
    .run(criterion);
    Pair::<(Tensor<2>, Tensor<1>)> {
        name: "rms norm",
        inputs: |device, tokens| {
            (
                random(device, [tokens, HEADS * SIZE]),
                random(device, [HEADS * SIZE]),
            )
        },
        fast: |(x, weight), _| rms_norm(x.clone(), weight.clone(), 1e-5, 0.0).flatten(0, 1),
        plain: |(x, weight), _| {
            reference::rms_norm(x.clone(), weight.clone(), 1e-5, 0.0).flatten(0, 1)
        },
    }
    .run(criterion);
    Pair::<(Tensor<3>, [Tensor<2>; 2])> {
        name: "rotary",
        inputs: |device, tokens| {
            let x = random(device, [tokens, HEADS, SIZE]);
            let angles = Tensor::<2>::random([tokens, SIZE / 2], Distribution::Default, device);
            (x, [angles.clone().cos(), angles.sin()])
        },
        fast: |(x, [cos, sin]), _| rotary(x.clone(), cos.clone(), sin.clone()).flatten(0, 2),
        plain: |(x, [cos, sin]), _| {
            reference::rotary(x.clone(), cos.clone(), sin.clone()).flatten(0, 2)
        },
    }
    .run(criterion);
    Pair::<[Tensor<2>; 2]> {
        name: "gated activation",
        inputs: |device, tokens| [(); 2].map(|()| random(device, [tokens, INTERMEDIATE])),
        fast: |[gate, up], _| gated(gate.clone(), up.clone(), Activation::Silu).flatten(0, 1),
        plain: |[gate, up], _| {
            reference::gated(gate.clone(), up.clone(), Activation::Silu).flatten(0, 1)
        },
    }
    .run(criterion);
}

criterion_group!(benches, all);
criterion_main!(benches);
