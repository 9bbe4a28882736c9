//! How much a stage computes, and how long a machine takes at least.
//!
//! Owns counts of operations and bytes. Measures nothing.
//!
//! With `P` parameters in layers and output embedding, `L` layers of query width `Q`, one token that sees `c` tokens
//! before it costs `2·P + 4·L·Q·c` operations forward (Kaplan et al., "Scaling laws for neural language models", 2020,
//! section 2.1); a sequence of `n` tokens sees `n/2` on average. Training costs three times the forward pass, two times
//! with an adapter (frozen weights take no gradient), and once more where layers are computed again. Sampling is done in
//! batches of sequences; each of its steps reads all weights and the keys and values of the batch once, and takes the
//! longer of computing and reading.

use didact_models::{Bits, DecoderConfig};
use didact_rl::memory::WeightStorage;
use serde::Serialize;

use super::Machine;

/// What a stage computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Work {
    /// Tokens that are trained on.
    pub trained_tokens: f64,
    /// Tokens that are sampled.
    pub sampled_tokens: f64,
    /// Tokens that are read to be scored.
    pub scored_tokens: f64,
    /// Multiplications and additions outside sampling.
    pub operations: f64,
    /// Steps of sampling, each of one token for every sequence of a batch.
    pub sampling_steps: f64,
    /// Multiplications and additions of one such step.
    pub operations_per_sampling_step: f64,
    /// Bytes that one such step reads.
    pub bytes_per_sampling_step: f64,
}

impl Work {
    /// The same done so many times.
    #[must_use]
    pub fn times(self, count: f64) -> Self {
        Self {
            trained_tokens: count * self.trained_tokens,
            sampled_tokens: count * self.sampled_tokens,
            scored_tokens: count * self.scored_tokens,
            operations: count * self.operations,
            sampling_steps: count * self.sampling_steps,
            ..self
        }
    }

    /// The least time in seconds, if nothing but products and reading weights takes any.
    #[must_use]
    pub fn seconds(&self, machine: &Machine) -> f64 {
        let computing = self.operations_per_sampling_step / machine.operations_per_second;
        let reading = self.bytes_per_sampling_step / machine.bytes_per_second;
        self.operations / machine.operations_per_second
            + self.sampling_steps * computing.max(reading)
    }
}

/// The sizes of a model that costs depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    parameters: f64,
    bytes_per_parameter: f64,
    attention: f64,
    key_value: f64,
}

impl Cost {
    pub(super) fn new(config: &DecoderConfig, weights: WeightStorage) -> Self {
        let all = config.parameter_count().unwrap_or(u64::MAX) as f64;
        let embedding = (config.vocab_size * config.hidden_size) as f64;
        // Looking a token up costs nothing; tied embeddings are multiplied once, at the output.
        let parameters = if config.tie_word_embeddings {
            all
        } else {
            all - embedding
        };
        let layers = config.num_hidden_layers as f64;
        let number = weights.number_bytes() as f64;
        let bytes_per_parameter = match weights.bits() {
            None => number,
            Some(Bits::Eight) => 1.125,
            Some(Bits::Four) => 0.625,
        };
        Self {
            parameters,
            bytes_per_parameter,
            attention: 4.0 * layers * (config.num_attention_heads * config.head_dim) as f64,
            key_value: 2.0
                * number
                * layers
                * (config.num_key_value_heads * config.head_dim) as f64,
        }
    }

    /// Operations of reading `sequences` sequences of `tokens` tokens.
    pub(super) fn forward(&self, sequences: f64, tokens: f64) -> f64 {
        sequences * tokens * (2.0 * self.parameters + self.attention * tokens / 2.0)
    }

    /// Adds reading sequences to score them.
    pub(super) fn add_scoring(&self, work: &mut Work, sequences: f64, tokens: f64) {
        work.scored_tokens += sequences * tokens;
        work.operations += self.forward(sequences, tokens);
    }

