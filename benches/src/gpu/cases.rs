//! The cases that operations are checked with: small and odd sizes, one function an operation.
use burn::tensor::{DType, Tensor};
use didact_kernels::{
    Activation, Bits, CacheLayout, CachedRun, PackedLayout, QuantisedMatrix, Segment, reference,
};

use super::checks::{Checker, Exactness};
use super::numbers::{flat, numbers};

fn times(factor: f64, values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|value| factor * value).collect()
}

fn rows(input: &Tensor<1>, width: usize) -> Tensor<2> {
    input.clone().reshape([-1, width as i32])
}

fn heads(input: &Tensor<1>, heads: usize, size: usize) -> Tensor<3> {
    input.clone().reshape([-1, heads as i32, size as i32])
}

/// Of [`didact_kernels::linear_log_prob()`]: rows that repeat, targets at both ends, more than one tile.
pub(super) fn linear_log_prob(checker: &mut Checker) {
    use didact_kernels::{linear_log_prob, projected_rows};
    for (tokens, width, vocabulary, count) in [
        (1, 1, 1, 1),
        (9, 17, 65, 1),
        (5, 33, 300, 23),
        (40, 24, 1337, 301),
        (40, 4, 1100, 16_400),
    ] {
        let picked: Vec<usize> = (0..count).map(|row| (row * 5 + 3) % tokens).collect();
        let targets: Vec<u32> = (0..count)
            .map(|row| match row {
                0 => vocabulary - 1,
                1 => 0,
                _ => row * 7919 % vocabulary,
            } as u32)
            .collect();
        let shaped = |inputs: &[Tensor<1>]| {
            let device = inputs[0].device();
            let (picked, targets) = projected_rows(&picked, &targets, tokens, vocabulary, &device)
                .expect("rows and targets in range");
            (
                rows(&inputs[0], width),
                picked,
                rows(&inputs[1], width),
                targets,
            )
        };
        checker.check(
            &format!("[{tokens}, {width}] · [{vocabulary}, {width}]ᵀ, {count} rows"),
            // Logits of some size, so that the probabilities are far from even.
            &[
                times(4.0, numbers(1, tokens * width)),
                numbers(2, vocabulary * width),
            ],
            true,
            [
                &|inputs| {
                    let (hidden, picked, embedding, targets) = shaped(inputs);
                    linear_log_prob(hidden, picked, embedding, targets, 0.9).reshape([-1])
                },
                &|inputs| {
                    let (hidden, picked, embedding, targets) = shaped(inputs);
                    reference::linear_log_prob(hidden, picked, embedding, targets, 0.9)
                        .reshape([-1])
                },
            ],
            Exactness::Products(3e-5),
        );
    }
}

/// Of [`didact_kernels::attention()`]: families of segments, groups of any size.
pub(super) fn attention(checker: &mut Checker) {
    use didact_kernels::attention;
    let layouts = [
        vec![Segment::root(1)],
        vec![
            Segment::root(5),
            Segment::child(3, 0),
            Segment::child(1, 0),
            Segment::root(4),
            Segment::child(7, 1),
            Segment::child(2, 1),
        ],
        vec![
            Segment::root(150),
            Segment::child(131, 0),
            Segment::child(20, 0),
        ],
    ];
    for segments in layouts {
        let layout = PackedLayout::new(&segments).expect("a well-formed layout");
        for (query, key, size) in [(1, 1, 4), (6, 2, 5), (9, 3, 16), (7, 1, 128)] {
            let shaped = |inputs: &[Tensor<1>]| {
                [
                    heads(&inputs[0], query, size),
                    heads(&inputs[1], key, size),
                    heads(&inputs[2], key, size),
                ]
            };
            let input = |seed, heads| times(2.0, numbers(seed, layout.tokens() * heads * size));
            let scale = 1.4 / (size as f64).sqrt();
            checker.check(
                &format!("{} tokens, {query}/{key} heads of {size}", layout.tokens()),
                &[input(1, query), input(2, key), input(3, key)],
                true,
                [
                    &|inputs| {
                        let [q, k, v] = shaped(inputs);
                        attention(q, k, v, &layout, scale).reshape([-1])
                    },
                    &|inputs| {
                        let [q, k, v] = shaped(inputs);
                        reference::attention(q, k, v, &layout, scale).reshape([-1])
                    },
                ],
                Exactness::Own(2e-5),
            );
        }
    }
}

