//! Obtains SmolLM2-135M-Instruct.
