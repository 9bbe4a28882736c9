//! Numbers, devices and comparisons that the tests share.
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
    let weights = flat(&numbers(99, output.dims()[0]), device, dtype);
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

/// Runs the check on every device that this build and machine have, and says which it skipped.
pub(crate) fn on_every_device(check: impl Fn(&Device)) {
    check(&Device::flex());
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
                println!("checked on {device:?}");
                check(&device);
            }
            Err(_) => println!("skipped wgpu: no software Vulkan adapter on this machine"),
        }
    }
}

/// The fast path against its reference in f32, values and the gradients of all inputs, on one device.
pub(crate) fn compare(
    name: &str,
    inputs: &[Vec<f64>],
    device: &Device,
    fast: impl Operation,
    reference: impl Operation,
    tolerance: f64,
) {
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
}
