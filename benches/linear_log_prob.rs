//! Log-probabilities without the whole logits, forward and backward, beside the plain reference that
//! builds them.
//!
//! The sizes are those of SmolLM2-135M's head, with as many rows as a short explanation has.
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use burn::tensor::{Device, Distribution, Int, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use didact_kernels::{linear_log_prob, projected_rows, reference};

const HIDDEN: usize = 576;
const VOCABULARY: usize = 49_152;
const TEMPERATURE: f64 = 0.7;

type Operation = fn(Tensor<2>, Tensor<1, Int>, Tensor<2>, Tensor<1, Int>, f64) -> Tensor<2>;

/// What one call reads; made once, outside the timed part.
struct Inputs {
    hidden: Tensor<2>,
    rows: Tensor<1, Int>,
    embedding: Tensor<2>,
    targets: Tensor<1, Int>,
    backward: bool,
}

impl Inputs {
    fn new(tokens: usize, backward: bool) -> Self {
        let flex = Device::flex();
        let device = if backward { flex.autodiff() } else { flex };
        let random = |shape: [usize; 2]| {
            let tensor = Tensor::<2>::random(shape, Distribution::Normal(0.0, 0.05), &device);
            if backward {
                tensor.require_grad()
            } else {
                tensor
            }
        };
        let all: Vec<usize> = (0..tokens).collect();
        let target = |row: usize| (row * 97 % VOCABULARY) as u32;
        let targets: Vec<u32> = (0..tokens).map(target).collect();
        let (rows, targets) = projected_rows(&all, &targets, tokens, VOCABULARY, &device)
            .expect("rows and targets are in range");
        let (hidden, embedding) = (random([tokens, HIDDEN]), random([VOCABULARY, HIDDEN]));
        Self {
            hidden,
            rows,
            embedding,
            targets,
            backward,
        }
    }

    fn run(&self, operation: Operation) {
        let output = operation(
            self.hidden.clone(),
            self.rows.clone(),
            self.embedding.clone(),
            self.targets.clone(),
            TEMPERATURE,
        );
        if self.backward {
            std::hint::black_box(&output.sum().backward());
        } else {
            std::hint::black_box(output.into_data());
        }
    }
}

fn passes(criterion: &mut Criterion) {
    let operations: [(&str, Operation); 2] = [
        ("fast", linear_log_prob),
        ("reference", reference::linear_log_prob),
    ];
    for (pass, backward) in [("forward", false), ("forward and backward", true)] {
        let mut group = criterion.benchmark_group(format!("linear log-prob, {pass}"));
        group.sample_size(10);
        for tokens in [32, 128] {
            let inputs = Inputs::new(tokens, backward);
            group.throughput(Throughput::Elements(tokens as u64));
            for (name, operation) in operations {
                group.bench_function(BenchmarkId::new(name, tokens), |bencher| {
                    bencher.iter(|| inputs.run(operation));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, passes);
criterion_main!(benches);
