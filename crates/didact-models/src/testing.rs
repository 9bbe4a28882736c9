//! Small decoders that the tests share.

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{
    Decoder, DecoderConfig, DecoderOptions, Family, Llama3Scaling, ParameterMapper,
    ParameterVisitor,
};

/// A decoder of each family with everything that sets it apart: fewer key/value heads, heads that do
/// not divide the width, biases where the family can have them; and Llama 3.1's scaling.
pub(crate) fn configs() -> Vec<DecoderConfig> {
    let mut all: Vec<DecoderOptions> = Family::ALL.into_iter().map(options).collect();
    all[0].attention_bias = true;
    all.push(DecoderOptions {
        rope_scaling: Some(Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 16,
        }),
        tie_word_embeddings: true,
        ..options(Family::Llama)
    });
    all.into_iter()
        .map(|options| DecoderConfig::new(options).unwrap())
        .collect()
}

/// Options of a tiny decoder.
pub(crate) fn options(family: Family) -> DecoderOptions {
    DecoderOptions {
        num_key_value_heads: 2,
        head_dim: 6,
        max_position_embeddings: 64,
        bos_token_id: Some(1),
        eos_token_ids: vec![2, 3],
        ..DecoderOptions::new(family, 23, 16, 20, 2, 4)
    }
}

/// A decoder whose norms and biases are random too, so that mixing them up would show.
pub(crate) fn decoder(config: &DecoderConfig, device: &Device) -> Decoder {
    struct Shake;
    impl ParameterMapper for Shake {
        fn map<const D: usize>(&mut self, path: &str, p: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let seed = path
                .bytes()
                .fold(7_u64, |sum, byte| sum * 31 % 10_007 + u64::from(byte));
            let stream = didact_core::RandomStream::new(seed);
            p.map(|tensor| {
                let shape = tensor.dims();
                let count: usize = shape.iter().product();
                // Multiples of 1/128: exact in bf16 too, and unchanged by adding and removing 1.
                let noise: Vec<f32> = (0..count)
                    .map(|i| stream.below(i as u64, 64) as f32 / 128.0 - 0.25)
                    .collect();
                let device = tensor.device();
                let norm = path.ends_with("norm.weight")
                    && tensor.clone().sum().into_scalar::<f32>() > 0.0;
                let noise = Tensor::from_data(TensorData::new(noise, shape), &device);
                let noise = if norm { noise + 1.0 } else { noise };
                if tensor.is_require_grad() {
                    noise.require_grad()
                } else {
                    noise
                }
            })
        }
    }
    Decoder::init(config, 7, device).map_parameters(&mut Shake)
}

/// Every parameter's path, shape and numbers.
pub(crate) fn parameters(decoder: &Decoder) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    struct All(Vec<(String, Vec<usize>, Vec<f32>)>);
    impl ParameterVisitor for All {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let tensor = parameter.val();
            let shape = tensor.dims().to_vec();
            self.0
                .push((path.to_owned(), shape, tensor.try_into_vec_as().unwrap()));
        }
    }
    let mut all = All(Vec::new());
    decoder.visit_parameters(&mut all);
    all.0
}

/// Token ids on a device.
pub(crate) fn upload(ids: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [ids.len()]), device)
}

/// A tensor's numbers.
pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}
