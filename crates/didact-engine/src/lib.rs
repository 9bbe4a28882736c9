//! Runs a language model: generation with sampling log-probs, and scoring of packed sequences with shared prefixes.
#![forbid(unsafe_code)]
