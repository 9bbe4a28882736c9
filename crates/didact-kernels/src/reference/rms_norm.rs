use burn::tensor::Tensor;

use super::widen;

/// Root-mean-square normalisation; see [`crate::rms_norm`].
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64, offset: f64) -> Tensor<2> {
    let dtype = x.dtype();
    let x = widen(x);
    let rms = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt();
    let weight = widen(weight).add_scalar(offset).unsqueeze::<2>();
    (x / rms * weight).cast(dtype)
}
