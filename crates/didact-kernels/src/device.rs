//! Which devices have kernels of their own.
use burn::backend::DispatchDevice;
use burn::tensor::Device;

/// Whether `linear_log_prob` has an implementation for the device; others take the reference.
pub(crate) fn has_kernels(device: &Device) -> bool {
    is_flex(device) || is_cube(device)
}

/// Whether the device, or the one that its autodiff device wraps, is the CPU's Flex.
pub(crate) fn is_flex(device: &Device) -> bool {
    matches!(
        device.as_dispatch().clone().inner(),
        DispatchDevice::Flex(_)
    )
}

/// Whether the device is the CPU's Flex without a gradient tape.
pub(crate) fn is_flex_without_gradients(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

#[cfg(feature = "wgpu")]
fn is_cube(device: &Device) -> bool {
    matches!(
        device.as_dispatch().clone().inner(),
        DispatchDevice::Cube(_)
    )
}

#[cfg(not(feature = "wgpu"))]
fn is_cube(_: &Device) -> bool {
    false
}

/// The gradient of a gradient is asked for, which burn's autodiff does not do.
pub(crate) fn first_order_only(operation: &str) -> ! {
    panic!("{operation}: only first derivatives exist; call its backward on plain tensors")
}
