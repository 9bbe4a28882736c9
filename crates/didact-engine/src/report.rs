//! What one call of `generate` did, in numbers.

/// Counts of the last call of `generate`.
///
/// They say how well a batch size and a cache fit the work; no completion depends on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerationReport {
    /// Tokens sampled.
    pub sampled_tokens: usize,
    /// Passes that read prompts, or sampled tokens again.
    pub reading_passes: usize,
    /// Tokens that these read; a shared prompt counts once.
    pub read_tokens: usize,
    /// Passes that computed one token of every running sequence.
    pub decoding_steps: usize,
    /// Times that a sequence gave its pages back to others.
    pub pre_emptions: usize,
    /// The most pages in use at once.
    pub peak_pages: usize,
    /// Bytes of keys and values in one page, of all layers.
    pub page_bytes: u64,
}