/// Of [`didact_kernels::linear()`], with weights as they stand and transposed.
pub(super) fn linear(checker: &mut Checker) {
    use didact_kernels::linear;
    for (count, depth, columns) in [(1, 1, 1), (2, 5, 7), (33, 64, 20), (130, 96, 257)] {
        for turned in [false, true] {
            let weight = |input: &Tensor<1>| {
                if turned {
                    rows(input, depth).transpose()
                } else {
                    rows(input, columns)
                }
            };
            checker.check(
                &format!("{count}x{depth}x{columns}, turned: {turned}"),
                &[numbers(1, count * depth), numbers(2, depth * columns)],
                true,
                [
                    &|inputs| linear(rows(&inputs[0], depth), weight(&inputs[1])).reshape([-1]),
                    &|inputs| {
                        reference::linear(rows(&inputs[0], depth), weight(&inputs[1])).reshape([-1])
                    },
                ],
                Exactness::Products(2e-5),
            );
        }
    }
}

/// Of [`didact_kernels::rms_norm`].
pub(super) fn rms_norm(checker: &mut Checker) {
    use didact_kernels::rms_norm;
    for (count, width) in [(1, 3), (3, 5), (70, 48), (33, 577)] {
        for offset in [0.0, 1.0] {
            checker.check(
                &format!("[{count}, {width}], offset {offset}"),
                &[numbers(1, count * width), numbers(2, width)],
                true,
                [
                    &|inputs| {
                        rms_norm(rows(&inputs[0], width), inputs[1].clone(), 1e-5, offset)
                            .reshape([-1])
                    },
                    &|inputs| {
                        let x = rows(&inputs[0], width);
                        reference::rms_norm(x, inputs[1].clone(), 1e-5, offset).reshape([-1])
                    },
                ],
                Exactness::Own(1e-5),
            );
        }
    }
}

/// Of [`didact_kernels::rotary`].
pub(super) fn rotary(checker: &mut Checker) {
    use didact_kernels::rotary;
    for (tokens, count, size) in [(1, 1, 2), (5, 3, 6), (70, 2, 64)] {
        let angles = times(3.0, numbers(2, tokens * size / 2));
        let [cos, sin] = [f64::cos, f64::sin]
            .map(|turn: fn(f64) -> f64| angles.iter().copied().map(turn).collect::<Vec<_>>());
        let constant = |values: &[f64], like: &Tensor<1>| {
            flat(values, &like.device(), DType::F32).reshape([tokens, size / 2])
        };
        checker.check(
            &format!("[{tokens}, {count}, {size}]"),
            &[numbers(1, tokens * count * size)],
            true,
            [
                &|inputs| {
                    let x = &inputs[0];
                    let [cos, sin] = [&cos, &sin].map(|values| constant(values, x));
                    rotary(heads(x, count, size), cos, sin).reshape([-1])
                },
                &|inputs| {
                    let x = &inputs[0];
                    let [cos, sin] = [&cos, &sin].map(|values| constant(values, x));
                    reference::rotary(heads(x, count, size), cos, sin).reshape([-1])
                },
            ],
            Exactness::Own(1e-6),
        );
    }
}

/// Of [`didact_kernels::gated()`]: SwiGLU and approximate GeGLU.
pub(super) fn gated(checker: &mut Checker) {
    use didact_kernels::gated;
    for activation in [Activation::Silu, Activation::GeluTanh] {
        for (count, width) in [(1, 1), (7, 13), (40, 1000)] {
            checker.check(
                &format!("{activation:?} [{count}, {width}]"),
                &[
                    times(9.0, numbers(1, count * width)),
                    numbers(2, count * width),
                ],
                true,
                [
                    &|inputs| {
                        gated(rows(&inputs[0], width), rows(&inputs[1], width), activation)
                            .reshape([-1])
                    },
                    &|inputs| {
                        let [gate, up] = [0, 1].map(|index: usize| rows(&inputs[index], width));
                        reference::gated(gate, up, activation).reshape([-1])
                    },
                ],
                Exactness::Own(1e-5),
            );
        }
    }
}

