//! Token ids and the bytes they stand for.

/// The index of a token in a model's vocabulary.
pub type TokenId = u32;

/// Maps token ids to the bytes they stand for.
///
/// An engine uses it to find stop strings, a prompt format to find tags in sampled ids. Ids are never
/// turned into text and encoded again: that can give other ids.
pub trait TokenBytes: Send + Sync {
    /// The bytes of `id`, which need not be whole UTF-8 characters. A special token gives its text;
    /// an id outside the vocabulary gives nothing.
    fn token_bytes(&self, id: TokenId) -> &[u8];

    /// Whether `id` is a control token, such as the end of a turn, rather than text.
    fn is_special(&self, id: TokenId) -> bool;

    /// The bytes of a sequence, one token after the other.
    fn bytes_of(&self, ids: &[TokenId]) -> Vec<u8> {
        ids.iter()
            .flat_map(|&id| self.token_bytes(id))
            .copied()
            .collect()
    }
}
