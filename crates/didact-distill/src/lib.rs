//! The pipeline around reinforcement-learned teachers: warm-up, collected explanations, distilled students and evaluation.
#![forbid(unsafe_code)]
