//! Numbers, devices and comparisons that the tests share.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Numbers between −1 and 1 that depend on the seed only.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f64> {
    (0..count as u64)
        .map(|index| {
            let mut x = (seed << 32) ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

pub(crate) fn flat(values: &[f64], device: &Device, dtype: DType) -> Tensor<1> {
    let data = TensorData::new(values.to_vec(), [values.len()]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}

pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor
        .into_data()
        .try_into_vec_as::<f64>()
        .expect("floats convert")
}

/// A function of flat inputs with a flat output, so that one check serves every operation.
pub(crate) trait Operation: Fn(&[Tensor<1>]) -> Tensor<1> {}
impl<F: Fn(&[Tensor<1>]) -> Tensor<1>> Operation for F {}

/// The output, and the gradients of Σ wᵢ·outᵢ for weights w that differ by entry.
pub(crate) fn value_and_gradients(
    operation: &impl Operation,
    inputs: &[Vec<f64>],
    device: &Device,
    dtype: DType,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let tensors: Vec<_> = inputs
        .iter()
        .map(|values| flat(values, device, dtype).require_grad())
        .collect();
    let output = operation(&tensors);
    let weights = flat(&numbers(99, output.dims()[0]), device, output.dtype());
    let gradients = (output.clone() * weights).sum().backward();
    let gradients = tensors
        .iter()
        .map(|tensor| host(tensor.grad(&gradients).expect("every input has a gradient")))
        .collect();
    (host(output), gradients)
}

/// Fails unless every entry agrees to `tolerance` of the largest expected one.
pub(crate) fn assert_close(name: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{name}: lengths");
    let largest = expected
        .iter()
        .fold(1e-3f64, |largest, value| largest.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (actual - expected).abs() / largest;
        assert!(
            error <= tolerance,
            "{name}: entry {index} is {actual}, expected {expected} (error {error:.1e})"
        );
    }
}

thread_local! {
    /// Cases of the running test that were compared with a reference, by float type.
    static CASES: RefCell<BTreeMap<String, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// One more case of this type agreed with its reference.
pub(crate) fn count(dtype: DType) {
    CASES.with_borrow_mut(|cases| *cases.entry(format!("{dtype:?}")).or_default() += 1);
}

/// Runs the check, and says for how many cases of each type, where the test runner does not catch it.
fn counted(device: &Device, check: impl Fn(&Device)) {
    check(device);
    let cases = CASES.take();
    if !cases.is_empty() {
        let cases: Vec<_> = cases
            .iter()
            .map(|(dtype, n)| format!("{n} {dtype}"))
            .collect();
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        let line = format!("{test}: {} cases on {device:?}\n", cases.join(", "));
        // A count that cannot be written fails nothing.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Runs the check on every device that this build and machine have, and says which it skipped.
pub(crate) fn on_every_device(check: impl Fn(&Device)) {
    counted(&Device::flex(), &check);
    #[cfg(feature = "wgpu")]
    {
        use std::panic::catch_unwind;
        // burn has no way to ask for a software adapter but to open it, which panics without one.
        let software = catch_unwind(|| {
            let device = Device::wgpu(burn::tensor::DeviceKind::Cpu);
            let _ = host(Tensor::<1>::ones([1], &device));
            device
        });
        match software {
            Ok(device) => {
                counted(&device, &check);
            }
            Err(_) if std::env::var_os("DIDACT_SOFTWARE_DEVICE").is_some() => {
                panic!(
                    "DIDACT_SOFTWARE_DEVICE asks for a software Vulkan adapter, and there is none"
                )
            }
            Err(_) => println!("skipped wgpu: no software Vulkan adapter on this machine"),
        }
    }
}

/// Tiles of the vocabulary, and of quantised weights, that are small enough for tests to have several on CubeCL devices.
pub(crate) fn small_tiles() {
    #[cfg(feature = "wgpu")]
    didact_kernels::limit_tiles(1 << 12, 48);
}

/// Half precisions that a device with kernels of their own has, and how far one rounding of them reaches.
pub(crate) fn half_precisions(device: &Device) -> impl Iterator<Item = (DType, f64)> {
    let own_kernels = !matches!(device.as_dispatch(), DispatchDevice::Flex(_));
    [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))]
        .into_iter()
        .filter(move |(dtype, _)| own_kernels && device.supports_dtype(*dtype))
}

/// The fast path in half precisions against the reference in f32 on the same rounded inputs. Inputs, outputs and the
/// gradients between them are rounded, sums are not: a few roundings of the largest entry.
fn compare_half(
    name: &str,
    inputs: &[Vec<f64>],
    device: &Device,
    fast: impl Operation,
    reference: impl Operation,
) {
    for (dtype, rounding) in half_precisions(device) {
        let autodiff = device.clone().autodiff();
        let rounded: Vec<_> = inputs
            .iter()
            .map(|values| host(flat(values, device, dtype)))
            .collect();
        let (expected, expected_gradients) =
            value_and_gradients(&reference, &rounded, &autodiff, DType::F32);
        let (actual, gradients) = value_and_gradients(&fast, &rounded, &autodiff, dtype);
        let tolerance = 4.0 * rounding;
        assert_close(
            &format!("{name}, {dtype:?}, value"),
            &actual,
            &expected,
            tolerance,
        );
        for (index, (actual, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
            let name = format!("{name}, {dtype:?}, gradient {index}");
            assert_close(&name, actual, expected, tolerance);
        }
        count(dtype);
    }
}

/// The fast path against its reference, values and the gradients of all inputs, on one device, in f32 and in the half
/// precisions that it has kernels for.
pub(crate) fn compare(
    name: &str,
    inputs: &[Vec<f64>],
    device: &Device,
    fast: impl Operation,
    reference: impl Operation,
    tolerance: f64,
) {
    compare_half(name, inputs, device, &fast, &reference);
    let plain: Vec<_> = inputs
        .iter()
        .map(|values| flat(values, device, DType::F32))
        .collect();
    let without_gradients = host(fast(&plain));
    for autodiff in [
        device.clone().autodiff(),
        device.clone().autodiff().gradient_checkpointing(),
    ] {
        let (expected, expected_gradients) =
            value_and_gradients(&reference, inputs, &autodiff, DType::F32);
        let (actual, gradients) = value_and_gradients(&fast, inputs, &autodiff, DType::F32);
        assert_close(&format!("{name}, value"), &actual, &expected, tolerance);
        assert_close(
            &format!("{name}, plain value"),
            &without_gradients,
            &actual,
            0.0,
        );
        for (index, (actual, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
            assert_close(
                &format!("{name}, gradient {index}"),
                actual,
                expected,
                tolerance,
            );
        }
    }
    count(DType::F32);
}
