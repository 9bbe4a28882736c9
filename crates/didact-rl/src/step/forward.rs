//! One micro-batch through the model and back.
//!
//! Owns the forward pass up to the numbers that a loss reads, and the backward pass from the loss's derivatives,
//! with every layer's activations kept or computed again. Knows no loss and no optimizer.

use burn::module::{Module, Param};
use burn::tensor::{DType, Gradients as Tape, Int, Tensor, TensorData};
use didact_engine::PackedBatch;
use didact_kernels::{PackedLayout, attention, linear_log_prob, projected_rows};
use didact_models::{Decoder, ParameterVisitor};

use super::{StepOptions, TokenValues, TrainingSequence};
use crate::gradients::{Gradients, read, values};
use crate::loss::LossOutput;
use crate::{Error, Result};

/// One micro-batch after its forward pass.
pub(super) struct Forward {
    /// `[R, 3]`: log-prob, log-sum-exp and entropy of every trained token, sequence by sequence.
    output: Tensor<2>,
    layers: Option<KeptInputs>,
}

/// What computing layers again needs.
struct KeptInputs {
    /// Where the input embedding is trained.
    ids: Option<Tensor<1, Int>>,
    layout: PackedLayout,
    /// The lowest layer that has to be computed again: nothing below it is trained.
    first: usize,
    /// What went into each layer from `first` on, without gradients.
    inputs: Vec<Tensor<2>>,
    /// What came out of the last one; the tape of `output` begins here.
    last: Tensor<2>,
}

impl Forward {
    /// Also gives the outputs on the host, for each sequence.
    pub(super) fn run(
        policy: &Decoder,
        sequences: &[&TrainingSequence],
        options: StepOptions,
    ) -> Result<(Self, Vec<TokenValues>)> {
        let device = policy.device();
        let packed: Vec<_> = sequences
            .iter()
            .map(|s| (s.prefix.clone(), s.read()))
            .collect();
        let batch = PackedBatch::new(&packed)?;
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (index, sequence) in sequences.iter().enumerate() {
            for position in sequence.trained.range() {
                // Not `predicting_row`: the last trained token itself is not in the batch.
                rows.push(batch.row(index, position - 1));
                targets.push(sequence.token(position));
            }
        }
        let tokens = batch.ids().len();
        let ids: Vec<i32> = batch.ids().iter().map(|&id| id as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens]), &device);
        let vocabulary = policy.config().vocab_size;
        let (rows, targets) = projected_rows(&rows, &targets, tokens, vocabulary, &device)?;
        let (hidden, layers) = if options.recompute_layers {
            let kept = KeptInputs::run(policy, ids, batch.layout());
            (policy.normalise(kept.last.clone()), Some(kept))
        } else {
            (policy.forward(ids, batch.layout()), None)
        };
        let embedding = policy.output_embedding();
        let output = linear_log_prob(hidden, rows, embedding, targets, options.temperature);
        let data = read("log-probs", output.clone().inner())?;
        let mut entries = values("log-probs", &data)?.chunks_exact(3);
        let mut all = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let mut found = TokenValues::default();
            for (offset, entry) in entries.by_ref().take(sequence.trained.len()).enumerate() {
                for (what, value) in [("log-prob", entry[0]), ("entropy", entry[2])] {
                    if !value.is_finite() {
                        return Err(Error::NonFiniteSample {
                            sample: sequence.id.clone(),
                            what: format!(
                                "the {what} of token {}",
                                sequence.trained.start + offset
                            ),
                            value: f64::from(value),
                        });
                    }
                }
                found.log_probs.push(entry[0]);
                found.entropies.push(entry[2]);
            }
            all.push(found);
        }
        Ok((Self { output, layers }, all))
    }

    /// Seeds the backward pass with the loss's derivatives, and adds what comes of it to `gradients`. Where layers are computed
    /// again, each one's are added as they are there, so that a second set of all gradients never is.
    pub(super) fn backward(
        self,
        policy: &Decoder,
        loss: &LossOutput,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let [rows, columns] = self.output.dims();
        let mut seed = Vec::with_capacity(rows * columns);
        for (sequence, derivatives) in loss.d_log_probs.iter().enumerate() {
            for (token, derivative) in derivatives.iter().enumerate() {
                let of_entropy = loss
                    .d_entropies
                    .as_ref()
                    .map_or(0.0, |d| d[sequence][token]);
                seed.extend([*derivative as f32, 0.0, of_entropy as f32]);
            }
        }
        let expected = rows * columns;
        if seed.len() != expected {
            return Err(Error::TrainingData {
                what: "loss".to_owned(),
                problem: format!("{} derivatives for {expected} outputs", seed.len()),
            });
        }
        let seed = TensorData::new(seed, [rows, columns]);
        let seed = Tensor::<2>::from_data(seed, (&self.output.device(), DType::F32));
        let mut tape = seeded(self.output, seed);
        let Some(layers) = self.layers else {
            return gradients.add(Gradients::take(policy, tape)?);
        };
        let of_last = layers.last.grad_remove(&mut tape);
        gradients.add(Gradients::take(policy, tape)?)?;
        match of_last {
            Some(of_last) => layers.backward(policy, of_last, gradients),
            None => Ok(()),
        }
    }
}

