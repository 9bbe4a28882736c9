//! The other families on every device against their references, and the promises of the CPU's paths.
use burn::tensor::{DType, Device, Tensor};
use didact_kernels::{
    Activation, Bits, PackedLayout, QuantisedMatrix, Segment, attention, gated, linear,
    quantised_linear, reference, rms_norm, rotary,
};

use crate::support::{
    Operation, assert_close, compare, count, flat, host, numbers, on_every_device,
    value_and_gradients,
};

fn layouts() -> Vec<PackedLayout> {
    [
        vec![Segment::root(1)],
        vec![Segment::root(9)],
        vec![Segment::root(1), Segment::child(1, 0), Segment::root(1)],
        vec![
            Segment::root(5),
            Segment::child(3, 0),
            Segment::child(1, 0),
            Segment::root(4),
            Segment::child(7, 1),
            Segment::child(2, 1),
        ],
        // Longer than one task's queries.
        vec![
            Segment::root(150),
            Segment::child(131, 0),
            Segment::child(20, 0),
        ],
    ]
    .iter()
    .map(|segments| PackedLayout::new(segments).expect("a well-formed layout"))
    .collect()
}

/// Attention's two paths as operations of flat inputs.
struct Heads<'a> {
    layout: &'a PackedLayout,
    query: usize,
    key: usize,
    size: usize,
}

impl Heads<'_> {
    fn inputs(&self) -> [Vec<f64>; 3] {
        [(1, self.query), (2, self.key), (3, self.key)].map(|(seed, heads)| {
            let count = self.layout.tokens() * heads * self.size;
            numbers(seed, count).into_iter().map(|x| 2.0 * x).collect()
        })
    }

    fn shaped(&self, inputs: &[Tensor<1>]) -> [Tensor<3>; 3] {
        [(0, self.query), (1, self.key), (2, self.key)].map(|(index, heads): (usize, usize)| {
            inputs[index]
                .clone()
                .reshape([self.layout.tokens(), heads, self.size])
        })
    }

    fn fast(&self, inputs: &[Tensor<1>]) -> Tensor<1> {
        let [q, k, v] = self.shaped(inputs);
        attention(q, k, v, self.layout, 0.7).reshape([-1])
    }

    fn plain(&self, inputs: &[Tensor<1>]) -> Tensor<1> {
        let [q, k, v] = self.shaped(inputs);
        reference::attention(q, k, v, self.layout, 0.7).reshape([-1])
    }
}

#[test]
fn attention_agrees_with_the_reference() {
    on_every_device(|device| {
        for layout in layouts() {
            for (query, key, size) in [(1, 1, 4), (6, 2, 5), (3, 3, 8), (9, 3, 16)] {
                let heads = Heads {
                    layout: &layout,
                    query,
                    key,
                    size,
                };
                compare(
                    &format!(
                        "attention, {} tokens, {query}/{key} heads of {size}",
                        layout.tokens()
                    ),
                    &heads.inputs(),
                    device,
                    |inputs| heads.fast(inputs),
                    |inputs| heads.plain(inputs),
                    2e-5,
                );
            }
        }
    });
}

/// From 64 numbers a head on, several units of a CubeCL device share a query or a key.
#[test]
fn attention_with_heads_of_real_sizes_agrees_with_the_reference() {
    let layout = &layouts()[3];
    on_every_device(|device| {
        let device = device.clone().autodiff();
        for (query, key, size) in [(4, 2, 64), (7, 1, 128), (2, 1, 256)] {
            let heads = Heads {
                layout,
                query,
                key,
                size,
            };
            // Small, so that scores do not saturate with as many numbers to add up.
            let inputs = heads
                .inputs()
                .map(|values| values.iter().map(|x| x / 4.0).collect::<Vec<f64>>());
            let fast = |inputs: &[Tensor<1>]| heads.fast(inputs);
            let plain = |inputs: &[Tensor<1>]| heads.plain(inputs);
            let found = value_and_gradients(&fast, &inputs, &device, DType::F32);
            let expected = value_and_gradients(&plain, &inputs, &device, DType::F32);
            let name = format!("{query}/{key} heads of {size}");
            assert_close(&name, &found.0, &expected.0, 2e-5);
            for (index, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
                assert_close(&format!("{name}, gradient {index}"), found, expected, 4e-5);
            }
            count(DType::F32);
        }
    });
}

