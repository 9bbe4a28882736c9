//! `linear_kl` on every device against its reference, and what a divergence is.
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use didact_kernels::{KlDirection, Projected, linear_kl, reference};
use proptest::prelude::*;

use crate::support::{
    compare, flat, host, numbers, on_every_device, small_tiles, value_and_gradients,
};

const DIRECTIONS: [KlDirection; 2] = [KlDirection::Forward, KlDirection::Reverse];

/// Two models of one vocabulary; the other is twice as wide and a constant.
struct Case {
    tokens: usize,
    width: usize,
    vocabulary: usize,
    rows: usize,
    direction: KlDirection,
}

impl Case {
    /// The policy's hidden states and embedding.
    fn inputs(&self) -> [Vec<f64>; 2] {
        let hidden = numbers(1, self.tokens * self.width);
        let hidden = hidden.into_iter().map(|x| 4.0 * x).collect();
        [hidden, numbers(2, self.vocabulary * self.width)]
    }

    fn rows(&self, factor: usize, device: &Device) -> Tensor<1, Int> {
        let rows = (0..self.rows).map(|row| ((row * factor + 3) % self.tokens) as i32);
        Tensor::from_data(TensorData::new(rows.collect(), [self.rows]), device)
    }

    /// Policy and other.
    fn sides(&self, inputs: &[Tensor<1>]) -> [Projected; 2] {
        let (device, dtype) = (inputs[0].device(), inputs[0].dtype());
        let (tokens, width, vocabulary) = (self.tokens, self.width, self.vocabulary);
        let other = |seed, count: usize| flat(&numbers(seed, count), &device, dtype);
        let policy = Projected {
            hidden: inputs[0].clone().reshape([tokens, width]),
            rows: self.rows(5, &device),
            embedding: inputs[1].clone().reshape([vocabulary, width]),
        };
        let hidden = other(3, tokens * 2 * width) * 3.0;
        let other = Projected {
            hidden: hidden.reshape([tokens, 2 * width]),
            rows: self.rows(7, &device),
            embedding: other(4, vocabulary * 2 * width).reshape([vocabulary, 2 * width]),
        };
        [policy, other]
    }

    fn fast(&self, inputs: &[Tensor<1>]) -> Tensor<1> {
        let [policy, other] = self.sides(inputs);
        linear_kl(policy, other, 0.9, self.direction)
    }

    fn plain(&self, inputs: &[Tensor<1>]) -> Tensor<1> {
        let [policy, other] = self.sides(inputs);
        reference::linear_kl(policy, other, 0.9, self.direction)
    }
}

#[test]
fn agrees_with_the_reference_on_every_device() {
    small_tiles();
    on_every_device(|device| {
        for (tokens, width, vocabulary, rows) in [
            (1, 1, 2, 1),
            (4, 3, 7, 5),
            (9, 17, 65, 1),
            (40, 24, 1337, 301),
            (30, 8, 2500, 40),
        ] {
            for direction in DIRECTIONS {
                let case = Case {
                    tokens,
                    width,
                    vocabulary,
                    rows,
                    direction,
                };
                compare(
                    &format!("linear_kl, {direction:?}, {rows} rows of {width} over {vocabulary}"),
                    &case.inputs(),
                    device,
                    |inputs| case.fast(inputs),
                    |inputs| case.plain(inputs),
                    5e-5,
                );
            }
        }
    });
}

#[test]
fn a_frozen_embedding_leaves_the_hidden_gradient_as_it_is() {
    on_every_device(|device| {
        for direction in DIRECTIONS {
            let case = Case {
                tokens: 6,
                width: 9,
                vocabulary: 130,
                rows: 11,
                direction,
            };
            let device = device.clone().autodiff();
            let inputs = case.inputs();
            let (_, both) = value_and_gradients(
                &|inputs: &[Tensor<1>]| case.fast(inputs),
                &inputs,
                &device,
                DType::F32,
            );
            for trained in [0, 1] {
                let frozen = flat(&inputs[1 - trained], &device, DType::F32);
                let operation = |given: &[Tensor<1>]| {
                    let mut pair = [given[0].clone(), frozen.clone()];
                    if trained == 1 {
                        pair.swap(0, 1);
                    }
                    case.fast(&pair)
                };
                let given = &inputs[trained..=trained];
                let (_, alone) = value_and_gradients(&operation, given, &device, DType::F32);
                assert_eq!(alone[0], both[trained]);
            }
        }
    });
}