impl KeptInputs {
    /// All layers, without a tape.
    fn run(policy: &Decoder, ids: Tensor<1, Int>, layout: &PackedLayout) -> Self {
        let plain = policy.valid();
        let tables = plain.rotary_tables(layout.positions());
        let mut hidden = plain.embed(ids.clone().inner());
        let trained = Trained::of(policy);
        let mut inputs = Vec::new();
        for layer in 0..plain.config().num_hidden_layers {
            if layer >= trained.first_layer {
                inputs.push(hidden.clone());
            }
            hidden = plain.forward_layer(layer, hidden, &tables, attend(&plain, layout));
        }
        Self {
            ids: trained.embedding.then_some(ids),
            layout: layout.clone(),
            first: trained.first_layer,
            inputs,
            last: Tensor::from_inner(hidden).require_grad(),
        }
    }

    /// From the last layer down to the lowest trained tensor, each computed once more; `gradient` is that of what
    /// came out.
    fn backward(
        self,
        policy: &Decoder,
        mut gradient: Tensor<2>,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let tables = policy.rotary_tables(self.layout.positions());
        for (above, input) in self.inputs.into_iter().enumerate().rev() {
            let mut input = Tensor::from_inner(input);
            let goes_on = above > 0 || self.ids.is_some();
            if goes_on {
                input = input.require_grad();
            }
            let attend = attend(policy, &self.layout);
            let output = policy.forward_layer(self.first + above, input.clone(), &tables, attend);
            let mut tape = seeded(output, Tensor::from_inner(gradient));
            gradient = input
                .grad_remove(&mut tape)
                .unwrap_or_else(|| input.inner().zeros_like());
            gradients.add(Gradients::take(policy, tape)?)?;
        }
        if let Some(ids) = self.ids {
            let tape = seeded(policy.embed(ids), Tensor::from_inner(gradient));
            gradients.add(Gradients::take(policy, tape)?)?;
        }
        Ok(())
    }
}

/// The lowest tensors that a step trains.
struct Trained {
    /// Whether the input embedding is trained; the lowest layer is the first one then.
    embedding: bool,
    /// The lowest layer with a trained tensor, the number of layers where none has one.
    first_layer: usize,
}

impl Trained {
    fn of(policy: &Decoder) -> Self {
        let mut trained = Self {
            embedding: false,
            first_layer: policy.config().num_hidden_layers,
        };
        policy.visit_parameters(&mut trained);
        trained
    }
}

impl ParameterVisitor for Trained {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        if !parameter.base().is_require_grad() {
            return;
        }
        if path == "model.embed_tokens.weight" {
            (self.embedding, self.first_layer) = (true, 0);
        }
        let layer = path.strip_prefix("model.layers.");
        let layer = layer.and_then(|rest| rest.split('.').next()?.parse().ok());
        self.first_layer = self.first_layer.min(layer.unwrap_or(usize::MAX));
    }
}

/// A layer's attention over the packed sequences.
fn attend<'a>(
    policy: &Decoder,
    layout: &'a PackedLayout,
) -> impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3> + use<'a> {
    let scale = policy.config().attention_scale();
    move |q, k, v| attention(q, k, v, layout, scale)
}

/// The backward pass from `output`, given its gradient: d(Σ output · gradient) / d output = gradient, and the
/// value of the sum is of no use.
fn seeded(output: Tensor<2>, gradient: Tensor<2>) -> Tape {
    (output * gradient).sum().backward()
}
