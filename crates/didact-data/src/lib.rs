//! Problem files, prompt formats, tokenizers and chat templates for reinforcement-learned teachers, exact to the token.
#![forbid(unsafe_code)]