/// The sum over the vocabulary written out, and finite differences, in f64.
#[test]
fn the_reference_is_the_formula() {
    let device = Device::flex();
    for direction in DIRECTIONS {
        let case = Case {
            tokens: 3,
            width: 2,
            vocabulary: 5,
            rows: 4,
            direction,
        };
        let inputs = case.inputs();
        let value = |inputs: &[Vec<f64>]| {
            let tensors = [0, 1].map(|index: usize| flat(&inputs[index], &device, DType::F64));
            host(case.plain(&tensors))
        };
        let tensors = [0, 1].map(|index: usize| flat(&inputs[index], &device, DType::F64));
        let [p, q] = case.sides(&tensors).map(|side| {
            let (hidden, embedding) = (host(side.hidden.clone()), host(side.embedding));
            let width = side.hidden.dims()[1];
            let rows = side.rows.into_data().try_into_vec_as::<i64>().unwrap();
            let softmax = rows.into_iter().map(|row| {
                let logit = |token: usize| {
                    let products = (0..width)
                        .map(|i| hidden[row as usize * width + i] * embedding[token * width + i]);
                    products.sum::<f64>() / 0.9
                };
                let weights: Vec<f64> = (0..5).map(|token| logit(token).exp()).collect();
                let total: f64 = weights.iter().sum();
                weights.into_iter().map(|w| w / total).collect::<Vec<_>>()
            });
            softmax.collect::<Vec<_>>()
        });
        let expected = p.iter().zip(&q).map(|(p, q)| {
            let (of, from) = match direction {
                KlDirection::Forward => (q, p),
                KlDirection::Reverse => (p, q),
            };
            let terms = of.iter().zip(from).map(|(of, from)| of * (of / from).ln());
            terms.sum::<f64>()
        });
        for (found, expected) in value(&inputs).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }

        let (_, gradients) = value_and_gradients(
            &|inputs: &[Tensor<1>]| case.plain(inputs),
            &inputs,
            &device.clone().autodiff(),
            DType::F64,
        );
        let weights = numbers(99, 4);
        let loss = |inputs: &[Vec<f64>]| -> f64 {
            value(inputs).iter().zip(&weights).map(|(x, w)| x * w).sum()
        };
        for (index, gradient) in gradients.iter().enumerate() {
            for (entry, found) in gradient.iter().enumerate() {
                let moved = |by: f64| {
                    let mut inputs = inputs.clone();
                    inputs[index][entry] += by;
                    loss(&inputs)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((found - expected).abs() < 1e-7, "{found} {expected}");
            }
        }
    }
}

proptest! {
    /// Never below 0 but for rounding, and 0 for a distribution and itself.
    #[test]
    fn a_divergence_is_not_negative(
        seed in 0u64..1000, width in 1usize..20, vocabulary in 1usize..700, scale in 0.0f64..8.0,
    ) {
        let device = Device::flex();
        let side = |seed: u64| Projected {
            hidden: (flat(&numbers(seed, 3 * width), &device, DType::F32) * scale).reshape([3, width]),
            rows: Tensor::from_data([2, 0, 1], &device),
            embedding: flat(&numbers(seed + 1, vocabulary * width), &device, DType::F32)
                .reshape([vocabulary, width]),
        };
        for direction in DIRECTIONS {
            for kl in host(linear_kl(side(seed), side(seed + 2), 1.0, direction)) {
                prop_assert!(kl > -1e-5 * (1.0 + scale * width as f64), "{kl}");
            }
            for kl in host(linear_kl(side(seed), side(seed), 1.0, direction)) {
                prop_assert!(kl.abs() <= 1e-5, "{kl}");
            }
        }
    }
}

#[test]
fn a_number_that_is_not_finite_shows_in_its_row_only() {
    let device = Device::flex();
    let case = Case {
        tokens: 3,
        width: 4,
        vocabulary: 3000,
        rows: 3,
        direction: KlDirection::Reverse,
    };
    let mut inputs = case.inputs();
    inputs[0][5] = f64::NAN;
    let inputs = inputs.map(|values| flat(&values, &device, DType::F32));
    let found = host(case.fast(&inputs));
    let rows = case.rows(5, &device).into_data();
    let rows = rows.try_into_vec_as::<i64>().unwrap();
    for (row, found) in rows.iter().zip(found) {
        assert_eq!(found.is_nan(), *row == 1, "row {row}: {found}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let case = Case {
        tokens: 50,
        width: 48,
        vocabulary: 3001,
        rows: 300,
        direction: KlDirection::Forward,
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        pool.install(|| {
            value_and_gradients(
                &|inputs: &[Tensor<1>]| case.fast(inputs),
                &case.inputs(),
                &Device::flex().autodiff(),
                DType::F32,
            )
        })
    };
    let one = run(1);
    for threads in [2, 3] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}