/// Of [`didact_kernels::cached_attention`]: single rows, shared slots and parts of a prompt.
#[expect(
    clippy::single_range_in_vec_init,
    reason = "slots are ranges, often one"
)]
pub(super) fn cached_attention(checker: &mut Checker) {
    use didact_kernels::cached_attention;
    let run = |rows, slots: &[std::ops::Range<usize>]| CachedRun {
        rows,
        slots: slots.to_vec(),
    };
    let layouts = [
        vec![
            run(1, &[0..9, 20..23]),
            run(1, &[0..9, 12..13, 30..40]),
            run(1, &[5..6]),
        ],
        vec![run(5, &[8..16, 0..7]), run(1, &[0..40]), run(3, &[37..40])],
        vec![run(200, &[100..300, 0..50])],
    ];
    for runs in layouts {
        let layout = CacheLayout::new(runs).expect("a well-formed layout");
        for (query, key, size) in [(1, 1, 4), (6, 2, 5), (9, 3, 40), (7, 1, 128)] {
            let shaped = |inputs: &[Tensor<1>]| {
                [
                    heads(&inputs[0], query, size),
                    heads(&inputs[1], key, size),
                    heads(&inputs[2], key, size),
                ]
            };
            checker.check(
                &format!("{} rows, {query}/{key} heads of {size}", layout.rows()),
                &[
                    numbers(1, layout.rows() * query * size),
                    numbers(2, 300 * key * size),
                    numbers(3, 300 * key * size),
                ],
                false,
                [
                    &|inputs| {
                        let [q, keys, values] = shaped(inputs);
                        cached_attention(q, keys, values, &layout, 0.7).reshape([-1])
                    },
                    &|inputs| {
                        let [q, keys, values] = shaped(inputs);
                        reference::cached_attention(q, keys, values, &layout, 0.7).reshape([-1])
                    },
                ],
                Exactness::Own(2e-5),
            );
        }
    }
}

/// Of [`didact_kernels::write_slots`], to the bit.
pub(super) fn write_slots(checker: &mut Checker) {
    use didact_kernels::write_slots;
    let slots = std::sync::Arc::from([4, 0, 5]);
    checker.check(
        "three rows into six slots",
        &[numbers(1, 6 * 2 * 3), numbers(2, 3 * 2 * 3)],
        false,
        [
            &|inputs| {
                let [pool, rows] = [0, 1].map(|index: usize| heads(&inputs[index], 2, 3));
                write_slots(pool, rows, &slots).reshape([-1])
            },
            &|inputs| {
                let [pool, rows] = [0, 1].map(|index: usize| heads(&inputs[index], 2, 3));
                reference::write_slots(pool, rows, &slots).reshape([-1])
            },
        ],
        Exactness::Own(1e-12),
    );
}

/// Of [`didact_kernels::linear_kl()`]: both directions, another model twice as wide.
pub(super) fn linear_kl(checker: &mut Checker) {
    use didact_kernels::{KlDirection, Projected, linear_kl};
    for (tokens, width, vocabulary, count) in [
        (1, 1, 2, 1),
        (9, 17, 65, 1),
        (40, 24, 1337, 301),
        (40, 4, 1100, 8_300),
    ] {
        let rounded = |seed, numbers_of: usize| checker.rounded(&numbers(seed, numbers_of));
        let (hidden, embedding) = (
            rounded(3, tokens * 2 * width),
            rounded(4, vocabulary * 2 * width),
        );
        for direction in [KlDirection::Forward, KlDirection::Reverse] {
            let sides = |inputs: &[Tensor<1>]| {
                let (device, dtype) = (inputs[0].device(), inputs[0].dtype());
                let picked = |factor: i32| {
                    let rows = (0..count).map(|row| (row * factor + 3) % tokens as i32);
                    let rows: Vec<i32> = rows.collect();
                    Tensor::from_data(rows.as_slice(), &device)
                };
                let policy = Projected {
                    hidden: rows(&inputs[0], width),
                    rows: picked(5),
                    embedding: rows(&inputs[1], width),
                };
                let other = Projected {
                    hidden: rows(&flat(&hidden, &device, dtype), 2 * width),
                    rows: picked(7),
                    embedding: rows(&flat(&embedding, &device, dtype), 2 * width),
                };
                (policy, other)
            };
            checker.check(
                &format!("{direction:?}, {count} rows of {width} over {vocabulary}"),
                &[
                    times(4.0, numbers(1, tokens * width)),
                    numbers(2, vocabulary * width),
                ],
                true,
                [
                    &|inputs| {
                        let (policy, other) = sides(inputs);
                        linear_kl(policy, other, 0.9, direction)
                    },
                    &|inputs| {
                        let (policy, other) = sides(inputs);
                        reference::linear_kl(policy, other, 0.9, direction)
                    },
                ],
                Exactness::Products(5e-5),
            );
        }
    }
}

