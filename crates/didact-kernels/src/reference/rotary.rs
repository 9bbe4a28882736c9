use burn::tensor::Tensor;

use super::widen;

/// Rotary position embedding over the two halves of each head; see [`crate::rotary`].
pub fn rotary(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<3> {
    let dtype = x.dtype();
    let half = x.dims()[2] / 2;
    let (x, cos, sin) = (widen(x), widen(cos), widen(sin));
    let first = x.clone().narrow(2, 0, half);
    let second = x.narrow(2, half, half);
    let cos = cos.unsqueeze_dim::<3>(1);
    let sin = sin.unsqueeze_dim::<3>(1);
    let turned_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let turned_second = second * cos + first * sin;
    Tensor::cat(vec![turned_first, turned_second], 2).cast(dtype)
}
