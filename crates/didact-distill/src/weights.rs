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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use didact_models::{Bits, DecoderConfig, DecoderOptions, Family};

    use super::*;

    #[test]
    fn quantised_weights_are_part_of_it() {
        let config =
            DecoderConfig::new(DecoderOptions::new(Family::Llama, 64, 32, 64, 1, 2)).unwrap();
        let decoder = |seed| Decoder::init(&config, seed, &Device::flex());
        let hashes =
            [Bits::Four, Bits::Eight].map(|bits| weights_hash(&decoder(7).quantise(bits).unwrap()));
        assert_ne!(hashes[0], hashes[1]);
        let again = weights_hash(&decoder(7).quantise(Bits::Four).unwrap());
        assert_eq!(hashes[0], again);
    }
}
