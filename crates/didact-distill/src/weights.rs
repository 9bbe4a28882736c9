//! A hash of a model's weights, to tell whether two runs ended alike.

use burn::module::Param;
use burn::tensor::Tensor;
use didact_models::{Decoder, ParameterVisitor};

/// The BLAKE3 hash of all parameters with their paths, in the order of the model, then of quantised weights, as hexadecimal
/// digits.
#[must_use]
pub fn weights_hash(decoder: &Decoder) -> String {
    struct Hash(blake3::Hasher);
    impl ParameterVisitor for Hash {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            self.0.update(path.as_bytes());
            self.0.update(parameter.val().into_data().as_bytes());
        }
    }
    let mut hash = Hash(blake3::Hasher::new());
    decoder.visit_parameters(&mut hash);
    decoder.visit_quantised(&mut |path, weight| {
        hash.0.update(path.as_bytes());
        weight.visit_bytes(&mut |bytes| {
            hash.0.update(bytes);
        });
    });
    hash.0.finalize().to_hex().to_string()
}
