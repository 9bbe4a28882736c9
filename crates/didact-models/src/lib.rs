//! Decoder language models of the Llama, Qwen and Gemma families over burn, configured and stored as Hugging Face folders.
#![forbid(unsafe_code)]
