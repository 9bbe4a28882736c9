//! Whether a device computes what the plain references compute on the CPU in f32, values and gradients.
//!
//! Owns the cases and the comparison. Sizes are small and odd; inputs are rounded to the type under test before either
//! side sees them.
use burn::tensor::{DType, Device, Tensor};
use didact_kernels::{
    Activation, Bits, CacheLayout, CachedRun, PackedLayout, QuantisedMatrix, Segment, reference,
};

use super::numbers::{flat, host, numbers};

/// Products in f32 may be made from numbers of ten bits, as matrix units take them.
const PRODUCTS_IN_F32: f64 = 4.0 / 2048.0;

/// How far a result in f32 may be off.
#[derive(Debug, Clone, Copy)]
enum Exactness {
    /// Sums in f32.
    Own(f64),
    /// The same where products are in f32; on GPUs matrix units may make them.
    Products(f64),
}

/// What was compared of one operation in one type.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Found {
    /// Comparisons: a value or a gradient of a case.
    pub(super) comparisons: usize,
    /// The largest error of an entry, as a part of the largest expected entry.
    pub(super) error: f64,
    /// What was allowed where the error was the largest part of it.
    pub(super) allowed: f64,
}

/// Compares one operation on one device in one type, case by case.
#[derive(Debug)]
pub(super) struct Checker {
    device: Device,
    dtype: DType,
    found: Found,
    /// What was wrong, in words.
    wrong: Vec<String>,
}

impl Checker {
    pub(super) fn new(device: &Device, dtype: DType) -> Self {
        Self {
            device: device.clone(),
            dtype,
            found: Found::default(),
            wrong: Vec::new(),
        }
    }

    /// What was found, and what was wrong.
    pub(super) fn finish(self) -> (Found, Vec<String>) {
        (self.found, self.wrong)
    }

    /// A few roundings of the largest entry: inputs, outputs and the gradients between them are rounded, sums are not.
    fn tolerance(&self, in_f32: Exactness) -> f64 {
        match (self.dtype, in_f32) {
            (DType::F16, _) => 4.0 * 2f64.powi(-11),
            (DType::BF16, _) => 4.0 * 2f64.powi(-8),
            (_, Exactness::Products(own)) if self.device != Device::flex() => {
                own.max(PRODUCTS_IN_F32)
            }
            (_, Exactness::Own(own) | Exactness::Products(own)) => own,
        }
    }

    /// As the type under test holds them.
    fn rounded(&self, values: &[f64]) -> Vec<f64> {
        host(flat(values, &Device::flex(), self.dtype))
    }

    fn compare(&mut self, name: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
        if actual.len() != expected.len() {
            let (found, wanted) = (actual.len(), expected.len());
            self.wrong
                .push(format!("{name}: {found} numbers instead of {wanted}"));
            return;
        }
        let largest = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
        let mut worst = (0, 0.0);
        for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
            let error = (actual - expected).abs() / largest;
            // What is not a number is further off than anything.
            let error = if error.is_nan() { f64::INFINITY } else { error };
            if error > worst.1 {
                worst = (index, error);
            }
        }
        let (index, error) = worst;
        self.found.comparisons += 1;
        if error / tolerance >= self.found.error / self.found.allowed.max(f64::MIN_POSITIVE) {
            (self.found.error, self.found.allowed) = (error, tolerance);
        }
        if error > tolerance {
            self.wrong.push(format!(
                "{name}: entry {index} of {} is {}, expected {}: off by {error:.1e} of the largest, {tolerance:.1e} allowed",
                actual.len(),
                actual[index],
                expected[index],
            ));
        }
    }

    /// The output of functions of flat inputs, and with `gradients` those of Σ wᵢ·outᵢ for weights w that differ by entry.
    fn check(
        &mut self,
        name: &str,
        inputs: &[Vec<f64>],
        gradients: bool,
        [fast, plain]: [&dyn Fn(&[Tensor<1>]) -> Tensor<1>; 2],
        in_f32: Exactness,
    ) {
        let inputs: Vec<_> = inputs.iter().map(|values| self.rounded(values)).collect();
        let run = |operation: &dyn Fn(&[Tensor<1>]) -> Tensor<1>, device: &Device, dtype| {
            let device = if gradients {
                device.clone().autodiff()
            } else {
                device.clone()
            };
            let tensors: Vec<_> = inputs
                .iter()
                .map(|values| {
                    let tensor = flat(values, &device, dtype);
                    if gradients {
                        tensor.require_grad()
                    } else {
                        tensor
                    }
                })
                .collect();
            let output = operation(&tensors);
            let mut results = vec![host(output.clone())];
            if gradients {
                let weights = flat(&numbers(99, output.dims()[0]), &device, output.dtype());
                let of_inputs = (output * weights).sum().backward();
                results.extend(tensors.iter().map(|tensor| {
                    host(tensor.grad(&of_inputs).expect("every input has a gradient"))
                }));
            }
            results
        };
        let actual = run(fast, &self.device, self.dtype);
        let expected = run(plain, &Device::flex(), DType::F32);
        let tolerance = self.tolerance(in_f32);
        for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            let part = match index {
                0 => "value".to_owned(),
                input => format!("gradient {input}"),
            };
            self.compare(&format!("{name}, {part}"), actual, expected, tolerance);
        }
    }
}

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
        let [cos, sin] = [f64::cos, f64::sin].map(|turn: fn(f64) -> f64| {
            checker.rounded(&angles.iter().copied().map(turn).collect::<Vec<_>>())
        });
        let constant = |values: &[f64], like: &Tensor<1>| {
            flat(values, &like.device(), like.dtype()).reshape([tokens, size / 2])
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
    if checker.dtype == DType::F32 {
        quantised(checker, &[1, 3, 8, 17], false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::operations::OPERATIONS;

    #[test]
    fn every_operation_agrees_on_the_cpu() {
        for operation in OPERATIONS {
            let mut checker = Checker::new(&Device::flex(), DType::F32);
            (operation.check)(&mut checker);
            let (found, wrong) = checker.finish();
            assert!(wrong.is_empty(), "{}: {wrong:?}", operation.name);
            assert!(
                found.comparisons > 0 && found.error <= found.allowed,
                "{}: {found:?}",
                operation.name
            );
        }
    }

    #[test]
    fn what_is_wrong_is_found_and_named() {
        let twice = |inputs: &[Tensor<1>]| inputs[0].clone() * 2.0;
        let not_quite = |inputs: &[Tensor<1>]| inputs[0].clone() * 2.001;
        // The value is right, its gradient is not.
        let untracked = |inputs: &[Tensor<1>]| {
            let x = inputs[0].clone();
            x.clone() + x.detach()
        };
        for (wrong, part) in [
            (
                &not_quite as &dyn Fn(&[Tensor<1>]) -> Tensor<1>,
                "case, value",
            ),
            (&untracked, "case, gradient 1"),
        ] {
            let mut checker = Checker::new(&Device::flex(), DType::F32);
            let inputs = [vec![0.5, 1.0, -2.0]];
            checker.check("case", &inputs, true, [wrong, &twice], Exactness::Own(1e-5));
            let (found, wrong) = checker.finish();
            assert!(wrong.iter().any(|line| line.starts_with(part)), "{wrong:?}");
            assert!(found.error > found.allowed, "{found:?}");
        }
        let mut checker = Checker::new(&Device::flex(), DType::F32);
        checker.compare("case", &[f64::NAN], &[1.0], 1.0);
        checker.compare("case", &[1.0], &[1.0, 2.0], 1.0);
        assert_eq!(checker.finish().1.len(), 2);
    }
}
