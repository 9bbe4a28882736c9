//! Devices by name, and which of them have kernels of their own.
use burn::backend::DispatchDevice;
#[cfg(any(feature = "metal", feature = "vulkan", feature = "wgpu"))]
use burn::tensor::DeviceKind;
#[cfg(any(
    feature = "cuda",
    feature = "rocm",
    feature = "metal",
    feature = "vulkan",
    feature = "wgpu"
))]
use burn::tensor::DeviceType;
use burn::tensor::{DType, Device};

use crate::Error;

/// The device of this name.
///
/// | name | device | feature |
/// |---|---|---|
/// | `cpu` | the CPU | always there |
/// | `cuda`, `cuda:1` | NVIDIA's GPU of this index, 0 unless told | `cuda` |
/// | `rocm`, `rocm:1` | AMD's | `rocm` |
/// | `metal`, `vulkan`, `wgpu` | the best of that interface; with an index one of its discrete GPUs, with `:cpu` a software device | the same |
///
/// The device is looked for but not opened: that happens with the first tensor on it.
///
/// # Errors
/// [`Error::UnknownDevice`] when it is no such name, [`Error::DeviceNotBuilt`] when this build lacks the feature,
/// [`Error::NoSuchDevice`] when this machine has none.
///
/// ```
/// let device = didact_kernels::device("cpu")?;
/// assert!(didact_kernels::device("abacus").is_err());
/// # Ok::<(), didact_kernels::Error>(())
/// ```
pub fn device(name: &str) -> Result<Device, Error> {
    let unknown = || Error::UnknownDevice {
        name: name.to_owned(),
    };
    let (family, which) = match name.split_once(':') {
        None => (name, None),
        Some((family, which)) => (family, Some(which)),
    };
    let index = || which.map_or(Ok(0), |index| index.parse::<usize>().map_err(|_| unknown()));
    match family {
        "cpu" if which.is_none() => Ok(Device::flex()),
        "cuda" => cuda(index()?),
        "rocm" => rocm(index()?),
        "metal" | "vulkan" | "wgpu" => {
            if which != Some("cpu") {
                index()?;
            }
            graphics(family, which)
        }
        _ => Err(unknown()),
    }
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, Error> {
    let found = Device::enumerate(DeviceType::Cuda);
    there(
        "cuda",
        Device::cuda(index),
        found.len(),
        found.len() > index,
    )
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device, Error> {
    Err(not_built("cuda"))
}

#[cfg(feature = "rocm")]
fn rocm(index: usize) -> Result<Device, Error> {
    let found = Device::enumerate(DeviceType::Rocm);
    there(
        "rocm",
        Device::rocm(index),
        found.len(),
        found.len() > index,
    )
}

#[cfg(not(feature = "rocm"))]
fn rocm(_: usize) -> Result<Device, Error> {
    Err(not_built("rocm"))
}

#[cfg(any(feature = "metal", feature = "vulkan", feature = "wgpu"))]
fn graphics(family: &str, which: Option<&str>) -> Result<Device, Error> {
    // What is neither absent nor `cpu` is an index: the caller has parsed it.
    let kind = match which.map(str::parse) {
        None => DeviceKind::DefaultDevice,
        Some(Ok(index)) => DeviceKind::DiscreteGpu(index),
        Some(Err(_)) => DeviceKind::Cpu,
    };
    let (device, found) = match family {
        #[cfg(feature = "metal")]
        "metal" => (Device::metal(kind), Device::enumerate(DeviceType::Metal)),
        #[cfg(feature = "vulkan")]
        "vulkan" => (Device::vulkan(kind), Device::enumerate(DeviceType::Vulkan)),
        #[cfg(feature = "wgpu")]
        "wgpu" => (Device::wgpu(kind), Device::enumerate(DeviceType::Wgpu)),
        _ => return Err(not_built(family)),
    };
    let is_there = found.contains(&device) || (which.is_none() && !found.is_empty());
    there(family, device, found.len(), is_there)
}

#[cfg(any(
    feature = "cuda",
    feature = "rocm",
    feature = "metal",
    feature = "vulkan",
    feature = "wgpu"
))]
fn there(family: &str, device: Device, found: usize, is_there: bool) -> Result<Device, Error> {
    if is_there {
        return Ok(device);
    }
    Err(Error::NoSuchDevice {
        device: format!("{device:?}"),
        family: family.to_owned(),
        found,
    })
}

#[cfg(not(any(feature = "metal", feature = "vulkan", feature = "wgpu")))]
fn graphics(family: &str, _: Option<&str>) -> Result<Device, Error> {
    Err(not_built(family))
}

#[cfg_attr(
    all(
        feature = "cuda",
        feature = "rocm",
        feature = "metal",
        feature = "vulkan",
        feature = "wgpu"
    ),
    allow(dead_code, reason = "every device is built")
)]
fn not_built(feature: &str) -> Error {
    Error::DeviceNotBuilt {
        feature: feature.to_owned(),
    }
}

/// Whether the device, or the one that its autodiff device wraps, is the CPU, whose tensors lie in host memory.
#[must_use]
pub fn is_cpu(device: &Device) -> bool {
    matches!(
        device.as_dispatch().clone().inner(),
        DispatchDevice::Flex(_)
    )
}

/// Whether the device keeps a gradient tape.
pub(crate) fn is_autodiff(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Autodiff(_))
}

/// Whether the device is the CPU's Flex without a gradient tape.
pub(crate) fn is_flex_without_gradients(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether the device is a CubeCL device without a gradient tape.
pub(crate) fn is_cube_without_gradients(device: &Device) -> bool {
    !is_autodiff(device) && is_cube(device)
}

#[cfg(feature = "cube")]
pub(crate) fn is_cube(device: &Device) -> bool {
    matches!(
        device.as_dispatch().clone().inner(),
        DispatchDevice::Cube(_)
    )
}

#[cfg(not(feature = "cube"))]
fn is_cube(_: &Device) -> bool {
    false
}

/// Whether the device has kernels for floats of these types: the CPU's for f32, GPUs' for one type throughout.
pub(crate) fn has_kernels_for(device: &Device, floats: &[DType]) -> bool {
    let same = |dtypes: &[DType]| {
        floats
            .iter()
            .all(|float| dtypes.contains(float) && *float == floats[0])
    };
    (is_cpu(device) && same(&[DType::F32]))
        || (is_cube(device) && same(&[DType::F32, DType::F16, DType::BF16]))
}

/// The gradient of a gradient is asked for, which burn's autodiff does not do.
pub(crate) fn first_order_only(operation: &str) -> ! {
    panic!("{operation}: only first derivatives exist; call its backward on plain tensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        assert!(is_cpu(&device("cpu").unwrap()));
        for name in ["", "cpu:0", "gpu", "cuda:x", "wgpu:x", "vulkan:-1", "rocm:"] {
            let found = device(name);
            assert!(
                matches!(found, Err(Error::UnknownDevice { .. })),
                "{name}: {found:?}"
            );
        }
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        let error = device("wgpu:99").unwrap_err().to_string();
        assert!(error.contains("wgpu devices are found"), "{error}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn what_this_build_lacks_is_said() {
        let error = device("cuda:1").unwrap_err().to_string();
        assert!(error.contains("--features didact/cuda"), "{error}");
    }
}
