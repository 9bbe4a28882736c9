//! `linear_log_prob` on every device against its reference, and the promises of the CPU's path.
use burn::tensor::{DType, Device, Int, Tensor};
use didact_kernels::{linear_log_prob, projected_rows, reference};

use crate::support::{
    compare, flat, host, numbers, on_every_device, small_tiles, value_and_gradients,
};

struct Case {
    tokens: usize,
    width: usize,
    vocabulary: usize,
    rows: Vec<usize>,
    targets: Vec<u32>,
    temperature: f64,
}

impl Case {
    /// Rows that jump about and repeat, targets at both ends of the vocabulary.
    fn new(tokens: usize, width: usize, vocabulary: usize, rows: usize) -> Self {
        let targets = (0..rows).map(|row| match row {
            0 => vocabulary - 1,
            1 => 0,
            _ => row * 7919 % vocabulary,
        });
        Self {
            tokens,
            width,
            vocabulary,
            rows: (0..rows).map(|row| (row * 5 + 3) % tokens).collect(),
            targets: targets.map(|target| target as u32).collect(),
            temperature: 0.9,
        }
    }

    fn inputs(&self) -> [Vec<f64>; 2] {
        // Logits of some size, so that the probabilities are far from even.
        let hidden = numbers(1, self.tokens * self.width)
            .into_iter()
            .map(|x| 4.0 * x)
            .collect();
        [hidden, numbers(2, self.vocabulary * self.width)]
    }

    fn indices(&self, device: &Device) -> (Tensor<1, Int>, Tensor<1, Int>) {
        projected_rows(
            &self.rows,
            &self.targets,
            self.tokens,
            self.vocabulary,
            device,
        )
        .expect("rows and targets in range")
    }

    fn shaped(&self, inputs: &[Tensor<1>]) -> (Tensor<2>, Tensor<2>) {
        let hidden = inputs[0].clone().reshape([self.tokens, self.width]);
        (
            hidden,
            inputs[1].clone().reshape([self.vocabulary, self.width]),
        )
    }

    fn fast(&self, inputs: &[Tensor<1>]) -> Tensor<1> {
        let (rows, targets) = self.indices(&inputs[0].device());
        let (hidden, embedding) = self.shaped(inputs);
        linear_log_prob(hidden, rows, embedding, targets, self.temperature).reshape([-1])
    }

    fn plain(&self, inputs: &[Tensor<1>]) -> Tensor<1> {
        let (rows, targets) = self.indices(&inputs[0].device());
        let (hidden, embedding) = self.shaped(inputs);
        reference::linear_log_prob(hidden, rows, embedding, targets, self.temperature).reshape([-1])
    }
}

#[test]
fn agrees_with_the_reference_on_every_device() {
    on_every_device(|device| {
        // The last two have more than one tile of the vocabulary, and of rows, in the CPU's backward, and most have
        // several tiles of the vocabulary on other devices.
        small_tiles();
        for (tokens, width, vocabulary, rows) in [
            (1, 1, 1, 1),
            (4, 3, 7, 5),
            (9, 17, 65, 1),
            (5, 33, 300, 23),
            (40, 24, 1337, 301),
            (30, 8, 2500, 40),
            (40, 4, 9, 2100),
        ] {
            let case = Case::new(tokens, width, vocabulary, rows);
            compare(
                &format!("[{tokens}, {width}] · [{vocabulary}, {width}]ᵀ, {rows} rows"),
                &case.inputs(),
                device,
                |inputs| case.fast(inputs),
                |inputs| case.plain(inputs),
                3e-5,
            );
        }
    });
}

#[test]
fn one_trained_input_gets_the_same_gradient() {
    let case = Case::new(6, 9, 130, 11);
    on_every_device(|device| {
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
            let (_, alone) =
                value_and_gradients(&operation, &inputs[trained..=trained], &device, DType::F32);
            assert_eq!(alone[0], both[trained]);
        }
    });
}

#[test]
fn no_rows_give_no_outputs() {
    on_every_device(|device| {
        let case = Case::new(3, 4, 5, 0);
        let [hidden, embedding] = case.inputs();
        let (rows, targets) = case.indices(device);
        let output = linear_log_prob(
            flat(&hidden, device, DType::F32).reshape([3, 4]),
            rows,
            flat(&embedding, device, DType::F32).reshape([5, 4]),
            targets,
            1.0,
        );
        assert_eq!(output.dims(), [0, 3]);
    });
}

