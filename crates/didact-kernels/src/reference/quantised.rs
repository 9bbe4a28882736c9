use burn::tensor::Tensor;

use crate::QuantisedMatrix;

/// The matrix product with all of the weight in the rows' precision; see [`crate::quantised_linear`].
pub fn quantised_linear(x: Tensor<2>, weight: &QuantisedMatrix) -> Tensor<2> {
    let dtype = x.dtype();
    let weight = weight.dequantise(&x.device()).cast(dtype);
    x.matmul(weight)
}