#[test]
fn linear_agrees_with_the_reference() {
    on_every_device(|device| {
        for (rows, depth, columns) in [(1, 1, 1), (2, 5, 7), (33, 64, 20), (130, 96, 257)] {
            for turned in [false, true] {
                let shaped = move |inputs: &[Tensor<1>]| {
                    let x = inputs[0].clone().reshape([rows, depth]);
                    let weight = if turned {
                        inputs[1].clone().reshape([columns, depth]).transpose()
                    } else {
                        inputs[1].clone().reshape([depth, columns])
                    };
                    (x, weight)
                };
                compare(
                    &format!("linear, {rows}x{depth}x{columns}, turned: {turned}"),
                    &[numbers(1, rows * depth), numbers(2, depth * columns)],
                    device,
                    |inputs| {
                        let (x, weight) = shaped(inputs);
                        linear(x, weight).reshape([-1])
                    },
                    |inputs| {
                        let (x, weight) = shaped(inputs);
                        reference::linear(x, weight).reshape([-1])
                    },
                    2e-5,
                );
            }
        }
    });
}

#[test]
fn linear_gives_only_the_gradients_that_are_asked_for() {
    let device = Device::flex().autodiff();
    let shaped = |seed, shape: [usize; 2]| {
        flat(&numbers(seed, shape[0] * shape[1]), &device, DType::F32).reshape(shape)
    };
    for trained in [0, 1] {
        let mut operands: [Tensor<2>; 2] = [shaped(1, [6, 5]), shaped(2, [5, 4])];
        operands[trained] = operands[trained].clone().require_grad();
        let [x, weight] = operands.clone();
        let gradients = linear(x.clone(), weight.clone()).sum().backward();
        let expected = reference::linear(x, weight).sum().backward();
        for (index, operand) in operands.iter().enumerate() {
            let found = operand.grad(&gradients).map(host);
            assert_eq!(found.is_some(), index == trained);
            assert_eq!(found, operand.grad(&expected).map(host));
        }
    }
}

#[test]
fn a_child_attends_as_if_it_were_alone() {
    let device = Device::flex();
    let together = &layouts()[3];
    let heads = Heads {
        layout: together,
        query: 4,
        key: 2,
        size: 8,
    };
    let inputs = heads
        .inputs()
        .map(|values| flat(&values, &device, DType::F32));
    let all = host(heads.fast(&inputs));
    let alone = PackedLayout::new(&[Segment::root(5), Segment::child(3, 0), Segment::child(2, 1)])
        .expect("a well-formed layout");
    // Segments 0, 1 and 5 of the larger layout.
    let tokens = || [0..5, 5..8, 20..22].into_iter().flatten();
    let pick = |values: &[f64], width: usize| -> Vec<f64> {
        tokens()
            .flat_map(|token| values[token * width..(token + 1) * width].to_vec())
            .collect()
    };
    let inputs: Vec<_> = heads
        .inputs()
        .iter()
        .zip([32, 16, 16])
        .map(|(values, width)| flat(&pick(values, width), &device, DType::F32))
        .collect();
    let part = host(
        Heads {
            layout: &alone,
            ..heads
        }
        .fast(&inputs),
    );
    assert_eq!(part, pick(&all, 32));
}

fn shaped(inputs: &[Tensor<1>], width: usize) -> [Tensor<2>; 2] {
    [0, 1].map(|index: usize| inputs[index].clone().reshape([-1, width as i32]))
}

#[test]
fn rms_norm_agrees_with_the_reference() {
    on_every_device(|device| {
        for (rows, width) in [(1, 3), (3, 5), (70, 48), (33, 577)] {
            for offset in [0.0, 1.0] {
                let operation = |norm: fn(Tensor<2>, Tensor<1>, f64, f64) -> Tensor<2>| {
                    move |inputs: &[Tensor<1>]| {
                        let x = inputs[0].clone().reshape([rows, width]);
                        norm(x, inputs[1].clone(), 1e-5, offset).reshape([-1])
                    }
                };
                compare(
                    &format!("rms_norm [{rows}, {width}], offset {offset}"),
                    &[numbers(1, rows * width), numbers(2, width)],
                    device,
                    operation(rms_norm),
                    operation(reference::rms_norm),
                    3e-5,
                );
            }
        }
    });
}