#[test]
fn views_are_read_as_they_are_laid_out() {
    let device = Device::flex().autodiff();
    let case = Case::new(5, 6, 40, 9);
    let [hidden, embedding] = case.inputs();
    // The same numbers: hidden as rows 2..7 of a larger tensor, the embedding stored transposed.
    let larger = [numbers(5, 12), hidden.clone(), numbers(6, 6)].concat();
    let larger = flat(&larger, &device, DType::F32).reshape([8, 6]);
    let stored = flat(&embedding, &device, DType::F32)
        .reshape([40, 6])
        .transpose();
    let stored = Tensor::<2>::from_data(stored.into_data(), &device).require_grad();
    let (rows, targets) = case.indices(&device);
    let output = linear_log_prob(
        larger.narrow(0, 2, 5),
        rows,
        stored.clone().transpose(),
        targets,
        0.9,
    );
    let weights = flat(&numbers(99, 27), &device, DType::F32).reshape([9, 3]);
    let gradients = (output.clone() * weights).sum().backward();
    let (expected, expected_gradients) = value_and_gradients(
        &|inputs: &[Tensor<1>]| case.fast(inputs),
        &[hidden, embedding],
        &device,
        DType::F32,
    );
    assert_eq!(host(output), expected);
    let gradient = stored.grad(&gradients).expect("the embedding is trained");
    assert_eq!(host(gradient.transpose()), expected_gradients[1]);
}

#[test]
fn double_precision_goes_through_the_reference() {
    let case = Case::new(4, 3, 7, 5);
    let device = Device::flex().autodiff();
    let fast = value_and_gradients(
        &|inputs: &[Tensor<1>]| case.fast(inputs),
        &case.inputs(),
        &device,
        DType::F64,
    );
    let plain = value_and_gradients(
        &|inputs: &[Tensor<1>]| case.plain(inputs),
        &case.inputs(),
        &device,
        DType::F64,
    );
    assert_eq!(fast, plain);
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let device = Device::flex();
    for width in [3, 8, 600] {
        for vocabulary in [2, 4, 5, 37, 64, 65, 100, 700, 1500] {
            let case = Case::new(70, width, vocabulary, 270);
            let inputs: Vec<_> = case
                .inputs()
                .iter()
                .map(|values| flat(values, &device, DType::F32))
                .collect();
            let all = host(case.fast(&inputs));
            for (first, count) in [(0, 1), (4, 2), (9, 17), (0, 65), (269, 1), (3, 257)] {
                let part = Case {
                    rows: case.rows[first..first + count].to_vec(),
                    targets: case.targets[first..first + count].to_vec(),
                    ..Case::new(70, width, vocabulary, 1)
                };
                assert_eq!(
                    host(part.fast(&inputs)),
                    all[3 * first..3 * (first + count)],
                    "rows {first}.. ({count}) of width {width}, vocabulary {vocabulary}"
                );
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let case = Case::new(50, 96, 3001, 90);
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
    for threads in [2, 3, 8] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn a_number_that_is_not_finite_shows_in_its_row_only() {
    let device = Device::flex();
    let mut hidden = numbers(1, 12);
    hidden[5] = f64::NAN;
    let output = linear_log_prob(
        flat(&hidden, &device, DType::F32).reshape([3, 4]),
        Tensor::<1, Int>::from_data([0, 1, 2], &device),
        flat(&numbers(2, 40), &device, DType::F32).reshape([10, 4]),
        Tensor::<1, Int>::from_data([0, 1, 2], &device),
        1.0,
    );
    let output = host(output);
    assert!(
        output[3..6].iter().all(|value| value.is_nan()),
        "{output:?}"
    );
    assert!(
        output[..3]
            .iter()
            .chain(&output[6..])
            .all(|value| value.is_finite()),
        "{output:?}"
    );
}

#[test]
#[should_panic(expected = "entry 1 of linear_log_prob's targets is 10, which is not below 10")]
fn a_target_outside_the_vocabulary_is_named() {
    let device = Device::flex();
    linear_log_prob(
        Tensor::zeros([2, 4], &device),
        Tensor::<1, Int>::from_data([0, 1], &device),
        Tensor::zeros([10, 4], &device),
        Tensor::<1, Int>::from_data([9, 10], &device),
        1.0,
    );
}
