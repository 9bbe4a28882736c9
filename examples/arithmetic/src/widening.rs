//! A decoder of twice the width, and with more layers if wanted, that computes the same.
//!
//! Every hidden unit is there twice (T. Chen, I. Goodfellow and J. Shlens, "Net2Net: accelerating learning via knowledge
//! transfer", 2016): what makes a unit is copied, and what reads it shares its weight among the copies. The shares
//! differ by noise, else both copies would learn the same for ever. Further layers come last and add nothing until they
//! learn: what leaves their attention and their MLP is multiplied by zeros.

use std::collections::HashMap;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use didact::models::{Decoder, DecoderConfig, ParameterMapper, ParameterVisitor};

use crate::Result;
use crate::draws::Draws;

/// How far a copy's share of a weight is from one half, beside the root mean square of the weights.
const NOISE: f32 = 0.25;

/// The draws of the noise among those of a run.
const DRAWS: u64 = 4;

/// The decoder of `config`, which is twice as wide as `small`'s in every respect (hidden states, MLP, heads) and has at
/// least as many layers, that computes what `small` does.
///
/// # Errors
/// A configuration that is not twice as wide as the small one's.
pub fn widened(small: &Decoder, config: &DecoderConfig, seed: u64) -> Result<Decoder> {
    let mut weights = Weights(HashMap::new());
    small.visit_parameters(&mut weights);
    let mut double = Double {
        small: weights.0,
        layers: small.config().num_hidden_layers,
        seed,
        place: 0,
        misfit: None,
    };
    let wide = Decoder::init(config, seed, &small.device()).map_parameters(&mut double);
    match double.misfit {
        None => Ok(wide),
        Some(path) => Err(format!("{path} is not twice as wide as the small decoder's").into()),
    }
}

/// Shape and values by path.
struct Weights(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl ParameterVisitor for Weights {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        let data = parameter.val().into_data();
        let shape = parameter.val().dims().to_vec();
        let values = data.iter::<f32>().collect();
        self.0.insert(path.to_owned(), (shape, values));
    }
}

struct Double {
    small: HashMap<String, (Vec<usize>, Vec<f32>)>,
    layers: usize,
    seed: u64,
    /// Counts the tensors, whose noise is drawn apart.
    place: u64,
    misfit: Option<String>,
}

impl ParameterMapper for Double {
    fn map<const D: usize>(&mut self, path: &str, wide: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.place += 1;
        if self.is_further_layer(path) {
            let leaves = ["o_proj", "down_proj"]
                .iter()
                .any(|name| path.contains(name));
            return if leaves {
                wide.map(|tensor| replaced(&tensor, tensor.zeros_like()))
            } else {
                wide
            };
        }
        let doubled = self.small.get(path).map(|(shape, values)| {
            let mut draws = Draws::new(self.seed, DRAWS, self.place);
            doubled(path, shape, values, &mut draws)
        });
        match doubled {
            Some((shape, values)) if shape == wide.val().dims() => wide.map(|tensor| {
                let data = TensorData::new(values, shape);
                let doubled = Tensor::from_data(data, &tensor.device());
                replaced(&tensor, doubled)
            }),
            _ => {
                self.misfit.get_or_insert_with(|| path.to_owned());
                wide
            }
        }
    }
}

impl Double {
    /// Whether the parameter belongs to a layer that the small decoder does not have.
    fn is_further_layer(&self, path: &str) -> bool {
        let mut parts = path.split('.').skip_while(|part| *part != "layers");
        let layer = parts.nth(1).and_then(|part| part.parse::<usize>().ok());
        layer.is_some_and(|layer| layer >= self.layers)
    }
}

/// A parameter's tensor in place of another.
fn replaced<const D: usize>(old: &Tensor<D>, new: Tensor<D>) -> Tensor<D> {
    let new = new.detach();
    if old.is_require_grad() {
        new.require_grad()
    } else {
        new
    }
}

/// A tensor for twice the width. Projections are `[in, out]`, embeddings `[vocabulary, hidden]`; the output embedding
/// reads hidden states, the input embedding makes them.
fn doubled(
    path: &str,
    shape: &[usize],
    values: &[f32],
    draws: &mut Draws,
) -> (Vec<usize>, Vec<f32>) {
    let &[rows, columns] = shape else {
        return (vec![2 * values.len()], [values, values].concat());
    };
    let squares: f32 = values.iter().map(|v| v * v).sum();
    let spread = NOISE * (squares / values.len() as f32).sqrt();
    let mut noise = || spread * (2.0 * draws.uniform() as f32 - 1.0);
    if path.contains("embed_tokens") {
        let twice = values.chunks(columns).flat_map(|row| [row, row].concat());
        return (vec![rows, 2 * columns], twice.collect());
    }
    if path.contains("lm_head") {
        let mut wide = Vec::with_capacity(2 * values.len());
        for row in values.chunks(columns) {
            let shares: Vec<f32> = row.iter().map(|w| w / 2.0 + noise()).collect();
            let others = row.iter().zip(&shares).map(|(w, share)| w - share);
            let others: Vec<f32> = others.collect();
            wide.extend(shares.into_iter().chain(others));
        }
        return (vec![rows, 2 * columns], wide);
    }
    // Both copies of an output read the same inputs, in other shares.
    let mut wide = vec![0.0; 4 * values.len()];
    for (place, w) in values.iter().enumerate() {
        let (row, column) = (place / columns, place % columns);
        for copy in [column, column + columns] {
            let share = w / 2.0 + noise();
            wide[row * 2 * columns + copy] = share;
            wide[(row + rows) * 2 * columns + copy] = w - share;
        }
    }
    (vec![2 * rows, 2 * columns], wide)
}

#[cfg(test)]
mod tests {
    use didact::Device;
    use didact::models::{DecoderOptions, Family};

    use super::*;

    #[test]
    fn a_wide_decoder_computes_the_same() {
        let device = Device::flex();
        let config = |width: usize, layers| {
            let [hidden, mlp, heads] = [16, 24, 2].map(|size| size * width);
            let options = DecoderOptions::new(Family::Llama, 20, hidden, mlp, layers, heads);
            DecoderConfig::new(options).unwrap()
        };
        let small = Decoder::init(&config(1, 2), 1, &device);
        let logits = |decoder: &Decoder| -> Vec<f32> {
            let ids: Vec<i32> = (0..12).map(|i| i * 7 % 20).collect();
            let ids = Tensor::from_data(ids.as_slice(), &device);
            let layout = didact::kernels::PackedLayout::single(12).unwrap();
            let hidden = decoder.forward(ids, &layout);
            let logits = hidden.matmul(decoder.output_embedding().transpose());
            logits.into_data().iter::<f32>().collect()
        };
        let expected = logits(&small);
        let largest = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        for layers in [2, 4] {
            let found = logits(&widened(&small, &config(2, layers), 2).unwrap());
            for (a, b) in expected.iter().zip(&found) {
                assert!(
                    (a - b).abs() < 1e-4 * largest,
                    "{layers} layers: {a} and {b}"
                );
            }
        }
        assert!(widened(&small, &config(3, 2), 2).is_err());
    }
}