/// Of [`didact_kernels::adamw()`], which is f32.
pub(super) fn adamw(checker: &mut Checker) {
    use didact_kernels::{AdamWStep, adamw};
    if checker.dtype() != DType::F32 {
        return;
    }
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.95,
        rest1: 0.1,
        rest2: 0.05,
        keep: 0.99,
        step_size: 0.03,
        root_correction: 1.7,
        epsilon: 1e-8,
    };
    for count in [1, 257, 40_000] {
        let second = numbers(4, count).into_iter().map(|x| x * x).collect();
        let run = |update: fn(_, _, _, _, _) -> [Tensor<1>; 3]| {
            move |inputs: &[Tensor<1>]| {
                let [parameter, gradient, first, second] =
                    [0, 1, 2, 3].map(|index: usize| inputs[index].clone());
                Tensor::cat(update(step, parameter, gradient, first, second).into(), 0)
            }
        };
        checker.check(
            &format!("{count} numbers"),
            &[
                numbers(1, count),
                numbers(2, count),
                numbers(3, count),
                second,
            ],
            false,
            [&run(adamw), &run(reference::adamw)],
            Exactness::Own(1e-6),
        );
    }
}

/// Of [`didact_kernels::sample`]: draws far from the border of two tokens.
pub(super) fn sample(checker: &mut Checker) {
    use didact_kernels::{Draw, sample};
    if checker.dtype() != DType::F32 {
        return;
    }
    let draw = |temperature, top_k, top_p, min_p| Draw {
        temperature,
        top_k,
        top_p,
        min_p,
        uniform: 0.5,
    };
    let draws = [
        draw(0.0, 0, 1.0, 0.0),
        draw(1.0, 0, 1.0, 0.0),
        draw(0.7, 5, 1.0, 0.0),
        draw(1.3, 0, 0.6, 0.0),
        draw(1.0, 40, 0.9, 0.05),
    ];
    for vocabulary in [7, 257, 3001] {
        let all = numbers(7, draws.len() * vocabulary);
        checker.check(
            &format!("{} rows of {vocabulary}", draws.len()),
            &[times(6.0, all)],
            false,
            [
                &|inputs| sample(rows(&inputs[0], vocabulary), &draws).reshape([-1]),
                &|inputs| reference::sample(rows(&inputs[0], vocabulary), &draws).reshape([-1]),
            ],
            Exactness::Own(1e-5),
        );
    }
}

/// Of [`didact_kernels::streamed_product`]: f32 rows, a weight of the type under test.
pub(super) fn streamed_product(checker: &mut Checker) {
    use didact_kernels::streamed_product;
    let dtype = checker.dtype();
    for (count, depth, columns) in [(1, 5, 7), (3, 33, 65), (17, 96, 257)] {
        let product = |multiply: fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
            move |inputs: &[Tensor<1>]| {
                let x = rows(&inputs[0], depth).cast(DType::F32);
                let weight = rows(&inputs[1], columns).cast(dtype);
                multiply(x, weight).reshape([-1])
            }
        };
        checker.check(
            &format!("{count} rows, {depth} to {columns}"),
            &[numbers(1, count * depth), numbers(2, depth * columns)],
            false,
            [
                &product(streamed_product),
                &product(reference::streamed_product),
            ],
            Exactness::Products(2e-5),
        );
    }
}

fn quantised(checker: &mut Checker, counts: &[usize], gradients: bool) {
    use didact_kernels::{quantised_linear, streamed_quantised_product};
    for bits in [Bits::Eight, Bits::Four] {
        for [depth, columns] in [[1, 1], [5, 7], [33, 3], [96, 257], [65, 1100]] {
            let values: Vec<f32> = numbers(2, depth * columns)
                .into_iter()
                .map(|value| value as f32)
                .collect();
            let matrix = QuantisedMatrix::quantise_rows(&values, [columns, depth], bits)
                .expect("small numbers");
            for count in counts {
                checker.check(
                    &format!("{bits:?}, {count} rows of [{depth}, {columns}]"),
                    &[numbers(1, count * depth)],
                    gradients,
                    [
                        &|inputs| {
                            let x = rows(&inputs[0], depth);
                            if gradients {
                                quantised_linear(x, &matrix).reshape([-1])
                            } else {
                                streamed_quantised_product(x, &matrix).reshape([-1])
                            }
                        },
                        &|inputs| {
                            reference::quantised_linear(rows(&inputs[0], depth), &matrix)
                                .reshape([-1])
                        },
                    ],
                    Exactness::Products(2e-5),
                );
            }
        }
    }
}

/// Of [`didact_kernels::quantised_linear`].
pub(super) fn quantised_linear(checker: &mut Checker) {
    quantised(checker, &[1, 2, 33], true);
}

/// Of [`didact_kernels::streamed_quantised_product`], whose rows are f32.
pub(super) fn streamed_quantised_product(checker: &mut Checker) {
    if checker.dtype() == DType::F32 {
        quantised(checker, &[1, 3, 8, 17], false);
    }
}
