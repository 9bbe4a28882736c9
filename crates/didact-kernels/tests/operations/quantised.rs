//! Quantised weights: how near they are to the numbers, and their products against the references.
use burn::tensor::{DType, Device, Tensor, f16};
use didact_kernels::{
    Bits, Error, QuantisedMatrix, quantised_linear, reference, streamed_product,
    streamed_quantised_product,
};
use proptest::prelude::*;

use crate::support::{assert_close, compare, flat, host, numbers, on_every_device, small_tiles};

const SIZES: [[usize; 2]; 8] = [
    [1, 1],
    [5, 7],
    [32, 16],
    [33, 3],
    [96, 257],
    [100, 130],
    [65, 1100],
    [576, 40],
];

fn weight([depth, columns]: [usize; 2], device: &Device) -> Tensor<2> {
    flat(&numbers(2, depth * columns), device, DType::F32).reshape([depth, columns])
}

fn quantised(sizes: [usize; 2], bits: Bits) -> QuantisedMatrix {
    QuantisedMatrix::quantise(weight(sizes, &Device::flex()), bits).expect("small numbers")
}

#[test]
fn many_rows_are_multiplied_as_by_the_reference() {
    // So that devices other than the CPU decode some of the matrices in several parts.
    small_tiles();
    on_every_device(|device| {
        for bits in [Bits::Eight, Bits::Four] {
            for sizes in SIZES {
                let matrix = quantised(sizes, bits);
                for rows in [1, 2, 33] {
                    let shaped = |inputs: &[Tensor<1>]| inputs[0].clone().reshape([rows, sizes[0]]);
                    compare(
                        &format!("quantised_linear, {bits:?}, {rows} rows of {sizes:?}"),
                        &[numbers(1, rows * sizes[0])],
                        device,
                        |inputs| quantised_linear(shaped(inputs), &matrix).reshape([-1]),
                        |inputs| reference::quantised_linear(shaped(inputs), &matrix).reshape([-1]),
                        2e-5,
                    );
                }
            }
        }
    });
}

#[test]
fn no_rows_give_no_products() {
    on_every_device(|device| {
        let found = streamed_quantised_product(
            Tensor::zeros([0, 40], device),
            &quantised([40, 9], Bits::Four),
        );
        assert_eq!(found.dims(), [0, 9]);
    });
}

#[test]
fn rows_without_numbers_and_rows_that_stand_transposed_are_multiplied_too() {
    let device = Device::flex();
    let matrix = quantised([40, 9], Bits::Four);
    assert_eq!(
        quantised_linear(Tensor::zeros([0, 40], &device), &matrix).dims(),
        [0, 9]
    );
    let turned = weight([40, 6], &device).transpose();
    assert_close(
        "transposed rows",
        &host(quantised_linear(turned.clone(), &matrix)),
        &host(turned.matmul(matrix.dequantise(&device))),
        2e-5,
    );
}

#[test]
fn few_rows_are_multiplied_as_by_the_reference() {
    on_every_device(|device| {
        for bits in [Bits::Eight, Bits::Four] {
            for sizes in SIZES {
                let matrix = quantised(sizes, bits);
                for rows in [1, 2, 3, 4, 17] {
                    let x = weight([rows, sizes[0]], device);
                    assert_close(
                        &format!("{bits:?}, {rows} rows of {sizes:?}"),
                        &host(streamed_quantised_product(x.clone(), &matrix)),
                        &host(reference::quantised_linear(x, &matrix)),
                        2e-5,
                    );
                }
            }
        }
    });
}

#[test]
fn few_rows_have_the_bits_of_the_product_with_the_f32_matrix() {
    let device = Device::flex();
    let matrix = quantised([100, 130], Bits::Eight);
    let x = weight([5, 100], &device);
    assert_eq!(
        host(streamed_quantised_product(x.clone(), &matrix)),
        host(streamed_product(x, matrix.dequantise(&device)))
    );
}

