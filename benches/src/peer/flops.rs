//! Counts the floating-point operations that a piece of work needs.
//!
//! Needed means: what any implementation must do that computes a shared prefix once, pads nothing and projects only
//! the rows that are asked for. Recomputation in a backward pass is not counted, nor is anything element-wise.

use didact_models::DecoderConfig;

/// What a forward pass handles.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Forward {
    /// Tokens that pass through the layers.
    tokens: usize,
    /// Sum over those tokens of the keys that each attends to, itself included.
    keys: usize,
    /// Rows that are projected onto the vocabulary.
    rows: usize,
}

impl Forward {
    /// A forward pass with its backward pass: two products of the same size for every one.
    pub(crate) const BACKWARD: f64 = 3.0;

    /// Sequences given as (prefix, length that is read), equal prefixes counted once, and the projected rows.
    pub(crate) fn shared<'a>(
        sequences: impl Iterator<Item = (&'a [u32], usize)>,
        rows: usize,
    ) -> Self {
        let mut count = Self {
            rows,
            ..Self::default()
        };
        let mut seen: Vec<&[u32]> = Vec::new();
        for (prefix, length) in sequences {
            let first = if seen.contains(&prefix) {
                prefix.len()
            } else {
                seen.push(prefix);
                0
            };
            count.tokens += length - first;
            count.keys += (first..length).map(|position| position + 1).sum::<usize>();
        }
        count
    }
}

/// Floating-point operations of a forward pass, a multiplication and an addition counted as two:
///
/// ```text
/// 2·P·tokens  +  L·4·Hq·D·keys  +  2·H·V·rows
/// P = L·( H·Hq·D + 2·H·Hkv·D + Hq·D·H + 3·H·I )
/// ```
///
/// with `L` layers, width `H`, `Hq` query and `Hkv` key/value heads of width `D`, inner width `I` and vocabulary `V`.
pub(crate) fn flops(config: &DecoderConfig, forward: Forward) -> f64 {
    let [layers, width, inner, vocabulary] = [
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.vocab_size,
    ]
    .map(|size| size as f64);
    let queries = (config.num_attention_heads * config.head_dim) as f64;
    let keys_values = (config.num_key_value_heads * config.head_dim) as f64;
    let linear = layers * width * (2.0 * queries + 2.0 * keys_values + 3.0 * inner);
    2.0 * linear * forward.tokens as f64
        + layers * 4.0 * queries * forward.keys as f64
        + 2.0 * width * vocabulary * forward.rows as f64
}