    /// Adds training on sequences.
    pub(super) fn add_training(&self, work: &mut Work, sequences: f64, tokens: f64, passes: f64) {
        work.trained_tokens += sequences * tokens;
        work.operations += passes * self.forward(sequences, tokens);
    }

    /// Adds sampling `sequences` completions of `completion` tokens, `batch` at once, of `prompts` prompts.
    pub(super) fn add_sampling(
        &self,
        work: &mut Work,
        [prompts, sequences]: [f64; 2],
        [prompt, completion]: [f64; 2],
        batch: f64,
    ) {
        work.sampled_tokens += sequences * completion;
        work.operations += self.forward(prompts, prompt);
        let batch = batch.min(sequences).max(1.0);
        let seen = prompt + completion / 2.0;
        work.sampling_steps += (sequences / batch).ceil() * completion;
        work.operations_per_sampling_step = batch * (2.0 * self.parameters + self.attention * seen);
        work.bytes_per_sampling_step =
            self.parameters * self.bytes_per_parameter + batch * seen * self.key_value;
    }
}

/// How many forward passes training costs.
pub(super) fn training_passes(adapter: bool, recompute_layers: bool) -> f64 {
    let passes = if adapter { 2.0 } else { 3.0 };
    passes + if recompute_layers { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use didact_models::{DecoderOptions, Family};

    use super::*;

    /// 2 layers of width 8 with 2 heads, one of them for keys, an MLP of 16 and 10 words.
    fn cost(weights: WeightStorage) -> Cost {
        let options = DecoderOptions {
            num_key_value_heads: 1,
            ..DecoderOptions::new(Family::Llama, 10, 8, 16, 2, 2)
        };
        Cost::new(&DecoderConfig::new(options).unwrap(), weights)
    }

    #[test]
    fn operations_are_counted_as_by_hand() {
        let cost = cost(WeightStorage::F32);
        // Queries and outputs 2·64, keys and values 2·32, MLP 3·128, norms 16; the last norm 8; 10 words of 8.
        let parameters = 2.0 * (128.0 + 64.0 + 384.0 + 16.0) + 8.0 + 80.0;
        // Each of 6 tokens sees 3 on average, by 4 operations a channel of the queries and layer.
        let token = 2.0 * parameters + 4.0 * 2.0 * 8.0 * 3.0;
        assert_eq!(cost.forward(5.0, 6.0), 5.0 * 6.0 * token);
        let mut work = Work::default();
        cost.add_training(&mut work, 5.0, 6.0, training_passes(true, true));
        assert_eq!(
            (work.trained_tokens, work.operations),
            (30.0, 3.0 * 30.0 * token)
        );
    }

    #[test]
    fn sampling_takes_the_longer_of_computing_and_reading() {
        let cost = cost(WeightStorage::FourBit);
        let mut work = Work::default();
        cost.add_sampling(&mut work, [2.0, 10.0], [4.0, 6.0], 8.0);
        // Two batches of at most 8, six steps each; half of the completion is seen on average.
        assert_eq!((work.sampled_tokens, work.sampling_steps), (60.0, 12.0));
        let read = cost.parameters * 0.625 + 8.0 * 7.0 * (8.0 * 2.0 * 4.0);
        assert_eq!(work.bytes_per_sampling_step, read);
        let machine = |operations_per_second, bytes_per_second| Machine {
            name: "a machine".into(),
            operations_per_second,
            bytes_per_second,
            memory: None,
        };
        let slow_memory = work.seconds(&machine(f64::INFINITY, 1.0));
        assert_eq!(slow_memory, 12.0 * read);
        let slow_products = work.seconds(&machine(1.0, f64::INFINITY));
        assert_eq!(
            slow_products,
            work.operations + 12.0 * work.operations_per_sampling_step
        );
        assert_eq!(
            work.times(3.0).seconds(&machine(1.0, 1.0)),
            3.0 * work.seconds(&machine(1.0, 1.0))
        );
    }
}
