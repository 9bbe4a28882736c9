//! What an engine refuses of its own; it reaches callers inside [`didact_core::Error::Other`].

/// What an engine refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request that the key/value cache could not hold even if nothing else were in it.
    #[error(
        "{what} needs {needed} bytes of keys and values for {tokens} tokens, but the engine's cache_bytes, {budget}, \
         hold {holds} tokens of this model; raise cache_bytes or lower max_tokens"
    )]
    CacheTooSmall {
        /// Which request.
        what: String,
        /// Tokens of its prompt and of the longest completion that it allows, in whole pages.
        tokens: usize,
        /// The bytes of their keys and values.
        needed: u64,
        /// [`cache_bytes`](crate::EngineConfig::cache_bytes).
        budget: u64,
        /// Tokens that these bytes hold, in whole pages.
        holds: usize,
    },
}

impl From<Error> for didact_core::Error {
    fn from(error: Error) -> Self {
        Self::Other(error.into())
    }
}
