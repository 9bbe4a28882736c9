//! Whether a device computes what the plain references compute on the CPU in f32, values and gradients.
//!
//! Owns the comparison; `cases` has what is compared. Inputs are rounded to the type under test before either side sees
//! them.
use super::numbers::{flat, host, numbers};
use burn::tensor::{DType, Device, Tensor};

/// Products in f32 may be made from numbers of ten bits, as matrix units take them.
const PRODUCTS_IN_F32: f64 = 4.0 / 2048.0;

/// How far a result in f32 may be off.
#[derive(Debug, Clone, Copy)]
pub(super) enum Exactness {
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

    /// The type under test.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
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
    pub(super) fn rounded(&self, values: &[f64]) -> Vec<f64> {
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
    pub(super) fn check(
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