#[test]
fn other_precisions_keep_theirs_and_the_tape_takes_the_reference() {
    let device = Device::flex().autodiff();
    let matrix = quantised([40, 9], Bits::Four);
    let x = flat(&numbers(3, 80), &device, DType::F64).reshape([2, 40]);
    assert_eq!(quantised_linear(x, &matrix).dtype(), DType::F64);
    let half = weight([2, 40], &device).cast(DType::BF16).require_grad();
    let found = quantised_linear(half.clone(), &matrix);
    assert_eq!(found.dtype(), DType::BF16);
    let gradients = found.clone().sum().backward();
    let gradient = half.grad(&gradients).expect("of the rows");
    let ones = Tensor::<2>::ones([2, 9], &Device::flex());
    let expected = ones.matmul(matrix.dequantise(&Device::flex()).transpose());
    assert_close("half gradient", &host(gradient), &host(expected), 1e-2);
    let expected = reference::quantised_linear(half, &matrix);
    assert_close("half", &host(found), &host(expected), 1e-2);
    let x = weight([2, 40], &device);
    assert_eq!(streamed_quantised_product(x, &matrix).dims(), [2, 9]);
}

#[test]
fn a_matrix_takes_what_its_documentation_says() {
    for (bits, bytes) in [(Bits::Eight, 36), (Bits::Four, 20)] {
        assert_eq!(quantised([64, 10], bits).bytes(), 10 * 2 * bytes);
        // A short block takes the room of a whole one.
        assert_eq!(quantised([65, 10], bits).bytes(), 10 * 3 * bytes);
    }
}

#[test]
fn rows_and_columns_are_the_same_matrix() {
    let device = Device::flex();
    let weight = weight([70, 33], &device);
    for bits in [Bits::Eight, Bits::Four] {
        let matrix = QuantisedMatrix::quantise(weight.clone(), bits).expect("small numbers");
        let rows: Vec<f32> = host(weight.clone().transpose())
            .into_iter()
            .map(|value| value as f32)
            .collect();
        let of_rows = QuantisedMatrix::quantise_rows(&rows, [33, 70], bits).expect("the shape's");
        assert_eq!(matrix, of_rows);
        assert_eq!(matrix.shape(), [70, 33]);
        let turned = QuantisedMatrix::quantise(
            Tensor::<1>::from_floats(rows.as_slice(), &device)
                .reshape([33, 70])
                .transpose(),
            bits,
        );
        assert_eq!(matrix, turned.expect("small numbers"));
    }
}

#[test]
fn what_cannot_be_quantised_is_named() {
    let mut values = vec![0.5; 3 * 40];
    values[2 * 40 + 35] = f32::NAN;
    let refused = QuantisedMatrix::quantise_rows(&values, [3, 40], Bits::Four);
    assert_eq!(
        refused,
        Err(Error::NotQuantisable {
            input: 35,
            output: 2,
            value: "NaN".into()
        })
    );
    values[2 * 40 + 35] = 70_000.0;
    let refused = QuantisedMatrix::quantise_rows(&values, [3, 40], Bits::Eight);
    assert!(
        refused.is_err_and(|error| error.to_string().contains("input 35 and output 2 is 70000"))
    );
    assert!(QuantisedMatrix::quantise_rows(&values, [3, 41], Bits::Four).is_err());
    let line = (f16::ONE, f16::ZERO);
    let from = |codes: usize, lines: &[(f16, f16)]| {
        QuantisedMatrix::from_blocks(Bits::Four, [33, 2], vec![0; codes], lines)
    };
    assert!(from(64, &[line; 4]).is_ok());
    assert!(from(63, &[line; 4]).is_err());
    assert!(from(64, &[line; 5]).is_err());
    let mut lines = [line; 4];
    lines[3].1 = f16::INFINITY;
    assert!(
        from(64, &lines).is_err_and(|error| error.to_string().contains("input 32 and output 1"))
    );
}

#[test]
#[should_panic(expected = "quantised_linear: rows [2, 3] and weight [4, 1] differ in width")]
fn widths_must_fit() {
    let x = weight([2, 3], &Device::flex());
    let _ = quantised_linear(x, &quantised([4, 1], Bits::Four));
}

