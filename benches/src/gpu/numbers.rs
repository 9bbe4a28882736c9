//! Numbers to compute with, and tensors of them.
use burn::tensor::{DType, Device, Distribution, Shape, Tensor, TensorData};

/// Numbers between −1 and 1 that depend on the seed only.
pub(super) fn numbers(seed: u64, count: usize) -> Vec<f64> {
    (0..count as u64)
        .map(|index| {
            let mut x = (seed << 32) ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// The numbers in this type on the device.
pub(super) fn flat(values: &[f64], device: &Device, dtype: DType) -> Tensor<1> {
    let data = TensorData::new(values.to_vec(), [values.len()]).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}

/// The numbers of a tensor.
pub(super) fn host(tensor: Tensor<1>) -> Vec<f64> {
    tensor
        .into_data()
        .try_into_vec_as::<f64>()
        .expect("floats convert")
}

/// Normal numbers of this size, made on the device.
pub(super) fn random<const D: usize>(
    shape: [usize; D],
    size: f64,
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    let shape = Shape::from(shape);
    let tensor = Tensor::random(shape, Distribution::Normal(0.0, size), (device, DType::F32));
    match dtype {
        DType::F32 => tensor,
        other => tensor.cast(other),
    }
}
