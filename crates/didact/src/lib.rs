//! Reinforcement-learned teachers in Rust: train a language model to explain, and distill its explanations into students.
#![forbid(unsafe_code)]