fn any_bits() -> impl Strategy<Value = Bits> {
    prop_oneof![Just(Bits::Eight), Just(Bits::Four)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The bound that the documentation states, for numbers of any size that f16 reaches.
    #[test]
    fn numbers_come_back_to_half_a_scale(
        depth in 1usize..80,
        columns in 1usize..20,
        exponent in -12i32..4,
        offset in -2.0f32..2.0,
        bits in any_bits(),
        seed in 0u64..1000,
    ) {
        let size = 10f32.powi(exponent);
        let values: Vec<f32> = numbers(seed, columns * depth)
            .into_iter()
            .map(|value| (value as f32 + offset) * size)
            .collect();
        let matrix = QuantisedMatrix::quantise_rows(&values, [columns, depth], bits).unwrap();
        let found = matrix.dequantise_rows();
        let largest = match bits { Bits::Eight => 255.0, Bits::Four => 15.0 };
        for output in 0..columns {
            let lines = matrix.scales_and_minima(output);
            for input in 0..depth {
                let (scale, minimum) = lines[input / 32];
                let (scale, minimum) = (scale.to_f64(), minimum.to_f64());
                let at = output * depth + input;
                let error = (f64::from(values[at]) - f64::from(found[at])).abs();
                let rounding = 2f64.powi(-22) * (minimum.abs() + largest * scale);
                prop_assert!(
                    error <= scale / 2.0 + rounding,
                    "{} became {}, with scale {scale}", values[at], found[at]
                );
                // And the scale is no larger than the block needs.
                let block = &values[at - input % 32..][..32.min(depth - input / 32 * 32)];
                let most = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let needed = (f64::from(most) - minimum) / largest;
                prop_assert!(scale <= needed * (1.0 + 2f64.powi(-9)) + 2f64.powi(-24));
            }
        }
    }

    /// Blocks that use both ends of their codes, as other quantisers leave them, are found again.
    #[test]
    fn quantised_numbers_are_quantised_to_themselves(
        columns in 1usize..9,
        blocks in 1usize..4,
        bits in any_bits(),
        seed in 0u64..1000,
    ) {
        let largest = match bits { Bits::Eight => 255u8, Bits::Four => 15 };
        let count = columns * blocks;
        let mut codes: Vec<u8> = numbers(seed, count * 32)
            .into_iter()
            .map(|value| ((value + 1.0) / 2.0 * f64::from(largest)).round() as u8)
            .collect();
        for block in codes.chunks_exact_mut(32) {
            block[seed as usize % 32] = 0;
            block[(seed as usize + 5) % 32] = largest;
        }
        if bits == Bits::Four {
            codes = codes
                .chunks_exact(32)
                .flat_map(|block| (0..16).map(|i| block[i] | block[i + 16] << 4))
                .collect();
        }
        let lines: Vec<(f16, f16)> = numbers(seed + 1, count)
            .into_iter()
            .zip(numbers(seed + 2, count))
            .map(|(scale, minimum)| {
                (f16::from_f64(scale.abs() * 0.01 + 1e-4), f16::from_f64(minimum * 0.1))
            })
            .collect();
        let matrix =
            QuantisedMatrix::from_blocks(bits, [blocks * 32, columns], codes, &lines).unwrap();
        let again = QuantisedMatrix::quantise(matrix.dequantise(&Device::flex()), bits).unwrap();
        prop_assert_eq!(again, matrix);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Whatever else is in the product: other rows, and other threads.
    #[test]
    fn a_rows_product_is_its_own(
        rows in 2usize..20,
        depth in 1usize..150,
        columns in 1usize..300,
        bits in any_bits(),
    ) {
        let device = Device::flex();
        let matrix = quantised([depth, columns], bits);
        let x = weight([rows, depth], &device);
        let together = host(streamed_quantised_product(x.clone(), &matrix));
        for row in [0, rows / 2, rows - 1] {
            let alone = host(streamed_quantised_product(x.clone().narrow(0, row, 1), &matrix));
            prop_assert_eq!(&together[row * columns..(row + 1) * columns], &alone[..]);
        }
    }
}