#[test]
fn rotary_agrees_with_the_reference() {
    on_every_device(|device| {
        for (tokens, heads, size) in [(1, 1, 2), (5, 3, 6), (77, 2, 64)] {
            let [cos, sin] = [2, 3].map(|seed| numbers(seed, tokens * size / 2));
            let operation = |turn: fn(Tensor<3>, Tensor<2>, Tensor<2>) -> Tensor<3>| {
                let (cos, sin) = (cos.clone(), sin.clone());
                move |inputs: &[Tensor<1>]| {
                    let device = inputs[0].device();
                    let [cos, sin] = [&cos, &sin].map(|values| {
                        flat(values, &device, DType::F32).reshape([tokens, size / 2])
                    });
                    turn(inputs[0].clone().reshape([tokens, heads, size]), cos, sin).reshape([-1])
                }
            };
            compare(
                &format!("rotary [{tokens}, {heads}, {size}]"),
                &[numbers(1, tokens * heads * size)],
                device,
                operation(rotary),
                operation(reference::rotary),
                1e-6,
            );
        }
    });
}

#[test]
fn gated_agrees_with_the_reference() {
    on_every_device(|device| {
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
            for (rows, width) in [(1, 1), (7, 13), (40, 1000)] {
                let operation = |gate: fn(Tensor<2>, Tensor<2>, Activation) -> Tensor<2>| {
                    move |inputs: &[Tensor<1>]| {
                        let [x, up] = shaped(inputs, width);
                        gate(x, up, activation).reshape([-1])
                    }
                };
                let x = numbers(1, rows * width)
                    .into_iter()
                    .map(|x| 9.0 * x)
                    .collect();
                compare(
                    &format!("{activation:?} [{rows}, {width}]"),
                    &[x, numbers(2, rows * width)],
                    device,
                    operation(gated),
                    operation(reference::gated),
                    1e-5,
                );
            }
        }
    });
}

#[test]
fn far_gates_saturate() {
    let device = Device::flex();
    let gate = flat(&[-1e4, 1e4], &device, DType::F32).reshape([1, 2]);
    let up = Tensor::<2>::ones([1, 2], &device);
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let output = host(gated(gate.clone(), up.clone(), activation));
        assert_eq!(
            output.iter().map(|x| x.abs()).collect::<Vec<_>>(),
            [0.0, 1e4]
        );
    }
}

/// Runs forward and backward in pools of several sizes and compares every bit.
fn assert_same_for_any_thread_count(
    name: &str,
    inputs: &[Vec<f64>],
    operation: impl Operation + Sync,
) {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        pool.install(|| {
            value_and_gradients(&operation, inputs, &Device::flex().autodiff(), DType::F32)
        })
    };
    let one = run(1);
    for threads in [2, 3] {
        assert_eq!(run(threads), one, "{name} with {threads} threads");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let layout = &layouts()[4];
    let heads = Heads {
        layout,
        query: 6,
        key: 2,
        size: 16,
    };
    assert_same_for_any_thread_count("attention", &heads.inputs(), |inputs| heads.fast(inputs));
    assert_same_for_any_thread_count(
        "rms_norm",
        &[numbers(1, 200 * 65), numbers(2, 65)],
        |inputs| {
            let x = inputs[0].clone().reshape([200, 65]);
            rms_norm(x, inputs[1].clone(), 1e-5, 0.0).reshape([-1])
        },
    );
    assert_same_for_any_thread_count(
        "gated",
        &[numbers(1, 50_000), numbers(2, 50_000)],
        |inputs| {
            let [gate, up] = shaped(inputs, 500);
            gated(gate, up, Activation::Silu).reshape([-1])
        },
    );
    let values: Vec<f32> = numbers(2, 1100 * 70).iter().map(|x| *x as f32).collect();
    for bits in [Bits::Eight, Bits::Four] {
        let weight = QuantisedMatrix::quantise_rows(&values, [1100, 70], bits).expect("small");
        assert_same_for_any_thread_count("quantised_linear", &[numbers(1, 200 * 70)], |inputs| {
            quantised_linear(inputs[0].clone().reshape([200, 70]), &weight).reshape([-1])
        });
    }
}
